"""What `replay_workload` leaves out: statements at the edges of what a log in row format says, for tests that compare
many points. Each operation leaves its session with no transaction open and its settings as they were.
"""

from collections.abc import Sequence
from random import Random

from tests.replay_workload import OPERATIONS as COMMON
from tests.replay_workload import SETUP as COMMON_SETUP
from tests.replay_workload import Do, Operation

SETUP: Sequence[str] = (
    *COMMON_SETUP,
    "CREATE DATABASE `we``ird é.name`",
    "CREATE TABLE `we``ird é.name`.`ta``ble #1` (`k``ey` INT PRIMARY KEY, `v.é` VARCHAR(20)) ENGINE=InnoDB",
    "CREATE TABLE shop.tree (id INT PRIMARY KEY, above INT, name VARCHAR(20), FOREIGN KEY (above) REFERENCES shop.tree (id) "
    "ON DELETE CASCADE) ENGINE=InnoDB",
    "CREATE TABLE other.child (id INT AUTO_INCREMENT PRIMARY KEY, parent INT, note VARCHAR(20), FOREIGN KEY (parent) "
    "REFERENCES shop.parents (id) ON DELETE CASCADE ON UPDATE CASCADE) ENGINE=InnoDB",
    "CREATE TABLE other.grandchild (id INT AUTO_INCREMENT PRIMARY KEY, child INT, FOREIGN KEY (child) "
    "REFERENCES other.child (id) ON DELETE SET NULL) ENGINE=InnoDB",
    "CREATE TABLE shop.remembering (id INT AUTO_INCREMENT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES "
    "shop.parents (id) ON DELETE CASCADE ON UPDATE CASCADE) ENGINE=InnoDB WITH SYSTEM VERSIONING",
    "CREATE TABLE shop.growing (id INT PRIMARY KEY, above INT, FOREIGN KEY (above) REFERENCES shop.growing (id) "
    "ON DELETE CASCADE) ENGINE=InnoDB WITH SYSTEM VERSIONING",
    "CREATE TABLE shop.codes (id INT PRIMARY KEY, code VARCHAR(20) CHARACTER SET latin1, extra INT, UNIQUE KEY (code), "
    "UNIQUE KEY (extra)) ENGINE=InnoDB",
    "CREATE TABLE shop.derived (id INT PRIMARY KEY, a INT, b INT AS (a + 1) VIRTUAL, c INT AS (a * 2) STORED, "
    "d VARCHAR(40) DEFAULT CONCAT('d', UUID_SHORT() MOD 1), KEY (b), UNIQUE KEY (c), CHECK (a >= 0)) ENGINE=InnoDB",
    "CREATE TABLE shop.prepared (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(40)) ENGINE=InnoDB",
    "CREATE TABLE other.one (id INT PRIMARY KEY, v VARCHAR(10)) ENGINE=MyISAM",
    "CREATE TABLE other.two (id INT PRIMARY KEY, v VARCHAR(10)) ENGINE=MyISAM",
    "CREATE TABLE other.aria (a INT, b VARCHAR(20)) ENGINE=Aria",
    "CREATE TABLE other.memory (id INT PRIMARY KEY, v VARCHAR(10)) ENGINE=MEMORY",
    "CREATE TABLE shop.zoned (id INT AUTO_INCREMENT PRIMARY KEY, t TIMESTAMP(3) NULL, d DATETIME(3), n DECIMAL(20,8), "
    "s VARCHAR(60)) ENGINE=InnoDB",
    "CREATE TABLE shop.hashed (id INT, v INT, w VARCHAR(20), PRIMARY KEY (id)) ENGINE=InnoDB PARTITION BY KEY (id) "
    "PARTITIONS 3",
    "INSERT INTO shop.tree SELECT seq, IF(seq = 1, NULL, seq DIV 2), CONCAT('t', seq) FROM seq_1_to_60",
    "INSERT INTO other.child (parent, note) SELECT 1 + seq MOD 40, 'c' FROM seq_1_to_80",
    "INSERT INTO other.grandchild (child) SELECT seq FROM seq_1_to_80",
    "INSERT INTO shop.remembering (parent) SELECT 1 + seq MOD 40 FROM seq_1_to_60",
    "INSERT INTO shop.growing SELECT seq, NULL FROM seq_1_to_4",
    "INSERT INTO shop.growing SELECT seq + 4, seq FROM seq_1_to_4",
    "INSERT INTO shop.codes SELECT seq, CONCAT('c', seq), seq FROM seq_1_to_30",
    "INSERT INTO other.one SELECT seq, 'one' FROM seq_1_to_20",
    "INSERT INTO other.two SELECT seq, 'two' FROM seq_1_to_10",
    "CREATE USER by_hand@'%' IDENTIFIED BY 'by-hand-secret'",
    "CREATE USER maker@'%' IDENTIFIED BY 'maker-secret'",
    "GRANT ALL PRIVILEGES ON shop.* TO maker@'%' WITH GRANT OPTION",
    "GRANT ALL PRIVILEGES ON other.* TO maker@'%'",
    "GRANT CREATE USER, RELOAD ON *.* TO maker@'%'",
)

