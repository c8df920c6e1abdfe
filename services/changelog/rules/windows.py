"""The recoverable window: what can be restored now, what cannot and why. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from schemas.status import Interval, LivedTimeline, LogGap
from tidewind.domain.histories import gaps
from tidewind.domain.lived import Lived, Piece, instant, pieces, reachable_from
from tidewind.domain.records import Timeline
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
        found.append(Interval(start=max(first, begin), end=piece.last_instant, timeline=piece.timeline))
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
        timelines=told(lived.timelines, pieces(lived)),
    )


def told(timelines: tuple[Timeline, ...], lived: tuple[Piece, ...]) -> tuple[LivedTimeline, ...]:
    """The cluster's timelines, oldest first, as operators see them."""
    ordered = in_order(timelines)
    begun = {piece.timeline: piece.start for piece in reversed(lived)}
    found = []
    for index, one in enumerate(ordered):
        following = ordered[index + 1] if index + 1 < len(ordered) else None
        found.append(
            LivedTimeline(
                timeline=one.timeline,
                parent=one.parent,
                restored_to=one.cut_at,
                cut=one.cut,
                restore_id=one.restore_id,
                started_at=begun.get(one.timeline, one.started_at) if one.restore_id is None else one.started_at,
                ended_at=None if following is None else following.ended_at or following.started_at,
            )
        )
    return tuple(found)
