"""How often a snapshot is tried again, and what a failed attempt leaves to be swept."""

from collections.abc import Iterable
from dataclasses import dataclass

TRIES_PER_EPOCH = 3
_PAUSES_S = (5.0, 30.0)
_WORTH_REPEATING = frozenset({"snapshot-inconsistent", "database-unreachable", "store-unavailable"})


@dataclass(frozen=True)
class Again:
    """Try again after a pause; or, with `pause_s` None, give up."""

    pause_s: float | None
    why: str


def attempt_number(epoch: int, tried: int) -> int:
    """Unique over all epochs and tries of a job: two holders never write into one folder."""
    return epoch * 100 + tried


def after_failure(problem_kind: str, tried: int) -> Again:
    """`tried` counts this epoch's attempts, the failed one included."""
    if problem_kind not in _WORTH_REPEATING:
        return Again(None, f"{problem_kind} does not mend itself")
    if tried >= TRIES_PER_EPOCH:
        return Again(None, f"{tried} attempts failed")
    return Again(_PAUSES_S[min(tried, len(_PAUSES_S)) - 1], f"{problem_kind} may pass")


def superfluous(keys: Iterable[str], *, prefix: str, keep_attempt: str | None) -> list[str]:
    """Keys under a snapshot's folder that belong to no kept attempt. Call only once the outcome exists."""
    return [key for key in keys if key.startswith(prefix) and not (keep_attempt and key.startswith(keep_attempt))]
