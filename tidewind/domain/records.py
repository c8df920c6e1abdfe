"""What the store keeps as JSON documents besides manifests. Every one is immutable and carries a format version."""

from typing import Any, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from schemas.base import BackupId, ClusterId, JobId, RestoreId, TimelineId
from schemas.commands import BackupCause, BackupSetting, ChangeFeed, DatabaseTls, Endpoint, Engine, Replicas
from schemas.replies import Problem
from tidewind.ports.store import FormatNewer, ObjectDamaged

RECORD_FORMAT = 1


class Record(BaseModel):
    """A document in the store. Unknown fields are ignored, so that a later release may add some."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = RECORD_FORMAT

    def to_bytes(self) -> bytes:
        return self.model_dump_json().encode()


RecordType = TypeVar("RecordType", bound=Record)


class Repository(Record):
    """Written once, first of all, in the clear. `key_check` proves that a keyring holds the deployment's key."""

    deployment: str
    partitions: int
    created_at: AwareDatetime
    key_id: str | None
    key_check: str | None


class Home(Record):
    """The Kafka whose services work on this store: its cluster id and the prefix of the topics. The highest number is
    in force."""

    number: int
    kafka_cluster: str
    prefix: str
    since: AwareDatetime

    @property
    def name(self) -> str:
        """As TIDEWIND_ADOPT_STORE_FROM takes it."""
        return f"{self.kafka_cluster}/{self.prefix}"


class RegistryEntry(Record):
    """One revision of a cluster: who it is, how to reach it, its setting. The newest revision is in force."""

    cluster_id: ClusterId
    revision: int
    engine: Engine
    engine_version: str
    server_identity: str
    region: str
    zone: str
    endpoints: tuple[Endpoint, ...]
    credentials: str
    restore_credentials: str | None = None
    tls: DatabaseTls | None = None
    replicas: Replicas = "none"
    changes: ChangeFeed | None = None
    setting: BackupSetting
    state: Literal["protected", "retired"] = "protected"
    created_at: AwareDatetime
    changed_at: AwareDatetime
    changed_by: str | None = None
    reason: str | None = None
    job_id: JobId
    first_slot_date: str
    """The first local day that is owed a backup: the day of enrolment if its time was still to come, else the next."""


class Accepted(Record):
    """The answer to a command and its whole input, the first durable trace of it; put before the reply is published.

    A rejection that depended on the state of things is kept here too (`rejected`), so that the same command gets the
    same answer although things have changed since.
    """

    job_id: JobId
    service: str
    cluster_id: ClusterId
    command: str
    body: dict[str, Any]
    body_sha256: str
    message_id: str
    source: str
    idempotency_key: str | None = None
    actor: str | None = None
    traceparent: str | None = None
    accepted_at: AwareDatetime
    answer: dict[str, Any] = {}
    rejected: Problem | None = None


class EpochClaim(Record):
    """Who works on a job. The newest epoch holds it."""

    job_id: JobId
    epoch: int
    holder: str
    claimed_at: AwareDatetime


class CancelRequest(Record):
    job_id: JobId
    requested_by: JobId
    actor: str | None = None
    reason: str | None = None
    requested_at: AwareDatetime


class Verdict(Record):
    """Whether a restore opens on its new data or returns to the old. Put once; decides between all who may act."""

    job_id: JobId
    verdict: Literal["open", "return"]
    epoch: int
    cause: str
    decided_at: AwareDatetime


class Terminal(Record):
    """The exact terminal event of a job, put before it is published."""

    job_id: JobId
    event: str
    data: dict[str, Any]
    at: AwareDatetime
    epoch: int


class Operation(Record):
    """One entry of a cluster's operation lock; free again once its job has ended."""

    cluster_id: ClusterId
    number: int
    job_id: JobId
    kind: Literal["backup", "restore", "undo"]