_WITHOUT_DEFINITIONS = ("_insert", "_update", "_keyless", "_triggers", "_sequence", "_versioned", "_plain", "_accounts")
DATED_BY_FOREIGN_KEYS = {"`shop`.`remembering`": "id, parent", "`shop`.`growing`": "id, above"}
"""Tables whose history is written by foreign keys, and their own columns."""


def _families(rng: Random, do: Do) -> None:
    """Foreign keys over schemas, over several steps, onto themselves, and into a table that keeps its history."""
    number = rng.randint(1, 60)
    do(
        rng.choice(
            (
                f"DELETE FROM shop.tree WHERE id = {rng.randint(2, 60)}",
                f"INSERT IGNORE INTO shop.tree VALUES ({number}, {number // 2 or 'NULL'}, 'again')",
                f"UPDATE IGNORE shop.tree SET above = {number} WHERE id > {number} LIMIT 2",
                f"INSERT IGNORE INTO other.child (parent, note) VALUES ({number}, 'n'), (NULL, 'n')",
                f"INSERT IGNORE INTO other.grandchild (child) SELECT MAX(id) FROM other.child WHERE id % 7 = {number % 7}",
                f"INSERT IGNORE INTO shop.remembering (parent) VALUES ({number})",
                f"UPDATE shop.remembering SET parent = NULL WHERE parent = {number} LIMIT 1",
                f"REPLACE INTO shop.parents VALUES ({number}, 'replaced')",
                f"DELETE p, c FROM shop.parents p JOIN other.child c ON c.parent = p.id WHERE p.id = {number}",
                f"UPDATE shop.parents p JOIN shop.cascading c ON c.parent = p.id SET p.name = 'joined' WHERE p.id = {number}",
            )
        )
    )


def _unique(rng: Random, do: Do) -> None:
    """Several unique keys, values that change places, and rows that give way to others."""
    one, two = rng.randint(1, 40), rng.randint(1, 40)
    do(
        rng.choice(
            (
                f"REPLACE INTO shop.codes VALUES ({one}, 'c{two}', {rng.randint(1, 40)})",
                f"INSERT INTO shop.codes VALUES ({one}, 'n{two}', {two}) ON DUPLICATE KEY UPDATE code = CONCAT('d', id)",
                f"UPDATE shop.codes SET extra = NULL WHERE id = {one}",
                f"UPDATE IGNORE shop.codes SET id = id + 1, code = CONCAT(code, 'x') WHERE id > {one} ORDER BY id DESC LIMIT 3",
                f"REPLACE INTO shop.derived (id, a) VALUES ({one}, {two}), ({two}, {one})",
                f"UPDATE IGNORE shop.derived SET a = a + 1 WHERE id < {one} ORDER BY a DESC",
                f"DELETE FROM shop.derived WHERE b % 5 = {one % 5}",
                "SET STATEMENT sql_mode = 'NO_AUTO_VALUE_ON_ZERO' FOR INSERT IGNORE INTO shop.items (id, name) VALUES (0, 'z')",
                f"REPLACE INTO `we``ird é.name`.`ta``ble #1` VALUES ({one}, 'é{two}')",
                f"DELETE FROM `we``ird é.name`.`ta``ble #1` WHERE `k``ey` = {two}",
            )
        )
    )


