"""What replicas hear of a restore.

A cluster without replicas is restored unlogged. A replica that hangs on it all the same would go on, silently
different; so the last thing before opening is one logged row in a table that only this server has: the replica stops
there, with an error that names the table. With replicas everything is logged but the gate, and the accounts follow as
statements at the opening.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from tidewind.engines.mariadb.quoting import quote_name, text_literal
from tidewind.engines.mariadb.restore import names
from tidewind.engines.mariadb.restore.accounts import AccountSets
from tidewind.engines.mariadb.restore.link import Link
from tidewind.engines.mariadb.restore.names import ACCOUNT_TABLES
from tidewind.engines.mariadb.restore.statements import TablePath, path

_NOBODY = "'tidewind.invalid', 'tidewind'"
SENTINEL = (names.WORK_SCHEMA, "this_server_was_restored_without_its_replicas")


async def stop_forgotten_replicas(link: Link, restore_id: str) -> None:
    await link.run(
        f"CREATE TABLE IF NOT EXISTS {path(SENTINEL)} (restore_id VARCHAR(32) NOT NULL PRIMARY KEY, "
        "opened_at DATETIME(6) NOT NULL) ENGINE=InnoDB"
    )
    async with link.loudly():
        await link.run(f"REPLACE INTO {path(SENTINEL)} VALUES ({text_literal(restore_id)}, SYSDATE(6))")


async def log_account_differences(link: Link, sets: AccountSets) -> None:
    """Say, as statements, what changed between the accounts of before the gate and the present ones. Each statement
    leads to the same rows wherever it runs, here included, where it changes nothing."""
    async with _as_statements(link):
        for table in ACCOUNT_TABLES:
            before, now = sets.table("saved", table), ("mysql", table)
            columns = await _columns(link, now)
            await _say(link, now, columns, await _except(link, columns, now, before))
            key = [str(row[4]) for row in await link.rows(f"SHOW KEYS FROM {path(now)} WHERE Key_name = 'PRIMARY'")]
            await _unsay(link, now, key or columns, await _except(link, key or columns, before, now))
    await log_routine_rights(link)


async def log_routine_rights(link: Link) -> None:
    """Rights on routines, all of them: on a replica they went when the routines were dropped."""
    rights = ("mysql", "procs_priv")
    columns = await _columns(link, rights)
    async with _as_statements(link):
        await _say(link, rights, columns, await link.rows(f"SELECT {_as_hex(columns)} FROM {path(rights)}"))
        await link.run("FLUSH PRIVILEGES")


@contextlib.asynccontextmanager
async def _as_statements(link: Link) -> AsyncIterator[None]:
    """Log what follows as it is said: as rows it would need the replica to hold the same rows already."""
    await link.run("SET SESSION binlog_format = STATEMENT")
    yield
    await link.run("SET SESSION binlog_format = DEFAULT")


async def _say(link: Link, table: TablePath, columns: list[str], rows: Sequence[tuple[Any, ...]]) -> None:
    every = ", ".join(quote_name(column) for column in columns)
    for row in rows:
        values = ", ".join(_literal(value) for value in row)
        await link.run(f"REPLACE INTO {path(table)} ({every}) VALUES ({values})")


async def _unsay(link: Link, table: TablePath, columns: list[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """A DELETE from a table that is empty here is not logged, so it is not empty meanwhile."""
    if not rows:
        return
    async with link.unlogged():
        await link.run(f"INSERT IGNORE INTO {path(table)} (Host, User) VALUES ({_NOBODY})")
    for row in rows:
        pairs = zip(columns, row, strict=True)
        gone = " AND ".join(f"{quote_name(column)} <=> {_literal(value)}" for column, value in pairs)
        await link.run(f"DELETE FROM {path(table)} WHERE {gone}")
    async with link.unlogged():
        await link.run(f"DELETE FROM {path(table)} WHERE (Host, User) = ({_NOBODY})")


async def _columns(link: Link, table: TablePath) -> list[str]:
    return [str(row[0]) for row in await link.rows(f"SHOW COLUMNS FROM {path(table)}")]


async def _except(link: Link, columns: list[str], these: TablePath, those: TablePath) -> list[tuple[Any, ...]]:
    """Rows of `these` that are not in `those`, by these columns, each value in hexadecimal."""
    every = ", ".join(quote_name(column) for column in columns)
    only_these = f"SELECT {every} FROM {path(these)} EXCEPT SELECT {every} FROM {path(those)}"
    return await link.rows(f"SELECT {_as_hex(columns)} FROM ({only_these}) difference")


def _literal(value: str | None) -> str:
    return "NULL" if value is None else f"_utf8mb4 X'{value}'"


def _as_hex(columns: list[str]) -> str:
    return ", ".join(f"HEX(CAST({quote_name(column)} AS CHAR))" for column in columns)
