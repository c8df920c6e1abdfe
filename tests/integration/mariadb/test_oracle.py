"""The judge of every restore sees what a restore could lose: each kind of thing, changed by as little as it can be."""

from typing import Any

import pytest

from tests.integration.mariadb.snapshot_support import client, run
from tests.oracle import Content, content

SCHEMA = "judged"
EPOCH = 1_790_000_000
VERSIONED = ("past", "ended", "begun", "stands", "named")
VALUES = {
    "wide": ("DECIMAL(65,30)", "1.000000000000000000000000000001", "1.000000000000000000000000000002"),
    "money": ("DECIMAL(12,2)", "0.10", "0.11"),
    "f": ("FLOAT", "16777216", "16777215"),
    "d": ("DOUBLE", "0.1", "0.1 + 1.4e-17"),
    "zero": ("FLOAT", "0", "-1e-310"),
    "i": ("BIGINT UNSIGNED", "18446744073709551615", "18446744073709551614"),
    "b": ("BIT(64)", "b'1'", "b'11'"),
    "e": ("ENUM('', 'a')", "1", "0"),
    "s": ("SET('', 'a')", "1", "0"),
    "raw": ("VARBINARY(9)", "X'00'", "X'0000'"),
    "lat": ("VARCHAR(9) CHARACTER SET latin1", "X'81'", "X'8D'"),
    "uni": ("VARCHAR(9) CHARACTER SET utf8mb4", "'e'", "'é'"),
    "dt": ("DATETIME(6)", "'2024-02-31 01:02:03.000001'", "'2024-02-31 01:02:03.000002'"),
    "ts": ("TIMESTAMP(6) NULL", "'2026-10-25 00:30:00'", "'2026-10-25 01:30:00'"),
    "tm": ("TIME(6)", "'-00:00:00.000001'", "'00:00:00.000001'"),
    "y": ("YEAR", "'0000'", "'2000'"),
    "day": ("DATE", "'0000-00-00'", "NULL"),
    "g": ("GEOMETRY", "ST_GeomFromText('POINT(1 2)', 4326)", "ST_GeomFromText('POINT(1 2)', 0)"),
    "j": ("JSON", "'{\"a\": 1}'", "'{\"a\":1}'"),
    "u": ("UUID", "'123e4567-e89b-12d3-a456-426614174000'", "'123e4567-e89b-12d3-a456-426614174001'"),
    "ip": ("INET6", "'::1'", "'::2'"),
    "hidden": ("INT INVISIBLE", "1", "2"),
    "text": ("VARCHAR(9)", "''", "NULL"),
}
BUILD = (
    f"CREATE DATABASE {SCHEMA}",
    f"USE {SCHEMA}",
    f"SET sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00', timestamp = {EPOCH}",
    f"CREATE TABLE vals (id INT PRIMARY KEY, {', '.join(f'{name} {kind}' for name, (kind, _, _) in VALUES.items())})",
    f"INSERT INTO vals (id, {', '.join(VALUES)}) VALUES (1, {', '.join(one for _, one, _ in VALUES.values())})",
    *(f"CREATE TABLE {table} (id INT PRIMARY KEY, v INT) WITH SYSTEM VERSIONING" for table in VERSIONED[:-1]),
    "CREATE TABLE named (id INT PRIMARY KEY, v INT, s TIMESTAMP(6) GENERATED ALWAYS AS ROW START, "
    "e TIMESTAMP(6) GENERATED ALWAYS AS ROW END INVISIBLE, PERIOD FOR SYSTEM_TIME (s, e)) WITH SYSTEM VERSIONING",
    *(f"INSERT INTO {table} (id, v) VALUES (1, 1)" for table in VERSIONED),
    f"SET timestamp = {EPOCH + 100}",
    *(f"UPDATE {table} SET v = 2" for table in VERSIONED),
    "SET timestamp = DEFAULT",
    "CREATE SEQUENCE numbers START WITH 10 INCREMENT BY 5 NOCACHE",
    "CREATE TABLE parent (id INT PRIMARY KEY, KEY (id))",
    "CREATE TABLE child (id INT, CONSTRAINT c FOREIGN KEY (id) REFERENCES parent (id))",
    "CREATE VIEW seen AS SELECT id FROM parent",
    "CREATE PROCEDURE does() SELECT 1",
    "CREATE TRIGGER first BEFORE INSERT ON parent FOR EACH ROW SET @a = 1",
    "CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 00:00:00' DISABLE DO SELECT 1",
    "CREATE USER judged_user@'%' IDENTIFIED BY 'one'",
    f"GRANT SELECT ON {SCHEMA}.* TO judged_user@'%'",
)


