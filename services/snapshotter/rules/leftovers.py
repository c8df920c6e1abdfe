"""When what a job left behind may be cleared away by somebody else.

Invariant: an object is swept only when its backup's outcome exists and does not name its attempt. So whoever sweeps
after a job that ended without an outcome first puts one that says `failed`, by the same conditional put by which a
backup becomes complete: a holder that wakes later finds it and can complete nothing, and one that was faster keeps all
it wrote. The rules here only keep a holder that is still at work from being disturbed.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

GRACE = timedelta(hours=1)


@dataclass(frozen=True)
class Leave:
    """`now`: whether it may be cleared away at this moment, and why (not)."""

    now: bool
    why: str


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """A backup without outcome. `ended_at` and `ended_by`: its job's terminal record, if there is one; `newest_epoch`:
    who claimed the job last; `newest_object`: when the last of its objects was written."""

    ended_at: datetime | None
    ended_by: int
    newest_epoch: int
    newest_object: datetime


def may_settle(unfinished: Unfinished, now: datetime, attempt_limit: timedelta) -> Leave:
    """Whether a backup without outcome may be declared failed. `attempt_limit`: how long one attempt may take."""
    if unfinished.ended_at is None:
        return Leave(False, "its job has not ended and may still complete it")
    if now - unfinished.ended_at < GRACE:
        return Leave(False, "its job has only just ended")
    if unfinished.ended_by < unfinished.newest_epoch and now - unfinished.newest_object < attempt_limit + GRACE:
        return Leave(False, "a predecessor ended the job, and its last holder may still be writing")
    return Leave(True, "its job has ended without an outcome")


REFUSALS = frozenset({"backup-in-use", "clock-skew"})
"""Why a delete is refused after its tombstone was put: whoever refuses withdraws it first."""


def may_withdraw(*, refused: bool, begun: bool, marked_at: datetime, now: datetime) -> Leave:
    """Whether a tombstone may be taken back. `refused`: the job ended because it gave way. A holder that was paused
    before it put the tombstone did so after its successor had withdrawn the one before."""
    if not refused or begun:
        return Leave(False, "its job was not refused, or went on")
    if now - marked_at < GRACE:
        return Leave(False, "it was only just put")
    return Leave(True, "its job was refused, and everybody was told so")


def may_finish_delete(*, ended: bool, begun: bool, pinned: bool, marked_at: datetime, now: datetime) -> Leave:
    """Whether a delete that its job left may be finished. `begun`: objects may be gone already. `pinned`: a restore
    that came before the tombstone reads the backup; one that comes after it gives way."""
    if not ended:
        return Leave(False, "its job has not ended and comes back to it")
    if now - marked_at < GRACE:
        return Leave(False, "it was only just begun")
    if pinned and not begun:
        return Leave(False, "a restore reads the backup")
    return Leave(True, "its job ended before it was done")
