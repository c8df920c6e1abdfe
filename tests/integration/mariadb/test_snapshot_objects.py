"""Every kind of object comes back: definitions, order, sessions, history, counters."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.mariadb.restore_data import differing, picture_of
from tests.integration.mariadb.restore_lab import enrolled_lab
from tests.integration.mariadb.snapshot_support import (
    address_of,
    apart,
    chunk_texts,
    client,
    difference,
    held,
    load,
    login_of,
    rows,
    run,
    sealed_store,
    take,
)
from tidewind.domain.manifest import Table
from tidewind.engines.mariadb.snapshot import MariaDBSnapshotEngine
from tidewind.engines.mariadb.system_tables import ACCOUNT_TABLES, RULES, rule_of

TABLES = """
CREATE DATABASE shop CHARACTER SET latin1 COLLATE latin1_german2_ci COMMENT 'the shop''s own';
CREATE DATABASE `we``ird ../name` CHARACTER SET utf8mb4;
USE shop;
CREATE SEQUENCE numbers START WITH 100 INCREMENT BY -7 MINVALUE -1000 MAXVALUE 100 CACHE 5 CYCLE;
CREATE SEQUENCE untouched;
CREATE TABLE parents (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50) CHARACTER SET utf8mb4,
  UNIQUE KEY by_name (name), FULLTEXT KEY words (name)) AUTO_INCREMENT = 5000 COMMENT 'AUTO_INCREMENT=77 in words';
CREATE TABLE children (id INT PRIMARY KEY DEFAULT (NEXT VALUE FOR numbers), parent BIGINT UNSIGNED, self INT,
  qty INT CHECK (qty > 0), price DECIMAL(10,2), total DECIMAL(12,2) AS (qty * price) VIRTUAL,
  tax DECIMAL(12,2) AS (price * 0.19) STORED, secret INT INVISIBLE DEFAULT 42, made TIMESTAMP(6) NOT NULL DEFAULT
  CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), KEY (total), KEY parts (price DESC, qty), CONSTRAINT positive
  CHECK (price >= 0), FOREIGN KEY (parent) REFERENCES parents (id) ON DELETE CASCADE ON UPDATE SET NULL,
  FOREIGN KEY (self) REFERENCES children (id));
CREATE TABLE by_range (id INT, at DATE, v VARCHAR(10), PRIMARY KEY (id, at)) PARTITION BY RANGE (YEAR(at))
  SUBPARTITION BY HASH (id) SUBPARTITIONS 2 (PARTITION p0 VALUES LESS THAN (2020), PARTITION `p 1` VALUES LESS THAN
  MAXVALUE);
CREATE TABLE keyless (a INT, b VARCHAR(10));
CREATE TABLE unique_only (a INT NOT NULL, b VARCHAR(10) NOT NULL, UNIQUE KEY (b, a));
CREATE TABLE past (id INT PRIMARY KEY, v INT) WITH SYSTEM VERSIONING;
CREATE TABLE past_named (id INT PRIMARY KEY, v INT WITHOUT SYSTEM VERSIONING, s TIMESTAMP(6) GENERATED ALWAYS AS ROW
  START, e TIMESTAMP(6) GENERATED ALWAYS AS ROW END INVISIBLE, PERIOD FOR SYSTEM_TIME (s, e)) WITH SYSTEM VERSIONING;
CREATE TABLE past_split (id INT PRIMARY KEY, v INT) WITH SYSTEM VERSIONING PARTITION BY SYSTEM_TIME
  (PARTITION old HISTORY, PARTITION now CURRENT);
CREATE TABLE during (id INT, s DATE, e DATE, PERIOD FOR p (s, e), PRIMARY KEY (id, p WITHOUT OVERLAPS));
CREATE TABLE odd_defaults (id INT PRIMARY KEY, b VARBINARY(6) DEFAULT X'FF005C27', l CHAR(3) CHARACTER SET latin1
  DEFAULT 'é\\\\', face VARCHAR(9) CHARACTER SET utf8mb4 DEFAULT '😀?', z DATETIME DEFAULT '0000-00-00 00:00:00', e ENUM('é', 'it''s') DEFAULT 'é' COMMENT 'a\\\\b''c');
