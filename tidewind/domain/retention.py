"""Which backups stay, which go, and what a deletion costs.

One pure function decides for a cluster, from its catalogue, its setting and the time. Invariants:

- A listed backup younger than the retention is kept. Retention is a minimum: only a command removes earlier.
- The newest good backup of a protected cluster is kept, however old. Good means complete, not found damaged, not
  suspect; where no good one is left, the newest complete one is kept instead. A retired cluster's backups go as they
  expire, the newest too.
- With point-in-time restore, every instant of the window that could be reached with a replay of at most `max_replay`
  stays reachable so: of the backups that expired, those needed as bases stay on, hidden.
- Where the clock cannot be trusted nothing goes at all.

Bases, on each timeline and in each captured log by itself: the newest backup at or before the window's start is the
anchor; after it an expired backup goes only if its kept predecessor and its successor lie at most `max_replay` apart.
The tempting shorter rule, keep the anchor alone, never advances: by the time the window's start has moved on, every
later base is gone. With this rule the kept ones stay at most `max_replay` apart, so that the next anchor is there.

Before a restored timeline's own first base its instants are reached through what the restore had restored. The base of
that is kept for as long as such instants are in the window. Backups that stand in no captured log are bases of nothing
else.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from tidewind.domain.catalogue import CatalogueEntry
from tidewind.domain.records import Timeline
from tidewind.domain.timelines import by_id

MAX_CLOCK_DIFFERENCE = timedelta(minutes=5)
MAX_CLOCK_JUMP = timedelta(days=1)

Reason = Literal["young", "newest", "base", "in-use", "clock", "expired", "failed"]


@dataclass(frozen=True, kw_only=True)
class Backup:
    """A backup as the catalogue knows it. `at` is the instant its content shows; for a failed one, when it ended.
    `history` is the captured log it stands in, None if nobody captured."""

    backup_id: str
    at: datetime
    timeline: str | None
    history: str | None = None
    complete: bool = True
    good: bool = True
    listed: bool = True


@dataclass(frozen=True, kw_only=True)
class PointInTime:
    """`window`: how far back any instant must be reachable. `timeline_ends` and `history_ends`: when each timeline that
    was left, and each log that was broken off, ended. `timelines`: all there are."""

    window: timedelta
    max_replay: timedelta
    timeline_ends: Mapping[str, datetime]
    history_ends: Mapping[str, datetime] = field(default_factory=dict)
    timelines: Sequence[Timeline] = ()

    def end_of(self, timeline: str, history: str | None) -> datetime | None:
        """When the stretch of log that is both ended; None if it goes on."""
        ends = (self.timeline_ends.get(timeline), self.history_ends.get(history or ""))
        return min((end for end in ends if end is not None), default=None)


@dataclass(frozen=True, kw_only=True)
class RetentionSettings:
    """`point_in_time` is None where no log is kept. `clock_doubt` holds everything; it says why."""

    retention: timedelta
    retired: bool = False
    point_in_time: PointInTime | None = None
    clock_doubt: str | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`listed`: whether users still see it; an expired backup kept as a base is hidden."""

    backup_id: str
    keep: bool
    listed: bool
    reason: Reason
    expires_at: datetime


def from_catalogue(entries: Iterable[CatalogueEntry]) -> list[Backup]:
    """The catalogue's backups as retention sees them; those whose deletion has begun are gone already."""
    return [
        Backup(
            backup_id=entry.backup_id,
            at=entry.outcome.snapshot_time or entry.outcome.ended_at,
            timeline=entry.outcome.timeline,
            history=entry.outcome.history,
            complete=entry.restorable,
            good=entry.restorable and not entry.damaged and not entry.outcome.suspect,
            listed=entry.outcome.listed,
        )
        for entry in entries
        if entry.tombstone is None
    ]


