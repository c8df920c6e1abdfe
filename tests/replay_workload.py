"""A seeded random workload of everything that a log must carry to a point: rows, definitions, accounts, from several
sessions at once.

Statements may fail (a deadlock, a table that another session dropped): what fails leaves no trace in the log, or the
trace that the server thinks right, and both are part of what is tried.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from random import Random
from typing import Any

import pymysql

SETUP: Sequence[str] = (
    "CREATE DATABASE shop CHARACTER SET utf8mb4",
    "CREATE DATABASE other CHARACTER SET latin1",
    "USE shop",
    "CREATE TABLE shop.items (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(60), price DECIMAL(12,2), stamp TIMESTAMP(6) "
    "DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), twice DECIMAL(14,2) AS (price * 2) STORED, "
    "hidden INT INVISIBLE DEFAULT 5, KEY (name), KEY (price)) ENGINE=InnoDB",
    "CREATE TABLE shop.parents (id INT PRIMARY KEY, name VARCHAR(20)) ENGINE=InnoDB",
    "CREATE TABLE shop.cascading (id INT AUTO_INCREMENT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES "
    "shop.parents (id) ON DELETE CASCADE ON UPDATE CASCADE) ENGINE=InnoDB",
    "CREATE TABLE shop.nulling (id INT AUTO_INCREMENT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES "
    "shop.parents (id) ON DELETE SET NULL ON UPDATE SET NULL) ENGINE=InnoDB",
    "CREATE TABLE shop.keyless (a INT, b VARCHAR(20), c DOUBLE) ENGINE=InnoDB",
    "CREATE TABLE other.heap (a INT, b TEXT) ENGINE=InnoDB",
    "CREATE TABLE shop.watched (id INT AUTO_INCREMENT PRIMARY KEY, v INT) ENGINE=InnoDB",
    "CREATE TABLE shop.audit (id INT AUTO_INCREMENT PRIMARY KEY, what VARCHAR(40), at TIMESTAMP(6)) ENGINE=InnoDB",
    "CREATE TRIGGER shop.watching AFTER UPDATE ON shop.watched FOR EACH ROW INSERT INTO shop.audit (what, at) VALUES "
    "(CONCAT(OLD.v, '>', NEW.v), NOW(6))",
    "CREATE TRIGGER shop.adding BEFORE INSERT ON shop.watched FOR EACH ROW SET NEW.v = NEW.v + 1",
    "CREATE SEQUENCE shop.numbers START WITH 5 INCREMENT BY 3 CACHE 7",
    "CREATE TABLE shop.numbered (id INT DEFAULT (NEXTVAL(shop.numbers)) PRIMARY KEY, v INT) ENGINE=InnoDB",
    "CREATE TABLE shop.versioned (id INT PRIMARY KEY, v VARCHAR(20)) ENGINE=InnoDB WITH SYSTEM VERSIONING",
    "CREATE TABLE shop.parts (id INT, v INT, PRIMARY KEY (id)) ENGINE=InnoDB PARTITION BY RANGE (id) "
    "(PARTITION p0 VALUES LESS THAN (100), PARTITION p1 VALUES LESS THAN (200), PARTITION pm VALUES LESS THAN MAXVALUE)",
    "CREATE TABLE shop.swapped (id INT, v INT, PRIMARY KEY (id)) ENGINE=InnoDB",
    "CREATE TABLE shop.left_one (id INT PRIMARY KEY, v VARCHAR(10)) ENGINE=InnoDB",
    "CREATE TABLE shop.right_one (id INT PRIMARY KEY, v VARCHAR(10)) ENGINE=InnoDB",
    "CREATE TABLE other.plain (id INT PRIMARY KEY, v VARCHAR(30)) ENGINE=MyISAM",
    "CREATE TABLE other.packed (id INT PRIMARY KEY, v TEXT COMPRESSED, j JSON) ENGINE=InnoDB",
    "INSERT INTO shop.parents SELECT seq, CONCAT('p', seq) FROM seq_1_to_40",
    "INSERT INTO shop.cascading (parent) SELECT 1 + seq MOD 40 FROM seq_1_to_100",
    "INSERT INTO shop.nulling (parent) SELECT 1 + seq MOD 40 FROM seq_1_to_100",
    "INSERT INTO shop.keyless SELECT seq MOD 10, 'dup', seq / 3 FROM seq_1_to_60",
    "INSERT INTO shop.parts SELECT seq * 3, seq FROM seq_1_to_90",
    "INSERT INTO shop.watched (v) SELECT seq FROM seq_1_to_20",
    "CREATE ROLE clerk",
    "CREATE USER app@'%' IDENTIFIED BY 'app-secret'",
    "GRANT SELECT, INSERT ON shop.* TO app@'%'",
    "CREATE USER closed@localhost ACCOUNT LOCK",
    "CREATE VIEW shop.cheap AS SELECT id, name FROM shop.items WHERE price < 10",
    "CREATE PROCEDURE shop.tidy () DELETE FROM shop.audit WHERE id < 0",
    "CREATE EVENT shop.later ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01' DO DELETE FROM shop.audit",
)

Do = Callable[..., None]
Operation = Callable[[Random, Do], None]


def _insert(rng: Random, do: Do) -> None:
    do(f"INSERT INTO shop.items (name, price) VALUES ('n{rng.randint(0, 99)}', {rng.randint(0, 9999) / 100})")


def _update(rng: Random, do: Do) -> None:
    do(f"UPDATE shop.items SET price = price + {rng.randint(1, 5)} WHERE id % 7 = {rng.randint(0, 6)} LIMIT 20")


def _delete(rng: Random, do: Do) -> None:
    do(f"DELETE FROM shop.items WHERE id % 31 = {rng.randint(0, 30)}")


def _transaction(rng: Random, do: Do) -> None:
    do("BEGIN")
    for _ in range(rng.randint(2, 5)):
        rng.choice((_insert, _update, _keyless, _parents, _versioned, _packed))(rng, do)
    do(rng.choice(("COMMIT", "COMMIT", "ROLLBACK")))


def _savepoints(rng: Random, do: Do) -> None:
    do("BEGIN")
    _insert(rng, do)
    do("SAVEPOINT s1")
    if rng.random() < 0.5:
        do(f"REPLACE INTO other.plain VALUES ({rng.randint(1, 50)}, 'in transaction')")
    _keyless(rng, do)
    do("ROLLBACK TO SAVEPOINT s1")
    _update(rng, do)
    do(rng.choice(("COMMIT", "COMMIT", "ROLLBACK")))


def _parents(rng: Random, do: Do) -> None:
    number = rng.randint(1, 60)
    do(
        rng.choice(
            (
                f"DELETE FROM shop.parents WHERE id = {number}",
                f"INSERT IGNORE INTO shop.parents VALUES ({number}, 'again')",
                f"UPDATE IGNORE shop.parents SET id = id + 100 WHERE id = {number}",
                f"INSERT IGNORE INTO shop.cascading (parent) VALUES ({number}), ({number + 1})",
                f"INSERT IGNORE INTO shop.nulling (parent) VALUES ({number}), (NULL)",
                f"DELETE FROM shop.cascading WHERE parent = {number}",
            )
        )
    )


def _unchecked(rng: Random, do: Do) -> None:
    do("SET foreign_key_checks = 0")
    do(f"INSERT INTO shop.nulling (parent) VALUES ({rng.randint(1000, 2000)})")
    do(f"DELETE FROM shop.parents WHERE id = {rng.randint(1, 60)}")
    do("SET foreign_key_checks = 1")


def _keyless(rng: Random, do: Do) -> None:
    number = rng.randint(0, 9)
    do(
        rng.choice(
            (
                f"INSERT INTO shop.keyless VALUES ({number}, 'dup', 0.1), ({number}, 'dup', 0.1), ({number}, NULL, NULL)",
                f"DELETE FROM shop.keyless WHERE a = {number} LIMIT 2",
                f"UPDATE shop.keyless SET b = 'x{rng.randint(0, 3)}' WHERE a = {number} LIMIT 3",
                f"INSERT INTO other.heap VALUES ({number}, REPEAT('h', {rng.randint(0, 300)}))",
                f"DELETE FROM other.heap WHERE a = {number} LIMIT 1",
            )
        )
    )


def _triggers(rng: Random, do: Do) -> None:
    do(f"UPDATE shop.watched SET v = v + 1 WHERE id % 5 = {rng.randint(0, 4)}")
    do(f"INSERT INTO shop.watched (v) VALUES ({rng.randint(0, 99)})")


def _xa(rng: Random, do: Do) -> None:
    name = f"x{rng.randint(0, 10**9)}"
    do(f"XA START '{name}'")
    _insert(rng, do)
    _keyless(rng, do)
    do(f"XA END '{name}'")
    if rng.random() < 0.2:
        do(f"XA COMMIT '{name}' ONE PHASE")
        return
    do(f"XA PREPARE '{name}'")
    do(f"XA {rng.choice(('COMMIT', 'COMMIT', 'ROLLBACK'))} '{name}'")


def _sequence(rng: Random, do: Do) -> None:
    do(
        rng.choice(
            (
                f"INSERT INTO shop.numbered (v) VALUES ({rng.randint(0, 9)}), (1)",
                "SELECT NEXTVAL(shop.numbers)",
                f"SELECT SETVAL(shop.numbers, {rng.randint(1, 3000)})",
                f"ALTER SEQUENCE shop.numbers INCREMENT BY {rng.randint(1, 5)}",
            )
        )
    )


def _versioned(rng: Random, do: Do) -> None:
    number = rng.randint(1, 30)
    do(f"INSERT INTO shop.versioned VALUES ({number}, 'v') ON DUPLICATE KEY UPDATE v = CONCAT(v, '+')")
    if rng.random() < 0.3:
        do(f"DELETE FROM shop.versioned WHERE id = {rng.randint(1, 30)}")


def _plain(rng: Random, do: Do) -> None:
    do(f"REPLACE INTO other.plain VALUES ({rng.randint(1, 50)}, 'r{rng.randint(0, 9)}'), ({rng.randint(51, 99)}, NULL)")
    do(f"DELETE FROM other.plain WHERE id = {rng.randint(1, 50)}")


def _packed(rng: Random, do: Do) -> None:
    number = rng.randint(1, 40)
    do(
        f"REPLACE INTO other.packed VALUES ({number}, REPEAT('long ', {rng.randint(1, 500)}), '{{\"a\": [{number}, null]}}')"
    )


def _stamp(rng: Random, do: Do) -> None:
    do(f"SET timestamp = {rng.choice((1, 86400, 1000000000.5, 2000000000.123456))}")
    _insert(rng, do)
    _triggers(rng, do)
    do("SET timestamp = DEFAULT")


def _swap(rng: Random, do: Do) -> None:
    do("RENAME TABLE shop.left_one TO shop.between, shop.right_one TO shop.left_one, shop.between TO shop.right_one")
    do(f"INSERT IGNORE INTO shop.left_one VALUES ({rng.randint(1, 999)}, 'l')")


def _partitions(rng: Random, do: Do) -> None:
    number = rng.randint(0, 10**6)
    do(
        rng.choice(
            (
                "ALTER TABLE shop.parts EXCHANGE PARTITION p0 WITH TABLE shop.swapped",
                "ALTER TABLE shop.parts TRUNCATE PARTITION p1",
                f"INSERT IGNORE INTO shop.parts VALUES ({number % 99}, 1), ({100 + number % 99}, 2), ({number}, 3)",
                f"DELETE FROM shop.parts WHERE id % 5 = {number % 5}",
                f"UPDATE IGNORE shop.parts SET id = id + 50 WHERE v = {number % 90}",
                "ALTER TABLE shop.parts REORGANIZE PARTITION pm INTO (PARTITION pm VALUES LESS THAN MAXVALUE)",
            )
        )
    )


def _definitions(rng: Random, do: Do) -> None:
    number = rng.randint(1, 4)
    do(
        rng.choice(
            (
                f"CREATE TABLE IF NOT EXISTS other.t{number} (id INT AUTO_INCREMENT PRIMARY KEY, v INT) ENGINE=InnoDB",
                f"DROP TABLE IF EXISTS other.t{number}",
                f"INSERT INTO other.t{number} (v) VALUES (1), (2), (3)",
                f"ALTER TABLE other.t{number} ADD COLUMN c{rng.randint(0, 99)} VARCHAR(20) DEFAULT 'ä'",
                f"TRUNCATE TABLE other.t{number}",
                f"CREATE OR REPLACE TABLE other.copy{number} ENGINE=InnoDB AS SELECT id, name, price FROM shop.items LIMIT 50",
                f"CREATE OR REPLACE TABLE other.like{number} LIKE shop.keyless",
                f"INSERT INTO other.like{number} SELECT * FROM shop.keyless LIMIT 5",
                f"DELETE FROM other.like{number} LIMIT 2",
                f"CREATE INDEX i{rng.randint(0, 9)} ON other.copy{number} (price)",
                "ALTER TABLE shop.keyless ENGINE=InnoDB",
                f"ALTER TABLE shop.items COMMENT 'c{number}'",
                f"CREATE DATABASE IF NOT EXISTS brief{number}",
                f"CREATE TABLE IF NOT EXISTS brief{number}.x (a INT) ENGINE=InnoDB SELECT 1 AS a",
                f"DROP DATABASE IF EXISTS brief{number}",
                f"DROP TABLE IF EXISTS other.t{number}, other.copy{number}, other.nowhere",
                f"ANALYZE TABLE other.copy{number}",
                "OPTIMIZE TABLE shop.watched",
                "CREATE TEMPORARY TABLE IF NOT EXISTS shop.mine (a INT)",
                f"SET STATEMENT lock_wait_timeout = 7 FOR ALTER TABLE shop.parents COMMENT 'p{number}'",
            )
        )
    )


def _objects(rng: Random, do: Do) -> None:
    number = rng.randint(1, 3)
    do(
        rng.choice(
            (
                f"CREATE OR REPLACE VIEW shop.view{number} AS SELECT id, price * {number} AS p FROM shop.items",
                f"DROP VIEW IF EXISTS shop.view{number}",
                f"CREATE OR REPLACE PROCEDURE shop.proc{number} () SELECT {number}",
                f"CREATE OR REPLACE FUNCTION shop.func{number} (x INT) RETURNS INT DETERMINISTIC RETURN x + {number}",
                f"DROP PROCEDURE IF EXISTS shop.proc{number}",
                f"ALTER PROCEDURE shop.tidy COMMENT 'c{number}'",
                f"CREATE OR REPLACE TRIGGER shop.trig{number} BEFORE INSERT ON shop.items FOR EACH ROW SET NEW.hidden = {number}",
                f"DROP TRIGGER IF EXISTS shop.trig{number}",
                f"CREATE OR REPLACE EVENT shop.ev{number} ON SCHEDULE EVERY {number} DAY STARTS '2030-01-01' DO SELECT {number}",
                f"DROP EVENT IF EXISTS shop.ev{number}",
                f"ALTER EVENT shop.later COMMENT 'c{number}'",
            )
        )
    )


def _accounts(rng: Random, do: Do) -> None:
    user = f"u{rng.randint(1, 4)}@'{rng.choice(('%', 'localhost'))}'"
    do(
        rng.choice(
            (
                f"CREATE USER IF NOT EXISTS {user} IDENTIFIED BY 'pw{rng.randint(0, 9)}'",
                f"CREATE USER {user}",
                f"DROP USER {user}",
                f"ALTER USER {user} IDENTIFIED BY 'other{rng.randint(0, 9)}'",
                f"ALTER USER {user} ACCOUNT LOCK",
                f"ALTER USER {user} ACCOUNT UNLOCK",
                "ALTER USER closed@localhost ACCOUNT UNLOCK",
                f"GRANT SELECT, UPDATE ON shop.items TO {user}",
                f"GRANT SELECT (name) ON shop.items TO {user}",
                f"REVOKE UPDATE ON shop.items FROM {user}",
                f"GRANT EXECUTE ON PROCEDURE shop.tidy TO {user}",
                f"GRANT clerk TO {user}",
                f"SET DEFAULT ROLE clerk FOR {user}",
                f"SET PASSWORD FOR {user} = PASSWORD('set{rng.randint(0, 9)}')",
                f"CREATE ROLE IF NOT EXISTS role{rng.randint(1, 3)}",
                f"GRANT INSERT ON other.* TO role{rng.randint(1, 3)}",
                f"DROP ROLE IF EXISTS role{rng.randint(1, 3)}",
                f"RENAME USER {user} TO renamed{rng.randint(1, 2)}@'%'",
                "FLUSH PRIVILEGES",
                f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {user}",
            )
        )
    )


OPERATIONS: Sequence[tuple[int, Operation]] = (
    (10, _insert),
    (10, _update),
    (3, _delete),
    (10, _transaction),
    (5, _savepoints),
    (12, _parents),
    (2, _unchecked),
    (12, _keyless),
    (6, _triggers),
    (5, _xa),
    (6, _sequence),
    (6, _versioned),
    (4, _plain),
    (6, _packed),
    (3, _stamp),
    (3, _swap),
    (6, _partitions),
    (10, _definitions),
    (5, _objects),
    (6, _accounts),
)


class Session:
    """One session of the workload. What fails is counted and passed over. `turn` is waited for before each statement."""

    def __init__(
        self,
        connection: Any,
        rng: Random,
        operations: Sequence[tuple[int, Operation]] = OPERATIONS,
        turn: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._connection = connection
        self._rng = rng
        self._operations = operations
        self._turn = turn
        self.failed: dict[int, int] = {}
        self.done = 0

    def do(self, statement: str) -> None:
        with self._turn():
            try:
                with self._connection.cursor() as cursor:
                    cursor.execute(statement)
                    cursor.fetchall()
                self.done += 1
            except pymysql.err.Error as error:
                code = int(error.args[0])
                if code in (2006, 2013):
                    raise
                self.failed[code] = self.failed.get(code, 0) + 1

    def close(self) -> None:
        self._connection.close()

    def one(self) -> None:
        """One operation."""
        self._rng.choices(self._operations, [weight for weight, _ in self._operations])[0][1](self._rng, self.do)
        if self._rng.random() < 0.05:
            self.do("USE shop")


def run_workload(
    connect: Callable[[], Any],
    seed: int,
    *,
    sessions: int = 4,
    operations: int = 60,
    table: Sequence[tuple[int, Operation]] = OPERATIONS,
) -> list[Session]:
    """Run it to its end; the sessions that did it. Raises what a session raised."""
    made = [Session(connect(), Random(f"{seed}/{number}"), table) for number in range(sessions)]
    trouble: list[BaseException] = []

    def work(session: Session) -> None:
        try:
            session.do("SET SESSION lock_wait_timeout = 5, innodb_lock_wait_timeout = 2")
            for _ in range(operations):
                session.one()
            session.do("COMMIT")
        except BaseException as error:
            trouble.append(error)

    threads = [threading.Thread(target=work, args=(session,)) for session in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if trouble:
        raise trouble[0]
    return made


class Interleaved:
    """Sessions of the workload whose statements take turns in an order that the seed draws, so that the seed makes the
    same log again: transactions of all sessions are open at once, and whatever would wait for a lock fails at once.
    Between two calls of `advance` nothing runs, and what is open stays open."""

    def __init__(
        self,
        connect: Callable[[], Any],
        seed: int,
        *,
        sessions: int = 4,
        table: Sequence[tuple[int, Operation]] = OPERATIONS,
    ) -> None:
        self._order = Random(f"{seed}/order")
        self._trouble: list[BaseException] = []
        self._ending = False
        self._go = [threading.Semaphore(0) for _ in range(sessions)]
        self._gone = [threading.Semaphore(0) for _ in range(sessions)]
        self.sessions = [
            Session(connect(), Random(f"{seed}/{number}"), table, partial(self._turn, number))
            for number in range(sessions)
        ]
        self._threads = [threading.Thread(target=self._work, args=(number,), daemon=True) for number in range(sessions)]
        for thread in self._threads:
            thread.start()
        self.advance(sessions)

    def advance(self, statements: int) -> None:
        """Raises what a session raised."""
        for _ in range(statements):
            number = self._order.randrange(len(self._go))
            self._go[number].release()
            self._gone[number].acquire()
            if self._trouble:
                raise self._trouble[0]

    def end(self) -> None:
        """Sessions stop where they are; the server takes back what they have not committed."""
        self._ending = True
        for go, thread in zip(self._go, self._threads, strict=True):
            go.release()
            thread.join()

    @contextmanager
    def _turn(self, number: int) -> Iterator[None]:
        self._go[number].acquire()
        if self._ending:
            raise _Ended
        try:
            yield
        finally:
            self._gone[number].release()

    def _work(self, number: int) -> None:
        session = self.sessions[number]
        try:
            session.do("SET SESSION lock_wait_timeout = 0, innodb_lock_wait_timeout = 0")
            while True:
                session.one()
        except _Ended:
            session.close()
        except BaseException as error:
            self._trouble.append(error)
            self._gone[number].release()


class _Ended(Exception):
    """The workload ends."""