def _written_anew(table: str, began: int, ended: int, stands: int) -> list[str]:
    """A table's two states, the same values at other times."""
    moments = (f"FROM_UNIXTIME({EPOCH + began})", f"FROM_UNIXTIME({EPOCH + ended})")
    return [
        f"SET timestamp = {EPOCH + stands}",
        f"DELETE FROM {table}",
        f"DELETE HISTORY FROM {table}",
        f"INSERT INTO {table} (id, v) VALUES (1, 2)",
        "SET timestamp = DEFAULT, system_versioning_insert_history = 1",
        f"INSERT INTO {table} (id, v, row_start, row_end) VALUES (1, 1, {', '.join(moments)})",
        "SET system_versioning_insert_history = 0",
    ]


LOSSES = {
    **{f"value {name}": ([f"UPDATE vals SET {name} = {other}"], "vals") for name, (_, _, other) in VALUES.items()},
    **{
        f"history of {table}": ([f"DELETE HISTORY FROM {table}"], table) for table in ("past", "named")
    },
    **{
        f"{what} of a row of {table}": (_written_anew(table, *moments), table)
        for table, what, moments in (
            ("ended", "the end", (0, 99, 100)),
            ("begun", "the beginning", (1, 100, 100)),
            ("stands", "the beginning of the last state", (0, 100, 101)),
        )
    },
    "where a sequence stands": (["SELECT NEXTVAL(numbers)"], "numbers"),
    "how a sequence counts": (["ALTER SEQUENCE numbers INCREMENT BY 6"], "numbers"),
    "a row": (["DELETE FROM vals"], "vals"),
    "an index": (["ALTER TABLE parent DROP KEY id"], "parent"),
    "a foreign key's rule": (
        [
            "ALTER TABLE child DROP FOREIGN KEY c",
            "ALTER TABLE child ADD CONSTRAINT c FOREIGN KEY (id) REFERENCES parent (id) ON DELETE CASCADE",
        ],
        "child",
    ),
    "a view": (["CREATE OR REPLACE VIEW seen AS SELECT id + 0 AS id FROM parent"], "seen"),
    "a routine": (["CREATE OR REPLACE PROCEDURE does() SELECT 2"], "does"),
    "a trigger": (["DROP TRIGGER first"], "first"),
    "an event": (["ALTER EVENT nightly ON SCHEDULE EVERY 2 DAY"], "nightly"),
    "a schema's character set": ([f"ALTER DATABASE {SCHEMA} CHARACTER SET ascii"], SCHEMA),
    "a password": (["ALTER USER judged_user@'%' IDENTIFIED BY 'two'"], "judged_user"),
    "a right": ([f"REVOKE SELECT ON {SCHEMA}.* FROM judged_user@'%'"], "judged_user"),
}  # fmt: skip


async def judged(server: Any) -> Content:
    connection = await server.connect()
    try:
        return await content(connection)
    finally:
        connection.close()


@pytest.fixture
async def connection(mariadb: Any) -> Any:
    made = client(mariadb)
    run(made, *BUILD)
    yield made
    run(made, f"DROP DATABASE {SCHEMA}", "DROP USER judged_user@'%'")
    made.close()


async def test_what_is_lost_is_seen(mariadb: Any, connection: Any) -> None:
    before = await judged(mariadb)
    assert (await judged(mariadb)).differences(before) == []
    for lost, (statements, where) in LOSSES.items():
        run(connection, *statements)
        now = await judged(mariadb)
        found = now.differences(before)
        assert found, f"{lost}: no difference is seen"
        assert all(where in line for line in found), (lost, found)
        before = now
