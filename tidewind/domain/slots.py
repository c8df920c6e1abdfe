"""Daily slots: which local days of a cluster are owed a backup, and what is to be done about each now.

A slot is a local calendar day, a label such as 2026-11-24, not a stretch of time. The invariant: every owed day gets
exactly one backup or one `missed`, whatever happens to settings, regions, clocks and processes. It rests on two things:

- Days are settled in order, each once. What settles a day is the ledger entry of that day's job, which only one writer
  can put; this module is told which days are settled and never decides about those again.
- The instant at which a day falls due follows from the registry's revisions alone. A day is due under the first
  revision that lets it fall due while that revision is in force: at its time of day, or, where that time had already
  gone by when the revision came (a time moved forward, a region moved east), at once when the revision came. So a
  change can neither skip a day nor owe it twice.

The tempting alternative, "run whenever now is past today's time and today has no backup", loses the day that a region
change jumps over and cannot tell a day it never owed from one it missed.

Local times: one that a clock change skips becomes the next existing instant; one that happens twice means the first.
A day that a zone leaves out altogether (a move across the date line) is not owed while that zone is in force.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

DEFAULT_BACKUP_TIME = "02:00"
MAX_GRACE = timedelta(hours=20)
"""Clock changes bring neighbouring due times as close as 22 hours; a shorter grace means that downtime of any length is
followed by at most one catch-up."""

_DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Revision:
    """What the scheduler needs of one registry revision. `backup_time` is "HH:MM" or None for 02:00."""

    since: datetime
    zone: str
    backup_time: str | None
    retired: bool = False


@dataclass(frozen=True, kw_only=True)
class Due:
    """When a day falls due, and the zone under which it does. `owed` is False for a day that the zone leaves out, and
    for every day after the cluster was retired."""

    day: date
    at: datetime
    zone: str
    owed: bool


@dataclass(frozen=True, kw_only=True)
class SlotAction:
    """`run`: back up now. `deferred`: due, but a restore has the cluster. `missed`: settle the day as missed.
    `reason` is for people."""

    day: date
    due_at: datetime
    zone: str
    kind: Literal["run", "deferred", "missed"]
    reason: str


@lru_cache(maxsize=8192)
def local_instant(day: date, clock_time: str | None, zone: str) -> datetime:
    """The instant, in UTC, at which a zone's clock shows "HH:MM" on a day.

    Of a repeated time the first; of a skipped one the first instant after the gap. ZoneInfoNotFoundError for a zone
    that does not exist."""
    place = ZoneInfo(zone)
    wanted = datetime.combine(day, time.fromisoformat(clock_time or DEFAULT_BACKUP_TIME), place)
    instant = wanted.astimezone(UTC)
    if instant.astimezone(place) == wanted:  # of two times in one zone Python compares what the clocks show
        return instant
    # In a gap the first reading uses the offset before the change, the second the one after it, so the change lies
    # between the two instants they give.
    before, after = wanted.replace(fold=1).astimezone(UTC), instant
    old_offset = before.astimezone(place).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=int((after - before).total_seconds()) // 2)
        if middle.astimezone(place).utcoffset() == old_offset:
            before = middle
        else:
            after = middle
    return after


@lru_cache(maxsize=8192)
def day_exists(day: date, zone: str) -> bool:
    """False for a day that a zone left out, as Samoa did with 2011-12-30."""
    return local_date(local_instant(day, "00:00", zone), zone) == day


def local_date(instant: datetime, zone: str) -> date:
    return instant.astimezone(ZoneInfo(zone)).date()


def first_slot_date(enrolled_at: datetime, zone: str, backup_time: str | None) -> date:
    """The first day owed: the day of enrolment if its time is still to come, else the next."""
    today = local_date(enrolled_at, zone)
    return today if local_instant(today, backup_time, zone) > enrolled_at else today + _DAY


def due_of(day: date, revisions: Sequence[Revision]) -> Due:
    """When a day falls due under the revisions known, oldest first. ValueError if there are none."""
    if not revisions:
        raise ValueError("a cluster has at least one revision")
    for revision, following in zip(revisions, [*revisions[1:], None], strict=True):
        own = local_instant(day, revision.backup_time, revision.zone)
        if following is None or own < following.since:
            break
    return Due(
        day=day,
        at=max(own, revision.since),
        zone=revision.zone,
        owed=not revision.retired and day_exists(day, revision.zone),
    )


def decide_slots(
    revisions: Sequence[Revision],
    *,
    first_day: date,
    settled_through: date | None,
    now: datetime,
    grace: timedelta,
    restoring: bool = False,
    deferred_until: datetime | None = None,
) -> tuple[SlotAction, ...]:
    """What to do about the days that are due and not settled, oldest first.

    `settled_through` is the newest settled day; all owed days before it are settled too. `restoring`: a restore has the
    cluster now; `deferred_until` is when one was last seen to have it: grace counts from there."""
    retired = revisions[-1].retired
    actions = []
    for due in _due_days(revisions, _next_day(first_day, settled_through), now):
        if retired and due.at >= revisions[-1].since:
            break
        if not due.owed:
            continue
        waited = due.at if deferred_until is None else max(due.at, deferred_until)
        kind: Literal["run", "deferred", "missed"]
        if retired:
            kind, reason = "missed", "the cluster was retired before this backup began"
        elif restoring:
            kind, reason = "deferred", "a restore has the cluster; the backup begins when it has ended"
        elif now <= waited + grace:
            kind, reason = "run", "due"
        else:
            kind, reason = "missed", f"the backup did not begin within {_hours(grace)} of its time"
        actions.append(SlotAction(day=due.day, due_at=due.at, zone=due.zone, kind=kind, reason=reason))
    return tuple(actions)


def next_backup(
    revisions: Sequence[Revision], *, first_day: date, settled_through: date | None, now: datetime
) -> Due | None:
    """The next owed day not settled: its time lies in the past while it waits to begin. None once retired."""
    if revisions[-1].retired:
        return None
    day = _next_day(first_day, settled_through)
    while day <= local_date(now, revisions[-1].zone) + 3 * _DAY:
        due = due_of(day, revisions)
        if due.owed:
            return due
        day += _DAY
    return due_of(day, revisions)


def _next_day(first_day: date, settled_through: date | None) -> date:
    return first_day if settled_through is None else max(first_day, settled_through + _DAY)


def _due_days(revisions: Sequence[Revision], day: date, now: datetime) -> Iterator[Due]:
    """Due times never fall from one day to the next, so the first that lies ahead ends the search."""
    last = max(local_date(now, zone) for zone in {revision.zone for revision in revisions})
    while day <= last:
        due = due_of(day, revisions)
        if due.at > now:
            return
        yield due
        day += _DAY


def _hours(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    return f"{minutes // 60} h" if minutes % 60 == 0 else f"{minutes} min"
