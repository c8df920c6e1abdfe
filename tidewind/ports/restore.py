"""The restore of a cluster in place, as the restorer sees it. One folder per engine implements it.

The steps are coarse, because how a cluster is closed and how its tables are set aside differ from engine to engine in
every detail. What they promise is common:

- Every method of a session may be run again after a crash at any point within it, by any later epoch, and then ends in
  the same state as if it had run once. What a step must remember across a crash that the database itself does not tell
  goes into a `Memory`, before the change it describes.
- A session holds the fence: once a later epoch has begun a session, nothing an earlier one does reaches the database.
- Until `open` the cluster is closed to its users and `give_back` brings everything back as it was at the gate.

Errors: DatabaseError whose kind stands in the catalogue of problems; `database-unreachable` means that the same call
may succeed in a new session. StoreError where the source's objects cannot be read.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from tidewind.domain.lived import Leg
from tidewind.domain.manifest import Manifest
from tidewind.ports.engine import (
    Address,
    DatabaseError,
    Finding,
    Login,
    Report,
    RestoreScope,
    StoreFactory,
    TargetState,
)


class Memory(Protocol):
    """What a restore keeps across crashes, outside the database."""

    async def get(self, name: str) -> Mapping[str, Any] | None:
        """What was kept under the name, by whichever epoch."""

    async def keep(self, name: str, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        """Durably keep the facts unless the name is taken; returns what stands there."""


UNFINISHED_RESTORE = "unfinished restore"
"""Subject of the finding of a survey that says the server is still closed, or half open, by a restore."""

Mint = Callable[[str], str]
"""The password of the account with this name: always the same for a name, unknowable without the deployment's key."""


@dataclass(frozen=True, kw_only=True)
class SnapshotSource:
    """Restore what a backup holds."""

    manifest: Manifest
    open_store: StoreFactory


@dataclass(frozen=True, kw_only=True)
class SafeguardSource:
    """Undo: restore what an earlier restore set aside. `kept` is what that restore kept, by name."""

    restore_id: str
    kept: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class PointSource(SnapshotSource):
    """Restore what a backup holds and then the log's `legs`, in order: each from behind its `after` up to and with its
    `upto`. `segments` are the numbers (first, last) of the segments that hold each leg. `states` are what no log holds
    at the point, by kind; the backup's own where it is missing."""

    legs: tuple[Leg, ...]
    segments: tuple[tuple[int, int], ...]
    states: Mapping[str, Mapping[str, Any]]


Source = SnapshotSource | PointSource | SafeguardSource


