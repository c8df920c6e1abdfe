"""Rows by array binding, on a real server: the same bits as LOAD DATA, and whatever it cannot take is said."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.mariadb.snapshot_support import (
    access_of,
    chunk_texts,
    client,
    rows,
    run,
    sealed_store,
    stored_values,
    take,
)
from tests.integration.mariadb.test_snapshot_values import COLUMNS
from tidewind.engines.mariadb.connection import RawConnection, open_raw
from tidewind.engines.mariadb.loading import LOAD_SQL_MODE, insert_statement, load_settings
from tidewind.engines.mariadb.restore.binding import BindingConnection, NotTaken, insert_rows
from tidewind.engines.mariadb.restore.link import SESSION_SETTINGS
from tidewind.ports.engine import DatabaseError

ROWS = 150
PACKET = 16 << 20
BY_LOAD_DATA_ONLY = {"e2", "s2", "e"}
"""Members that are told apart by number alone; and the error value, of which the server warns."""


def binding(server: Any, kind: type[RawConnection] = BindingConnection) -> RawConnection:
    settings = {**SESSION_SETTINGS, "sql_log_bin": "0"}
    return open_raw(access_of(server), sql_mode=LOAD_SQL_MODE, settings=settings, local_infile=True, kind=kind)


def insert(server: Any, connection: RawConnection, text: bytes | Iterator[bytes], packet: int = PACKET) -> int:
    pieces = iter([text]) if isinstance(text, bytes) else text
    statement = "INSERT INTO bound.t (id, v) VALUES (?, ?)"
    return insert_rows(connection, access_of(server), statement, 2, pieces, packet_bytes=packet)


def fresh(server: Any, column: str = "VARCHAR(2000)") -> Any:
    connection = client(server)
    run(
        connection,
        "CREATE DATABASE IF NOT EXISTS bound",
        f"CREATE OR REPLACE TABLE bound.t (id INT PRIMARY KEY AUTO_INCREMENT, v {column}) CHARACTER SET utf8mb4",
    )
    return connection


async def test_every_type_has_the_same_bits_as_in_the_source(mariadb_factory: Any, tmp_path: Path) -> None:
    server = await mariadb_factory()
    dice = random.Random(20261124)
    connection = client(server)
    run(
        connection,
        "CREATE DATABASE bits",
        "SET SESSION sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00', check_constraint_checks = 0",
    )
    for name, (kind, make) in COLUMNS.items():
        run(connection, f"CREATE TABLE bits.`{name}` (id INT PRIMARY KEY, v {kind})")
        values = ", ".join(f"({n}, {'NULL' if n % 20 == 7 else make(dice)})" for n in range(ROWS))
        run(connection, f"INSERT INTO bits.`{name}` VALUES {values}")
    store = sealed_store(tmp_path)
    content = await take(server, store)
    texts = await chunk_texts(content, store)
    run(connection, "CREATE DATABASE bound")
    raw = binding(server)
    by_load_data: dict[str, str] = {}
    for table in content.tables:
        statement = insert_statement("bound", table.name, table.columns)
        if statement is None:
            by_load_data[table.name] = "no statement"
            continue
        run(connection, f"CREATE TABLE bound.`{table.name}` LIKE bits.`{table.name}`")
        run(raw, *(f"SET SESSION {name} = {value}" for name, value in load_settings(table.columns).items()))
        pieces = iter([texts[number] for number in table.chunks])
        try:
            taken = insert_rows(raw, access_of(server), statement, len(table.columns), pieces, packet_bytes=PACKET)
        except NotTaken as refusal:
            by_load_data[table.name] = str(refusal)
            continue
        assert (table.name, taken) == (table.name, ROWS)
        both = [stored_values(connection, schema, table.name, "BASE TABLE") for schema in ("bits", "bound")]
        assert both[0] == both[1], table.name
        sums = [
            rows(connection, f"CHECKSUM TABLE {schema}.`{table.name}` EXTENDED")[0][1] for schema in ("bits", "bound")
        ]
        assert sums[0] == sums[1], table.name
    assert set(by_load_data) == BY_LOAD_DATA_ONLY, by_load_data


async def test_many_messages_take_every_row_once(mariadb: Any) -> None:
    connection, raw = fresh(mariadb), binding(mariadb)
    lines = [b"%d\t%s\n" % (n, b"x" * (n % 900)) for n in range(1, 4001)]
    text = b"".join(lines)
    pieces = iter([text[at : at + 65_537] for at in range(0, len(text), 65_537)])
    assert insert(mariadb, raw, pieces) == 4000
    assert rows(connection, "SELECT COUNT(*), SUM(id), SUM(LENGTH(v) = id % 900) FROM bound.t") == [
        (4000, 4000 * 4001 // 2, 4000)
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"1\tfine\n2\t\xff\xfe\n", "warned"),
        (b"1\tfine\n1\ttwice\n", "Duplicate"),
        (b"1\tfine\n2\n", "whole rows"),
        (b"1\tfine\n2\t" + b"long" * 600 + b"\n", "warned"),
    ],
)
async def test_what_it_does_not_take_can_be_rolled_back_and_loaded(mariadb: Any, text: bytes, why: str) -> None:
    connection, raw = fresh(mariadb), binding(mariadb)
    run(raw, "SET autocommit = 0")
    with pytest.raises(NotTaken, match=why):
        insert(mariadb, raw, text)
    run(raw, "ROLLBACK")
    assert rows(connection, "SELECT COUNT(*) FROM bound.t") == [(0,)]
    assert insert(mariadb, raw, b"3\tin step\n") == 1


async def test_a_row_longer_than_a_message_is_left_to_load_data(mariadb: Any) -> None:
    fresh(mariadb, "LONGTEXT")
    raw = binding(mariadb)
    for text in (b"1\t" + b"a" * 6000 + b"\n", b"1\tsmall\n2\t" + b"a" * 20_000 + b"\n", b"1\t" + b"a" * 9000):
        run(raw, "SET autocommit = 0")
        with pytest.raises(NotTaken, match="max_allowed_packet"):
            insert(mariadb, raw, iter([text[at : at + 999] for at in range(0, len(text), 999)]), packet=2048)
        run(raw, "ROLLBACK")
    assert insert(mariadb, raw, b"7\tas before\n", packet=2048) == 1


async def test_a_server_or_connection_without_array_binding_says_so(mariadb: Any) -> None:
    fresh(mariadb)
    plain = binding(mariadb, RawConnection)
    with pytest.raises(NotTaken, match="prepared statement"):
        insert(mariadb, plain, b"1\ta\n")
    assert rows(plain, "SELECT 1") == [(1,)]


async def test_text_that_fails_ends_the_connection_and_leaves_nothing(mariadb: Any) -> None:
    connection, raw = fresh(mariadb), binding(mariadb)

    def damaged() -> Iterator[bytes]:
        yield b"".join(b"%d\tx\n" % n for n in range(1, 100_000))
        raise LookupError("the store is gone")

    run(raw, "SET autocommit = 0")
    with pytest.raises(LookupError):
        insert(mariadb, raw, damaged())
    assert not raw.open
    run(connection, "SET innodb_lock_wait_timeout = 20")
    assert rows(connection, "SELECT COUNT(*) FROM bound.t FOR UPDATE") == [(0,)]


async def test_a_connection_that_is_killed_is_lost_and_nothing_else(mariadb: Any) -> None:
    fresh(mariadb)
    raw = binding(mariadb)
    run(client(mariadb), f"KILL {raw.thread_id()}")
    with pytest.raises(DatabaseError) as lost:
        insert(mariadb, raw, b"1\ta\n")
    assert lost.value.kind == "database-unreachable"


async def test_two_connections_fill_one_table_with_a_counter_at_once(mariadb: Any) -> None:
    """LOAD DATA would hold the counter until its transaction ends."""
    connection, one, other = fresh(mariadb), binding(mariadb), binding(mariadb)
    run(one, "START TRANSACTION")
    run(other, "SET innodb_lock_wait_timeout = 1", "START TRANSACTION")
    assert insert(mariadb, one, b"1\ta\n2\tb\n") == 2
    assert insert(mariadb, other, b"11\ta\n12\tb\n") == 2
    run(one, "COMMIT")
    run(other, "COMMIT")
    run(connection, "INSERT INTO bound.t (v) VALUES ('next')")
    assert rows(connection, "SELECT MAX(id) FROM bound.t") == [(13,)]


async def test_what_follows_a_deadlock_is_rolled_back_too(mariadb: Any) -> None:
    """The server then ends the transaction by itself, with messages under way behind the one it refused."""
    connection, raw = fresh(mariadb), binding(mariadb)
    heavier = client(mariadb)
    run(
        heavier,
        "SET SESSION innodb_lock_wait_timeout = 60",
        "START TRANSACTION",
        "INSERT INTO bound.t (id, v) SELECT seq + 1000000, '' FROM bound.seq_1_to_60000",
        "INSERT INTO bound.t (id, v) VALUES (5000, 'in the way')",
    )
    run(raw, "SET autocommit = 0", "SET SESSION innodb_lock_wait_timeout = 60")
    text = b"".join(b"%d\t%s\n" % (n, b"x" * 900) for n in range(1, 9001))
    filling = asyncio.create_task(asyncio.to_thread(insert, mariadb, raw, text))
    async with asyncio.timeout(60):
        while rows(connection, "SELECT COUNT(*) FROM information_schema.INNODB_LOCK_WAITS") == [(0,)]:
            await asyncio.sleep(0.3)  # asked more often, the server gives the same answer again
        await asyncio.to_thread(run, heavier, "INSERT INTO bound.t (id, v) VALUES (1, 'crosswise')")
        with pytest.raises(NotTaken, match="Deadlock"):
            await filling
    run(heavier, "ROLLBACK")
    run(raw, "ROLLBACK")
    assert rows(connection, "SELECT COUNT(*) FROM bound.t") == [(0,)]
    assert insert(mariadb, raw, b"1\tin step\n") == 1
    run(raw, "ROLLBACK")
