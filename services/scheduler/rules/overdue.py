"""Alarms for what did not happen: a backup that has not begun, not ended, or not succeeded when it should have."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta


@dataclass(frozen=True, kw_only=True)
class Overdue:
    """`name` is the same for every sighting of the same lateness. `allowed`: the time that has passed."""

    name: str
    day: date
    due_at: datetime
    allowed: timedelta
    detail: str


@dataclass(frozen=True, kw_only=True)
class Limits:
    """`begin`: from the due time until the backup is taken in; `end`: from then until its outcome."""

    begin: timedelta
    end: timedelta


def not_begun(day: date, due_at: datetime, now: datetime, limits: Limits, *, deferred: bool) -> Overdue | None:
    """A backup that is due and that nobody has taken in."""
    if now - due_at < limits.begin:
        return None
    why = "a restore has the cluster" if deferred else "no snapshotter has taken it in: check that one runs"
    return Overdue(
        name=f"{day.isoformat()} not begun",
        day=day,
        due_at=due_at,
        allowed=limits.begin,
        detail=f"The backup has not begun {_minutes(limits.begin)} after it fell due; {why}",
    )


def not_ended(day: date, due_at: datetime, taken_in: datetime, now: datetime, limits: Limits) -> Overdue | None:
    """A backup that was taken in and has no outcome yet."""
    if now - taken_in < limits.end:
        return None
    return Overdue(
        name=f"{day.isoformat()} not ended",
        day=day,
        due_at=due_at,
        allowed=limits.end,
        detail=f"The backup has not ended {_minutes(limits.end)} after it began; see its progress and job status",
    )


def not_succeeding(
    day: date, due_at: datetime, taken_in: datetime, now: datetime, limits: Limits, *, why: str
) -> Overdue | None:
    """A backup whose newest attempt failed and that is tried again: `why` is what the attempt failed with."""
    if now - taken_in < limits.begin:
        return None
    return Overdue(
        name=f"{day.isoformat()} failing",
        day=day,
        due_at=due_at,
        allowed=limits.begin,
        detail=f"The backup was begun {_minutes(limits.begin)} ago and every attempt failed so far: {why}",
    )


def without_backup(day: date, due_at: datetime, now: datetime, *, why: str) -> Overdue:
    """A day whose backup has failed for good: there is none until the next day's."""
    return Overdue(
        name=f"{day.isoformat()} failed",
        day=day,
        due_at=due_at,
        allowed=max(timedelta(0), now - due_at),
        detail=f"The day has no backup: {why}",
    )


def _minutes(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    return f"{minutes // 60} h" if minutes >= 60 and minutes % 60 == 0 else f"{minutes} min"