def _untransacted(rng: Random, do: Do) -> None:
    """Tables without transactions, also in transactions, and what is done to them as a whole."""
    number = rng.randint(1, 40)
    do(
        rng.choice(
            (
                f"REPLACE INTO other.one VALUES ({number}, '1-{number}')",
                f"REPLACE INTO other.two VALUES ({number}, '2-{number}'), ({number + 1}, NULL)",
                "TRUNCATE TABLE other.one",
                "RENAME TABLE other.one TO other.between, other.two TO other.one, other.between TO other.two",
                f"ALTER TABLE other.two COMMENT 'c{number}'",
                f"INSERT INTO other.aria VALUES ({number % 5}, 'a'), ({number % 5}, 'a')",
                f"DELETE FROM other.aria WHERE a = {number % 5} LIMIT 1",
                f"UPDATE other.aria SET b = CONCAT(b, '+') WHERE a = {number % 5} LIMIT 2",
                "TRUNCATE TABLE other.aria",
                f"REPLACE INTO other.memory VALUES ({number}, 'm')",
                f"DELETE FROM other.memory WHERE id < {number}",
                f"CREATE OR REPLACE TABLE other.made (a INT, v INT) ENGINE={rng.choice(('MyISAM', 'Aria'))} SELECT {number} AS a",
                f"INSERT INTO other.made SELECT a + 1, {number} FROM other.made LIMIT 20",
                "DROP TABLE IF EXISTS other.made",
            )
        )
    )


def _mixed(rng: Random, do: Do) -> None:
    """A transaction over tables with and without transactions, statements that fail in its middle included."""
    do("BEGIN")
    for _ in range(rng.randint(2, 4)):
        rng.choice((_families, _unique, _rows_of_untransacted, _failing))(rng, do)
    do(rng.choice(("COMMIT", "COMMIT", "ROLLBACK")))


def _rows_of_untransacted(rng: Random, do: Do) -> None:
    number = rng.randint(1, 40)
    do(f"REPLACE INTO other.one VALUES ({number}, 'in')")
    do(f"INSERT INTO other.aria VALUES ({number % 5}, 'in')")


def _failing(rng: Random, do: Do) -> None:
    """Fails half-way: rows before the failing one stay in a table without transactions."""
    number = rng.randint(1, 40)
    do(f"INSERT INTO other.one VALUES ({number + 100}, 'a'), ({number + 101}, 'b'), ({number + 100}, 'c')")
    do(f"INSERT INTO shop.codes VALUES ({number + 100}, 'new{number}', NULL), ({number + 100}, 'dup', NULL)")
    do("DELETE FROM other.one WHERE id > 100")