def plan_retention(
    backups: Sequence[Backup], settings: RetentionSettings, now: datetime, *, in_use: frozenset[str] = frozenset()
) -> tuple[Verdict, ...]:
    """One verdict per backup, in the order given. `in_use`: ids that a running restore reads."""
    newest = None if settings.retired else newest_good(backups)
    bases = _needed_bases(backups, settings, now, newest)
    return tuple(_judge(backup, settings, now, newest=newest, bases=bases, in_use=in_use) for backup in backups)


def newest_good(backups: Iterable[Backup]) -> str | None:
    """The backup that is never removed automatically."""
    complete = [backup for backup in backups if backup.complete]
    candidates = [backup for backup in complete if backup.good] or complete
    return max(candidates, key=_age_order).backup_id if candidates else None


def now_eligible(
    backups: Sequence[Backup], before: RetentionSettings, after: RetentionSettings, now: datetime
) -> tuple[str, ...]:
    """Listed backups that a change of settings allows to go, or to be hidden, at once; oldest first."""
    kept = {verdict.backup_id for verdict in plan_retention(backups, before, now) if verdict.listed}
    lost = {
        verdict.backup_id
        for verdict in plan_retention(backups, after, now)
        if verdict.backup_id in kept and not verdict.listed
    }
    return tuple(backup.backup_id for backup in sorted(backups, key=_age_order) if backup.backup_id in lost)


def clock_doubt(
    *, now: datetime, store_now: datetime, since_last: timedelta | None, elapsed: timedelta | None
) -> str | None:
    """Why the clock must not be trusted with removing things, or None.

    `since_last` is by how much our wall clock moved since the last look, `elapsed` by how much time truly passed, by
    the monotonic clock; both None at the first look."""
    difference = abs(now - store_now)
    if difference > MAX_CLOCK_DIFFERENCE:
        return f"our clock and the store's differ by {difference.total_seconds():.0f} s"
    if since_last is not None and elapsed is not None:
        jump = abs(since_last - elapsed)
        if jump > MAX_CLOCK_JUMP:
            return f"our clock jumped by {jump.total_seconds():.0f} s"
    return None


def _judge(
    backup: Backup,
    settings: RetentionSettings,
    now: datetime,
    *,
    newest: str | None,
    bases: frozenset[str],
    in_use: frozenset[str],
) -> Verdict:
    expiry = backup.at + settings.retention
    young = now < expiry
    reason: Reason
    keep, listed = True, False
    if backup.backup_id == newest:
        reason, listed = "young" if young and backup.listed else "newest", True
    elif young and (backup.listed or not backup.complete):
        reason, listed = "young", True
    elif backup.backup_id in bases:
        reason = "base"
    elif backup.backup_id in in_use:
        reason = "in-use"
    elif settings.clock_doubt is not None:
        reason, listed = "clock", True
    else:
        reason, keep = "expired" if backup.complete else "failed", False
    return Verdict(
        backup_id=backup.backup_id,
        keep=keep,
        listed=listed and backup.listed and backup.complete,
        reason=reason,
        expires_at=expiry,
    )


def _needed_bases(
    backups: Sequence[Backup], settings: RetentionSettings, now: datetime, newest: str | None
) -> frozenset[str]:
    window = settings.point_in_time
    if window is None or settings.retired:
        return frozenset()
    start = now - window.window
    chains: dict[tuple[str, str | None], list[Backup]] = {}
    for backup in sorted(backups, key=_age_order):
        if backup.good and backup.complete and backup.timeline is not None and backup.history is not None:
            chains.setdefault((backup.timeline, backup.history), []).append(backup)
    needed: set[str] = set()
    for (lived, history), chain in chains.items():
        end = window.end_of(lived, history)
        if end is not None and end < start:
            continue
        firmly = {
            backup.backup_id
            for backup in chain
            if backup.backup_id == newest or (backup.listed and now < backup.at + settings.retention)
        }
        needed |= _spaced(chain, firmly, start, window.max_replay, end)
    for timeline in window.timelines:
        if timeline.history is None:
            continue
        end = window.end_of(timeline.timeline, timeline.history)
        own = chains.get((timeline.timeline, timeline.history))
        if (end is None or end >= start) and (own is None or own[0].at > start):
            origin = _origin(timeline, window.timelines, chains)
            needed |= set() if origin is None else {origin}
    return frozenset(needed)


