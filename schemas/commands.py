"""What users ask for. The body of each command; the type stands in the envelope.

Commands on `commands.v1` reach the scheduler, which answers those it can and routes those that concern a database or a
backup to `backups.v1`. Commands on `restores.v1` destroy data and are guarded by an access list of their own.
"""

import json
import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.config import JsonDict, JsonValue

from schemas.base import BackupId, ClusterId, Command, Instant, RestoreId, SecretReference, TimelineId

RETENTION_DAYS_MIN = 7
RETENTION_DAYS_MAX = 90


def _shown(value: object) -> str:
    """What was sent, as it stood in the message; cut short."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _check_backup_time(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", value):
        wanted = 'must be a local time of day as "HH:MM" from "00:00" to "23:59", or null for 02:00'
        raise ValueError(f"{wanted}; {_shown(value)} is none")
    return value


def _check_retention_days(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int):
        wanted = f"must be a whole number of days from {RETENTION_DAYS_MIN} to {RETENTION_DAYS_MAX}"
        raise ValueError(f"{wanted}; {_shown(value)} is none")  # noqa: TRY004
    if not RETENTION_DAYS_MIN <= value <= RETENTION_DAYS_MAX:
        raise ValueError(f"must be from {RETENTION_DAYS_MIN} to {RETENTION_DAYS_MAX} days; {value} is outside")
    return value


BackupTime = Annotated[
    str, BeforeValidator(_check_backup_time), Field(json_schema_extra={"pattern": r"^([01][0-9]|2[0-3]):[0-5][0-9]$"})
]
RetentionDays = Annotated[
    int,
    BeforeValidator(_check_retention_days),
    Field(json_schema_extra={"minimum": RETENTION_DAYS_MIN, "maximum": RETENTION_DAYS_MAX}),
]


def _check_text(value: str) -> str:
    if any(ord(ch) < 32 or ord(ch) == 127 for ch in value):
        raise ValueError("must not contain control characters")
    return value


Line = Annotated[str, AfterValidator(_check_text), Field(min_length=1, max_length=500)]
Engine = Literal["mariadb", "mysql", "tidb"]
Replicas = Literal["none", "attached"]


class Endpoint(Command):
    host: Annotated[str, AfterValidator(_check_text), Field(min_length=1, max_length=253)]
    port: Annotated[int, Field(ge=1, le=65535)]


class DatabaseTls(Command):
    """How the database proves who it is. `verify-identity` checks the certificate's chain and the host's name."""

    mode: Literal["disabled", "verify-ca", "verify-identity"] = "verify-identity"
    ca: SecretReference | None = None
    certificate: SecretReference | None = None
    key: SecretReference | None = None


class BackupSetting(Command):
    """When a cluster is backed up and how long its backups are kept at least."""

    backup_time: BackupTime | None = Field(
        default=None, description="Local time in the zone of the cluster's region; null means 02:00"
    )
    retention_days: RetentionDays = 7


class ChangeFeed(Command):
    """Where TiCDC writes the changes of a TiDB cluster."""

    topic: Line


class ClusterEnroll(Command):
    cluster_id: ClusterId
    engine: Engine
    region: Line
    endpoints: Annotated[tuple[Endpoint, ...], Field(min_length=1, max_length=32)]
    credentials: SecretReference
    restore_credentials: SecretReference | None = Field(
        default=None, description="An account with the stronger rights a restore needs; by default the same"
    )
    tls: DatabaseTls | None = None
    replicas: Replicas = "none"
    changes: ChangeFeed | None = None
    setting: BackupSetting = BackupSetting()


class ClusterUpdate(Command):
    """Only the fields given change."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 2})

    cluster_id: ClusterId
    region: Line | None = None
    endpoints: Annotated[tuple[Endpoint, ...], Field(min_length=1, max_length=32)] | None = None
    credentials: SecretReference | None = None
    restore_credentials: SecretReference | None = None
    tls: DatabaseTls | None = None
    replicas: Replicas | None = None
    changes: ChangeFeed | None = None

    @model_validator(mode="after")
    def _something_changes(self) -> Self:
        if not self.model_fields_set - {"cluster_id"}:
            raise ValueError("names nothing to change: give at least one field beside cluster_id")
        return self

    def touches_database(self) -> bool:
        """Whether the change must be tried on the database before it is accepted."""
        return bool(self.model_fields_set & {"endpoints", "credentials", "restore_credentials", "tls"})


