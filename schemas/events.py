"""Facts in the past tense. `EVENTS` maps each event's type to its body; `TERMINAL` names the ends of each command.

Every accepted command has exactly one terminal event, found by its `job_id`. Events that concern no command (a missed
slot, a window that changed) have no job.
"""

from typing import Any, Literal

from schemas.base import BackupId, ClusterId, Fact, Instant, JobId, RestoreId, TimelineId
from schemas.commands import BackupCause, BackupSetting, Engine, Replicas
from schemas.replies import Problem
from schemas.status import Interval


class ClusterFact(Fact):
    cluster_id: ClusterId


class JobFact(ClusterFact):
    """A fact about a job. `reason` and `actor` say who wanted it and why, where they were given."""

    job_id: JobId
    actor: str | None = None
    reason: str | None = None


class CommandFailed(JobFact):
    """The accepted command could not be carried out; `problem.next_step` says what is safe to do now."""

    command: str
    problem: Problem


class ClusterEnrolled(JobFact):
    engine: Engine
    engine_version: str
    region: str
    zone: str
    replicas: Replicas
    setting: BackupSetting
    revision: int


class ClusterUpdated(JobFact):
    changed: tuple[str, ...]
    revision: int


class ClusterRetired(JobFact):
    revision: int
    backups_kept: tuple[BackupId, ...] = ()


class BackupSettingChanged(JobFact):
    """`now_eligible` lists backups that the shorter retention allows to be removed; removal is an event of its own."""

    setting: BackupSetting
    zone: str
    revision: int
    effective_from: Instant
    now_eligible: tuple[BackupId, ...] = ()


class BackupStarted(JobFact):
    backup_id: BackupId
    cause: BackupCause
    slot_date: str | None = None
    attempt: int


class BackupCompleted(JobFact):
    """`suspect` lists why the content looks wrong although every byte was written, for instance "no tables"."""

    backup_id: BackupId
    cause: BackupCause
    slot_date: str | None = None
    attempt: int
    snapshot_time: Instant
    position: str | None
    timeline: TimelineId
    tables: int
    rows: int
    stored_bytes: int
    row_bytes: int
    duration_ms: int
    writer_stall_ms: float | None = None
    expires_at: Instant | None = None
    suspect: tuple[str, ...] = ()


class BackupFailed(JobFact):
    backup_id: BackupId
    cause: BackupCause
    slot_date: str | None = None
    attempt: int
    problem: Problem


class BackupDeleted(JobFact):
    backup_id: BackupId
    cause: Literal["manual", "retention"]
    freed_bytes: int


class BackupVerified(JobFact):
    backup_id: BackupId
    objects: int
    stored_bytes: int
    duration_ms: int


class BackupDamaged(JobFact):
    """Verification found stored bytes that differ from the manifest. `damaged` names each object and what is wrong."""

    backup_id: BackupId
    damaged: tuple[dict[str, str], ...]
    problem: Problem


class BackupMissed(ClusterFact):
    """A day whose backup did not begin inside its grace window and will not be made up for."""

    slot_date: str
    due_at: Instant
    zone: str
    detail: str


class BackupOverdue(ClusterFact):
    """A backup that should have ended by now and has not: the alarm for what did not happen."""

    slot_date: str
    due_at: Instant
    overdue_s: int
    detail: str


class RestorePlanned(JobFact):
    """The end of a dry run. `plan` is the same value the reply carried."""

    plan: dict[str, Any]


class RestoreStarted(JobFact):
    restore_id: RestoreId
    mode: Literal["snapshot", "point_in_time", "undo"]
    plan: dict[str, Any]
    deadline: Instant | None = None


class RestoreGated(JobFact):
    """The cluster is closed. `open_by_hand` is the SQL that opens it without Tidewind."""

    restore_id: RestoreId
    connections_ended: int
    duration_ms: int
    open_by_hand: tuple[str, ...]


class RestorePoint(Fact):
    """The point a restore led to. Everything up to and with `last_kept` is there, `first_undone` and what followed is
    not; None where there is no such transaction. `precision` says what the times are worth."""

    target_time: Instant | None = None
    last_kept: str | None = None
    last_kept_at: Instant | None = None
    first_undone: str | None = None
    first_undone_at: Instant | None = None
    precision: Literal["clock", "stamps"] = "clock"


class RestoreCompleted(JobFact):
    restore_id: RestoreId
    point: RestorePoint | None = None
    mode: Literal["snapshot", "point_in_time", "undo"]
    backup_id: BackupId | None = None
    timeline: TimelineId
    closed_ms: int
    duration_ms: int
    tables: int
    rows: int
    undo_until: Instant | None = None
    way_back: str


class RestoreFailed(JobFact):
    """`returned`: open again with the data it had. Otherwise still closed; `open_by_hand` is the SQL that opens it."""

    restore_id: RestoreId
    mode: Literal["snapshot", "point_in_time", "undo"]
    step: str
    returned: bool
    problem: Problem
    open_by_hand: tuple[str, ...] = ()


class RestoreCancelled(JobFact):
    """A restore that took the way back because somebody asked for it."""

    restore_id: RestoreId
    step: str
    return_ms: int


