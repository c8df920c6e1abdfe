"""Text that is not well formed in its character set comes back byte for byte."""

import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

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
from tidewind.domain.manifest import Column
from tidewind.engines.mariadb.illformed import HELPER_SCHEMA, IllFormedWriter, drop_helpers
from tidewind.engines.mariadb.rows import escape

TYPES = {
    "v": "VARCHAR(40)",
    "long_": "VARCHAR(400) CHARACTER SET utf8mb3",
    "c": "CHAR(30)",
    "c2": "CHAR(200) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin",
    "tt": "TINYTEXT",
    "t": "TEXT CHARACTER SET gbk",
    "m": "MEDIUMTEXT CHARACTER SET sjis",
    "l": "LONGTEXT",
    "u": "VARCHAR(50) CHARACTER SET ucs2",
    "w": "TEXT CHARACTER SET utf32",
    "e": "VARCHAR(50) CHARACTER SET eucjpms",
    "lat": "VARCHAR(50) CHARACTER SET latin1",
}
OTHERS = "n INT, d DECIMAL(20,5), f DOUBLE, b BIT(9), g POINT, s ENUM('', 'x'), id UUID, at DATETIME(6), bl BLOB"


def odd_bytes(dice: random.Random) -> bytes:
    kinds = (
        b"\xff\xfe",
        b"\xf0\x9f\x98",
        b"ok\x81",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\0\t\n\\",
        dice.randbytes(dice.randint(1, 30)),
    )
    return dice.choice(kinds)


async def test_ill_formed_text(mariadb_factory: Callable[..., Awaitable[Any]], tmp_path: Path) -> None:
    source, target = await mariadb_factory(), await mariadb_factory(server_id=2)
    dice = random.Random(7)
    connection = client(source)
    declared = ", ".join(f"{name} {kind}" for name, kind in TYPES.items())
    run(connection, "CREATE DATABASE ill", "SET sql_mode = ''")
    run(connection, f"CREATE TABLE ill.t (k INT PRIMARY KEY, {declared}, {OTHERS})")
    columns = [Column(name="k", kind="int"), *(Column(name=name, kind=kind) for name, kind in TYPES.items())]
    writer = IllFormedWriter(connection, access_of(source), "ill", "t", columns)
    writer.prepare()
    wanted: dict[int, list[bytes | None]] = {}
    for key in range(1, 200):
        values = [None if dice.random() < 0.1 else odd_bytes(dice).rstrip(b" ") for _ in TYPES]
        wanted[key] = values
        line = b"\t".join([str(key).encode(), *(b"\\N" if value is None else escape(value) for value in values)])
        writer.write(line)
    writer.close()
    run(connection, f"DROP SCHEMA {HELPER_SCHEMA}", "USE ill")
    run(
        connection,
        "UPDATE ill.t SET n = -k, d = k / 7, f = -1 / k, b = k, g = ST_GeomFromText('POINT(1 -2.5)', 4326), s = k MOD 3,"
        " id = CONCAT(LEFT(MD5(k), 12), '4', SUBSTR(MD5(k), 14, 3), '9', RIGHT(MD5(k), 15)), at = '2024-02-00 00:00:00.25', bl = X'FF09000A5C'",
        "INSERT INTO ill.t (k, v) SELECT seq + 1000, 'well formed é漢😀' FROM seq_1_to_3000",
    )
    names = ", ".join(f"HEX({name})" for name in TYPES)
    stored = rows(connection, f"SELECT k, {names} FROM ill.t WHERE k < 1000 ORDER BY k")
    assert [list(row[1:]) for row in stored] == [
        [None if value is None else value.hex().upper() for value in wanted[row[0]]] for row in stored
    ]
    connection.close()
    store = sealed_store(tmp_path)
    content = await take(source, store)
    await load(content, store, target)
    connection = client(target)
    assert rows(connection, f"SHOW TABLES FROM {HELPER_SCHEMA}") == []
    run(
        connection, f"CREATE TABLE {HELPER_SCHEMA}.illformed_77 (id INT)", f"CREATE TABLE {HELPER_SCHEMA}.kept (id INT)"
    )
    drop_helpers(connection, access_of(target))
    assert rows(connection, f"SHOW TABLES FROM {HELPER_SCHEMA}") == [("kept",)]
    connection.close()
    assert difference(source, target) == []