class ClusterRetire(Command):
    """No further backups; those that exist live until they expire."""

    cluster_id: ClusterId
    reason: Line | None = None


class BackupSettingSet(Command):
    """Replaces the whole setting; an omitted retention means 7 days, an omitted or null time 02:00."""

    cluster_id: ClusterId
    backup_time: BackupTime | None = None
    retention_days: RetentionDays = 7


BackupCause = Literal["slot", "base", "manual"]


class BackupRun(Command):
    """Back up now. Users may send it where manual backups are allowed; the scheduler sends it for what is due."""

    cluster_id: ClusterId
    cause: BackupCause = "manual"
    slot_date: str | None = Field(default=None, pattern=r"^\d{4}-\d{2}-\d{2}$", description="Local calendar day")
    reason: Line | None = None


class BackupDelete(Command):
    cluster_id: ClusterId
    backup_id: BackupId
    confirm_shorter_window: bool = False
    cause: Literal["manual", "retention"] = "manual"


class BackupVerify(Command):
    """Read back every byte of a backup and compare it with its manifest."""

    cluster_id: ClusterId
    backup_id: BackupId


class SegmentsDelete(Command):
    """Sent by the scheduler: segments up to `through` are older than the window, and no kept base needs them."""

    cluster_id: ClusterId
    history: Annotated[str, Field(pattern=r"^hst_[0-9A-Z]{10}$")]
    through: Annotated[int, Field(ge=1)]


def _restore_target(mode: str, given: str) -> JsonDict:
    names = ("backup_id", "target_time", "target_position")
    fields: dict[str, JsonValue] = {name: {"type": "string" if name == given else "null"} for name in names}
    return {"properties": {"mode": {"const": mode}, **fields}, "required": ["mode", given]}


# The same rule as `RestoreRequest._one_target`, for clients that have only the JSON Schema.
_RESTORE_TARGETS: list[JsonValue] = [
    _restore_target("snapshot", "backup_id"),
    _restore_target("point_in_time", "target_time"),
    _restore_target("point_in_time", "target_position"),
]


class RestoreRequest(Command):
    """Put the cluster back, in place. Exactly one mode with the fields that belong to it.

    Up to and with `target_time`: the longest prefix of the log whose transactions were all committed by then. Up to and
    with `target_position`; with `before` up to the transaction before it."""

    model_config = ConfigDict(json_schema_extra={"oneOf": _RESTORE_TARGETS})

    cluster_id: ClusterId
    mode: Literal["snapshot", "point_in_time"]
    backup_id: BackupId | None = None
    target_time: Instant | None = None
    target_position: Line | None = None
    before: bool = False
    timeline: TimelineId | None = None
    dry_run: bool = False
    plan_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{6,64}$")] | None = None
    reason: Line | None = None

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if self.mode == "snapshot":
            if self.backup_id is None:
                raise ValueError('mode "snapshot" needs backup_id')
            if self.target_time is not None or self.target_position is not None:
                raise ValueError('mode "snapshot" takes backup_id only; drop target_time and target_position')
        else:
            if self.backup_id is not None:
                raise ValueError('mode "point_in_time" takes no backup_id; the base is chosen by the plan')
            if (self.target_time is None) == (self.target_position is None):
                raise ValueError('mode "point_in_time" needs exactly one of target_time and target_position')
        return self


class RestoreUndo(Command):
    """Bring back what the cluster held before a completed restore."""

    cluster_id: ClusterId
    restore_id: RestoreId
    dry_run: bool = False
    reason: Line | None = None


class RestoreCancel(Command):
    """Take the way back from a restore that is still running."""

    cluster_id: ClusterId
    restore_id: RestoreId
    reason: Line | None = None


COMMANDS: dict[str, type[Command]] = {
    "tidewind.cluster.enroll.v1": ClusterEnroll,
    "tidewind.cluster.update.v1": ClusterUpdate,
    "tidewind.cluster.retire.v1": ClusterRetire,
    "tidewind.backup-setting.set.v1": BackupSettingSet,
    "tidewind.backup.run.v1": BackupRun,
    "tidewind.backup.delete.v1": BackupDelete,
    "tidewind.backup.verify.v1": BackupVerify,
    "tidewind.segments.delete.v1": SegmentsDelete,
    "tidewind.restore.request.v1": RestoreRequest,
    "tidewind.restore.undo.v1": RestoreUndo,
    "tidewind.restore.cancel.v1": RestoreCancel,
}

INTERNAL = frozenset({"tidewind.segments.delete.v1"})
"""What only services send to each other."""