@dataclass(frozen=True, kw_only=True)
class SourceState:
    """What a source means for a server. `account_prints` are fingerprints of the source's accounts by name, as
    `TargetState.account_prints` gives the present ones, None where they are not known. `closing` says in words how the
    server would be closed to its users; `kept_users` are those whose accounts stay as they are."""

    account_prints: Mapping[str, str] | None
    findings: tuple[Finding, ...]
    closing: str
    kept_users: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Gated:
    """The cluster is closed and nobody is left. `position` is the log's head then, None without a log; `clock` the
    database's clock."""

    connections_ended: int
    position: str | None
    open_by_hand: tuple[str, ...]
    clock: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Loaded:
    tables: int
    rows: int
    row_bytes: int


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What was replayed; `rows` are row changes. Everything that was sent was applied, or it did not end."""

    transactions: int
    rows: int
    ddl: int


@dataclass(frozen=True, kw_only=True)
class Opened:
    """`position` is the log's head just before the accounts were unlocked, `clock` the database's clock then."""

    position: str | None
    clock: datetime | None = None


class RestoreEnded(DatabaseError):
    """The restore was finished on this server: there is no session to be had, and nothing left to do."""

    def __init__(self, restore_id: str) -> None:
        super().__init__("restore-ended", f"restore {restore_id} has ended on its server")


class ServerReplaced(DatabaseError):
    """Another data directory answers than the one the restore began on. Nothing was done to it, and nothing may be."""

    def __init__(self, began_on: str, found: str) -> None:
        super().__init__(
            "database-unsuitable",
            f"the restore began on server {began_on}; now {found} answers at its address, another data directory",
            "Bring the first server back, or open it by hand with the SQL of the restore.gated event",
        )


class RestoreSession(Protocol):
    """One epoch's hold on the database, in the order in which the steps are called. `identity` tells the data directory
    it is on: a restore must not go on upon another one."""

    identity: str

    async def gate(self, source: Source, memory: Memory, report: Report) -> Gated:
        """Close the cluster: nobody but this session can log in, and no connection of anybody else is left."""

    async def safeguard(self, memory: Memory, report: Report) -> int:
        """Set everything aside where `give_back` finds it; returns the number of tables. The cluster is empty then."""

    async def load(self, source: Source, report: Report) -> Loaded:
        """Make the schemas and tables of the source and fill them."""

    async def replay(self, source: PointSource, memory: Memory, report: Report) -> Replayed:
        """Apply the log's legs to what was loaded, accounts included, the gate kept shut. Progress is written in the
        transaction it describes; a statement that commits by itself is found out by what it left. Raises DatabaseError
        (replay-refused: a statement or event that cannot be applied, named with its position), StoreError."""

    async def define(self, source: Source, memory: Memory, report: Report) -> tuple[str, ...]:
        """What stands above the tables (views, routines, triggers) and beside them (variables, servers, …). Returns
        what the server would not take, in words; such things do not stop a restore."""

    async def verify(self, source: Source, report: Report) -> Loaded:
        """Compare what is there now with the source. Raises DatabaseError (restore-verification-failed)."""

    async def unchanged_since(self, position: str | None) -> bool:
        """Whether nobody but this restore wrote since `position`, as far as the log can tell."""

    async def open(self, memory: Memory, report: Report) -> Opened:
        """Let the users in on the source's accounts, and nothing else. Only after the verdict to open is durable."""

    async def give_back(self, source: Source | None, memory: Memory, report: Report) -> tuple[str, ...]:
        """The way back: everything as it was at the gate, and the users let in. Only after the verdict to return.
        Returns what could not be made again beside the tables, in words: it does not keep the users out."""

    async def settle(self, source: Source | None, memory: Memory, *, opened: bool) -> tuple[str, ...]:
        """What follows once the users are in: events, what the gate changed of the server's variables, what replicas
        are told. Returns what could not be made, in words. `source` is None where it can no longer be read."""

    async def open_by_hand(self, memory: Memory) -> tuple[str, ...]:
        """The statements that bring the cluster back and open it without Tidewind, as far as things stand now."""

    async def finish(self, source: Source | None, memory: Memory, *, opened: bool) -> None:
        """Remove what is needed no longer, and end the fence for good: no session of this restore can begin after it.
        After an opening, what was set aside stays until it expires. After a return it raises DatabaseError rather than
        drop anything while a table of the users may not be back."""


class RestoreEngine(Protocol):
    async def survey(self, address: Address, login: Login) -> TargetState:
        """Look at what stands in the cluster now."""

    async def examine(
        self,
        address: Address,
        login: Login,
        source: Source,
        *,
        keep_accounts: tuple[str, ...],
        replicas: Literal["none", "attached"],
    ) -> SourceState:
        """Look at what restoring this source on this server would meet, beside what `survey` finds. Arguments as for
        `session`. Raises DatabaseError, StoreError."""

    def session(
        self,
        scope: RestoreScope,
        address: Address,
        login: Login,
        *,
        mint: Mint,
        keep_accounts: tuple[str, ...],
        began_on: str | None,
    ) -> AbstractAsyncContextManager[RestoreSession]:
        """Take the fence and shut every earlier epoch out. Entering raises RestoreEnded after `finish`, and
        ServerReplaced if `began_on`, the identity an earlier session of this restore had, is not the server's.
        `keep_accounts` are user names that survive the restore with the rights and secrets they have now, beside the
        session's own."""

    async def expire(
        self, address: Address, login: Login, restore_id: str, *, replicas: Literal["none", "attached"]
    ) -> int:
        """Drop what a restore set aside, for good; returns the number of tables. Nothing there counts as done.
        Replicas that are attached hold it too and hear of it."""
