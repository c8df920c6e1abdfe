"""Which segments of a captured log may go. Pure.

A segment is kept as long as a backup that is kept, hidden ones too, may need it: a route leads from a backup's position
forwards, so what ends before the earliest position of the backups kept in a history is needed by nobody. A segment
that ends at such a position stays: the position counts the transactions that end in a segment, and the one behind it
may begin there. Of a backup that knew prepared XA transactions the route begins before the oldest of their PREPAREs.

Invariants: nothing younger than the window goes, whatever backups there are; the history being written keeps its last
segment, which is where the archive and capture find their place.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidewind.domain.catalogue import CatalogueEntry
from tidewind.domain.gtids import GtidList
from tidewind.domain.lived import microseconds
from tidewind.domain.segments import SegmentHead


@dataclass(frozen=True, kw_only=True)
class Needed:
    """What is needed of one history. `positions`: where the routes of the backups kept in it begin.
    `last_kept`: the number of the segment that must stay, None in a history that is written no more."""

    positions: Sequence[str]
    last_kept: int | None


def routes_begin(kept: Iterable[CatalogueEntry], history: str) -> list[str]:
    """Where in a history the routes of backups begin."""
    return [
        entry.outcome.open_xa_position or entry.outcome.position
        for entry in kept
        if entry.outcome.history == history and entry.outcome.position is not None
    ]


def removable(head: SegmentHead, needed: Needed, now: datetime, window: timedelta) -> bool:
    """Whether a segment may go. Once false it is false for all that follow, so that the last one that may go is found
    by halving."""
    if head.complete_us >= microseconds(now - window):
        return False
    if needed.last_kept is not None and head.number >= needed.last_kept:
        return False
    end = GtidList.parse(head.to_position)
    begin = [GtidList.parse(position) for position in needed.positions]
    return all(position.covers(end) and not end.covers(position) for position in begin)
