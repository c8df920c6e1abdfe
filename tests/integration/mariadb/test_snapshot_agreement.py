"""Readers that agree see one state, and it is that of the position they agree on."""

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zstandard

from tests.integration.mariadb.snapshot_support import MIB, PREFIX, access_of, client, rows, run, sealed_store
from tidewind.engines.mariadb.connection import Control
from tidewind.engines.mariadb.consistency import agree, located
from tidewind.engines.mariadb.messages import Done, Read
from tidewind.engines.mariadb.readers import Reader, ReaderPool
from tidewind.ports.store import Store
from tidewind.store.factory import open_store

AGREEMENTS = 80
COUNT = Read(
    schema="d",
    table="counter",
    statement="SELECT n FROM d.counter",
    partition=None,
    transactional=True,
    stored_name="d/counter",
)


@contextmanager
def repeating(server: Any, *statements: str) -> Iterator[None]:
    """The statements, over and over, over a connection of their own, until the block ends."""
    ended = threading.Event()

    def loop() -> None:
        connection = client(server)
        while not ended.is_set():
            run(connection, *statements)
        connection.close()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


async def count_seen(reader: Reader, store: Store) -> int:
    answer = await reader.ask(COUNT)
    assert isinstance(answer, Done), answer
    text = zstandard.ZstdDecompressor().decompressobj().decompress(await store.get(answer.chunks[0].key))
    return int(text)


async def test_a_position_told_wrongly_is_no_agreement(
    mariadb_factory: Callable[..., Awaitable[Any]], tmp_path: Path
) -> None:
    """Others ask for the server's status without a pause, some inside snapshots of their own. Every transaction counts
    up by one, so what a reader sees can be told from the position."""
    source = await mariadb_factory()
    connection = client(source)
    run(
        connection,
        "CREATE DATABASE d",
        "CREATE TABLE d.counter (n BIGINT)",
        "INSERT INTO d.counter VALUES (0)",
        "CREATE PROCEDURE d.bump() BEGIN DECLARE i INT DEFAULT 0;"
        " WHILE i < 200 DO UPDATE d.counter SET n = n + 1; SET i = i + 1; END WHILE; END",
    )
    first = _sequence(rows(connection, "SELECT @@gtid_binlog_pos")[0][0])
    settings = sealed_store(tmp_path)
    counting = repeating(source, "CALL d.bump()")
    asking = repeating(source, "SHOW GLOBAL STATUS LIKE 'binlog_snapshot%'")
    dumping = repeating(
        source, "START TRANSACTION WITH CONSISTENT SNAPSHOT", *["SHOW STATUS LIKE 'binlog_snapshot%'"] * 20, "COMMIT"
    )
    async with (
        open_store(settings) as store,
        await Control.connect(access_of(source)) as control,
        ReaderPool(
            control.access,
            open_store=functools.partial(open_store, settings),
            prefix=PREFIX,
            chunk_bytes=MIB,
            readers=2,
            unlogged=True,
            advance=lambda *_: None,
        ) as pool,
    ):
        await pool.ready()
        with counting, asking, dumping:
            for number in range(AGREEMENTS):
                view = await located(control, await agree(pool.readers, control.access, may_lock=True))
                seen = await asyncio.gather(*(count_seen(reader, store) for reader in pool.readers))
                assert seen == [_sequence(str(view.position)) - first] * 2, (number, view)
    connection.close()


def _sequence(position: str) -> int:
    return int(position.rsplit("-", 1)[1])
