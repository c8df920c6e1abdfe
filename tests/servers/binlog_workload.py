"""Statements that make every kind of event and every type of column appear in a log."""

import re
from collections.abc import Iterator
from typing import Any

import pymysql

TYPES = """
 a01 TINYINT, a02 SMALLINT, a03 MEDIUMINT, a04 INT, a05 BIGINT UNSIGNED, a06 FLOAT, a07 DOUBLE, a08 DECIMAL(65,30),
 a09 DECIMAL(10,0), a10 DECIMAL(5,4), a11 BIT(1), a12 BIT(64), a13 BIT(13), a14 YEAR, a15 DATE, a16 TIME, a17 TIME(6),
 a18 DATETIME, a19 DATETIME(3), a20 TIMESTAMP NULL, a21 TIMESTAMP(6) NULL, a22 CHAR(1), a23 CHAR(255) CHARACTER SET utf8mb4,
 a24 BINARY(16), a25 VARCHAR(10), a26 VARCHAR(255) CHARACTER SET latin1, a27 VARCHAR(256) CHARACTER SET latin1,
 a28 VARBINARY(3000), a29 TINYTEXT, a30 TEXT, a31 MEDIUMBLOB, a32 LONGBLOB, a33 JSON, a34 GEOMETRY, a35 POINT,
 a36 ENUM('x','y'), a37 SET('p','q','r'), a38 VARCHAR(300) COMPRESSED, a39 BLOB COMPRESSED, a40 INET6,
 a41 CHAR(200) CHARACTER SET latin1, a42 VARCHAR(100) COMPRESSED, a43 LONGTEXT COMPRESSED
"""
VALUES = """
 -1, -2, -3, -4, 18446744073709551615, 1.5, 2.5e300, 12345678901234567890.123456789, 42, 1.2345, 1, -1, 4097, 2024,
 '2024-02-29', '-838:59:59', '12:34:56.789012', '9999-12-31 23:59:59', '2024-01-02 03:04:05.678', '2024-01-02 03:04:05',
 '2024-01-02 03:04:05.678901', 'ä', REPEAT('é', 255), UNHEX('00112233445566778899AABBCCDDEE00'), 'ten', REPEAT('v', 255),
 REPEAT('w', 256), REPEAT('b', 3000), 'tiny', REPEAT('t', 300), REPEAT('m', 70000), 'long', '{"a": [1, 2]}',
 ST_GeomFromText('LINESTRING(0 0, 1 1, 2 2)'), POINT(1, 2), 'y', 'p,r', REPEAT('c', 300), REPEAT('z', 400), '::1',
 REPEAT('k', 200), REPEAT('n', 100), REPEAT('l', 5000)
"""
FAILS = "ALTER TABLE parent ADD UNIQUE KEY (more)"
"""Half-way: its beginning is in the log already."""


def statements(release: tuple[int, int]) -> Iterator[str]:
    """In order. `release` as (10, 11): what it does not know is left out."""
    yield from _types(release)
    yield from _transactions()
    yield from _definitions(release)
    yield from _sessions()
    yield from _compressed()


def _types(release: tuple[int, int]) -> Iterator[str]:
    yield "CREATE DATABASE w"
    yield "USE w"
    types, values = TYPES, VALUES
    if release >= (10, 7):
        types, values = types + ", b01 UUID", values + ", '123e4567-e89b-12d3-a456-426655440000'"
    if release >= (10, 10):
        types, values = types + ", b02 INET4", values + ", '10.0.0.1'"
    if release >= (11, 7):
        types, values = types + ", b03 VECTOR(3)", values + ", VEC_FromText('[1,2,3]')"
    yield f"CREATE TABLE every_type (id INT AUTO_INCREMENT PRIMARY KEY, {types})"
    names = ", ".join(re.findall(r"\b[ab]\d\d\b", types))
    yield f"INSERT INTO every_type ({names}) VALUES ({values}), ({values})"
    yield "INSERT INTO every_type (id) VALUES (10), (11)"
    yield "UPDATE every_type SET a04 = 7, a30 = NULL"
    yield "DELETE FROM every_type WHERE id IN (1, 10)"


def _transactions() -> Iterator[str]:
    yield "CREATE TABLE parent (id INT PRIMARY KEY) ENGINE=InnoDB"
    yield (
        "CREATE TABLE child (id INT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES parent (id)"
        " ON DELETE CASCADE ON UPDATE SET NULL) ENGINE=InnoDB"
    )
    yield "BEGIN"
    yield "INSERT INTO parent VALUES (1), (2), (3)"
    yield "SAVEPOINT s"
    yield "INSERT INTO child VALUES (1, 1), (2, 2)"
    yield "ROLLBACK TO SAVEPOINT s"
    yield "INSERT INTO child VALUES (3, 3)"
    yield "COMMIT"
    yield "DELETE FROM parent WHERE id = 3"
    yield "CREATE TABLE plain (a INT, b VARCHAR(20)) ENGINE=MyISAM"
    yield "INSERT INTO plain VALUES (1, 'x'), (1, 'x'), (2, NULL)"
    yield "BEGIN"
    yield "INSERT INTO plain VALUES (3, 'y')"
    yield "INSERT INTO parent VALUES (4)"
    yield "ROLLBACK"
    yield "CREATE TABLE kept (a INT) ENGINE=MEMORY"
    yield "INSERT INTO kept VALUES (1)"
    yield "XA START 'global', 'branch', 7"
    yield "INSERT INTO parent VALUES (100)"
    yield "XA END 'global', 'branch', 7"
    yield "XA PREPARE 'global', 'branch', 7"
    yield "XA COMMIT 'global', 'branch', 7"
    yield "XA START 'other'"
    yield "INSERT INTO parent VALUES (101)"
    yield "XA END 'other'"
    yield "XA PREPARE 'other'"
    yield "XA ROLLBACK 'other'"
    yield "XA START 'once'"
    yield "INSERT INTO parent VALUES (102)"
    yield "XA END 'once'"
    yield "XA COMMIT 'once' ONE PHASE"


