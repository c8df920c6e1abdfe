"""DDL that shows in no definition, and DDL that falls between two looks, each at the worst moment it can have."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.integration.mariadb.snapshot_support import (
    access_of,
    client,
    difference,
    load,
    rows,
    run,
    sealed_store,
    take,
)
from tidewind.engines.mariadb import attempt, watchdog
from tidewind.engines.mariadb.catalogue import SERVER_SCHEMAS, read_schemas
from tidewind.engines.mariadb.connection import Control
from tidewind.engines.mariadb.ddl_hold import DdlHold

Factory = Callable[..., Awaitable[Any]]
TABLES = [
    "CREATE DATABASE d",
    "USE d",
    "CREATE TABLE parted (id INT PRIMARY KEY, a INT) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (1000))",
    "INSERT INTO parted SELECT seq, 1 FROM seq_1_to_900",
    "CREATE TABLE outside (id INT PRIMARY KEY, a INT)",
    "INSERT INTO outside SELECT seq, 2 FROM seq_1_to_500",
    "CREATE TABLE isam (id INT, a INT) ENGINE = MyISAM",
    "INSERT INTO isam VALUES (1, 2)",
    "CREATE TABLE merged (id INT, a INT) ENGINE = MRG_MyISAM",
]
EXCHANGE = "ALTER TABLE d.parted EXCHANGE PARTITION p0 WITH TABLE d.outside"


def once_before(monkeypatch: pytest.MonkeyPatch, step: str, server: Any, *statements: str) -> list[str]:
    """Run the statements before a step of the first attempt; the list gets an entry at every attempt's."""
    original = getattr(attempt, step)
    reached: list[str] = []

    async def instead(*arguments: Any, **options: Any) -> Any:
        reached.append(step)
        if len(reached) == 1:
            connection = client(server)
            await asyncio.to_thread(run, connection, *statements)
            connection.close()
        return await original(*arguments, **options)

    monkeypatch.setattr(attempt, step, instead)
    return reached


@pytest.mark.parametrize(
    ("step", "statements"),
    [
        ("located", [EXCHANGE]),  # after the second look, before any row is read
        ("located", ["ALTER TABLE d.outside ADD COLUMN b INT", "ALTER TABLE d.outside DROP COLUMN b", EXCHANGE]),
        ("agree", [EXCHANGE]),  # between the looks
        ("agree", ["TRUNCATE TABLE d.outside"]),
        ("agree", ["CREATE DATABASE another"]),
        ("agree", ["ALTER DATABASE d CHARACTER SET latin1"]),
        ("agree", ["ALTER TABLE d.parted TRUNCATE PARTITION p0"]),
        ("agree", ["CREATE OR REPLACE TABLE d.merged (id INT, a INT) ENGINE = MRG_MyISAM COMMENT 'other'"]),
        ("read_on_its_own", ["ALTER TABLE d.isam ADD COLUMN b INT DEFAULT 7"]),
    ],
)
async def test_an_attempt_in_which_it_falls_is_void(
    mariadb_factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, statements: Sequence[str]
) -> None:
    source, target = await mariadb_factory(), await mariadb_factory(server_id=2)
    connection = client(source)
    run(connection, *TABLES)
    connection.close()
    reached = once_before(monkeypatch, step, source, *statements)
    store = sealed_store(tmp_path)
    content = await take(source, store)
    assert len(reached) > 1, "the attempt went through"
    await load(content, store, target)
    assert difference(source, target) == []


async def test_a_void_attempt_leaves_the_next_its_watchdog(
    mariadb_factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt ends in the middle of one of the watchdog's looks; the connection it looks over is still needed."""
    looking = asyncio.Event()
    original = Control.rows

    async def long_look(self: Control, sql: str, **options: Any) -> Any:
        if sql == watchdog._WAITERS:
            looking.set()
            sql = f"SELECT w.* FROM ({sql}) w WHERE SLEEP(0.3) = 0 UNION ALL SELECT 0, '', '', 0 FROM DUAL WHERE SLEEP(0.3)"
        return await original(self, sql, **options)

    monkeypatch.setattr(Control, "rows", long_look)
    monkeypatch.setattr(watchdog, "LOOK_SECONDS", 0.0)
    source = await mariadb_factory()
    connection = client(source)
    run(connection, *TABLES, "CREATE TABLE more AS SELECT seq FROM seq_1_to_50000")
    connection.close()
    reached = once_before(monkeypatch, "located", source, EXCHANGE)
    await take(source, sealed_store(tmp_path))
    assert len(reached) > 1
    assert looking.is_set()


async def test_an_alter_that_a_hold_meets_halfway_keeps_nobody_from_its_table(mariadb_factory: Factory) -> None:
    """The server lets the hold pass while the ALTER copies; at its end the ALTER would wait for the hold with its table
    locked, and whoever writes to the table with it."""
    source = await mariadb_factory()
    connection, altering = client(source), client(source)
    run(
        connection,
        "CREATE DATABASE d",
        "USE d",
        "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(200))",
        "INSERT INTO t SELECT seq, REPEAT('v', 150) FROM seq_1_to_400000",
    )
    copying = asyncio.create_task(
        asyncio.to_thread(run, altering, "ALTER TABLE d.t MODIFY id BIGINT, ALGORITHM = COPY")
    )
    state = f"SELECT STATE FROM information_schema.PROCESSLIST WHERE ID = {altering.thread_id()}"
    deadline = time.monotonic() + 60
    while rows(connection, state)[0][0] != "copy to tmp table":
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
    async with DdlHold(access_of(source), 300.0), asyncio.timeout(60):
        await asyncio.to_thread(run, connection, "DELETE FROM d.t WHERE id = 1")
        await copying
    connection.close()
    altering.close()


async def test_a_hold_keeps_ddl_waiting_until_its_end(mariadb_factory: Factory) -> None:
    source = await mariadb_factory()
    connection, altering = client(source), client(source)
    run(connection, *TABLES)
    async with DdlHold(access_of(source), 300.0) as hold:
        waiting = asyncio.create_task(asyncio.to_thread(run, altering, "ALTER TABLE d.outside ADD COLUMN b INT"))
        state = f"SELECT STATE FROM information_schema.PROCESSLIST WHERE ID = {altering.thread_id()}"
        deadline = time.monotonic() + 60
        while rows(connection, state)[0][0] != "Waiting for backup lock":
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        run(connection, "INSERT INTO d.outside VALUES (5000, 1)")
        assert hold.held
        assert not waiting.done()
        await hold.release()
        async with asyncio.timeout(60):
            await waiting
        assert not hold.held
    connection.close()
    altering.close()


async def test_a_schema_that_is_dropped_during_the_look_is_left_out(
    mariadb_factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = await mariadb_factory()
    connection = client(source)
    run(connection, "CREATE DATABASE goes", "CREATE DATABASE stays")
    original = Control.rows

    async def drops(self: Control, sql: str, **options: Any) -> Any:
        if sql == "SHOW CREATE DATABASE `goes`":
            await original(self, "DROP DATABASE goes")
        return await original(self, sql, **options)

    monkeypatch.setattr(Control, "rows", drops)
    async with await Control.connect(access_of(source)) as control:
        schemas = await read_schemas(control, SERVER_SCHEMAS)
    assert [schema.name for schema in schemas] == ["stays"]
    connection.close()
