"""Which stretches of the log a timeline's users wrote, and which of them can be restored.

A timeline begins where a restore let its users in (position O of a history) and ends where the next restore had ended
the last of their connections (G). Between two there is the log of the restore itself, which belongs to neither. A
timeline's log may run through several histories; between two of these lies a gap.

    history 1  ├──────── main ────────┤G  O├── tl_A ──────┤ gap        restore A at G
    history 2                                               ├─ tl_A ─┤G  O├── tl_B ──▶

A *piece* is the part of one history that belongs to one timeline. An instant of a piece can be restored from a backup
of that timeline taken within the piece, no later than it, and the log from there. Before the first such backup, the
piece that begins a timeline can be restored through its parent: the parent at the cut, and this piece's log from O.

Invariant: a route never runs over (G, O] of any restore, nor over a gap. Without the first, replaying across an earlier
restore is silently wrong although the log has no hole.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from tidewind.domain.catalogue import CatalogueEntry
from tidewind.domain.gtids import GtidList
from tidewind.domain.histories import Reach, in_order
from tidewind.domain.records import Timeline
from tidewind.domain.timelines import in_order as in_lived_order

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """`after` is exclusive, `upto` inclusive; None: the history's own beginning and end. `start` and `end` are instants
    between which its users wrote; `end` is None while they do. `begins_timeline`: its first piece, after a restore."""

    timeline: str
    reach: Reach
    after: str | None
    upto: str | None
    start: datetime
    end: datetime | None
    begins_timeline: bool

    @property
    def history(self) -> str:
        return self.reach.history.history

    @property
    def floor(self) -> str:
        """The position at which the piece begins."""
        return self.reach.history.position if self.after is None else self.after

    def contains(self, position: str) -> bool:
        """Whether a state at this position is one its users saw."""
        at = GtidList.parse(position)
        return at.covers(GtidList.parse(self.floor)) and (self.upto is None or GtidList.parse(self.upto).covers(at))

    @property
    def last_instant(self) -> datetime:
        """The latest that can be restored: to where the log is known to be complete, or to where its users ended."""
        complete = instant(self.reach.complete_us)
        return complete if self.end is None else min(complete, self.end)


@dataclass(frozen=True, kw_only=True)
class Base:
    """A backup that may begin a route. It leads to points at or behind `settled`, which holds `position`: some of it
    was read at a later position than that. `settled_at` is when that was the log's end."""

    backup_id: str
    timeline: str
    history: str | None
    position: str | None
    at: datetime
    settled: str | None = None
    settled_at: datetime | None = None

    def leads_to(self, target: GtidList) -> bool:
        settled = self.position if self.settled is None else self.settled
        return settled is not None and target.covers(GtidList.parse(settled))


@dataclass(frozen=True, kw_only=True)
class Leg:
    """A stretch of log to be replayed: what lies after `after` up to and with `upto`; None: the history's beginning."""

    history: str
    after: str
    upto: str


@dataclass(frozen=True, kw_only=True)
class Route:
    """A base and the legs that lead from it to a point, in order."""

    base: str
    legs: tuple[Leg, ...]


@dataclass(frozen=True, kw_only=True)
class Lived:
    """Everything the rules of this module need to know of a cluster."""

    timelines: tuple[Timeline, ...]
    reaches: tuple[Reach, ...]
    bases: tuple[Base, ...]


def bases_of(entries: Iterable[CatalogueEntry]) -> tuple[Base, ...]:
    """Backups that may begin a route: whole, not found damaged, not being deleted; hidden ones too."""
    return tuple(
        Base(
            backup_id=entry.backup_id,
            timeline=entry.outcome.timeline,
            history=entry.outcome.history,
            position=entry.outcome.position,
            at=entry.outcome.snapshot_time,
            settled=entry.outcome.settled_position,
            settled_at=entry.outcome.settled_time,
        )
        for entry in entries
        if entry.restorable
        and not entry.damaged
        and entry.outcome.timeline is not None
        and entry.outcome.snapshot_time is not None
    )


def instant(microseconds: int) -> datetime:
    """The database's time, with zone UTC."""
    return datetime.fromisoformat("1970-01-01T00:00:00+00:00") + microseconds * _MICROSECOND


def microseconds(moment: datetime) -> int:
    return round((moment - datetime.fromisoformat("1970-01-01T00:00:00+00:00")) / _MICROSECOND)


def pieces(lived: Lived) -> tuple[Piece, ...]:
    """All pieces, oldest first. Timelines whose log nobody captured have none."""
    found: list[Piece] = []
    ordered = in_lived_order(lived.timelines)
    for index, timeline in enumerate(ordered):
        following = ordered[index + 1] if index + 1 < len(ordered) else None
        left = None if following is None else left_at(timeline, following, lived.bases)
        found += _pieces_of(timeline, following, left, lived.reaches)
    return tuple(found)


