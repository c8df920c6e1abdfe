"""Tables without transactions and the account tables are exact at the position each of them carries."""

import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.integration.mariadb.snapshot_support import chunk_texts, client, rows, run, sealed_store, take
from tests.integration.mariadb.test_snapshot_consistency import make_replica, replica_at
from tidewind.domain.gtids import GtidList
from tidewind.engines.mariadb.illformed import fields


@contextmanager
def repeating(server: Any, statement: Callable[[int], str], pause: float) -> Iterator[None]:
    ended = threading.Event()

    def loop() -> None:
        connection, number = client(server), 0
        while not ended.wait(pause):
            number += 1
            run(connection, statement(number))
        connection.close()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(30)


async def test_exact_at_their_own_position(
    mariadb_factory: Callable[..., Awaitable[Any]], tmp_path: Path, monkeypatch: Any
) -> None:
    # How long the machine takes is no matter here: with its usual bound a reading under the lock may be given up.
    monkeypatch.setattr("tidewind.engines.mariadb.untransacted.LOCK_SECONDS", 20.0)
    source, replica = await mariadb_factory(), await mariadb_factory(server_id=2)
    connection = client(source)
    run(
        connection,
        "CREATE DATABASE old",
        "USE old",
        "CREATE TABLE busy (id INT PRIMARY KEY, v INT) ENGINE=MyISAM",
        "CREATE TABLE calm (id INT PRIMARY KEY, v INT) ENGINE=Aria",
        "CREATE TABLE noise (id INT AUTO_INCREMENT PRIMARY KEY, v INT)",
        "INSERT INTO busy SELECT seq, 0 FROM seq_1_to_3000",
        "INSERT INTO calm SELECT seq, 0 FROM seq_1_to_3000",
    )
    connection.close()
    make_replica(source, replica)
    store = sealed_store(tmp_path)
    with (
        repeating(source, lambda n: f"UPDATE old.busy SET v = {n} WHERE id <= 2000", 0.005),
        repeating(source, lambda n: f"INSERT INTO old.noise (v) VALUES ({n})", 0.001),
        repeating(source, lambda n: f"CREATE OR REPLACE USER u{n % 7} IDENTIFIED BY 'p{n}'", 0.01),
    ):
        content = await take(source, store)
    assert content.unsupported == ()
    texts = await chunk_texts(content, store)
    system = {table.name: table for table in content.system_tables}
    tables = {table.name: table for table in content.tables}
    positions = {
        "busy": (tables["busy"].position, tables["busy"].chunks),
        "calm": (tables["calm"].position, tables["calm"].chunks),
        "global_priv": (system["global_priv"].position, system["global_priv"].chunks),
    }
    settled = GtidList.parse(content.settled_position or "")
    assert all(settled.covers(GtidList.parse(str(position))) for position, _ in positions.values())
    assert settled != GtidList.parse(content.position or "")
    assert content.settled_time is not None
    assert content.settled_time > content.snapshot_time
    for name, (position, chunks) in sorted(positions.items(), key=lambda item: int(str(item[1][0]).rsplit("-", 1)[1])):
        await replica_at(replica, str(position))
        there = client(replica)
        if name == "global_priv":
            expected = rows(there, "SELECT Host, User, Priv FROM mysql.global_priv WHERE User LIKE 'u%'")
        else:
            expected = rows(there, f"SELECT CAST(id AS CHAR), CAST(v AS CHAR) FROM old.{name}")
        there.close()
        lines = [line for number in chunks for line in texts[number].splitlines()]
        read = [tuple((value or b"").decode() for value in fields(line)) for line in lines]
        if name == "global_priv":
            read = [row for row in read if row[1].startswith("u")]
        assert sorted(read) == sorted(expected), name


async def test_what_cannot_be_exact_says_so(
    mariadb_factory: Callable[..., Awaitable[Any]], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("tidewind.engines.mariadb.untransacted.LOCKED_BYTES_MAX", 0)
    monkeypatch.setattr("tidewind.engines.mariadb.untransacted.TRIES", 1)
    source = await mariadb_factory()
    connection = client(source)
    run(
        connection,
        "CREATE DATABASE old",
        "CREATE TABLE old.busy (id INT PRIMARY KEY, v VARCHAR(100)) ENGINE=MyISAM",
        "INSERT INTO old.busy SELECT seq, REPEAT('x', 100) FROM old.seq_1_to_100000",
    )
    connection.close()
    with repeating(source, lambda n: f"UPDATE old.busy SET v = {n} WHERE id = 7", 0):
        content = await take(source, sealed_store(tmp_path))
    assert [line for line in content.unsupported if "old.busy" in line and "different moments" in line]
    assert content.tables[0].attributes["exact"] is False
