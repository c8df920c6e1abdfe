"""SIGKILL of the server itself while tables are moved one by one: before MariaDB 10.6 no RENAME of many is whole.

The moment is found by looking into the server's data directory: some of the tables stand in their safety schema and
some do not.
"""

import asyncio
import os
import re
import signal
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.integration.mariadb.restore_lab import EVERYTHING, SERVICE_LOGIN, Lab, lab_on
from tests.integration.mariadb.snapshot_support import run
from tests.servers import installed
from tidewind.engines.mariadb.restore import moves, names, safeguard
from tidewind.ports.engine import DatabaseError

TABLES = 60
REQUEST = "tidewind.restore.request.v1"
SEED = (
    "CREATE DATABASE shop",
    "CREATE TABLE shop.parent (id INT PRIMARY KEY) ENGINE=InnoDB",
    "INSERT INTO shop.parent VALUES (1), (2), (3)",
    *(
        f"CREATE TABLE shop.t{number:03d} (id INT PRIMARY KEY, p INT, "
        f"CONSTRAINT c{number} FOREIGN KEY (p) REFERENCES shop.parent (id) ON DELETE CASCADE) ENGINE=InnoDB"
        for number in range(TABLES)
    ),
    *(f"INSERT INTO shop.t{number:03d} VALUES ({number}, 1), (1000, 2)" for number in range(TABLES)),
)
OOPS = ("DELETE FROM shop.parent WHERE id = 2", "DROP TABLE shop.t007", "CREATE TABLE shop.later (id INT PRIMARY KEY)")


