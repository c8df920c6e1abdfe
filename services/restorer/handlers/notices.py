"""What the restorer says about a restore: events, the restore's status, and whether clients may use the cluster."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from schemas.events import (
    RestoreCancelled,
    RestoreCompleted,
    RestoreFailed,
    RestoreGated,
    RestorePlanned,
    RestoreStarted,
)
from schemas.replies import Problem
from schemas.status import AvailabilityStatus, RestoreStatus, RestoreStep
from tidewind.domain.records import Accepted
from tidewind.ports.clock import Clock
from tidewind.ports.jobs import Ending, JobContext

Mode = Literal["snapshot", "point_in_time", "undo"]
State = Literal["running", "completed", "failed", "cancelled", "undone"]


class Notices:
    """Speaks for one restore."""

    def __init__(
        self,
        context: JobContext,
        clock: Clock,
        *,
        restore_id: str,
        mode: Mode,
        backup_id: str | None,
        reason: str | None,
    ) -> None:
        self._context = context
        self._clock = clock
        self._restore_id = restore_id
        self._mode = mode
        self._backup_id = backup_id
        self._reason = reason
        self.plan: Mapping[str, Any] = {}
        self.deadline: datetime | None = None

    def restoring(self) -> AvailabilityStatus:
        return AvailabilityStatus(
            cluster_id=self._context.job.cluster_id,
            at=self._clock.now(),
            state="Restoring",
            restore_id=self._restore_id,
            detail=f"closed to clients by {self._restore_id}",
        )

    def available(self, detail: str) -> None:
        self._context.status(
            "availability",
            AvailabilityStatus(
                cluster_id=self._context.job.cluster_id,
                at=self._clock.now(),
                state="Available",
                restore_id=self._restore_id,
                detail=detail,
            ),
        )

    def stays_closed(self, detail: str, open_by_hand: tuple[str, ...]) -> None:
        self._context.status(
            "availability",
            AvailabilityStatus(
                cluster_id=self._context.job.cluster_id,
                at=self._clock.now(),
                state="RestoreFailed",
                restore_id=self._restore_id,
                detail=detail,
                open_by_hand=open_by_hand,
            ),
        )

    def step(
        self,
        step: RestoreStep,
        *,
        state: State = "running",
        timeline: str | None = None,
        undo_until: datetime | None = None,
        problem: Problem | None = None,
    ) -> None:
        """The restore's status."""
        self._context.status(
            "restore",
            RestoreStatus(
                cluster_id=self._context.job.cluster_id,
                at=self._clock.now(),
                restore_id=self._restore_id,
                mode=self._mode,
                state=state,
                step=step,
                backup_id=self._backup_id,
                started_at=self._context.job.accepted_at,
                ended_at=None if state == "running" else self._clock.now(),
                deadline=self.deadline,
                timeline=timeline,
                undo_until=undo_until,
                plan=dict(self.plan),
                problem=problem,
            ),
            entity=self._restore_id,
        )

    def started(self) -> None:
        body = RestoreStarted(
            **self._who(), restore_id=self._restore_id, mode=self._mode, plan=dict(self.plan), deadline=self.deadline
        )
        self._context.event("tidewind.restore.started.v1", body)

    def gated(self, connections_ended: int, duration_ms: int, open_by_hand: tuple[str, ...]) -> None:
        body = RestoreGated(
            **self._who(),
            restore_id=self._restore_id,
            connections_ended=connections_ended,
            duration_ms=duration_ms,
            open_by_hand=open_by_hand,
        )
        self._context.event("tidewind.restore.gated.v1", body)

    def completed(self, facts: Mapping[str, Any]) -> Ending:
        body = RestoreCompleted.model_validate(
            {
                **self._who(),
                "restore_id": self._restore_id,
                "mode": self._mode,
                "backup_id": self._backup_id,
                **facts,
            }
        )
        return Ending(event="tidewind.restore.completed.v1", body=body)

    def failed(self, step: str, why: Problem, *, returned: bool, open_by_hand: tuple[str, ...] = ()) -> Ending:
        body = RestoreFailed(
            **self._who(),
            restore_id=self._restore_id,
            mode=self._mode,
            step=step,
            returned=returned,
            problem=why,
            open_by_hand=open_by_hand,
        )
        return Ending(event="tidewind.restore.failed.v1", body=body)

    def cancelled(self, step: str, return_ms: int) -> Ending:
        body = RestoreCancelled(**self._who(), restore_id=self._restore_id, step=step, return_ms=return_ms)
        return Ending(event="tidewind.restore.cancelled.v1", body=body)

    def _who(self) -> dict[str, Any]:
        return who(self._context.job, self._reason)


def who(job: Accepted, reason: str | None) -> dict[str, Any]:
    """The fields every event about a job begins with."""
    return {"cluster_id": job.cluster_id, "job_id": job.job_id, "actor": job.actor, "reason": reason}


def planned(job: Accepted, reason: str | None, plan: Mapping[str, Any]) -> Ending:
    """The end of a dry run."""
    return Ending(event="tidewind.restore.planned.v1", body=RestorePlanned(**who(job, reason), plan=dict(plan)))