CREATE TABLE `a``b "c" \\\\d
e` (`co``l 1` INT PRIMARY KEY, `%s` INT, `漢` INT);
CREATE TABLE `we``ird ../name`.t (id INT PRIMARY KEY, r INT, KEY (r));
CREATE TABLE cross_schema (id INT PRIMARY KEY, CONSTRAINT far FOREIGN KEY (id) REFERENCES `we``ird ../name`.t (id));
CREATE TABLE isam (id INT PRIMARY KEY, v TEXT) ENGINE=MyISAM;
CREATE TABLE aria (id INT PRIMARY KEY, v TEXT) ENGINE=Aria TRANSACTIONAL=1;
CREATE TABLE memory_ (id INT PRIMARY KEY, v VARCHAR(20)) ENGINE=MEMORY;
CREATE TABLE csv_ (id INT NOT NULL, v VARCHAR(20) NOT NULL) ENGINE=CSV;
CREATE TABLE isam1 (id INT NOT NULL, KEY (id)) ENGINE=MyISAM;
CREATE TABLE isam2 (id INT NOT NULL, KEY (id)) ENGINE=MyISAM;
CREATE TABLE merged (id INT NOT NULL, KEY (id)) ENGINE=MRG_MyISAM UNION=(isam1, isam2) INSERT_METHOD=LAST;
CREATE TABLE hole (id INT) ENGINE=BLACKHOLE;
CREATE TABLE archived (id INT, v TEXT) ENGINE=ARCHIVE;
CREATE TABLE empty_ (id INT PRIMARY KEY);
CREATE TEMPORARY TABLE passing (id INT PRIMARY KEY);
INSERT INTO parents (name) VALUES ('one'), ('two'), (NULL), (NULL);
INSERT INTO children (parent, qty, price) VALUES (5000, 3, 9.99), (5001, 1, 0), (NULL, 7, 1.5);
UPDATE children SET self = id, secret = 7;
INSERT INTO by_range VALUES (1, '2019-05-05', 'old'), (2, '2024-05-05', 'new'), (2, '2025-05-05', 'newer');
INSERT INTO keyless VALUES (1, 'x'), (1, 'x'), (1, 'x'), (NULL, NULL);
INSERT INTO unique_only VALUES (1, 'b'), (2, 'a');
INSERT INTO past VALUES (1, 1), (2, 2);
UPDATE past SET v = v + 1;
DELETE FROM past WHERE id = 2;
INSERT INTO past_named (id, v) VALUES (1, 1), (2, 2);
DELETE FROM past_named WHERE id = 1;
INSERT INTO past_split VALUES (1, 1);
UPDATE past_split SET v = 9;
INSERT INTO during VALUES (1, '2024-01-01', '2024-02-01'), (1, '2024-02-01', '2024-03-01');
INSERT INTO odd_defaults (id) VALUES (1);
INSERT INTO `a``b "c" \\\\d
e` VALUES (1, 2, 3);
INSERT INTO isam VALUES (1, 'a'), (2, NULL);
INSERT INTO aria VALUES (1, 'a\\tb');
INSERT INTO memory_ VALUES (1, 'm');
INSERT INTO csv_ VALUES (1, 'c,"d');
INSERT INTO archived VALUES (1, 'x'), (1, 'x');
INSERT INTO isam1 VALUES (1);
INSERT INTO isam2 VALUES (2);
SELECT NEXTVAL(untouched)
"""

OBJECTS = [
    "CREATE VIEW a_last AS SELECT * FROM z_first",
    "CREATE VIEW m_middle AS SELECT * FROM a_last WHERE answer() > id",
    "CREATE ALGORITHM=MERGE SQL SECURITY INVOKER VIEW checked AS SELECT id, qty FROM children WHERE qty > 1"
    " WITH CASCADED CHECK OPTION",
    "CREATE PROCEDURE inserts(IN n INT, OUT m INT) COMMENT 'it''s' MODIFIES SQL DATA BEGIN"
    " INSERT INTO keyless VALUES (n, 'é漢'); SET m = n; END",
    "CREATE AGGREGATE FUNCTION most(x INT) RETURNS INT BEGIN DECLARE m INT DEFAULT 0; DECLARE CONTINUE HANDLER FOR NOT"
    " FOUND RETURN m; LOOP FETCH GROUP NEXT ROW; SET m = GREATEST(m, x); END LOOP; END",
    "CREATE TRIGGER second BEFORE INSERT ON keyless FOR EACH ROW SET NEW.b = CONCAT(NEW.b, '2')",
    "CREATE TRIGGER first BEFORE INSERT ON keyless FOR EACH ROW PRECEDES second SET NEW.b = CONCAT(NEW.b, '1')",
    "CREATE TRIGGER third BEFORE INSERT ON keyless FOR EACH ROW FOLLOWS second SET NEW.b = CONCAT(NEW.b, '3')",
    "CREATE TRIGGER a_after AFTER DELETE ON keyless FOR EACH ROW SET @gone = OLD.a",
    "CREATE DEFINER=`nobody`@`%` EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2026-03-29 02:30:00' ON COMPLETION"
    " PRESERVE DISABLE COMMENT 'é' DO DELETE FROM keyless WHERE a IS NULL",
]


async def everything(server: Any) -> None:
    connection = client(server)
    run(connection, "SET sql_mode = 'NO_ENGINE_SUBSTITUTION'", *(s for s in TABLES.split(";\n") if s.strip()))
    run(
        connection,
        "CREATE FUNCTION answer() RETURNS INT DETERMINISTIC RETURN 42",
        "CREATE VIEW z_first AS SELECT id, qty FROM children",
        *OBJECTS,
        "CREATE VIEW broken AS SELECT * FROM keyless JOIN empty_",
        "DROP TABLE empty_",
        "SET NAMES latin1, sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT', time_zone = '+05:30'",
        "CREATE FUNCTION ansi() RETURNS VARCHAR(20) NO SQL RETURN 'a' || 'b'",
        "CREATE EVENT once ON SCHEDULE AT '2035-01-01 00:00:00' DISABLE DO SET @\"x\" = 1",
        "SET NAMES utf8mb4, sql_mode = 'ORACLE'",
        "CREATE PACKAGE pack AS FUNCTION f RETURN INT; END",
        "CREATE PACKAGE BODY pack AS FUNCTION f RETURN INT AS BEGIN RETURN 1; END; END",
        "SET sql_mode = ''",
        "CREATE USER reporting@'%' IDENTIFIED BY 'canary-password'",
        "CREATE ROLE readers",
        "GRANT SELECT ON shop.* TO readers",
        "GRANT readers TO reporting@'%'",
        "CREATE SERVER elsewhere FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'h', USER 'u')",
        "SET GLOBAL max_connections = 321",
        "XA START 'x1', 'b', 3",
        "INSERT INTO keyless VALUES (99, 'xa')",
        "XA END 'x1', 'b', 3",
        "XA PREPARE 'x1', 'b', 3",
    )
    connection.close()


async def test_all_objects(mariadb_factory: Callable[..., Awaitable[Any]], tmp_path: Path) -> None:
    options = ("--log-bin-trust-function-creators=1",)
    source, target = await mariadb_factory(options=options), await mariadb_factory(server_id=2, options=options)
    for server in (source, target):
        connection = client(server)
        run(connection, "INSTALL SONAME 'ha_blackhole'", "INSTALL SONAME 'ha_archive'")
        connection.close()
    await everything(source)
    store = sealed_store(tmp_path)
    content = await take(source, store)
    assert content.unsupported == ()
    connection = client(source)
    assert [entry.name for entry in content.objects if entry.attributes.get("broken")] == ["broken"]
    run(connection, "XA ROLLBACK 'x1', 'b', 3", "DROP VIEW shop.broken")
    connection.close()
    await load(content, store, target)
    assert difference(source, target) == []

    connection = client(target)
    assert rows(connection, "SELECT HEX(DEFAULT(face)), HEX(DEFAULT(b)) FROM shop.odd_defaults") == [
        ("F09F98803F", "FF005C27")
    ]
    connection.close()
    tables = {(table.schema_name, table.name): table for table in content.tables}
    assert tables["shop", "keyless"].keyless
    assert tables["shop", "past"].attributes["versioned"]
    assert tables["shop", "parents"].auto_increment == 5004
    assert ("shop", "passing") not in tables
    assert tables["shop", "hole"].rows == 0
    for name in ("isam", "aria", "memory_", "csv_"):
        assert tables["shop", name].position == content.position, name
    assert tables["shop", "children"].position is None
    assert content.prepared_xa == ("'x1','b',3",)
    assert content.variables["max_connections"] == "321"
    assert content.variable_defaults["max_connections"] == "151"
    assert not {"server_id", "read_only", "gtid_slave_pos"} & content.variables.keys()
    sequence = next(entry for entry in content.objects if entry.name == "numbers")
    assert sequence.attributes["row"]["increment"] == -7
    system = {table.name: table for table in content.system_tables}
    assert system.keys() >= {*ACCOUNT_TABLES, "servers"}
    assert all(table.rule in RULES for table in content.system_tables)
    assert system["global_priv"].position == content.position
    texts = await chunk_texts(content, store)
    accounts = b"".join(texts[number] for number in system["global_priv"].chunks)
    assert b"reporting" in accounts
    connection = client(source)
    assert [row[0] for row in rows(connection, "SHOW TABLES FROM mysql") if rule_of(row[0]) is None] == []
    connection.close()


async def test_all_objects_come_back_in_place(mariadb_factory: Callable[..., Awaitable[Any]], tmp_path: Path) -> None:
    """The way a restore goes, over what is left after everything was dropped and something else put in its place."""
    server = await mariadb_factory(options=("--log-bin-trust-function-creators=1",))
    connection = client(server)
    run(connection, "INSTALL SONAME 'ha_blackhole'", "INSTALL SONAME 'ha_archive'")
    await everything(server)
    run(connection, "DROP VIEW shop.broken")  # the server takes no definition of a view that it could not read
    async with enrolled_lab(server, tmp_path) as lab:
        then, around = held(server), picture_of(server)
        backup = await lab.backup()
        run(
            connection,
            "XA ROLLBACK 'x1', 'b', 3",
            "SET foreign_key_checks = 0",
            "DROP DATABASE shop",
            "DROP DATABASE `we``ird ../name`",
            "CREATE DATABASE shop CHARACTER SET ascii",
            "CREATE TABLE shop.parents (id INT)",
            "DROP USER reporting@'%'",
            "DROP ROLE readers",
            "DROP SERVER elsewhere",
            "SET GLOBAL max_connections = 200",
        )
        connection.close()
        ending = await lab.restore(backup)
        assert ending.event == "tidewind.restore.completed.v1", ending
        assert apart(then, held(server)) == []
        assert differing(around, picture_of(server)) == {}


@pytest.mark.parametrize("chunk_bytes", [20_000, 40_000])
async def test_chunks_cover_every_row_once(
    mariadb_factory: Callable[..., Awaitable[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    """Small ranges over all kinds of keys: dense, sparse, text, composite, dates, partitions, none."""
    monkeypatch.setattr("tidewind.engines.mariadb.chunking.RANGE_BYTES_MIN", 30_000)
    source, target = await mariadb_factory(), await mariadb_factory(server_id=2)
    connection = client(source)
    fill = "SELECT seq, REPEAT('x', 50) FROM seq_1_to_5000"
    run(
        connection,
        "CREATE DATABASE k",
        "USE k",
        "CREATE TABLE dense (id INT PRIMARY KEY, v VARCHAR(60))",
        f"INSERT INTO dense {fill}",
        "CREATE TABLE sparse (id BIGINT UNSIGNED PRIMARY KEY, v VARCHAR(60))",
        "INSERT INTO sparse SELECT IF(seq < 2500, seq * seq, 18446744073709551615 - seq), REPEAT('x', 50) FROM seq_1_to_5000",
        "CREATE TABLE negative (id INT PRIMARY KEY, v VARCHAR(60))",
        "INSERT INTO negative SELECT CAST(seq AS SIGNED) * 7 - 17000, REPEAT('x', 50) FROM seq_1_to_5000",
        "CREATE TABLE words (w VARCHAR(40) COLLATE utf8mb4_unicode_ci PRIMARY KEY, v VARCHAR(60))",
        "INSERT INTO words SELECT CONCAT(MD5(seq), 'é\\\\ \\''), REPEAT('x', 50) FROM seq_1_to_5000",
        "CREATE TABLE latin (w VARCHAR(40) CHARACTER SET latin1 PRIMARY KEY, v VARCHAR(60))",
        "INSERT INTO latin SELECT CONCAT(X'E9', MD5(seq)), REPEAT('x', 50) FROM seq_1_to_5000",
        "CREATE TABLE bytes_ (w VARBINARY(40) PRIMARY KEY, v VARCHAR(60))",
        "INSERT INTO bytes_ SELECT CONCAT(X'FF00', UNHEX(MD5(seq))), REPEAT('x', 50) FROM seq_1_to_5000",
        "CREATE TABLE pairs (a DATE, b DECIMAL(9,2), c INT, v VARCHAR(60), PRIMARY KEY (a, b, c))",
        "INSERT INTO pairs SELECT '2024-01-01' + INTERVAL (seq MOD 20) DAY, (seq MOD 90) / 7, seq, REPEAT('x', 50)"
        " FROM seq_1_to_5000",
        "CREATE TABLE tenants (t INT, id INT, v VARCHAR(60), PRIMARY KEY (t, id))",
        "INSERT INTO tenants SELECT seq MOD 3, seq, REPEAT('x', 50) FROM seq_1_to_5000",
        "CREATE TABLE ids (u UUID PRIMARY KEY, v VARCHAR(60))",
        "INSERT INTO ids SELECT CONCAT(LEFT(MD5(seq), 12), '1', SUBSTR(MD5(seq), 14, 3), '8', RIGHT(MD5(seq), 15)),"
        " REPEAT('x', 50) FROM seq_1_to_5000",
        "CREATE TABLE reals (d DOUBLE PRIMARY KEY, v VARCHAR(60))",
        "INSERT INTO reals SELECT SIN(seq), REPEAT('x', 50) FROM seq_1_to_5000",
        "CREATE TABLE parts (id INT PRIMARY KEY, v VARCHAR(60)) PARTITION BY HASH (id) PARTITIONS 5",
        f"INSERT INTO parts {fill}",
        "CREATE TABLE nokey (id INT, v VARCHAR(60))",
        f"INSERT INTO nokey {fill}",
        "CREATE TABLE isam (id INT PRIMARY KEY, v VARCHAR(60)) ENGINE=MyISAM",
        f"INSERT INTO isam {fill}",
        "ANALYZE TABLE dense, sparse, negative, words, latin, bytes_, pairs, tenants, ids, reals, parts, nokey, isam",
    )
    connection.close()
    store = sealed_store(tmp_path)
    content = await take(source, store, chunk_bytes=chunk_bytes)
    await load(content, store, target)
    assert difference(source, target) == []
    by_name: dict[str, Table] = {table.name: table for table in content.tables}
    for name, table in by_name.items():
        assert table.rows == 5000, name
        assert len(table.chunks) > 1, name
    chunks = {chunk.number: chunk for chunk in content.chunks}
    texts = await chunk_texts(content, store)
    stream = b"".join(texts[number] for number in by_name["nokey"].chunks)
    assert [int(line.split(b"\t")[0]) for line in stream.splitlines()] == list(range(1, 5001))
    if chunk_bytes == 40_000:
        for name in ("dense", "sparse", "words", "latin", "bytes_", "pairs", "ids", "parts"):
            assert len(by_name[name].chunks) > 3, name
    assert {chunks[number].partition for number in by_name["parts"].chunks} >= {"p0", "p4"}


async def test_a_row_of_64_mib(mariadb_factory: Callable[..., Awaitable[Any]], tmp_path: Path) -> None:
    options = ("--max-allowed-packet=256M", "--innodb-log-file-size=800M")
    source = await mariadb_factory(options=options)
    target = await mariadb_factory(server_id=2, options=options)
    connection = client(source)
    run(
        connection,
        "CREATE DATABASE big",
        "CREATE TABLE big.rows_ (id INT PRIMARY KEY, v LONGBLOB)",
        "INSERT INTO big.rows_ VALUES (1, REPEAT(X'5C090A00', 16 * 1024 * 1024)), (2, 'small')",
    )
    connection.close()
    store = sealed_store(tmp_path)
    content = await take(source, store)
    await load(content, store, target)
    first, second = client(source), client(target)
    assert rows(first, "CHECKSUM TABLE big.rows_") == rows(second, "CHECKSUM TABLE big.rows_")
    first.close()
    second.close()


async def test_identity_lasts_and_differs(mariadb_factory: Callable[..., Awaitable[Any]]) -> None:
    one = await mariadb_factory()
    engine = MariaDBSnapshotEngine()
    first = (await engine.preflight(address_of(one), login_of(one), None)).facts.identity
    await one.stop()
    await one.start()
    assert (await engine.preflight(address_of(one), login_of(one), None)).facts.identity == first
    other = await mariadb_factory(server_id=2)
    assert (await engine.preflight(address_of(other), login_of(other), None)).facts.identity != first
