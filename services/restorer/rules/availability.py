"""Whether what is said of a cluster's availability must be looked at again, and what a closed server's answer tells."""

from collections.abc import Mapping

from tidewind.domain.records import RegistryEntry
from tidewind.ports.engine import TargetState
from tidewind.ports.restore import UNFINISHED_RESTORE

LOOK_AGAIN_S = 30.0
RIGHTS = "rights"
"""Subject of the finding of a survey that says what the account may not do, and so may not see."""
_PASSING = frozenset({"Restoring", "RestoreFailed"})


def worth_a_look(known: Mapping[str, object] | None, looked_s_ago: float | None, *, failed: bool = False) -> str | None:
    """Why, or None. `known` is the published status; `looked_s_ago` is None if this instance has never compared it with
    the store; `failed`: the last look came to no end. `Available` holds until a restore's holder says otherwise; the
    other states end without a word if the holder died, or if an operator opened the server by hand."""
    if failed and looked_s_ago is not None:
        return "the last look failed" if looked_s_ago >= LOOK_AGAIN_S else None
    if known is None:
        return "nothing has been said"
    if looked_s_ago is None:
        return "it was said by somebody else"
    if known.get("state") in _PASSING and looked_s_ago >= LOOK_AGAIN_S:
        return f"{known['state']} may have ended"
    return None


def still_closed(found: TargetState, enrolled: RegistryEntry) -> str | None:
    """Why a server does not prove that the cluster, left closed by a restore, was opened by hand; None if it does. That
    no unfinished restore is seen proves it only on the enrolled server, and only to an account that could see one."""
    if found.facts.identity != enrolled.server_identity:
        return f"the server that answers ({found.facts.identity}) is not the one enrolled ({enrolled.server_identity})"
    for finding in found.findings:
        if finding.subject == UNFINISHED_RESTORE or (finding.subject == RIGHTS and finding.level == "error"):
            return finding.text
    return None
