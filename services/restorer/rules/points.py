"""Which point a target means, and why some targets mean none. Pure.

A target time T means the longest prefix of the log whose transactions were all committed by T, on the timeline that
served then. It is never clamped: outside of what can be restored, the answer names the nearest instants that can.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from schemas.replies import FieldError, Problem
from tidewind.domain.gtids import Gtid, GtidList
from tidewind.domain.histories import in_order
from tidewind.domain.lived import Lived, Piece, instant, pieces, reachable_from
from tidewind.domain.log_stream import Transaction
from tidewind.domain.problems import problem
from tidewind.domain.segments import SegmentHead, precision_of


@dataclass(frozen=True, kw_only=True)
class Span:
    """A piece and the instants of it that can be restored, both included."""

    piece: Piece
    start: datetime
    end: datetime


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Where the log is cut: `position` is the last that is kept. Transactions are None where there is none."""

    position: str
    last_kept: Transaction | None
    first_undone: Transaction | None
    precision: str


def spans(lived: Lived, now: datetime, span: timedelta) -> tuple[Span, ...]:
    """What can be restored, oldest first. `span` is how far back instants are promised."""
    found = []
    for piece in pieces(lived):
        first = reachable_from(piece, lived)
        if first is not None and piece.last_instant >= max(first, now - span):
            found.append(Span(piece=piece, start=max(first, now - span), end=piece.last_instant))
    return tuple(found)


def span_at(found: Sequence[Span], target: datetime, timeline: str | None) -> Span | None:
    """The span that holds the instant. Spans of different timelines never overlap in time."""
    return next(
        (one for one in reversed(found) if one.start <= target <= one.end and timeline in (None, one.piece.timeline)),
        None,
    )


def timeline_refusal(cluster: str, lived: Lived, timeline: str | None) -> Problem | None:
    if timeline is None or any(one.timeline == timeline for one in lived.timelines):
        return None
    wrong = f"the cluster has no timeline {timeline}"
    known = ", ".join(one.timeline for one in lived.timelines)
    return problem(
        "unknown-timeline",
        f"timeline: {wrong}",
        next_step=f"It has {known or 'none yet'}; see them with: tidewind window --cluster {cluster}",
        errors=(FieldError(field="timeline", problem=wrong),),
    )


def time_refusal(
    cluster: str,
    lived: Lived,
    found: Sequence[Span],
    target: datetime,
    *,
    now: datetime,
    span: timedelta,
    timeline: str | None,
) -> Problem:
    """Why an instant is in none of the spans."""

    def outside(why: str) -> Problem:
        return _outside(cluster, why, found, target)

    if target > now:
        return outside(f"the target lies in the future; it is {_said(now)} now")
    if target < now - span:
        return outside(f"the target is older than {span.days} days, which is how far back instants are kept")
    if not lived.reaches:
        return outside("no log of the cluster was captured; the changelog captures with TIDEWIND_CAPTURE=true")
    newest = found[-1] if found and found[-1].piece.reach == in_order(lived.reaches)[-1] else None
    if newest is not None and target > newest.end and newest.piece.end is None:
        return problem(
            "target-not-captured",
            f"target_time: the log is held up to {_said(newest.end)}; {_said(target)} has not been captured yet",
            next_step=f"Ask again in a moment; who is behind, shows: tidewind window --cluster {cluster}",
            errors=(FieldError(field="target_time", problem="it has not been captured yet"),),
            facts={"captured_up_to": newest.end.isoformat()},
        )
    for later, piece in _with_before(pieces(lived)):
        if piece is not None and piece.end is not None and piece.end < target < later.start:
            return outside(
                f"a restore was running from {_said(piece.end)} to {_said(later.start)};"
                " what was written then is the restore itself and belongs to no timeline"
            )
        if piece is not None and piece.end is None and piece.last_instant < target < later.start:
            cause = later.reach.history.detail or later.reach.history.cause
            return outside(
                f"there is a gap in the log from {_said(piece.last_instant)} to {_said(later.start)}: {cause}"
            )
    if timeline is not None:
        return outside(f"timeline {timeline} was not lived then")
    following = min((one.start for one in found if one.start > target), default=None)
    if following is None:
        return outside("no backup is complete yet from which the log leads on")
    return outside(f"the first backup from which the log leads on was taken at {_said(following)}")


def base_refusal(cluster: str, found: Sequence[Span], span: Span, target: datetime) -> Problem:
    """The instant is in a span, and the first backup in it holds more: a transaction that it shows was received by
    capture only after the backup had begun."""
    why = f"the backup of {_said(span.start)}, the first there is, holds transactions whose time is later"
    return _outside(cluster, f"{why}; choose an instant a second after it", found, target)


