"""Which point a target means, and why some targets mean none. Pure.

A target time T means the longest prefix of the log whose transactions were all committed by T, on the timeline that
served then. It is never clamped: outside of what can be restored, the answer names the nearest instants that can.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from schemas.replies import FieldError, Problem
from tidewind.domain.gtids import Gtid, GtidList
from tidewind.domain.lived import Lived, Piece, pieces, reachable_from
from tidewind.domain.log_stream import Transaction
from tidewind.domain.problems import problem
from tidewind.domain.segments import SegmentHead


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


def timeline_refusal(lived: Lived, timeline: str | None) -> Problem | None:
    if timeline is None or any(one.timeline == timeline for one in lived.timelines):
        return None
    wrong = f"the cluster has no timeline {timeline}"
    known = ", ".join(one.timeline for one in lived.timelines)
    return problem(
        "unknown-timeline",
        wrong,
        next_step=f"It has {known}; see them with: tidewind window --cluster CLUSTER",
        errors=(FieldError(field="timeline", problem=wrong),),
    )


def time_refusal(
    lived: Lived, found: Sequence[Span], target: datetime, *, now: datetime, span: timedelta, timeline: str | None
) -> Problem:
    """Why an instant is in none of the spans."""
    if target > now:
        return _outside("the target lies in the future", found, target)
    if target < now - span:
        return _outside(f"the target is older than {span.days} days", found, target)
    if not lived.reaches:
        why = "no log of the cluster was captured; the changelog captures with TIDEWIND_CAPTURE=true"
        return _outside(why, found, target)
    newest = found[-1] if found else None
    if newest is not None and target > newest.end and newest.piece.end is None:
        return problem(
            "target-not-captured",
            f"The log is held up to {_said(newest.end)}; {_said(target)} has not been captured yet",
            facts={"captured_up_to": newest.end.isoformat()},
        )
    for later, piece in _with_before(pieces(lived)):
        if piece is not None and piece.end is not None and piece.end < target < later.start:
            return _outside("a restore was running then; its log belongs to no timeline", found, target)
        if piece is not None and piece.end is None and piece.last_instant < target < later.start:
            cause = later.reach.history.detail or later.reach.history.cause
            return _outside(f"there is a gap in the log then: {cause}", found, target)
    if timeline is not None:
        return _outside(f"timeline {timeline} was not lived then", found, target)
    return _outside("no backup and log lead there", found, target)


def _with_before(ordered: Sequence[Piece]) -> list[tuple[Piece, Piece | None]]:
    return [(piece, ordered[index - 1] if index else None) for index, piece in enumerate(ordered)]


def _outside(why: str, found: Sequence[Span], target: datetime) -> Problem:
    before = max((one.end for one in found if one.end < target), default=None)
    after = min((one.start for one in found if one.start > target), default=None)
    nearest = [_said(one) for one in (before, after) if one is not None]
    hint = f"The nearest that can be restored: {' and '.join(nearest)}" if nearest else "Nothing can be restored yet"
    return problem(
        "target-outside",
        f"{_said(target)} cannot be restored: {why}",
        next_step=f"{hint}; to see all: tidewind window --cluster CLUSTER",
        errors=(FieldError(field="target_time", problem=why),),
        facts={
            "nearest": [one.isoformat() for one in (before, after) if one is not None],
            "intervals": [
                {"timeline": one.piece.timeline, "start": one.start.isoformat(), "end": one.end.isoformat()}
                for one in found
            ],
        },
    )


def position_refusal(position: str, timeline: str | None) -> Problem:
    where = f" on timeline {timeline}" if timeline else ""
    wrong = f"no transaction {position} can be restored{where}"
    return problem("unknown-position", wrong.capitalize(), errors=(FieldError(field="target_position", problem=wrong),))


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
            return Cut(position=str(position), last_kept=kept, first_undone=one, precision=head.precision)
        position = position.advanced(Gtid.parse(one.gtid))
        kept = one
    return None


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
