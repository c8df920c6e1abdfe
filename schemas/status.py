"""The present, one whole state per record, on the compacted topic `status.v1`.

The key is `<kind>/<cluster>` or `<kind>/<cluster>/<id>`; each key has one writer. Every record carries a `revision`
(epoch, count): a reader keeps the highest it has seen. A null value (tombstone) means the thing is no longer kept.
"""

from typing import Any, Literal

from pydantic import Field

from schemas.base import BackupId, ClusterId, Fact, Instant, JobId, RestoreId, TimelineId
from schemas.commands import BackupCause, BackupSetting, Endpoint, Engine, Replicas
from schemas.replies import Problem


class Status(Fact):
    """`revision` is (epoch of the writer, count within it), compared as a pair."""

    cluster_id: ClusterId
    revision: tuple[int, int] = (0, 0)
    at: Instant


class ClusterStatus(Status):
    """Written by the scheduler."""

    engine: Engine
    engine_version: str
    region: str
    zone: str
    endpoints: tuple[Endpoint, ...]
    replicas: Replicas
    state: Literal["protected", "retired"]
    created_at: Instant
    retired_at: Instant | None = None


class SettingStatus(Status):
    """Written by the scheduler: the effective setting."""

    setting: BackupSetting
    zone: str
    next_backup_at: Instant | None


class SlotStatus(Status):
    """Written by the scheduler: the newest local day and what became of its backup."""

    slot_date: str
    due_at: Instant
    state: Literal["due", "running", "completed", "failed", "missed", "deferred"]
    backup_id: BackupId | None = None
    detail: str | None = None


class BackupStatus(Status):
    """Written by the snapshotter. `deleted` and `expired` stay for 7 days, then a tombstone follows.

    `pending` with a `problem`: that attempt failed and the next begins at `next_try_at`. The state `damaged`: the
    backup's record in the store cannot be read, so nothing more is known of it than `problem` says; its `cause` is then
    `unknown`. The field `damaged` tells of its data: a verification found bytes changed.
    """

    backup_id: BackupId
    cause: BackupCause | Literal["unknown"]
    slot_date: str | None = None
    state: Literal["pending", "running", "completed", "failed", "deleting", "deleted", "expired", "damaged"]
    listed: bool = True
    attempt: int = 0
    started_at: Instant | None = None
    snapshot_time: Instant | None = None
    position: str | None = None
    timeline: TimelineId | None = None
    tables: int | None = None
    rows: int | None = None
    stored_bytes: int | None = None
    row_bytes: int | None = None
    expires_at: Instant | None = None
    verified_at: Instant | None = None
    damaged: bool = False
    suspect: tuple[str, ...] = ()
    problem: Problem | None = None
    next_try_at: Instant | None = None


class AvailabilityStatus(Status):
    """Written by the restorer: may clients use the cluster."""

    state: Literal["Available", "Restoring", "RestoreFailed"]
    restore_id: RestoreId | None = None
    detail: str | None = None
    open_by_hand: tuple[str, ...] = ()


RestoreStep = Literal[
    "accepted",
    "planned",
    "gated",
    "safeguarded",
    "loaded",
    "replayed",
    "accounts",
    "verified",
    "opening",
    "opened",
    "returning",
    "returned",
]


class RestoreStatus(Status):
    """Written by the restorer."""

    restore_id: RestoreId
    mode: Literal["snapshot", "point_in_time", "undo"]
    state: Literal["running", "completed", "failed", "cancelled", "undone"]
    step: RestoreStep
    backup_id: BackupId | None = None
    started_at: Instant
    ended_at: Instant | None = None
    deadline: Instant | None = None
    timeline: TimelineId | None = None
    undo_until: Instant | None = None
    plan: dict[str, Any] = Field(default_factory=dict)
    problem: Problem | None = None


class JobStatus(Status):
    """Written by whoever holds the job, every 5 s: the heartbeat that keeps others from taking it over."""

    job_id: JobId
    service: str
    command: str
    epoch: int
    state: Literal["running", "released", "ended"]
    holder: str
    step: str | None = None
    terminal_event: str | None = None


class CaptureStatus(Status):
    """Written by capture: how far the log has been read and acknowledged by Kafka. `complete_at`: every transaction up
    to that instant of the database's clock is acknowledged. `headroom_s`: until the server purges what has not been
    read. `last_gtid` and `last_checksum` name the last transaction, by which a successor knows the log again."""

    state: Literal["capturing", "waiting", "unsuitable", "off"]
    history: str | None = None
    position: str | None = None
    last_gtid: str | None = None
    last_checksum: int | None = None
    complete_at: Instant | None = None
    lag_s: float | None = None
    headroom_s: float | None = None
    precision: Literal["clock", "stamps"] = "clock"
    problem: Problem | None = None


class Interval(Fact):
    """Every instant from `start` to `end`, both included, can be restored on the timeline."""

    start: Instant
    end: Instant
    timeline: TimelineId
    precision: Literal["clock", "stamps"] = "clock"


class LogGap(Fact):
    """Between `start` and `end` nothing can be restored, and no restore leads across."""

    start: Instant
    end: Instant
    start_position: str
    end_position: str
    cause: str
    detail: str = ""


class LivedTimeline(Fact):
    """One timeline: where it branched off, and until when it was lived."""

    timeline: TimelineId
    parent: TimelineId | None
    restored_to: Instant | None = None
    cut: str | None = None
    restore_id: RestoreId | None = None
    started_at: Instant
    ended_at: Instant | None = None


class WindowStatus(Status):
    """Written by archive: the intervals a restore can reach now, and how far behind the log Kafka and the store are.
    `history` and `position` say up to where the log is archived; `reread` asks capture to read again from there."""

    intervals: tuple[Interval, ...]
    gaps: tuple[LogGap, ...] = ()
    timelines: tuple[LivedTimeline, ...] = ()
    history: str | None = None
    position: str | None = None
    segments: int = 0
    complete_at: Instant | None = None
    kafka_lag_s: float | None = None
    store_lag_s: float | None = None
    reread: str | None = None


STATUSES: dict[str, type[Status]] = {
    "cluster": ClusterStatus,
    "setting": SettingStatus,
    "slot": SlotStatus,
    "backup": BackupStatus,
    "availability": AvailabilityStatus,
    "restore": RestoreStatus,
    "job": JobStatus,
    "capture": CaptureStatus,
    "window": WindowStatus,
}


def status_type(kind: str) -> str:
    """The envelope's type of a status kind."""
    return f"tidewind.status.{kind}.v1"