def _as_sessions_differ(rng: Random, do: Do) -> None:
    """Statements whose meaning is the session's: character sets, zone, modes."""
    number = rng.randint(1, 9)
    setting, back = rng.choice(
        (
            ("SET NAMES latin1", "SET NAMES utf8mb4"),
            ("SET time_zone = '+05:30'", "SET time_zone = DEFAULT"),
            ("SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'", "SET sql_mode = DEFAULT"),
            ("SET sql_mode = 'NO_ZERO_DATE'", "SET sql_mode = DEFAULT"),
            ("SET collation_connection = utf8mb4_bin", "SET NAMES utf8mb4"),
            (
                "SET auto_increment_increment = 5, auto_increment_offset = 3",
                "SET auto_increment_increment = 1, auto_increment_offset = 1",
            ),
            ("SET explicit_defaults_for_timestamp = 0", "SET explicit_defaults_for_timestamp = 1"),
            ("SET check_constraint_checks = 0", "SET check_constraint_checks = 1"),
            ("SET unique_checks = 0, foreign_key_checks = 0", "SET unique_checks = 1, foreign_key_checks = 1"),
            ("SET collation_server = latin1_swedish_ci", "SET collation_server = DEFAULT"),
            ("SET lc_time_names = 'de_DE'", "SET lc_time_names = DEFAULT"),
            ("SET skip_replication = 1", "SET skip_replication = 0"),
        )
    )
    do(setting)
    do(f"INSERT INTO shop.zoned (t, d, n, s) VALUES (NOW(3), NOW(3), {number} / 7, CONCAT('ä\\\\', MONTHNAME(NOW())))")
    do(
        rng.choice(
            (
                f"CREATE OR REPLACE TABLE other.zone{number} (t TIMESTAMP, u TIMESTAMP NULL DEFAULT '2024-01-01 00:00:00', "
                f"s VARCHAR(20) DEFAULT 'ä{number}') ENGINE=InnoDB",
                f"CREATE OR REPLACE VIEW other.viewed AS SELECT 'ä\\\\' AS x, {number} AS y",
                f"CREATE OR REPLACE PROCEDURE other.proc () SELECT 'ä\\\\', {number}",
                f"CREATE DATABASE IF NOT EXISTS made{number}",
                f"ALTER DATABASE other COMMENT 'ä\\\\{number}'",
                f"INSERT IGNORE INTO shop.derived (id, a) VALUES ({100 + number}, -{number})",
                f"INSERT IGNORE INTO shop.cascading (parent) VALUES ({3000 + number})",
            )
        )
    )
    do(f"DROP DATABASE IF EXISTS made{rng.randint(1, 9)}")
    do(back)


def _altered(rng: Random, do: Do) -> None:
    number = rng.randint(1, 9)
    do(
        rng.choice(
            (
                f"ALTER TABLE shop.zoned ADD COLUMN IF NOT EXISTS e{number} INT DEFAULT {number} FIRST",
                f"ALTER TABLE shop.zoned DROP COLUMN IF EXISTS e{number}",
                "ALTER TABLE shop.zoned MODIFY s VARCHAR(80)",
                "ALTER TABLE shop.zoned MODIFY s VARCHAR(60) CHARACTER SET latin1",
                f"ALTER TABLE shop.zoned ORDER BY d, COMMENT 'o{number}'",
                "ALTER TABLE shop.zoned CONVERT TO CHARACTER SET utf8mb4",
                f"ALTER TABLE shop.codes ADD COLUMN IF NOT EXISTS x{number} VARCHAR(5) DEFAULT 'é', ALGORITHM=INSTANT",
                f"ALTER TABLE shop.codes DROP COLUMN IF EXISTS x{number}",
                f"ALTER TABLE other.grandchild ADD INDEX IF NOT EXISTS i{number} (id, child)",
                f"ALTER TABLE other.grandchild DROP INDEX IF EXISTS i{number}",
                "ALTER TABLE shop.hashed ADD PARTITION PARTITIONS 1",
                "ALTER TABLE shop.hashed COALESCE PARTITION 1",
                "ALTER TABLE shop.hashed REMOVE PARTITIONING",
                "ALTER TABLE shop.hashed PARTITION BY KEY (id) PARTITIONS 2",
                f"REPLACE INTO shop.hashed VALUES ({number}, {number}, 'h'), ({number * 7}, 1, NULL)",
                f"DELETE FROM shop.hashed WHERE id % 4 = {number % 4}",
                "ALTER TABLE shop.tree ENGINE=InnoDB, FORCE",
                "SET STATEMENT binlog_alter_two_phase = 1 FOR ALTER TABLE shop.derived COMMENT 'two phases'",
                "SET STATEMENT binlog_alter_two_phase = 1 FOR ALTER TABLE shop.keyless ADD UNIQUE KEY fails (a)",
                "ALTER TABLE shop.cascading RENAME INDEX parent TO parent_too",
                "ALTER TABLE shop.cascading RENAME INDEX parent_too TO parent",
                "RENAME TABLE shop.tree TO other.tree_away",
                "RENAME TABLE other.tree_away TO shop.tree",
                "CREATE TABLE IF NOT EXISTS other.late (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES shop.parents (id) "
                "ON DELETE CASCADE) ENGINE=InnoDB",
                f"INSERT IGNORE INTO other.late VALUES ({number}, {number})",
                "ALTER TABLE other.late DROP FOREIGN KEY late_ibfk_1",
                "DROP TABLE IF EXISTS other.late",
            )
        )
    )