class RestoreCancelEnded(JobFact):
    """The end of a cancel command: what became of the restore it named."""

    restore_id: RestoreId
    outcome: Literal["cancelled", "completed", "failed"]


class SafeguardExpired(ClusterFact):
    restore_id: RestoreId
    freed_tables: int


class CaptureStarted(ClusterFact):
    """The log is being captured. `cause` says why a history began; None if one goes on."""

    history: str
    position: str
    cause: str | None = None
    detail: str = ""


class CaptureStopped(ClusterFact):
    """The log cannot be captured for now; `problem.next_step` is what mends it."""

    problem: Problem


class CaptureGap(ClusterFact):
    """Nothing between the two instants can be restored. A new base is taken by itself."""

    start: Instant
    end: Instant
    start_position: str
    end_position: str
    cause: str
    detail: str = ""


class CaptureHeadroomLow(ClusterFact):
    """The server will purge, in so many seconds, what has not been captured: the alarm before a gap."""

    headroom_s: float
    position: str
    detail: str


class WindowChanged(ClusterFact):
    """An interval appeared, vanished or began elsewhere; that its end moves on is said by the status alone."""

    intervals: tuple[Interval, ...]
    detail: str


class LogRemoved(JobFact):
    """Segments older than the window, no restore needs any more."""

    history: str
    segments: int
    freed_bytes: int


EVENTS: dict[str, type[Fact]] = {
    "tidewind.command.failed.v1": CommandFailed,
    "tidewind.cluster.enrolled.v1": ClusterEnrolled,
    "tidewind.cluster.updated.v1": ClusterUpdated,
    "tidewind.cluster.retired.v1": ClusterRetired,
    "tidewind.backup-setting.changed.v1": BackupSettingChanged,
    "tidewind.backup.started.v1": BackupStarted,
    "tidewind.backup.completed.v1": BackupCompleted,
    "tidewind.backup.failed.v1": BackupFailed,
    "tidewind.backup.deleted.v1": BackupDeleted,
    "tidewind.backup.verified.v1": BackupVerified,
    "tidewind.backup.damaged.v1": BackupDamaged,
    "tidewind.backup.missed.v1": BackupMissed,
    "tidewind.backup.overdue.v1": BackupOverdue,
    "tidewind.restore.planned.v1": RestorePlanned,
    "tidewind.restore.started.v1": RestoreStarted,
    "tidewind.restore.gated.v1": RestoreGated,
    "tidewind.restore.completed.v1": RestoreCompleted,
    "tidewind.restore.failed.v1": RestoreFailed,
    "tidewind.restore.cancelled.v1": RestoreCancelled,
    "tidewind.restore.cancel-ended.v1": RestoreCancelEnded,
    "tidewind.safeguard.expired.v1": SafeguardExpired,
    "tidewind.capture.started.v1": CaptureStarted,
    "tidewind.capture.stopped.v1": CaptureStopped,
    "tidewind.capture.gap-found.v1": CaptureGap,
    "tidewind.capture.headroom-low.v1": CaptureHeadroomLow,
    "tidewind.window.changed.v1": WindowChanged,
    "tidewind.segments.deleted.v1": LogRemoved,
}

TERMINAL: dict[str, frozenset[str]] = {
    "tidewind.cluster.enroll.v1": frozenset({"tidewind.cluster.enrolled.v1", "tidewind.command.failed.v1"}),
    "tidewind.cluster.update.v1": frozenset({"tidewind.cluster.updated.v1", "tidewind.command.failed.v1"}),
    "tidewind.cluster.retire.v1": frozenset({"tidewind.cluster.retired.v1", "tidewind.command.failed.v1"}),
    "tidewind.backup-setting.set.v1": frozenset({"tidewind.backup-setting.changed.v1", "tidewind.command.failed.v1"}),
    "tidewind.backup.run.v1": frozenset({"tidewind.backup.completed.v1", "tidewind.backup.failed.v1"}),
    "tidewind.backup.delete.v1": frozenset({"tidewind.backup.deleted.v1", "tidewind.command.failed.v1"}),
    "tidewind.backup.verify.v1": frozenset(
        {"tidewind.backup.verified.v1", "tidewind.backup.damaged.v1", "tidewind.command.failed.v1"}
    ),
    "tidewind.restore.request.v1": frozenset(
        {
            "tidewind.restore.planned.v1",
            "tidewind.restore.completed.v1",
            "tidewind.restore.failed.v1",
            "tidewind.restore.cancelled.v1",
        }
    ),
    "tidewind.restore.undo.v1": frozenset(
        {
            "tidewind.restore.planned.v1",
            "tidewind.restore.completed.v1",
            "tidewind.restore.failed.v1",
            "tidewind.restore.cancelled.v1",
        }
    ),
    "tidewind.segments.delete.v1": frozenset({"tidewind.segments.deleted.v1", "tidewind.command.failed.v1"}),
    "tidewind.restore.cancel.v1": frozenset({"tidewind.restore.cancel-ended.v1", "tidewind.command.failed.v1"}),
}