def _definitions(release: tuple[int, int]) -> Iterator[str]:
    yield "ALTER TABLE parent ADD COLUMN note TEXT"
    if release >= (10, 8):
        yield "SET SESSION binlog_alter_two_phase = ON"
        yield "ALTER TABLE parent ADD COLUMN more INT DEFAULT 5"
        yield FAILS
        yield "SET SESSION binlog_alter_two_phase = OFF"
    yield "CREATE TABLE copy AS SELECT * FROM parent"
    yield "CREATE TABLE swap LIKE parent"
    yield "RENAME TABLE copy TO swap_old, swap TO copy"
    yield "TRUNCATE TABLE copy"
    yield "CREATE SEQUENCE numbers CACHE 3"
    yield "SELECT NEXTVAL(numbers)"
    yield "DO SETVAL(numbers, 50)"
    yield "CREATE TABLE versioned (a INT) WITH SYSTEM VERSIONING"
    yield "INSERT INTO versioned VALUES (1)"
    yield "UPDATE versioned SET a = 2"
    yield "DELETE FROM versioned"
    yield (
        "CREATE TABLE precise (a INT, s BIGINT UNSIGNED GENERATED ALWAYS AS ROW START,"
        " e BIGINT UNSIGNED GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (s, e)) WITH SYSTEM VERSIONING ENGINE=InnoDB"
    )
    yield "INSERT INTO precise (a) VALUES (1)"
    yield "UPDATE precise SET a = 2"
    yield "CREATE TEMPORARY TABLE unseen (a INT)"
    yield "INSERT INTO unseen VALUES (1)"
    yield "CREATE USER u IDENTIFIED BY 'secret'"
    yield "GRANT SELECT ON w.* TO u"
    yield "CREATE ROLE r"
    yield "CREATE PROCEDURE p() INSERT INTO parent (id) VALUES (500)"
    yield "CALL p()"
    yield "CREATE TRIGGER t AFTER INSERT ON child FOR EACH ROW INSERT INTO plain VALUES (NEW.id, 'trigger')"
    yield "INSERT INTO child VALUES (50, NULL)"
    yield "DROP USER u"
    yield "DROP ROLE r"


def _sessions() -> Iterator[str]:
    yield "SET timestamp = 86400.5"
    yield "INSERT INTO child VALUES (60, NULL)"
    yield "CREATE TABLE stamped (a TIMESTAMP(6) DEFAULT NOW(6))"
    yield "SET timestamp = DEFAULT"
    yield "SET time_zone = '+05:30', lc_time_names = 'de_DE', sql_mode = 'ANSI_QUOTES', foreign_key_checks = 0"
    yield 'CREATE TABLE "quoted" (a DATETIME DEFAULT NOW())'
    yield "INSERT INTO child VALUES (70, 12345)"
    yield "SET time_zone = DEFAULT, lc_time_names = DEFAULT, sql_mode = DEFAULT, foreign_key_checks = DEFAULT"
    yield "SET gtid_domain_id = 5"
    yield "INSERT INTO child VALUES (80, NULL)"
    yield "SET gtid_domain_id = 0"
    yield "FLUSH LOGS"
    yield "ANALYZE TABLE parent"
    yield "INSERT INTO child VALUES (90, NULL)"


def _compressed() -> Iterator[str]:
    yield "SET GLOBAL log_bin_compress = ON"
    yield "CREATE TABLE packed (a INT PRIMARY KEY, b LONGTEXT COMMENT '" + "c" * 400 + "')"
    yield "INSERT INTO packed VALUES (1, REPEAT('x', 5000)), (2, REPEAT('y', 5000))"
    yield "UPDATE packed SET b = CONCAT(b, 'z')"
    yield "DELETE FROM packed WHERE a = 1"
    yield "SET GLOBAL log_bin_compress = OFF"
    yield "INSERT INTO child VALUES (91, NULL)"


async def run(connection: Any, release: tuple[int, int]) -> None:
    """On a connection of aiomysql, as root."""
    async with connection.cursor() as cursor:
        for statement in statements(release):
            try:
                await cursor.execute(statement)
                await cursor.fetchall()
            except pymysql.err.IntegrityError:
                assert statement == FAILS, statement


def release_of(text: str) -> tuple[int, int]:
    major, minor = text.split(".")
    return int(major), int(minor)
