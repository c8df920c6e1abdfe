"""The recoverable window: what can be restored now, what cannot and why. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from schemas.status import Interval, LivedTimeline, LogGap
from tidewind.domain.histories import gaps
from tidewind.domain.lived import Lived, ends_of, instant, pieces, reachable_from
from tidewind.domain.timelines import in_order


@dataclass(frozen=True, kw_only=True)
class Window:
    intervals: tuple[Interval, ...]
    gaps: tuple[LogGap, ...]
    timelines: tuple[LivedTimeline, ...]


def window(lived: Lived, now: datetime, span: timedelta) -> Window:
    """Intervals reach back `span` at most."""
    begin = now - span
    found = []
    for piece in pieces(lived):
        first = reachable_from(piece, lived)
        if first is None or piece.last_instant < max(first, begin):
            continue
        whole = Interval(start=max(first, begin), end=piece.last_instant, timeline=piece.timeline)
        found += by_precision(whole, piece.reach.stamped)
    return Window(
        intervals=tuple(found),
        gaps=tuple(
            LogGap(
                start=instant(gap.start_us),
                end=instant(gap.end_us),
                start_position=gap.start_position,
                end_position=gap.end_position,
                cause=gap.cause,
                detail=gap.detail,
            )
            for gap in gaps(lived.reaches)
            if instant(gap.end_us) >= begin
        ),
        timelines=told(lived),
    )


def by_precision(whole: Interval, stamped: Sequence[tuple[int, int]]) -> list[Interval]:
    """The interval, cut where the log's own stamps take the place of the database's clock and where they no longer do.
    `stamped` are stretches in microseconds, in order and apart."""
    found, at = [], whole.start
    for begin_us, end_us in stamped:
        begin, end = max(at, instant(begin_us)), min(whole.end, instant(end_us))
        if begin >= end:
            continue
        if begin > at:
            found.append(whole.model_copy(update={"start": at, "end": begin}))
        found.append(whole.model_copy(update={"start": begin, "end": end, "precision": "stamps"}))
        at = end
    if at < whole.end or not found:
        found.append(whole.model_copy(update={"start": at}))
    return found


def stretches(intervals: Iterable[Interval]) -> list[str]:
    """The timeline of each stretch without a break, whatever its precision: when these change, a stretch has come or
    gone."""
    found: list[str] = []
    last: Interval | None = None
    for one in intervals:
        if last is None or (last.timeline, last.end) != (one.timeline, one.start):
            found.append(one.timeline)
        last = one
    return found


def told(lived: Lived) -> tuple[LivedTimeline, ...]:
    """The cluster's timelines, oldest first, as operators see them."""
    begun = {piece.timeline: piece.start for piece in reversed(pieces(lived))}
    ends = ends_of(lived.timelines, lived.bases)
    return tuple(
        LivedTimeline(
            timeline=one.timeline,
            parent=one.parent,
            restored_to=one.cut_at,
            cut=one.cut,
            restore_id=one.restore_id,
            started_at=begun.get(one.timeline, one.started_at) if one.restore_id is None else one.started_at,
            ended_at=ends.get(one.timeline),
        )
        for one in in_order(lived.timelines)
    )
