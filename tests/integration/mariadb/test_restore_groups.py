"""Chunks that are loaded in one transaction: all of those that are missing, or none, however often they are given."""

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest
import zstandard

from tests.integration.mariadb.snapshot_support import access_of, client, rows, run
from tidewind.domain.manifest import Column
from tidewind.engines.mariadb.columns import PLAIN
from tidewind.engines.mariadb.loading import LOAD_SQL_MODE, insert_statement, load_settings, load_statement
from tidewind.engines.mariadb.restore.worker import LoadChunks, Rows, Start, _Worker, chunk_item
from tidewind.ports.store import ObjectDamaged

COLUMNS = (
    Column(name="id", kind="int(11)", load=PLAIN),
    Column(name="v", kind="varchar(900)", load=PLAIN),
)
ROWS_EACH = 2000
RESTORE = "rst_groups"
PROGRESS = f"SELECT item, rows_done FROM tidewind.progress WHERE restore_id = '{RESTORE}' ORDER BY item"
SUMS = "SELECT COUNT(*), COUNT(DISTINCT id), COALESCE(SUM(LENGTH(v)), 0) FROM grouped.t"


class Objects:
    """Just enough of a store."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.streamed: list[str] = []

    async def info(self, key: str) -> Any:
        return type("Info", (), {"size": len(self.held[key])})

    async def stream(self, key: str) -> AsyncIterator[bytes]:
        self.streamed.append(key)
        yield self.held[key]


def text(number: int, value: bytes = b"x" * 500) -> bytes:
    return b"".join(b"%d\t%s\n" % (number * ROWS_EACH + n, value) for n in range(ROWS_EACH))


def part(objects: Objects, number: int, plain: bytes) -> Rows:
    key = f"c{number}"
    objects.held[key] = zstandard.compress(plain)
    return Rows(
        key=key,
        size=len(objects.held[key]),
        rows=ROWS_EACH,
        row_bytes=len(plain),
        item=chunk_item(number),
        schema="grouped",
        table="t",
        columns=COLUMNS,
        statement=load_statement("grouped", "t", COLUMNS),
        settings=load_settings(COLUMNS),
        has_members=False,
        insert=insert_statement("grouped", "t", COLUMNS),
    )


@pytest.fixture
def connection(mariadb: Any) -> Any:
    made = client(mariadb)
    run(
        made,
        "CREATE DATABASE IF NOT EXISTS grouped",
        "CREATE OR REPLACE TABLE grouped.t (id INT, v VARCHAR(900)) CHARACTER SET utf8mb4",
        "CREATE DATABASE IF NOT EXISTS tidewind",
        "CREATE OR REPLACE TABLE tidewind.progress (restore_id VARCHAR(32) NOT NULL, item VARCHAR(64) NOT NULL, "
        "rows_done BIGINT NOT NULL, PRIMARY KEY (restore_id, item))",
        "SET GLOBAL local_infile = 1",
    )
    yield made
    run(made, "DROP DATABASE grouped", "DROP DATABASE tidewind")
    made.close()


def worker_of(server: Any, objects: Any) -> _Worker:
    start = Start(
        access=access_of(server),
        open_store=None,
        restore_id=RESTORE,
        logged=False,
        sql_mode=LOAD_SQL_MODE,  # type: ignore[arg-type]
    )
    return _Worker(start, objects)


def noted(*numbers: int) -> list[tuple[str, int]]:
    return [(chunk_item(number), ROWS_EACH) for number in numbers]


async def test_damage_in_the_middle_takes_back_what_was_sent_before(mariadb: Any, connection: Any) -> None:
    objects = Objects()
    parts = tuple(part(objects, number, text(number)) for number in (1, 2, 3))
    whole = objects.held["c2"]
    objects.held["c2"] = whole[:-20] + bytes(20)
    worker = worker_of(mariadb, objects)
    with pytest.raises(ObjectDamaged) as refused:
        await worker.do(LoadChunks(table="t", parts=parts))
    worker.close()
    assert refused.value.key == "c2"
    run(connection, "SET innodb_lock_wait_timeout = 20")
    assert rows(connection, "SELECT id FROM grouped.t LIMIT 1 FOR UPDATE") == []
    assert rows(connection, PROGRESS) == []
    objects.held["c2"] = whole
    assert await worker.do(LoadChunks(table="t", parts=parts)) == sum(one.row_bytes for one in parts)
    worker.close()
    assert rows(connection, SUMS) == [(3 * ROWS_EACH, 3 * ROWS_EACH, 3 * ROWS_EACH * 500)]
    assert rows(connection, PROGRESS) == noted(1, 2, 3)


async def test_of_a_group_given_again_only_what_is_missing_is_loaded(mariadb: Any, connection: Any) -> None:
    """Another release, or LOAD DATA, may have committed any of its chunks alone; no key would refuse them twice."""
    objects = Objects()
    parts = tuple(part(objects, number, text(number)) for number in (1, 2, 3))
    worker = worker_of(mariadb, objects)
    assert await worker.do(LoadChunks(table="t", parts=parts[1:2])) == parts[1].row_bytes
    objects.streamed.clear()
    for _ in range(2):
        assert await worker.do(LoadChunks(table="t", parts=parts)) == sum(one.row_bytes for one in parts)
    worker.close()
    assert objects.streamed == ["c1", "c3"]
    assert rows(connection, SUMS) == [(3 * ROWS_EACH, 3 * ROWS_EACH, 3 * ROWS_EACH * 500)]
    assert rows(connection, PROGRESS) == noted(1, 2, 3)


async def test_what_binding_does_not_take_is_loaded_chunk_by_chunk(mariadb: Any, connection: Any) -> None:
    """The second chunk is not well formed, the third has fewer rows than the manifest says."""
    objects = Objects()
    first, second = part(objects, 1, text(1)), part(objects, 2, text(2, b"\xff\xfe" * 50))
    third = dataclasses.replace(part(objects, 3, text(3)), rows=ROWS_EACH + 1)
    worker = worker_of(mariadb, objects)
    with pytest.raises(Exception, match=f"took {ROWS_EACH} of {ROWS_EACH + 1} rows"):
        await worker.do(LoadChunks(table="t", parts=(first, second, third)))
    worker.close()
    assert rows(connection, PROGRESS) == noted(1, 2)
    bits = rows(connection, "SELECT COUNT(*), COUNT(DISTINCT id), SUM(HEX(v) = REPEAT('FFFE', 50)) FROM grouped.t")
    assert bits == [(2 * ROWS_EACH, 2 * ROWS_EACH, ROWS_EACH)]