def _origin(
    timeline: Timeline, timelines: Sequence[Timeline], chains: Mapping[tuple[str, str | None], Sequence[Backup]]
) -> str | None:
    """The backup from which the state is reached that the restore opened with; None if nothing leads there."""
    if timeline.cut_history is None:
        return timeline.cut_backup
    if timeline.parent is None or timeline.cut_at is None:
        return None
    chain = chains.get((timeline.parent, timeline.cut_history), ())
    before = [backup.backup_id for backup in chain if backup.at <= timeline.cut_at]
    if before:
        return before[-1]
    parent = by_id(timelines, timeline.parent)
    if parent is None or parent is timeline or parent.history != timeline.cut_history:
        return None
    return _origin(parent, timelines, chains)


def _spaced(
    chain: Sequence[Backup], firmly: set[str], start: datetime, max_replay: timedelta, end: datetime | None
) -> set[str]:
    """The anchor and the expired backups after it without which two neighbours would lie too far apart."""
    anchors = [index for index, backup in enumerate(chain) if backup.at <= start]
    first = anchors[-1] if anchors else 0
    kept = {chain[first].backup_id}
    previous = chain[first]
    for index in range(first + 1, len(chain)):
        backup = chain[index]
        following = chain[index + 1].at if index + 1 < len(chain) else end
        # A backup at the very end of its timeline is what tells that users were in until then: without it the end
        # that is known would move back to the backup before it, and the instants between would be lost.
        dispensable = following is not None and following > backup.at and following - previous.at <= max_replay
        if backup.backup_id in firmly or not dispensable:
            kept.add(backup.backup_id)
            previous = backup
    return kept


def _age_order(backup: Backup) -> tuple[datetime, str]:
    return (backup.at, backup.backup_id)


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Instants of one timeline that can be restored. A single backup without log after it: `start` equals `end`."""

    timeline: str | None
    start: datetime
    end: datetime


@dataclass(frozen=True, kw_only=True)
class DeleteEffect:
    """What can be restored before and after a delete. `shorter`: some instant is lost."""

    before: tuple[Stretch, ...]
    after: tuple[Stretch, ...]
    shorter: bool
    newest_good: bool

    @property
    def earliest_after(self) -> datetime | None:
        return min((stretch.start for stretch in self.after), default=None)

    @property
    def latest_after(self) -> datetime | None:
        return max((stretch.end for stretch in self.after), default=None)


def recoverable(backups: Iterable[Backup], log: Sequence[Stretch] = ()) -> tuple[Stretch, ...]:
    """What can be restored: complete backups as they are, and with these `log`, all instants of some stretches."""
    found = set(log)
    for backup in backups:
        if backup.complete:
            found.add(Stretch(timeline=backup.timeline, start=backup.at, end=backup.at))
    ordered = sorted(found, key=lambda stretch: (stretch.start, stretch.end, stretch.timeline or ""))
    return tuple(
        stretch for stretch in ordered if not any(_within(stretch, other) for other in ordered if other is not stretch)
    )


def delete_effect(
    backups: Sequence[Backup], backup_id: str, log: Sequence[Stretch] = (), log_after: Sequence[Stretch] = ()
) -> DeleteEffect:
    """What deleting one backup makes of the recoverable window. `log`, `log_after`: stretches of the log that can be
    restored before and after it. KeyError if the catalogue has no such backup."""
    if backup_id not in {backup.backup_id for backup in backups}:
        raise KeyError(backup_id)
    before = recoverable(backups, log)
    after = recoverable([backup for backup in backups if backup.backup_id != backup_id], log_after)
    return DeleteEffect(
        before=before, after=after, shorter=before != after, newest_good=newest_good(backups) == backup_id
    )


def _within(inner: Stretch, outer: Stretch) -> bool:
    return inner.timeline == outer.timeline and outer.start <= inner.start and inner.end <= outer.end
