"""Whether what is said of a cluster's availability must be looked at again."""

from collections.abc import Mapping

LOOK_AGAIN_S = 30.0
_PASSING = frozenset({"Restoring", "RestoreFailed"})


def worth_a_look(known: Mapping[str, object] | None, looked_s_ago: float | None) -> str | None:
    """Why, or None. `known` is the published status; `looked_s_ago` is None if this instance has never compared it with
    the store. `Available` holds until a restore's holder says otherwise; the other states end without a word if the
    holder died, or if an operator opened the server by hand."""
    if known is None:
        return "nothing has been said"
    if looked_s_ago is None:
        return "it was said by somebody else"
    if known.get("state") in _PASSING and looked_s_ago >= LOOK_AGAIN_S:
        return f"{known['state']} may have ended"
    return None