def left_at(timeline: Timeline, following: Timeline, bases: Iterable[Base]) -> datetime:
    """The instant at which the last user of a timeline was gone, which the one that followed it tells. Where no clock
    was read then, the last at which users are known to have been in: between it and the opening lies the restore
    itself, and nobody knows from where on."""
    if following.ended_at is not None:
        return following.ended_at
    seen = [base.at for base in bases if base.timeline == timeline.timeline and base.at < following.started_at]
    return max((timeline.started_at, *seen))


def ends_of(timelines: Iterable[Timeline], bases: Sequence[Base]) -> dict[str, datetime]:
    """When each timeline that was left was left."""
    ordered = in_lived_order(timelines)
    return {one.timeline: left_at(one, following, bases) for one, following in pairwise(ordered)}


def _pieces_of(
    timeline: Timeline, following: Timeline | None, left: datetime | None, reaches: Sequence[Reach]
) -> list[Piece]:
    known = {reach.history.history: reach.history.number for reach in reaches}
    root = timeline.restore_id is None
    first = 0 if root else _first_number(timeline, reaches)
    if first is None:
        return []
    last: int | None = None
    if following is not None:
        if following.end_history not in known:
            return []
        last = known[str(following.end_history)]
    found = []
    for reach in in_order(reaches):
        number = reach.history.number
        if number < first or (last is not None and number > last):
            continue
        begins = timeline.restore_id is not None and reach.history.history == timeline.history
        ends = number == last
        start = timeline.started_at if begins else instant(reach.history.begin_us)
        found.append(
            Piece(
                timeline=timeline.timeline,
                reach=reach,
                after=timeline.start if begins else None,
                upto=following.parent_end if ends and following is not None else None,
                start=start,
                end=left if ends else None,
                begins_timeline=begins,
            )
        )
    return found


def _first_number(timeline: Timeline, reaches: Sequence[Reach]) -> int | None:
    """The history in which the log of a restored timeline begins. None was captured when a restore without one opened
    it: only histories begun since are known to hold nothing of the restore, and none of them begins the timeline."""
    return min(
        (
            reach.history.number
            for reach in reaches
            if reach.history.history == timeline.history
            or (timeline.history is None and instant(reach.history.begin_us) >= timeline.started_at)
        ),
        default=None,
    )


def usable(base: Base, piece: Piece) -> bool:
    """Whether a backup stands at a position of the piece. That its history names the piece's is not enough: a log that
    was reset just before the backup, and not yet found out, would begin its numbers anew; so the log must also be known
    to be complete up to the backup's instant."""
    return (
        base.timeline == piece.timeline
        and base.history == piece.history
        and base.position is not None
        and piece.contains(base.position)
        and base.at <= instant(piece.reach.complete_us)
        and GtidList.parse(piece.reach.position).covers(GtidList.parse(base.position))
    )


def reachable_from(piece: Piece, lived: Lived) -> datetime | None:
    """The first instant of the piece from which on everything can be restored; None if nothing can."""
    own = [base.settled_at or base.at for base in lived.bases if usable(base, piece)]
    if piece.begins_timeline and _through_parent(piece, lived) is not None:
        return piece.start
    return min(own, default=None)


def route(lived: Lived, piece: Piece, position: str) -> Route | None:
    """The shortest way to a position of a piece: from its newest base that leads to it, else through the parent."""
    target = GtidList.parse(position)
    candidates = [base for base in lived.bases if usable(base, piece) and base.leads_to(target)]
    if candidates:
        base = max(candidates, key=lambda one: (one.at, one.backup_id))
        return Route(base=base.backup_id, legs=_leg(piece, str(base.position), position))
    if not piece.begins_timeline:
        return None
    before = _through_parent(piece, lived)
    if before is None:
        return None
    return Route(base=before.base, legs=(*before.legs, *_leg(piece, piece.floor, position)))


def _leg(piece: Piece, after: str, upto: str) -> tuple[Leg, ...]:
    return (
        ()
        if GtidList.parse(after).covers(GtidList.parse(upto))
        else (Leg(history=piece.history, after=after, upto=upto),)
    )


def _through_parent(piece: Piece, lived: Lived) -> Route | None:
    """The way to the state in which a restore opened: a backup as it is, or a point of the parent."""
    timeline = next(one for one in lived.timelines if one.timeline == piece.timeline)
    if timeline.cut_backup is not None and timeline.cut_history is None:
        held = any(base.backup_id == timeline.cut_backup for base in lived.bases)
        return Route(base=timeline.cut_backup, legs=()) if held else None
    if timeline.cut is None or timeline.cut_history is None:
        return None
    for parent in pieces(lived):
        if (
            parent.timeline == timeline.parent
            and parent.history == timeline.cut_history
            and parent.contains(timeline.cut)
        ):
            return route(lived, parent, timeline.cut)
    return None
