"""In which captured log a snapshot's position lies. Pure."""

from tidewind.domain.gtids import covers
from tidewind.domain.histories import History


def standing_in(
    before: History | None, after: History | None, position: str | None, open_xa_position: str | None = None
) -> str | None:
    """The history that was being written when the snapshot was taken: the newest before it and after it, if that is the
    same one, and begins no later than the snapshot stands. None otherwise: such a backup begins no replay.

    A log that was reset just before the snapshot, which nobody has noticed yet, passes here; `lived.usable` finds it
    out, because that history is never complete up to the snapshot's instant.

    `open_xa_position`: before the oldest PREPARE of a transaction that had not ended. A replay needs its rows, and
    where the history begins behind them it would find the COMMIT alone, in the middle of a restore."""
    if before is None or after is None or position is None or before.history != after.history:
        return None
    begins = position if open_xa_position is None else open_xa_position
    return before.history if covers(position, before.position) and covers(begins, before.position) else None