@pytest.fixture
async def lab(mariadb_factory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    monkeypatch.setenv("TIDEWIND_TEST_SERVICE", f"{SERVICE_LOGIN.user}:{SERVICE_LOGIN.password}")
    server = await mariadb_factory(installation=installed.mariadb("10.5"), options=("--secure-file-priv=",))
    async with lab_on(server, tmp_path / "deployment", granted=(f"FILE, {EVERYTHING[0]}",)) as made:
        await made.enroll()
        yield made


class KillsInTheMiddle:
    """Kills the server once, when `half_way` says that a move is, and starts it again. Then does what the restore asks
    an operator to do, if a table was left in pieces that it cannot put together by itself."""

    def __init__(self, lab: Lab, monkeypatch: pytest.MonkeyPatch, half_way: Callable[[], bool]) -> None:
        self._lab = lab
        self._half_way = half_way
        self._pid = lab.server.pid
        self._hit = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._asked: set[str] = set()
        plain = moves._in_pieces

        def asks(*given: Any) -> DatabaseError:
            error = plain(*given)
            self._asked.add(str(error.next_step))
            return error

        monkeypatch.setattr(moves, "_in_pieces", asks)

    async def __aenter__(self) -> "KillsInTheMiddle":
        self._thread.start()
        self._operator = asyncio.create_task(self._operate())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.to_thread(self._thread.join)
        await self._operator

    @property
    def hit(self) -> bool:
        return self._hit.is_set()

    def _watch(self) -> None:
        while not self._stop.is_set():
            if self._half_way():
                os.kill(self._pid, signal.SIGKILL)
                self._hit.set()
                return

    async def _operate(self) -> None:
        await asyncio.to_thread(self._thread.join)
        if not self.hit:
            return
        await self._lab.server.kill()
        await self._start()
        done: set[str] = set()
        while not self._stop.is_set():
            for step in self._asked - done:
                done.add(step)
                await self._move(step)
            await asyncio.sleep(0.05)

    async def _move(self, step: str) -> None:
        asked = re.search(r"move (\S+) to ([^\s,]+)", step)
        assert asked is not None, step
        old, new = (self._lab.server.data_directory / name for name in asked.groups())
        if step.startswith("Stop the server"):
            await self._lab.server.stop()
            if old.exists():
                old.rename(new)
            await self._start()
        else:
            old.rename(new)

    async def _start(self) -> None:
        """While it is closed, root cannot tell that it is up; the service's account can."""
        starting = asyncio.create_task(self._lab.server.start(seconds=600))
        async with asyncio.timeout(60):
            while not await asyncio.to_thread(self._answers):
                await asyncio.sleep(0.05)
        starting.add_done_callback(lambda task: task.cancelled() or task.exception())

    def _answers(self) -> bool:
        try:
            as_service(self._lab)
        except pymysql.err.OperationalError:
            return False
        return True


def as_service(lab: Lab, *statements: str) -> None:
    """While the server is closed to everybody else."""
    login = {"user": SERVICE_LOGIN.user, "password": SERVICE_LOGIN.password}
    with pymysql.connect(host=lab.server.host, port=lab.server.port, **login) as connection:
        run(connection, "SET SESSION sql_log_bin = 0", *statements)


def definitions(lab: Lab, schemas: str) -> int:
    """Tables that stand in schemas of such a name."""
    return sum(1 for _ in lab.server.data_directory.glob(f"{schemas}/*.frm"))


async def test_the_server_dies_while_tables_are_set_aside(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """It completes; or, if a table was left in pieces that need an operator, it returns once they are together."""
    lab.sql(*SEED)
    then = await lab.content()
    backup = await lab.backup()
    lab.sql(*OOPS)
    now = await lab.content()

    def half_way() -> bool:
        return 8 < definitions(lab, "tidewind_rst_*_s*") < TABLES - 8

    async with KillsInTheMiddle(lab, monkeypatch, half_way) as killer:
        ending = await lab.restore(backup)
    assert killer.hit
    if ending.event == "tidewind.restore.failed.v1":
        assert ending.body.returned
        assert now.differences(await lab.content()) == []
        ending = await lab.restore(backup)
    assert ending.event == "tidewind.restore.completed.v1", ending
    assert then.differences(await lab.content()) == []
    undone = await lab.undo(ending.body.restore_id)
    assert undone.event == "tidewind.restore.completed.v1", undone
    assert now.differences(await lab.content()) == []


@pytest.mark.parametrize("moved", ["out", "home"])
async def test_the_server_dies_on_the_way_back(lab: Lab, moved: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While what was loaded goes out, and while what was set aside comes home."""
    lab.sql(*SEED)
    backup = await lab.backup()
    lab.sql(*OOPS)
    now = await lab.content()
    job = await lab.accept(REQUEST, mode="snapshot", backup_id=backup)
    work = await lab.claim(job)
    note = work.note

    async def noted(name: str, facts: Any) -> Any:
        standing = await note(name, facts)
        if name == "accounts":
            await lab.ask_to_cancel(job)
            work.cancel_requested.set()
        return standing

    work.note = noted  # type: ignore[method-assign]

    def half_way() -> bool:
        out, aside = definitions(lab, "tidewind_rst_*_t*"), definitions(lab, "tidewind_rst_*_s*")
        return 8 < out < TABLES - 8 if moved == "out" else out > TABLES - 2 and 8 < aside < TABLES - 8

    async with KillsInTheMiddle(lab, monkeypatch, half_way) as killer:
        ending = await lab.carry_out(job, work)
    assert killer.hit
    assert ending.event == "tidewind.restore.cancelled.v1", ending
    assert now.differences(await lab.content()) == []


def safety_schema(lab: Lab) -> str:
    (restore,) = {str(one["restore_id"]) for one in lab.publisher.data_of("tidewind.restore.started.v1")}
    return names.safety_schema(restore, 1)


@pytest.mark.parametrize("may_write_files", [True, False])
async def test_a_table_left_in_pieces(lab: Lab, may_write_files: bool) -> None:
    """The engine's part has moved and the definition has not, and the server has forgotten that it ever was otherwise."""
    lab.sql(*SEED)
    backup = await lab.backup()
    lab.sql(*OOPS)
    now = await lab.content()
    if not may_write_files:
        lab.sql(f"REVOKE FILE ON *.* FROM '{SERVICE_LOGIN.user}'@'%'")
    job = await lab.accept(REQUEST, mode="snapshot", backup_id=backup)
    data = lab.server.data_directory
    work = await lab.claim(job)
    note = work.note
    told: list[str] = []

    async def noted(name: str, facts: Any) -> Any:
        standing = await note(name, facts)
        if name == safeguard.KEPT_DEFINITIONS:
            safe = safety_schema(lab)
            as_service(lab, f"CREATE DATABASE {safe}", f"RENAME TABLE shop.t050 TO {safe}.t050", "FLUSH TABLES")
            (data / safe / "t050.frm").rename(data / "shop" / "t050.frm")
        if name == "failure":
            told.append(facts["problem"]["next_step"])
            safe = safety_schema(lab)
            (data / "shop" / "t050.frm").rename(data / safe / "t050.frm")
        return standing

    work.note = noted  # type: ignore[method-assign]
    ending = await lab.carry_out(job, work)
    if may_write_files:
        assert ending.event == "tidewind.restore.completed.v1", ending
        ending = await lab.undo(ending.body.restore_id)
        assert ending.event == "tidewind.restore.completed.v1", ending
    else:
        assert ending.event == "tidewind.restore.failed.v1", ending
        assert ending.body.returned
        assert len(told) == 1
        assert "move shop/t050.frm to tidewind_rst_" in told[0]
    assert now.differences(await lab.content()) == []
