"""One connection of a restore to the server, and whether what it does is logged.

A connection that was lost is never opened again behind the caller's back: a predecessor that was shut out must fail,
not come back.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from tidewind.engines.mariadb.connection import STATEMENT_SECONDS, Access, Control
from tidewind.engines.mariadb.failures import LOCK_TIMEOUT, code_of
from tidewind.engines.mariadb.server import ATOMIC_RENAME, version_of
from tidewind.ports.engine import DatabaseError

LOCK_WAIT_S = 20
SESSION_SETTINGS = {
    "foreign_key_checks": "0",
    "check_constraint_checks": "0",
    "system_versioning_alter_history": "KEEP",
}

RESTORE_SERVER_ID = 4_294_000_000
"""Under which a restore is logged where replicas follow: the first of the ids up to 4,294,000,999 that are Tidewind's.
A replica must not have one of them: it would take a restore for its own writes and leave it out."""


def logging_settings(*, logged: bool) -> dict[str, str]:
    """What a session of a restore says to the binary log. Annotations would repeat every statement's text beside its
    rows, and a LOAD DATA's for each of its events: they can make the log a thousand times larger. An id of our own
    tells in any log what a restore wrote."""
    if not logged:
        return {"sql_log_bin": "0"}
    return {"sql_log_bin": "1", "binlog_annotate_row_events": "0", "server_id": str(RESTORE_SERVER_ID)}


class Link:
    """Use `open_link`. `logged` is what the binary log hears unless `unlogged` is asked for."""

    def __init__(self, control: Control, *, logged: bool, version: tuple[int, ...]) -> None:
        self.control = control
        self.version = version
        self._logged = logged
        self._quiet = 0

    @property
    def id(self) -> int:
        return self.control.connection_id

    @property
    def access(self) -> Access:
        """The account and the one endpoint this connection is on."""
        return self.control.access

    @property
    def logged(self) -> bool:
        return self._logged

    @property
    def renames_at_once(self) -> bool:
        """Whether a RENAME of several tables is whole or not at all, also after a crash of the server."""
        return self.version[:2] >= ATOMIC_RENAME

    async def close(self) -> None:
        await self.control.close()

    async def rows(self, sql: str, *, deadline_s: float = STATEMENT_SECONDS) -> list[tuple[Any, ...]]:
        return await self.control.rows(sql, deadline_s=deadline_s)

    async def records(self, sql: str) -> list[dict[str, Any]]:
        return await self.control.records(sql)

    async def value(self, sql: str, *, deadline_s: float = STATEMENT_SECONDS) -> Any:
        return await self.control.value(sql, deadline_s=deadline_s)

    async def run(self, sql: str, *, deadline_s: float = STATEMENT_SECONDS) -> int:
        return await self.control.execute(sql, deadline_s=deadline_s)

    @contextlib.asynccontextmanager
    async def unlogged(self) -> AsyncIterator[None]:
        """Keep the statements inside out of the binary log."""
        if self._logged and self._quiet == 0:
            await self.run("SET SESSION sql_log_bin = 0")
        self._quiet += 1
        try:
            yield
        finally:
            self._quiet -= 1
            if self._logged and self._quiet == 0 and not self.control.closed:
                await self.run("SET SESSION sql_log_bin = 1")

    @contextlib.asynccontextmanager
    async def loudly(self) -> AsyncIterator[None]:
        """Write the statements inside to the binary log, whatever the cluster's setting."""
        if not self._logged:
            await self.run("SET SESSION sql_log_bin = 1")
        try:
            yield
        finally:
            if not self._logged and not self.control.closed:
                await self.run("SET SESSION sql_log_bin = 0")

    @contextlib.asynccontextmanager
    async def waiting_for_locks(self, seconds: int) -> AsyncIterator[None]:
        await self.run(f"SET SESSION lock_wait_timeout = {int(seconds)}")
        try:
            yield
        finally:
            if not self.control.closed:
                await self.run(f"SET SESSION lock_wait_timeout = {LOCK_WAIT_S}")


async def open_link(access: Access, *, logged: bool) -> Link:
    """Connect to the first endpoint that answers. Raises DatabaseError."""
    settings = {**SESSION_SETTINGS, **logging_settings(logged=logged)}
    control = await Control.connect(access, lock_wait_s=LOCK_WAIT_S, settings=settings)
    try:
        version = version_of(str(await control.value("SELECT VERSION()")))
    except BaseException:
        control.abandon()
        raise
    return Link(control, logged=logged, version=version)


def waited_too_long(error: DatabaseError) -> bool:
    """Whether a statement gave up waiting for a lock."""
    return code_of(error) in LOCK_TIMEOUT
