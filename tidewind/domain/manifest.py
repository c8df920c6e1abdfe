"""The manifest of a snapshot: everything needed to put a cluster back, and to prove that it was.

A snapshot is complete only if its outcome names the attempt this manifest describes. Every object of the snapshot is
named here with its stored length and sha256; nothing is ever found by listing. Text that may hold any byte (names,
statements) is kept as text where it is valid UTF-8, which all of MariaDB's identifiers and definitions are.
"""

from typing import Any, Literal

from pydantic import AwareDatetime

from schemas.base import BackupId, ClusterId, TimelineId
from tidewind.domain.records import Record

MANIFEST_FORMAT = 1


class Chunk(Record):
    """A run of rows of one table, in one object. `row_bytes` and `rows` count before compression.

    `checksum` is an order-independent fingerprint of the rows where the engine offers one, else None.
    """

    number: int
    key: str
    size: int
    sha256: str
    rows: int
    row_bytes: int
    partition: str | None = None
    checksum: str | None = None


class Column(Record):
    """A column as loaded: `kind` is the engine's own type text; `load` the name of the rule by which it is written."""

    name: str
    kind: str
    load: str = "plain"


class Table(Record):
    """One base table. `create` makes it with all its indexes and foreign keys; `columns` are those in the chunks, in
    order, generated ones left out. `position` is set where the table was not part of the consistent view."""

    schema_name: str
    name: str
    engine: str
    create: str
    columns: tuple[Column, ...]
    chunks: tuple[int, ...]
    rows: int
    row_bytes: int
    keyless: bool = False
    auto_increment: int | None = None
    session: dict[str, str] = {}
    position: str | None = None
    attributes: dict[str, Any] = {}


class DatabaseObject(Record):
    """A sequence, view, routine, package, trigger or event, with the session under which it must be created."""

    kind: Literal["sequence", "view", "procedure", "function", "package", "package_body", "trigger", "event"]
    schema_name: str
    name: str
    create: str
    session: dict[str, str] = {}
    attributes: dict[str, Any] = {}


class Schema(Record):
    name: str
    create: str


class SystemTable(Record):
    """Rows of one table of the engine's own schema that are restored by a rule of its own; see `rule`."""

    name: str
    rule: str
    create: str
    columns: tuple[str, ...]
    chunks: tuple[int, ...]
    rows: int
    position: str | None = None


class Manifest(Record):
    """All of one snapshot. Objects stand in the order in which they can be created.

    `open_xa_position`: the position before the oldest PREPARE of `prepared_xa`, from which the log must be kept to
    replay what these bring when they are committed; None if there are none, or their PREPARE is in no log kept.
    """

    format: int = MANIFEST_FORMAT
    cluster_id: ClusterId
    backup_id: BackupId
    attempt: int
    engine: Literal["mariadb", "mysql", "tidb"]
    engine_version: str
    server_identity: str
    timeline: TimelineId
    history: str | None = None
    snapshot_time: AwareDatetime
    position: str | None
    log_hint: str | None = None
    schemas: tuple[Schema, ...]
    tables: tuple[Table, ...]
    objects: tuple[DatabaseObject, ...]
    system_tables: tuple[SystemTable, ...]
    variables: dict[str, str | None]
    variable_defaults: dict[str, str | None] = {}
    prepared_xa: tuple[str, ...] = ()
    open_xa_position: str | None = None
    chunks: tuple[Chunk, ...]
    unsupported: tuple[str, ...] = ()
    settings: dict[str, str] = {}
