"""Histories: each one physical log, read without a break.

A history begins with a document that is put once, and its segments run on from it. It goes on across restarts of the
database and of capture for as long as the last transaction held is found again in the log with the same bytes. What
breaks that (the log was purged before it was read, reset, or turned out to be another one) ends it, and a new one
begins with a cause; what lies between the two is a gap. A restore ends nothing: capture goes on.

So a history has no gap inside, by construction. That makes the recoverable window a matter of few objects: where each
history begins, and how far its last segment reaches. The tempting other design, gaps inside of histories, would make
every reader look at every segment.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from pydantic import AwareDatetime

from schemas.base import ClusterId
from tidewind.domain.log_stream import HistoryCause
from tidewind.domain.records import Record


class History(Record):
    """The beginning of a history; `number` orders those of a cluster, and putting one is the claim. `position` is where
    the log begins here, `begin_us` the database's time at which that was the log's end. `after` is the history before
    it: what was written between that one's end and this one's beginning is lost to point-in-time restore."""

    cluster_id: ClusterId
    history: str
    number: int
    position: str
    begin_us: int
    cause: HistoryCause
    detail: str = ""
    after: str | None = None
    server_identity: str
    server_version: str
    started_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class Reach:
    """A history and how far it goes: `position` holds every transaction up to the time `complete_us`, and the last of
    them has the time `last_us`. `segments` is the number of the last segment, 0 if there is none yet. `stamped` are the
    stretches of time, in microseconds, whose times are the log's own stamps."""

    history: History
    position: str
    complete_us: int
    last_us: int | None
    segments: int
    stamped: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Nothing in it can be restored. It begins with the last instant that can, and ends with the first."""

    before: str | None
    after: str
    start_us: int
    end_us: int
    start_position: str
    end_position: str
    cause: HistoryCause
    detail: str


def gaps(reaches: Sequence[Reach]) -> tuple[Gap, ...]:
    """Between each history and the one before it; the first has none."""
    ordered = in_order(reaches)
    return tuple(
        Gap(
            before=earlier.history.history,
            after=later.history.history,
            start_us=earlier.complete_us,
            end_us=later.history.begin_us,
            start_position=earlier.position,
            end_position=later.history.position,
            cause=later.history.cause,
            detail=later.history.detail,
        )
        for earlier, later in pairwise(ordered)
    )


def in_order(reaches: Iterable[Reach]) -> list[Reach]:
    return sorted(reaches, key=lambda reach: reach.history.number)


def newest(reaches: Iterable[Reach]) -> Reach | None:
    """The history that is being written now, if any is."""
    return max(reaches, key=lambda reach: reach.history.number, default=None)


def with_live_end(reaches: tuple[Reach, ...], complete_us: int) -> tuple[Reach, ...]:
    """The newest history known to be complete up to a later time than its last segment says: nothing was written since
    it, which only the archive that takes its blocks knows."""
    last = newest(reaches)
    if last is None or complete_us <= last.complete_us:
        return reaches
    return tuple(replace(one, complete_us=complete_us) if one is last else one for one in reaches)
