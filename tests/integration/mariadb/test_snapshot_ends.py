"""However a snapshot ends, nothing of it is left on the server or among the processes."""

import asyncio
import functools
import multiprocessing
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tests.integration.mariadb.snapshot_support import client, login_of, rows, run, sealed_store, take
from tidewind.embedded.mariadb import PrivateMariaDB
from tidewind.engines.mariadb import reading
from tidewind.ports.engine import DatabaseError
from tidewind.ports.store import StoreFull
from tidewind.store.factory import StoreSettings

TRICKLE = "SELECT SQL_NO_CACHE id, v FROM `slow`.`t` WHERE SLEEP(0.0005) = 0"
SERVERS_OWN = "COMMAND <> 'Daemon' AND ID <> CONNECTION_ID()"


@pytest.fixture
async def source(mariadb_factory: Callable[..., Awaitable[Any]]) -> Any:
    server = await mariadb_factory(options=("--plugin-load-add=metadata_lock_info",))
    connection = client(server)
    run(
        connection,
        "CREATE DATABASE slow",
        "USE slow",
        "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(200))",
        "INSERT INTO t SELECT seq, REPEAT('v', 150) FROM seq_1_to_200000",
    )
    connection.close()
    return server


def slowly() -> Any:
    return patch.object(reading, "select_statement", lambda *_: TRICKLE)


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def reads(connection: Any) -> list[tuple[Any, ...]]:
    return rows(
        connection,
        f"SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE '%SLEEP(0.0005)%' AND {SERVERS_OWN}",
    )


def connections(connection: Any) -> list[tuple[Any, ...]]:
    return rows(connection, f"SELECT ID, INFO FROM information_schema.PROCESSLIST WHERE {SERVERS_OWN}")


def locks(connection: Any) -> list[tuple[Any, ...]]:
    return rows(connection, "SELECT * FROM information_schema.METADATA_LOCK_INFO WHERE TABLE_SCHEMA = 'slow'")


async def nothing_left(server: Any, children: set[int]) -> None:
    connection = client(server)
    await until(lambda: not connections(connection) and not locks(connection), 20)
    await until(lambda: not {pid for pid in children if alive(pid)}, 20)
    run(connection, "SET lock_wait_timeout = 1", "ALTER TABLE slow.t ADD COLUMN w INT", "DROP DATABASE slow")
    connection.close()


def alive(pid: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def readers() -> set[int]:
    return {child.pid for child in multiprocessing.active_children() if child.name == "tidewind-reader" and child.pid}


@asynccontextmanager
async def being_read(source: Any, folder: Path) -> AsyncIterator[tuple[asyncio.Task[Any], Any, set[int]]]:
    """A snapshot under way: its task, a connection that watches the server, and the readers' process ids. Afterwards
    nothing of it may be left."""
    watching = client(source)
    with slowly():
        taking = asyncio.create_task(take(source, sealed_store(folder)))
        await until(lambda: bool(reads(watching)))
        children = readers()
        assert len(children) == 2
        yield taking, watching, children
    await nothing_left(source, children)


async def test_cancelled(source: Any, tmp_path: Path) -> None:
    async with being_read(source, tmp_path) as (taking, watching, _):
        watching.close()
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking


async def test_a_reader_is_killed(source: Any, tmp_path: Path) -> None:
    async with being_read(source, tmp_path) as (taking, watching, children):
        watching.close()
        os.kill(min(children), signal.SIGKILL)
        with pytest.raises(DatabaseError) as caught:
            await taking
    assert caught.value.kind == "snapshot-inconsistent"


async def test_a_connection_is_killed(source: Any, tmp_path: Path) -> None:
    async with being_read(source, tmp_path) as (taking, watching, _):
        run(watching, f"KILL CONNECTION {reads(watching)[0][0]}")
        watching.close()
        with pytest.raises(DatabaseError) as caught:
            await taking
    assert caught.value.kind in ("database-unreachable", "snapshot-inconsistent")
    assert source.password not in str(caught.value)


def take_slowly(server: PrivateMariaDB, store: StoreSettings) -> None:
    with slowly():
        asyncio.run(take(server, store))


async def test_the_whole_process_is_killed(source: Any, tmp_path: Path) -> None:
    watching = client(source)
    stand_in = PrivateMariaDB(source.directory, port=source.port)
    stand_in._password = source.password
    process = multiprocessing.get_context("spawn").Process(target=take_slowly, args=(stand_in, sealed_store(tmp_path)))
    process.start()
    await until(lambda: bool(reads(watching)))
    children = _descendants(process.pid or 0)
    watching.close()
    assert len(children) >= 2
    os.kill(process.pid or 0, signal.SIGKILL)
    await asyncio.to_thread(process.join)
    await nothing_left(source, children)


def _descendants(pid: int) -> set[int]:
    parents = {
        int(entry.name): int(found[1])
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and (found := re.search(r"^PPid:\t(\d+)$", _status(entry), re.MULTILINE))
    }
    found_now = {child for child, parent in parents.items() if parent == pid}
    return found_now.union(*(_descendants(child) for child in found_now))


def _status(entry: Path) -> str:
    try:
        return (entry / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


class _FullStore:
    async def __aenter__(self) -> "_FullStore":
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def put_stream(self, key: str, parts: Any) -> Any:
        async for _ in parts:
            raise StoreFull("put", key, "no space left")


async def test_the_store_is_full(source: Any, tmp_path: Path) -> None:
    from tests.integration.mariadb import snapshot_support

    with slowly(), patch.object(snapshot_support, "functools", _PartialOf(_FullStore)):
        taking = asyncio.create_task(take(source, sealed_store(tmp_path)))
        with pytest.raises(StoreFull):
            await taking
    await nothing_left(source, readers())


class _PartialOf:
    """Stands in for functools in the support module: its store factory becomes ours."""

    def __init__(self, factory: Any) -> None:
        self._factory = factory

    def partial(self, *_: object) -> Any:
        return functools.partial(self._factory)


@pytest.mark.parametrize(("fault", "kind"), [("password", "database-refused-login"), ("port", "database-unreachable")])
async def test_cannot_begin(source: Any, tmp_path: Path, fault: str, kind: str) -> None:
    stand_in = PrivateMariaDB(source.directory, port=1 if fault == "port" else source.port)
    stand_in._password = "canary-wrong" if fault == "password" else source.password
    with pytest.raises(DatabaseError) as caught:
        await take(stand_in, sealed_store(tmp_path))
    assert caught.value.kind == kind
    assert login_of(stand_in).password not in f"{caught.value} {caught.value.detail} {caught.value.next_step}"
    await nothing_left(source, set())


async def test_a_server_that_a_restore_left_closed_is_not_backed_up(source: Any, tmp_path: Path) -> None:
    connection = client(source)
    run(
        connection,
        "CREATE DATABASE tidewind",
        "CREATE TABLE tidewind.fence (restore_id VARCHAR(32), ended TINYINT)",
        "INSERT INTO tidewind.fence VALUES ('rst_0123456789', 0)",
    )
    with pytest.raises(DatabaseError, match="rst_0123456789 has not ended") as refused:
        await take(source, sealed_store(tmp_path))
    assert refused.value.kind == "operation-running"
    run(connection, "UPDATE tidewind.fence SET ended = 1")
    assert (await take(source, sealed_store(tmp_path))).tables
    connection.close()