class BackupOutcome(Record):
    """The end of a backup. Without it there is no backup; `attempt` names the one whose objects are kept.

    `settled_position` is where the log ended, at `settled_time`, when the last of it was read: accounts, sequences and
    tables without transactions show something between it and `position`, so the log leads from the backup to no point
    before it.
    """

    cluster_id: ClusterId
    backup_id: BackupId
    job_id: JobId
    result: Literal["completed", "failed"]
    attempt: int
    cause: BackupCause
    slot_date: str | None = None
    listed: bool = True
    started_at: AwareDatetime
    ended_at: AwareDatetime
    manifest_key: str | None = None
    manifest_sha256: str | None = None
    manifest_size: int = 0
    key_id: str | None = None
    snapshot_time: AwareDatetime | None = None
    position: str | None = None
    open_xa_position: str | None = None
    settled_position: str | None = None
    settled_time: AwareDatetime | None = None
    history: str | None = None
    timeline: TimelineId | None = None
    engine: Engine
    engine_version: str
    tables: int = 0
    rows: int = 0
    row_bytes: int = 0
    stored_bytes: int = 0
    objects: int = 0
    duration_ms: int = 0
    writer_stall_ms: float | None = None
    suspect: tuple[str, ...] = ()
    problem: Problem | None = None


class Verification(Record):
    backup_id: BackupId
    job_id: JobId
    verified_at: AwareDatetime
    objects: int
    stored_bytes: int
    damaged: tuple[dict[str, str], ...] = ()


class Tombstone(Record):
    """A delete has begun: nobody may begin to read this backup."""

    backup_id: BackupId
    job_id: JobId
    cause: Literal["manual", "retention"]
    marked_at: AwareDatetime
    outcome: BackupOutcome | None = None
    """What was deleted: for a week its status still says so."""


class PinnedLog(BaseModel):
    """Segments of a history that a restore reads, by number, both included."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    history: str
    first: int
    last: int


class Pin(Record):
    """A restore reads these backups and segments. Void once the job has its terminal record, never by clock."""

    job_id: JobId
    backups: tuple[BackupId, ...]
    log: tuple[PinnedLog, ...] = ()
    pinned_at: AwareDatetime


class Timeline(Record):
    """What the users lived. `start` (O) is the log position just before accounts were unlocked, in `history`;
    `parent_end` (G) the log's head once the last user connection was dead, in `end_history`. What lies between is the
    restore itself and belongs to none. `parent` is the timeline of the point restored, which need not be the one that
    was being lived: that one ended at G, at `ended_at`. Both times are the database's clock. The point restored is a
    backup as it is (`cut_backup`, without `cut_history`), or `cut` in `cut_history` of the parent; `cut_at` is its
    instant.

    `operation`: the number under which the restore that opened it held the cluster's operation lock. Numbers only rise,
    so it tells which timeline came later, whatever clocks said. None for the root, and from releases without it.
    """

    cluster_id: ClusterId
    timeline: TimelineId
    parent: TimelineId | None
    cut: str | None
    cut_backup: BackupId | None = None
    cut_history: str | None = None
    cut_at: AwareDatetime | None = None
    parent_end: str | None
    history: str | None
    start: str | None
    started_at: AwareDatetime
    end_history: str | None = None
    ended_at: AwareDatetime | None = None
    restore_id: RestoreId | None = None
    job_id: JobId | None = None
    operation: int | None = None


class _Format(BaseModel):
    format: int


def parse(model: type[RecordType], data: bytes, key: str = "") -> RecordType:
    """Read a record. `key` names the object in errors. Raises FormatNewer for one of a later release, whatever else is
    in it, and ObjectDamaged if it is no such record."""
    known: int = model.model_fields["format"].default
    claimed = _claimed_format(data)
    if claimed is not None and claimed > known:
        cause = f"it has format {claimed}; this release reads {model.__name__} up to {known}"
        raise FormatNewer("read", key, cause, "upgrade Tidewind here, as where it was written")
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "text"
        cause = f"it is not a {model.__name__}: {error.error_count()} fields are wrong, first {where}: {first['msg']}"
        raise ObjectDamaged("read", key, cause) from None


def _claimed_format(data: bytes) -> int | None:
    """The format a document says it has, whatever else is in it."""
    try:
        return _Format.model_validate_json(data).format
    except ValidationError:
        return None