def _temporary(rng: Random, do: Do) -> None:
    do("CREATE TEMPORARY TABLE shop.passing (id INT PRIMARY KEY, v VARCHAR(10)) ENGINE=InnoDB CHARSET=utf8mb4")
    do("INSERT INTO shop.passing VALUES (1, 'a'), (2, 'b')")
    do(
        rng.choice(
            (
                "INSERT INTO shop.zoned (s) SELECT v FROM shop.passing",
                "CREATE OR REPLACE TABLE shop.likeit LIKE shop.passing",
                "CREATE OR REPLACE TABLE other.taken AS SELECT * FROM shop.passing",
                "UPDATE shop.codes c JOIN shop.passing p ON p.id = c.id SET c.code = CONCAT(p.v, c.id)",
            )
        )
    )
    do("DROP TEMPORARY TABLE shop.passing")


def _histories(rng: Random, do: Do) -> None:
    number = rng.randint(1, 30)
    do(
        rng.choice(
            (
                f"UPDATE shop.versioned SET v = 'u{number}' WHERE id % 3 = {number % 3}",
                "DELETE HISTORY FROM shop.versioned BEFORE SYSTEM_TIME NOW() - INTERVAL 2 SECOND",
                f"SET STATEMENT system_versioning_alter_history = KEEP FOR ALTER TABLE shop.versioned ADD COLUMN IF NOT EXISTS "
                f"w{number % 3} INT DEFAULT {number}",
                f"SET STATEMENT timestamp = {2000000000 + number} FOR UPDATE shop.versioned SET v = 'later' WHERE id = {number}",
                f"SET STATEMENT timestamp = {1000000000 + number} FOR UPDATE shop.versioned SET v = 'earlier' WHERE id = {number}",
                f"SET STATEMENT system_versioning_insert_history = 1 FOR INSERT INTO shop.versioned (id, v, row_start, row_end) "
                f"VALUES ({number}, 'told', '2020-01-01 00:00:00', '2021-01-01 00:00:{number:02d}')",
                "TRUNCATE TABLE shop.versioned",
                f"REPLACE INTO shop.versioned (id, v) VALUES ({number}, 'replaced')",
            )
        )
    )


def _more_accounts(rng: Random, do: Do) -> None:
    user = f"u{rng.randint(1, 4)}@'%'"
    do(
        rng.choice(
            (
                f"CREATE OR REPLACE USER {user} IDENTIFIED BY 'again'",
                f"DROP USER {user}, nobody@nowhere",
                f"ALTER USER IF EXISTS {user} PASSWORD EXPIRE",
                f"ALTER USER IF EXISTS {user} WITH MAX_USER_CONNECTIONS {rng.randint(1, 9)}",
                f"GRANT PROXY ON app@'%' TO {user}",
                f"GRANT SELECT ON *.* TO {user} WITH GRANT OPTION",
                f"REVOKE SELECT ON *.* FROM {user}",
                f"GRANT ALL PRIVILEGES ON `sh%`.* TO {user}",
                f"REVOKE clerk FROM {user}",
                f"GRANT role{rng.randint(1, 3)} TO role{rng.randint(1, 3)}",
                f"GRANT SELECT ON shop.nowhere TO {user}",
                "GRANT USAGE ON *.* TO app@'%' REQUIRE SSL",
                "GRANT USAGE ON *.* TO app@'%' REQUIRE NONE",
                "GRANT SELECT ON shop.items TO PUBLIC",
                "REVOKE SELECT ON shop.items FROM PUBLIC",
                "REVOKE INSERT ON shop.* FROM app@'%'",
                "GRANT INSERT ON shop.* TO app@'%'",
                "INSERT IGNORE INTO mysql.db (Host, Db, User, Select_priv) VALUES ('%', 'changed', 'by_hand', 'Y')",
                "DELETE FROM mysql.db WHERE Db = 'changed'",
                f"UPDATE mysql.global_priv SET Priv = JSON_SET(Priv, '$.access', {rng.randint(0, 7)}) WHERE User = 'by_hand'",
                "FLUSH PRIVILEGES",
            )
        )
    )


