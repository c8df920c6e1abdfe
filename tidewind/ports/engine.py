"""Databases, as the services see them. One folder under `tidewind/engines` implements these for each engine.

The protocols are coarse on purpose: what a consistent snapshot is, how a cluster is closed to its users, and how tables
are set aside differ from engine to engine in every detail, and only the steps and their promises are common.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from schemas.commands import DatabaseTls, Endpoint
from tidewind.domain.manifest import Chunk, DatabaseObject, Schema, SystemTable, Table
from tidewind.ports.store import Store

StoreFactory = Callable[[], AbstractAsyncContextManager[Store]]
"""Opens the store anew, in a worker process: it must be picklable."""

Report = Callable[[str, float, float | None, str], None]
"""`report(step, done, total, unit)`: called often and cheaply; the caller thins it out."""


class DatabaseError(Exception):
    """A failure of the database, already put in words. `kind` is a name of the catalogue of problems."""

    def __init__(self, kind: str, detail: str, next_step: str | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.next_step = next_step


@dataclass(frozen=True, kw_only=True)
class Login:
    """A resolved account. Its repr never shows the password."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login(user={self.user!r}, password=…)"


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a cluster is. `tls` holds paths or PEM text already resolved by the settings layer."""

    cluster_id: str
    endpoints: tuple[Endpoint, ...]
    tls: DatabaseTls | None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of a preflight or of `tidewind doctor`. `fix` is the statement or command that mends it."""

    subject: str
    level: Literal["ok", "warn", "error"]
    text: str
    fix: str | None = None


@dataclass(frozen=True, kw_only=True)
class ServerFacts:
    """Who the server is. `identity` stays the same as long as the data directory does."""

    engine: str
    version: str
    identity: str
    zone: str
    position: str | None
    now: datetime


@dataclass(frozen=True, kw_only=True)
class Preflight:
    facts: ServerFacts
    findings: tuple[Finding, ...]


@dataclass(frozen=True, kw_only=True)
class SnapshotRequest:
    """`prefix` is the attempt's folder in the store, where chunks are written; `workers` reader processes."""

    cluster_id: str
    backup_id: str
    attempt: int
    prefix: str
    workers: int
    chunk_bytes: int
    excluded_schemas: tuple[str, ...]
    open_store: StoreFactory


@dataclass(frozen=True, kw_only=True)
class SnapshotContent:
    """What was read, all chunks already in the store. The service makes the manifest of it. What no consistent view
    covers was read between `position` and `settled_position`, which was the log's end at `settled_time`, by the
    database's clock."""

    facts: ServerFacts
    snapshot_time: datetime
    position: str | None
    log_hint: str | None
    schemas: tuple[Schema, ...]
    tables: tuple[Table, ...]
    objects: tuple[DatabaseObject, ...]
    system_tables: tuple[SystemTable, ...]
    variables: Mapping[str, str | None]
    variable_defaults: Mapping[str, str | None]
    prepared_xa: tuple[str, ...]
    chunks: tuple[Chunk, ...]
    settings: Mapping[str, str]
    writer_stall_ms: float | None
    unsupported: tuple[str, ...] = ()
    open_xa_position: str | None = None
    settled_position: str | None = None
    settled_time: datetime | None = None


class SnapshotEngine(Protocol):
    """Reads a cluster. Never writes to it."""

    async def preflight(self, address: Address, login: Login, restore_login: Login | None) -> Preflight:
        """Look at the server, its settings and the rights. Raises DatabaseError if it cannot be reached."""

    async def take(self, address: Address, login: Login, request: SnapshotRequest, report: Report) -> SnapshotContent:
        """Take one consistent snapshot. All or nothing: raises DatabaseError (kind snapshot-inconsistent if DDL or a
        lost connection spoilt it and another attempt may succeed), StoreError. Cancelling it ends every connection and
        worker process."""


@dataclass(frozen=True, kw_only=True)
class RestoreScope:
    """Who restores: everything on the database is named after these, so that a successor can find it. `operation` is
    the number of the cluster's operation lock: with the epoch it orders all who ever restored this cluster."""

    cluster_id: str
    restore_id: str
    job_id: str
    operation: int
    epoch: int
    replicas: Literal["none", "attached"]


@dataclass(frozen=True, kw_only=True)
class TargetState:
    """What stands in the cluster now: the input of the pure plan."""

    facts: ServerFacts
    findings: tuple[Finding, ...]
    tables: Mapping[tuple[str, str], Mapping[str, Any]]
    objects: int
    schemas: tuple[str, ...]
    accounts: tuple[str, ...]
    account_prints: Mapping[str, str]
    data_bytes: int
    free_bytes: int | None
    prepared_xa: tuple[str, ...]
    connections: int


LedgerPut = Callable[[str, Mapping[str, Any]], Awaitable[None]]
"""Durably notes a step in the job's ledger in the store: `await put(name, facts)`; put-if-absent by name."""
