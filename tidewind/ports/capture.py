"""Capture: a cluster's log, read as it is written. One folder per engine implements it.

An engine yields what `tidewind.domain.log_stream` describes: the session's bytes in order, with the transactions that
end in them. It decides what a continuous log is; who captures which cluster, what becomes of the bytes, and what a
break means is decided elsewhere.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from tidewind.domain.log_stream import HistoryCause, Mark, State, StateKind, Transaction
from tidewind.ports.engine import Address, DatabaseError, Finding, Login


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Where reading begins: after `position`. `last` is the last transaction held, or None at a history's beginning:
    the log must hold it with the same bytes, else it is another log."""

    position: str
    last: Transaction | None = None


class LogBroken(DatabaseError):
    """The log cannot be read on from there, and never will be: a new history must begin. `cause` says why."""

    def __init__(self, cause: HistoryCause, detail: str) -> None:
        super().__init__("log-broken", detail)
        self.cause: HistoryCause = cause


class LogUnsuitable(DatabaseError):
    """The log is off, or written in a way that no point-in-time restore could trust. `detail` names the setting, the
    next step the statement that mends it."""

    def __init__(self, detail: str, next_step: str) -> None:
        super().__init__("log-unsuitable", detail, next_step)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Bytes that follow the piece before, at any bounds, and the transactions that end in them. `time_us` of these is
    the moment they were received, on the database's clock as far as it is known (`live`), else what the log says."""

    data: bytes
    transactions: tuple[Transaction, ...] = ()
    live: bool = True


class LogReading(Protocol):
    """One session. `position` is where it truly begins, `opened_us` the database's clock then; `preamble` are the bytes
    at offset 0, which `pieces` yields first."""

    position: str
    preamble: bytes
    opened_us: int
    server_identity: str
    server_version: str

    def pieces(self) -> AsyncIterator[Piece]:
        """Until cancelled or broken. Raises LogBroken, LogUnsuitable (a log header announced other settings),
        DatabaseError (database-unreachable: the same call may succeed in a new session)."""

    async def mark(self) -> Mark:
        """Look at the log's end and the clock, on a connection of its own. Raises DatabaseError."""

    async def state(self, kind: StateKind) -> State | None:
        """What no log holds, as it is now; None where the account may not see it. Raises DatabaseError."""

    async def headroom_s(self, position: str) -> float | None:
        """Seconds until the server purges what lies after `position`; None if it purges nothing by itself."""


class CaptureEngine(Protocol):
    state_kinds: tuple[StateKind, ...]

    async def examine(self, address: Address, login: Login) -> tuple[Finding, ...]:
        """Whether the log can be captured: one finding per setting and right. Raises DatabaseError if unreachable."""

    async def log_end(self, address: Address, login: Login) -> str:
        """Where the log ends now: where a new history may begin. Raises DatabaseError, LogUnsuitable."""

    def read(
        self, address: Address, login: Login, resume: Resume, *, server_id: int
    ) -> AbstractAsyncContextManager[LogReading]:
        """Begin a session. `server_id` is the number under which we read, the same for a cluster always: a second
        reading with it ends the first. Entering raises LogBroken, LogUnsuitable, DatabaseError."""


@dataclass(frozen=True, kw_only=True)
class TableChange:
    """Rows of one table that a transaction wrote."""

    schema: str
    table: str
    inserted: int = 0
    updated: int = 0
    deleted: int = 0


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a transaction did. `statements` are those that are no rows (DDL, accounts), secrets masked, each on one line
    and cut off with `…` if it is long. `schemas` are the default schemas they ran in, one for each."""

    tables: tuple[TableChange, ...] = ()
    statements: tuple[str, ...] = ()
    schemas: tuple[str, ...] = ()


class LogDecoder(Protocol):
    """Reads what capture wrote, for people; pure."""

    def summary(self, preamble: bytes, transaction: bytes) -> Summary:
        """Of a whole transaction's bytes. ValueError if they cannot be read."""
