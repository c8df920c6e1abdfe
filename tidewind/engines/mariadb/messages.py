"""What the snapshot's process and its reader processes say to each other, over a pipe, one request at a time.

A reader answers every request with exactly one of the answers named; `Progress` may come in between. When the pipe
closes, whichever side is left ends what it does.
"""

from dataclasses import dataclass
from typing import Literal

from tidewind.engines.mariadb.connection import Access
from tidewind.engines.mariadb.definition import Identity
from tidewind.engines.mariadb.server import LogPlace
from tidewind.ports.engine import StoreFactory
from tidewind.ports.store import StoreError


@dataclass(frozen=True, kw_only=True)
class ReaderSettings:
    """All a reader process is started with. Its objects are numbered `number`, `number + step`, …: unique without a
    word between the readers."""

    access: Access
    open_store: StoreFactory
    prefix: str
    chunk_bytes: int
    number: int
    step: int
    unlogged: bool


@dataclass(frozen=True, kw_only=True)
class Begin:
    """Open a consistent snapshot at `at`, an instant of the machine's monotonic clock, ending the one before.
    Answers: Began, Failed."""

    at: float


@dataclass(frozen=True, kw_only=True)
class Locate:
    """Ask the server where in the log the snapshot stands. Answers: Located, Failed."""


@dataclass(frozen=True, kw_only=True)
class Read:
    """Read one statement into objects. With `transactional` inside the snapshot, under a savepoint, and with the
    table's identity as it was under the read's own metadata lock; else outside, as the table is now. With `expected`
    nothing is read if the table is a different one already. `stored_name` is InnoDB's for it,
    empty if its identity is of no interest. Answers: Done, Failed."""

    schema: str
    table: str
    statement: str
    partition: str | None
    transactional: bool
    stored_name: str
    expected: Identity | None = None


@dataclass(frozen=True, kw_only=True)
class Release:
    """End the snapshot's transaction, if any. Answers: Done, Failed."""


Request = Begin | Locate | Read | Release


@dataclass(frozen=True, kw_only=True)
class Ready:
    connection_id: int


@dataclass(frozen=True, kw_only=True)
class Began:
    """`clock` is the server's UTC time just after the snapshot began."""

    clock: str


@dataclass(frozen=True, kw_only=True)
class Located:
    """What the server says of the snapshot's place, None where it keeps no log. It may be another session's (see
    `consistency`)."""

    place: LogPlace | None


@dataclass(frozen=True, kw_only=True)
class WrittenChunk:
    number: int
    key: str
    size: int
    sha256: str
    rows: int
    row_bytes: int
    checksum: int
    partition: str | None


@dataclass(frozen=True, kw_only=True)
class Done:
    chunks: tuple[WrittenChunk, ...] = ()
    identity: Identity | None = None


@dataclass(frozen=True, kw_only=True)
class Failed:
    """`changed`: the table is not what it was. `interrupted`: our read was ended for somebody who waited; it may be
    read again. Others carry what the exception said, and what to do; the store's errors are `store` itself."""

    reason: Literal["changed", "interrupted", "database", "store", "internal"]
    kind: str
    detail: str
    next_step: str | None = None
    store: StoreError | None = None
    chunks: tuple[WrittenChunk, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Since the last one."""

    rows: int
    row_bytes: int


Answer = Ready | Began | Located | Done | Failed | Progress
