"""Where the log must be kept from, for the rows of transactions that were prepared when a backup was taken."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.mariadb.snapshot_support import client, rows, run, sealed_store, take
from tidewind.engines.mariadb.open_xa import in_full


def prepare(server: Any, xid: str, row: int) -> None:
    connection = client(server)
    run(connection, f"XA START {xid}", f"INSERT INTO shop.t VALUES ({row})", f"XA END {xid}", f"XA PREPARE {xid}")
    connection.close()


def head(server: Any) -> str:
    connection = client(server)
    try:
        return str(rows(connection, "SELECT @@GLOBAL.gtid_binlog_pos")[0][0])
    finally:
        connection.close()


def sql(server: Any, *statements: str) -> None:
    connection = client(server)
    run(connection, *statements)
    connection.close()


async def test_the_manifest_tells_the_position_before_the_oldest_open_prepare(
    mariadb_factory: Callable[..., Awaitable[Any]], tmp_path: Path
) -> None:
    server, store = await mariadb_factory(), sealed_store(tmp_path)
    sql(server, "CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY) ENGINE=InnoDB")
    assert (await take(server, store)).open_xa_position is None, "nothing was prepared"

    prepare(server, "'again'", 1)
    sql(server, "XA COMMIT 'again'", "INSERT INTO shop.t VALUES (2)")
    prepare(server, "'ended','b',7", 3)
    sql(server, "FLUSH BINARY LOGS", "INSERT INTO shop.t VALUES (4)")
    before_oldest = head(server)
    prepare(server, "X'00FF'", 5)
    sql(server, "FLUSH BINARY LOGS", "XA ROLLBACK 'ended','b',7", "INSERT INTO shop.t VALUES (6)")
    prepare(server, "'again'", 7)
    sql(server, "INSERT INTO shop.t VALUES (8)")

    content = await take(server, store)
    assert len(content.prepared_xa) == 2
    assert content.position == head(server) != before_oldest
    assert content.open_xa_position == before_oldest, "two files back, and not where an id was used before"

    sql(server, "XA COMMIT X'00FF'")
    sequence = int(head(server).rsplit("-", 1)[1])
    later = await take(server, store)
    assert later.open_xa_position is not None
    assert int(before_oldest.rsplit("-", 1)[1]) < int(later.open_xa_position.rsplit("-", 1)[1]) < sequence
    sql(server, "XA COMMIT 'again'")


async def test_a_prepare_that_no_log_holds_any_more_has_no_position(
    mariadb_factory: Callable[..., Awaitable[Any]], tmp_path: Path
) -> None:
    server, store = await mariadb_factory(), sealed_store(tmp_path)
    sql(server, "CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY) ENGINE=InnoDB")
    connection = client(server)
    run(connection, "SET sql_log_bin = 0", "XA START 'quiet'", "INSERT INTO shop.t VALUES (1)", "XA END 'quiet'")
    run(connection, "XA PREPARE 'quiet'")
    connection.close()
    content = await take(server, store)
    assert len(content.prepared_xa) == 1
    assert content.open_xa_position is None
    sql(server, "XA ROLLBACK 'quiet'")


@pytest.mark.parametrize(
    ("given", "full"),
    [
        ("X'00FF'", "x'00ff',x'',1"),
        ("'a,1'", "x'612c31',x'',1"),
        ("'a''b','c'", "x'612762',x'63',1"),
        ("X'61',X'62',7", "x'61',x'62',7"),
    ],
)
def test_ids_are_completed_as_the_log_writes_them(given: str, full: str) -> None:
    assert in_full(given) == full
