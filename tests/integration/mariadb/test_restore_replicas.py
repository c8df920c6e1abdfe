"""What replicas make of a restore: with them, they follow; a forgotten one stops with an error that says why."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.mariadb.restore_data import OOPS, SEED, differing, picture_of
from tests.integration.mariadb.restore_lab import SERVICE_LOGIN, Lab, lab_on
from tests.integration.mariadb.snapshot_support import client, rows, run
from tidewind.embedded.mariadb import PrivateMariaDB
from tidewind.engines.mariadb.restore.link import RESTORE_SERVER_ID

COMPLETED = "tidewind.restore.completed.v1"


@pytest.fixture
def replica_of(
    mariadb_factory: Callable[..., Awaitable[PrivateMariaDB]],
) -> Callable[[PrivateMariaDB], Awaitable[PrivateMariaDB]]:
    """Start a replica that begins where the primary's log begins."""

    async def start(primary: PrivateMariaDB) -> PrivateMariaDB:
        replica = await mariadb_factory(server_id=2)
        connection = client(replica)
        run(
            connection,
            "SET GLOBAL gtid_slave_pos = ''",
            f"CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {primary.port}, MASTER_USER = 'root', "
            f"MASTER_PASSWORD = '{primary.password}', MASTER_USE_GTID = slave_pos",
            "START SLAVE",
        )
        connection.close()
        return replica

    return start


@pytest.fixture
async def lab(
    mariadb_factory: Callable[..., Awaitable[PrivateMariaDB]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Lab]:
    monkeypatch.setenv("TIDEWIND_TEST_SERVICE", f"{SERVICE_LOGIN.user}:{SERVICE_LOGIN.password}")
    server = await mariadb_factory()
    async with lab_on(server, tmp_path / "deployment") as made:
        yield made


async def slave_status(replica: PrivateMariaDB, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Wait for a state of the replica."""
    connection = client(replica)
    give_up = time.monotonic() + 60
    try:
        while True:
            with connection.cursor() as cursor:
                cursor.execute("SHOW SLAVE STATUS")
                values = cursor.fetchone()
                status = dict(zip((column[0] for column in cursor.description), values, strict=True))
            status["position"] = rows(connection, "SELECT @@GLOBAL.gtid_slave_pos")[0][0]
            if until(status):
                return status
            assert time.monotonic() < give_up, status
            await asyncio.sleep(0.1)
    finally:
        connection.close()


def look(server: PrivateMariaDB) -> dict[str, Any]:
    """Without what no log carries: root's own password, whether events run, variables, statistics, CREATE SERVER."""
    seen = picture_of(server)
    seen["accounts global_priv"] = [row for row in seen["accounts global_priv"] if row[1] != "root"]
    seen["events"] = [event[:7] for event in seen["events"]]
    unlogged = ("variable", "statistics", "servers")
    return {name: value for name, value in seen.items() if not name.startswith(unlogged)}


async def equal(primary: PrivateMariaDB, replica: PrivateMariaDB) -> None:
    position = rows(client(primary), "SELECT @@GLOBAL.gtid_binlog_pos")[0][0]
    status = await slave_status(replica, lambda seen: seen["Last_SQL_Errno"] or seen["position"] == position)
    assert status["Last_SQL_Errno"] == 0, status["Last_SQL_Error"]
    found = differing(look(primary), look(replica))
    assert found == {}, "\n".join(f"{k}\n   {v[0]}\n   {v[1]}" for k, v in found.items())


async def test_attached_replicas_follow_and_stay_equal(lab: Lab, replica_of: Any) -> None:
    await lab.enroll(replicas="attached")
    lab.sql(*SEED)
    replica = await replica_of(lab.server)
    backup = await lab.backup()
    lab.sql(*OOPS)
    job = await lab.accept("tidewind.restore.request.v1", mode="snapshot", backup_id=backup)
    work = await lab.claim(job)
    note = work.note

    async def noted(name: str, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        if name == "accounts":
            work.cancel_requested.set()
        return await note(name, facts)

    work.note = noted  # type: ignore[method-assign]
    ending = await lab.carry_out(job, work)
    assert ending.event == "tidewind.restore.cancelled.v1", ending
    await equal(lab.server, replica)
    ending = await lab.restore(backup)
    assert ending.event == COMPLETED, ending
    await equal(lab.server, replica)
    undone = await lab.undo(ending.body.restore_id)
    assert undone.event == COMPLETED, undone
    await equal(lab.server, replica)


def log_since(server: PrivateMariaDB, file: str, position: int) -> list[tuple[str, int, int]]:
    """(type, server id, bytes) of every event of the log from there on."""
    connection = client(server)
    try:
        events: list[tuple[str, int, int]] = []
        files = [str(row[0]) for row in rows(connection, "SHOW BINARY LOGS")]
        for name in files[files.index(file) :]:
            start = f" FROM {position}" if name == file else ""
            for _, begin, kind, server_id, end, _ in rows(connection, f"SHOW BINLOG EVENTS IN '{name}'{start}"):
                events.append((str(kind), int(server_id), int(end) - int(begin)))
        return events
    finally:
        connection.close()


async def test_a_logged_restore_writes_its_rows_once_and_under_an_id_of_its_own(lab: Lab) -> None:
    """With annotations each of a chunk's row events repeats the statement; a replica's log would not tell who wrote."""
    await lab.enroll(replicas="attached")
    lab.sql(
        *SEED,
        "SET GLOBAL binlog_annotate_row_events = ON",
        "CREATE TABLE shop.many (id INT PRIMARY KEY, x CHAR(200)) ENGINE=InnoDB",
        "INSERT INTO shop.many SELECT seq, SHA2(seq, 512) FROM seq_1_to_5000",
    )
    content = 5000 * (4 + 128)
    backup = await lab.backup()
    lab.sql("DELETE FROM shop.many")
    connection = client(lab.server)
    file, position = rows(connection, "SHOW MASTER STATUS")[0][:2]
    own = int(rows(connection, "SELECT @@GLOBAL.server_id")[0][0])
    connection.close()
    ending = await lab.restore(backup)
    assert ending.event == COMPLETED, ending
    events = log_since(lab.server, str(file), int(position))
    written = {kind: sum(size for one, _, size in events if one == kind) for kind in {one for one, _, _ in events}}
    assert "Annotate_rows" not in written, written
    assert content < sum(written.values()) < 2 * content, written
    assert {server_id for kind, server_id, _ in events if "rows" in kind} == {RESTORE_SERVER_ID} != {own}


async def test_a_forgotten_replica_stops_and_its_error_says_why(lab: Lab, replica_of: Any) -> None:
    await lab.enroll(replicas="none")
    lab.sql(*SEED)
    replica = await replica_of(lab.server)
    backup = await lab.backup()
    lab.sql(*OOPS)
    position = rows(client(lab.server), "SELECT @@GLOBAL.gtid_binlog_pos")[0][0]
    before = await slave_status(replica, lambda seen: seen["Last_SQL_Errno"] or seen["position"] == position)
    assert before["Last_SQL_Errno"] == 0, before["Last_SQL_Error"]
    ending = await lab.restore(backup)
    assert ending.event == COMPLETED, ending
    status = await slave_status(replica, lambda seen: bool(seen["Last_SQL_Errno"]))
    assert "this_server_was_restored_without_its_replicas" in status["Last_SQL_Error"]