def _with_before(ordered: Sequence[Piece]) -> list[tuple[Piece, Piece | None]]:
    return [(piece, ordered[index - 1] if index else None) for index, piece in enumerate(ordered)]


def _outside(cluster: str, why: str, found: Sequence[Span], target: datetime) -> Problem:
    before = max((one.end for one in found if one.end < target), default=None)
    after = min((one.start for one in found if one.start > target), default=None)
    nearest = [_said(one) for one in (before, after) if one is not None]
    hint = f"The nearest that can be restored: {' and '.join(nearest)}" if nearest else "Nothing can be restored yet"
    return problem(
        "target-outside",
        f"target_time: {_said(target)} cannot be restored: {why}",
        next_step=f"{hint}; to see all: tidewind window --cluster {cluster}",
        errors=(FieldError(field="target_time", problem=why),),
        facts={
            "nearest": [one.isoformat() for one in (before, after) if one is not None],
            "intervals": [
                {"timeline": one.piece.timeline, "start": one.start.isoformat(), "end": one.end.isoformat()}
                for one in found
            ],
        },
    )


def position_refusal(cluster: str, lived: Lived, gtid: Gtid, timeline: str | None) -> Problem:
    """Why a transaction is none that a restore leads to."""
    newest = max(lived.reaches, key=lambda reach: reach.history.number, default=None)
    if newest is None:
        why = "no log of the cluster was captured; the changelog captures with TIDEWIND_CAPTURE=true"
    elif not any(GtidList.parse(reach.position).holds(gtid) for reach in lived.reaches):
        why = f"the log that is held ends at {newest.position}: it comes later, or is another server's"
    elif timeline is not None:
        why = f"it can not be restored on timeline {timeline}, or not any more"
    else:
        why = (
            "it lies before the first backup from which the log leads on, in a gap, or in the log of a restore,"
            " which belongs to no timeline"
        )
    return problem(
        "unknown-position",
        f"target_position: {gtid} cannot be restored: {why}",
        next_step=f"Take a position from: tidewind changes --cluster {cluster}; "
        f"what can be restored shows: tidewind window --cluster {cluster}",
        errors=(FieldError(field="target_position", problem=why),),
    )


def ambiguous_position(cluster: str, gtid: Gtid, cuts: Sequence[Cut]) -> Problem:
    """A log that was reset counts from the beginning again: the same number names two transactions."""
    at = [one.last_kept if one.last_kept and one.last_kept.gtid == str(gtid) else one.first_undone for one in cuts]
    times = " and ".join(_said(instant(one.time_us)) for one in at if one is not None)
    why = f"{gtid} stands in {len(cuts)} logs of this cluster, committed at {times}"
    return problem(
        "ambiguous-position",
        f"target_position: {why}; the log was begun anew between the two",
        next_step="Give target_time instead of a position: the instant of the last transaction to be kept, as shown by:"
        f" tidewind changes --cluster {cluster}",
        errors=(FieldError(field="target_position", problem=why),),
    )


def parse_position(text: str) -> Gtid | Problem:
    """One transaction of the log."""
    try:
        return Gtid.parse(text)
    except ValueError:
        wrong = f"{text[:80]!r} is not a position of this engine, which looks like 0-1-42"
        return problem(
            "invalid-command", f"target_position: {wrong}", errors=(FieldError(field="target_position", problem=wrong),)
        )


def begins_after(head: SegmentHead, target_us: int) -> bool:
    """Whether the first transaction later than the target is in this segment or behind it. Once true it stays so."""
    return head.last_us > target_us if head.last_us is not None else head.complete_us >= target_us


def cut_in(
    head: SegmentHead, transactions: Sequence[Transaction], target_us: int, before: Transaction | None
) -> Cut | None:
    """The cut, if the first transaction to be undone is in this segment; `before` is the last one of those before."""
    position = GtidList.parse(head.from_position)
    kept = before
    for one in transactions:
        if one.time_us > target_us:
            return cut_between(head, str(position), kept, one, target_us)
        position = position.advanced(Gtid.parse(one.gtid))
        kept = one
    return None


def cut_between(
    head: SegmentHead, position: str, kept: Transaction | None, undone: Transaction | None, *asked_us: int
) -> Cut:
    """`head` is of the segment in which the cut lies, `asked_us` the instant that was asked for."""
    times = [*asked_us, *(one.time_us for one in (kept, undone) if one is not None)]
    return Cut(position=position, last_kept=kept, first_undone=undone, precision=precision_of(head, *times))


def within(piece: Piece, position: str) -> str:
    """The position, or the piece's own end where its users had written nothing more."""
    at = GtidList.parse(position)
    if not at.covers(GtidList.parse(piece.floor)):
        return piece.floor
    if piece.upto is not None and not GtidList.parse(piece.upto).covers(at):
        return piece.upto
    return position


def _said(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d} UTC"
