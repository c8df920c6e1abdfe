"""How often a snapshot is tried again, and what a failed attempt leaves to be swept.

A backup that somebody asked for is tried a few times within a minute and then told as failed. A day's backup is
nobody's to repeat: a night's outage must not cost the day. So it is tried again, ever more slowly, for as long as the
day's grace window is, also after what only an operator can mend: a password, a right, a full store.
"""

from collections.abc import Iterable
from dataclasses import dataclass

TRIES_WITHOUT_WINDOW = 3
MOST_TRIES = 99
"""Of one epoch: the attempt's number has two digits for it."""

_PASSING_PAUSES_S = (5.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0)
_MENDED_PAUSES_S = (60.0, 120.0, 300.0, 600.0, 900.0)
_PASSING = frozenset({"snapshot-inconsistent", "database-unreachable", "store-unavailable"})
_LASTING = frozenset({"cancelled", "unknown-cluster", "unsupported-engine", "time-limit", "store-foreign"})


@dataclass(frozen=True)
class Again:
    """Try again after a pause; or, with `pause_s` None, give up."""

    pause_s: float | None
    why: str


def attempt_number(epoch: int, tried: int) -> int:
    """Unique over all epochs and tries of a job: two holders never write into one folder."""
    return epoch * 100 + tried


def after_failure(problem_kind: str, tried: int, *, waited_s: float = 0.0, window_s: float = 0.0) -> Again:
    """`tried` counts this epoch's attempts, the failed one included. `window_s`: how long from its acceptance a backup
    may be tried again, 0 for one that somebody waits for; `waited_s` of it have passed."""
    passing = problem_kind in _PASSING
    if problem_kind in _LASTING or not (passing or window_s):
        return Again(None, f"{problem_kind} does not mend itself")
    if tried >= (MOST_TRIES if window_s else TRIES_WITHOUT_WINDOW):
        return Again(None, f"{tried} attempts failed")
    pauses = _PASSING_PAUSES_S if passing else _MENDED_PAUSES_S
    pause_s = pauses[min(tried, len(pauses)) - 1]
    if window_s and waited_s + pause_s > window_s:
        return Again(
            None, f"{tried} attempts failed and the {window_s / 3600:g} h in which a day's backup may begin are over"
        )
    return Again(pause_s, f"{problem_kind} may pass" if passing else f"{problem_kind} may be mended meanwhile")


def superfluous(keys: Iterable[str], *, prefix: str, keep_attempt: str | None) -> list[str]:
    """Keys under a snapshot's folder that belong to no kept attempt. Call only once the outcome exists."""
    return [key for key in keys if key.startswith(prefix) and not (keep_attempt and key.startswith(keep_attempt))]