def _routines(rng: Random, do: Do) -> None:
    number = rng.randint(1, 3)
    do(
        rng.choice(
            (
                f"CREATE OR REPLACE PROCEDURE shop.work{number} (IN n INT) BEGIN INSERT INTO shop.zoned (s) VALUES (n); "
                "UPDATE shop.codes SET code = CONCAT('w', id) WHERE id = n; END",
                f"CALL shop.work{number} ({rng.randint(1, 30)})",
                f"CREATE OR REPLACE FUNCTION shop.count{number} () RETURNS INT MODIFIES SQL DATA BEGIN INSERT INTO shop.zoned (s) "
                "VALUES ('function'); RETURN 1; END",
                f"SELECT shop.count{number} ()",
                f"INSERT INTO shop.zoned (s, n) SELECT 'calls', shop.count{number} () FROM seq_1_to_3",
                f"GRANT EXECUTE ON PROCEDURE shop.work{number} TO app@'%'",
                f"DROP PROCEDURE IF EXISTS shop.work{number}",
                "CREATE OR REPLACE TRIGGER shop.coded BEFORE UPDATE ON shop.codes FOR EACH ROW INSERT INTO shop.audit (what) "
                "VALUES (CONCAT('code ', OLD.id))",
                "DROP TRIGGER IF EXISTS shop.coded",
            )
        )
    )


def _xa_left(rng: Random, do: Do) -> None:
    """Prepared, and ended much later, so that backups and points lie between the two."""
    name = f"left{rng.randint(0, 10**9)}"
    xid = f"'{name}', 'branch', {rng.randint(1, 9)}"
    do(f"XA START {xid}")
    do(f"INSERT INTO shop.prepared (v) VALUES ('{name}'), ('{rng.randint(0, 9)}')")
    do(f"INSERT INTO shop.audit (what) VALUES ('{name[:30]}')")
    do(f"XA END {xid}")
    do(f"XA PREPARE {xid}")
    for _ in range(rng.randint(5, 40)):
        do("SELECT 'waiting for the others'")
    do(f"XA {rng.choice(('COMMIT', 'COMMIT', 'ROLLBACK'))} {xid}")


def _thinks(rng: Random, do: Do) -> None:
    do(f"DO SLEEP({rng.random() / 3:.3f})")


OPERATIONS: Sequence[tuple[int, Operation]] = (
    *COMMON,
    (12, _families),
    (10, _unique),
    (10, _untransacted),
    (8, _mixed),
    (8, _as_sessions_differ),
    (10, _altered),
    (4, _temporary),
    (8, _histories),
    (8, _more_accounts),
    (8, _routines),
    (4, _xa_left),
)
SPARING_DEFINITIONS: Sequence[tuple[int, Operation]] = (
    *((weight, operation) for weight, operation in COMMON if operation.__name__ in _WITHOUT_DEFINITIONS),
    (5, _families),
    (5, _unique),
    (4, _untransacted),
    (2, _mixed),
    (4, _more_accounts),
    (20, _thinks),
)
"""Of sessions that leave a backup the time to be taken: between two of its looks no table may be altered."""
