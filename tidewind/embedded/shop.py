"""The shop of the demo: a small real database, and customers who buy in it all the time.

What the shop should hold is known without asking the database: every buyer works on rows of its own and notes, for
each transaction it committed, how the checksums of the tables changed. A table's checksum is the number of its rows and
the sum of a CRC over each row's text, so transactions simply add up. A snapshot taken at any moment under full load can
then be judged exactly: it tells how many transactions of each buyer it holds (table `buyers`), and the notes say what
the tables must add up to at just that point. Invariant: a note is appended before its transaction is committed, so no
committed state is without one.
"""

import asyncio
import random
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import aiomysql
import pymysql

from tidewind.embedded.mariadb import PrivateMariaDB

SCHEMA: Final = "shop"
BUYERS: Final = 4
CUSTOMERS: Final = 4_000
PRODUCTS: Final = 400
FIRST_ORDERS: Final = 60_000
COUPONS: Final = 2_500
DELETED_ORDERS: Final = 5_000

APP: Final = "shop_app"
PAUSE_S: Final = 0.005

Sums = dict[str, tuple[int, int]]
"""Table name -> (rows, sum of row CRCs)."""

_ROW_TEXT: Final[Mapping[str, str]] = {
    "customers": "CONCAT_WS('|', id, name, email, balance_cents)",
    "products": "CONCAT_WS('|', id, name, price_cents, stock)",
    "orders": "CONCAT_WS('|', buyer, number, customer_id, product_id, quantity, total_cents, note)",
    "coupons": "CONCAT_WS('|', id, code, percent)",
}

_DEFINITIONS: Final = (
    f"CREATE DATABASE {SCHEMA} CHARACTER SET utf8mb4",
    f"USE {SCHEMA}",
    "CREATE TABLE customers (id INT PRIMARY KEY, name VARCHAR(80) NOT NULL, email VARCHAR(120) NOT NULL UNIQUE,"
    " balance_cents BIGINT NOT NULL, KEY by_name (name))",
    "CREATE TABLE products (id INT PRIMARY KEY, name VARCHAR(80) NOT NULL, price_cents INT NOT NULL,"
    " stock INT NOT NULL)",
    "CREATE TABLE orders (buyer TINYINT NOT NULL, number INT NOT NULL, customer_id INT NOT NULL,"
    " product_id INT NOT NULL, quantity INT NOT NULL, total_cents BIGINT NOT NULL, note VARCHAR(200) NOT NULL,"
    " placed_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), PRIMARY KEY (buyer, number),"
    " KEY by_customer (customer_id), KEY by_product (product_id),"
    " CONSTRAINT of_customer FOREIGN KEY (customer_id) REFERENCES customers (id),"
    " CONSTRAINT of_product FOREIGN KEY (product_id) REFERENCES products (id))",
    "CREATE TABLE coupons (id INT PRIMARY KEY AUTO_INCREMENT, code CHAR(12) NOT NULL UNIQUE, percent TINYINT NOT NULL)",
    "CREATE TABLE buyers (buyer TINYINT PRIMARY KEY, done INT NOT NULL)",
    "CREATE VIEW best_sellers AS SELECT product_id, SUM(quantity) AS sold FROM orders GROUP BY product_id",
    "CREATE FUNCTION vat(cents BIGINT) RETURNS BIGINT DETERMINISTIC RETURN cents * 19 DIV 119",
)


@dataclass
class Notes:
    """What one buyer changed: `after[n]` are the changed sums after its first `n` transactions."""

    after: list[dict[str, tuple[int, int]]] = field(default_factory=lambda: [{}])

    def add(self, changes: Mapping[str, tuple[int, int]]) -> None:
        self.after.append(_plus(self.after[-1], changes))


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Tables whose content is not what it must be, and how much was compared. `done`: how many purchases of each buyer
    are in the database."""

    differing: tuple[str, ...]
    tables: int
    rows: int
    done: tuple[int, ...]

    @property
    def transactions(self) -> int:
        return sum(self.done)


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A moment in the shop: of each buyer how many purchases were committed for certain, and how many had begun."""

    committed: tuple[int, ...]
    begun: tuple[int, ...]


class Shop:
    """`open` on a private MariaDB, then `trade` as a task; `close` at the end."""

    def __init__(self, server: PrivateMariaDB, *, password: str, seed: int = 7) -> None:
        self._server = server
        self.password = password
        self._random = random.Random(seed)
        self._first: Sums = {}
        self._notes = [Notes() for _ in range(BUYERS)]
        self._balances: dict[int, int] = {}
        self._stocks: dict[int, int] = {}
        self._names: dict[int, str] = {}
        self._products: dict[int, tuple[str, int]] = {}
        self._committed = [0] * BUYERS
        self._trading: list[asyncio.Task[None]] = []
        self._closing = asyncio.Event()
        self.sold = 0

    async def open(self) -> int:
        """Make and fill the database; the number of rows."""
        root = await self._server.connect()
        try:
            async with root.cursor() as cursor:
                for statement in _DEFINITIONS:
                    await cursor.execute(statement)
                await self._fill(cursor)
                for statement in self._account_statements():
                    await cursor.execute(statement)
            self._first = await sums(root)
        finally:
            root.close()
        return sum(rows for rows, _ in self._first.values())

    def _account_statements(self) -> list[str]:
        """The application's account. Its password is minted here and holds no quote."""
        return [
            f"CREATE USER '{APP}'@'127.0.0.1' IDENTIFIED BY '{self.password}'",
            f"GRANT SELECT, INSERT, UPDATE, DELETE, EXECUTE ON {SCHEMA}.* TO '{APP}'@'127.0.0.1'",
        ]

    async def _fill(self, cursor: aiomysql.Cursor) -> None:
        chance = self._random
        for number in range(CUSTOMERS):
            self._names[number] = f"Customer {number:05d} ✿"
            self._balances[number] = chance.randrange(1_000, 500_000)
        for number in range(PRODUCTS):
            self._products[number] = (f"Product {number:04d}", chance.randrange(100, 20_000))
            self._stocks[number] = chance.randrange(1_000_000)
        await cursor.executemany(
            "INSERT INTO customers VALUES (%s, %s, %s, %s)",
            [(one, self._names[one], _email(one), self._balances[one]) for one in range(CUSTOMERS)],
        )
        await cursor.executemany(
            "INSERT INTO products VALUES (%s, %s, %s, %s)",
            [(one, *self._products[one], self._stocks[one]) for one in range(PRODUCTS)],
        )
        # Old orders of a buyer that buys no more, made by the server itself: quicker than sending them.
        await cursor.execute(
            "INSERT INTO orders (buyer, number, customer_id, product_id, quantity, total_cents, note)"
            f" SELECT {BUYERS}, seq, seq * 7919 % {CUSTOMERS}, seq * 104729 % {PRODUCTS}, 1 + seq % 5, seq % 90000,"
            " CONCAT('order ', seq, ' of the past ', SHA2(seq, 256), SHA2(seq + 1, 256))"
            f" FROM seq_1_to_{FIRST_ORDERS}"
        )
        await cursor.execute(
            "INSERT INTO coupons (code, percent)"
            f" SELECT UPPER(LEFT(SHA2(CONCAT('coupon', seq), 256), 12)), 5 + seq % 60 FROM seq_1_to_{COUPONS}"
        )
        await cursor.executemany("INSERT INTO buyers VALUES (%s, 0)", [(buyer,) for buyer in range(BUYERS)])

    def trade(self) -> None:
        """Let the buyers buy, each over a connection of the application's account, until `rest` or an error."""
        self._closing.clear()
        self._trading = [asyncio.create_task(self._buy(number), name=f"buyer {number}") for number in range(BUYERS)]

    async def rest(self) -> None:
        """The buyers finish the purchase in hand and go home. Raises what ended one of them earlier."""
        self._closing.set()
        ended, self._trading = self._trading, []
        for result in await asyncio.gather(*ended, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def abandon(self) -> None:
        """Stop the buyers wherever they are: the database is about to go."""
        for task in self._trading:
            task.cancel()
        await asyncio.gather(*self._trading, return_exceptions=True)
        self._trading = []

    def check(self) -> None:
        """Raises what ended a buyer, if one has ended."""
        for task in self._trading:
            if task.done():
                task.result()

    async def _buy(self, buyer: int) -> None:
        connection = await self._server.connect(user=APP, password=self.password, database=SCHEMA)
        chance = random.Random(1000 + buyer)
        try:
            while not self._closing.is_set():
                await self._purchase(connection, buyer, chance)
                await asyncio.sleep(PAUSE_S)
        finally:
            connection.close()

    async def _purchase(self, connection: aiomysql.Connection, buyer: int, chance: random.Random) -> None:
        """One transaction over three tables, on rows that are this buyer's own."""
        number = len(self._notes[buyer].after)
        customer = chance.randrange(CUSTOMERS // BUYERS) * BUYERS + buyer
        product = chance.randrange(PRODUCTS // BUYERS) * BUYERS + buyer
        quantity = chance.randrange(1, 6)
        total = quantity * self._products[product][1]
        note = f"bought at {datetime.now(UTC):%H:%M:%S.%f} “with thanks”"
        before, left = self._balances[customer], self._stocks[product]
        self._balances[customer], self._stocks[product] = before - total, left - quantity
        name, price = self._products[product]
        self._notes[buyer].add(
            {
                "orders": (1, crc(buyer, number, customer, product, quantity, total, note)),
                "customers": (0, self._customer_crc(customer, before - total) - self._customer_crc(customer, before)),
                "products": (0, crc(product, name, price, left - quantity) - crc(product, name, price, left)),
            }
        )
        async with connection.cursor() as cursor:
            await cursor.execute("START TRANSACTION")
            await cursor.execute(
                "INSERT INTO orders (buyer, number, customer_id, product_id, quantity, total_cents, note)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s)",
                (buyer, number, customer, product, quantity, total, note),
            )
            await cursor.execute("UPDATE customers SET balance_cents = %s WHERE id = %s", (before - total, customer))
            await cursor.execute("UPDATE products SET stock = %s WHERE id = %s", (left - quantity, product))
            await cursor.execute("UPDATE buyers SET done = %s WHERE buyer = %s", (number, buyer))
            await cursor.execute("COMMIT")
        self._committed[buyer] = number
        self.sold += 1

    def moment(self) -> Moment:
        """Now, as far as the buyers know."""
        return Moment(committed=tuple(self._committed), begun=tuple(len(one.after) - 1 for one in self._notes))

    def _customer_crc(self, customer: int, balance: int) -> int:
        return crc(customer, self._names[customer], _email(customer), balance)

    async def compare(self) -> Comparison:
        """Judge what stands in the database now against the notes, at the point that `buyers` names. For a database in
        which nobody writes."""
        root = await self._server.connect(database=SCHEMA)
        try:
            async with root.cursor() as cursor:
                await cursor.execute("SELECT buyer, done FROM buyers ORDER BY buyer")
                done = {int(buyer): int(count) for buyer, count in await cursor.fetchall()}
            present = await sums(root)
        finally:
            root.close()
        expected: Mapping[str, tuple[int, int]] = self._first
        for buyer in range(BUYERS):
            expected = _plus(expected, self._notes[buyer].after[done[buyer]])
        differing = tuple(name for name in _ROW_TEXT if present.get(name) != expected.get(name))
        rows = sum(count for count, _ in present.values())
        counts = tuple(done[buyer] for buyer in range(BUYERS))
        return Comparison(differing=differing, tables=len(_ROW_TEXT), rows=rows, done=counts)

    async def resume(self) -> None:
        """Go on from what stands in the database, and forget what came after it: the shop was put back."""
        root = await self._server.connect(database=SCHEMA)
        try:
            async with root.cursor() as cursor:
                await cursor.execute("SELECT id, balance_cents FROM customers")
                self._balances = {int(one): int(cents) for one, cents in await cursor.fetchall()}
                await cursor.execute("SELECT id, stock FROM products")
                self._stocks = {int(one): int(stock) for one, stock in await cursor.fetchall()}
                await cursor.execute("SELECT buyer, done FROM buyers")
                for buyer, done in await cursor.fetchall():
                    del self._notes[int(buyer)].after[int(done) + 1 :]
                    self._committed[int(buyer)] = int(done)
        finally:
            root.close()

    async def accident(self, new_password: str) -> tuple[Moment, Moment]:
        """What a tired person does while everybody buys: a table dropped, a DELETE too many, a password changed in
        passing. The moments just before the first of these and just after it."""
        root = await self._server.connect(database=SCHEMA)
        try:
            async with root.cursor() as cursor:
                before = self.moment()
                await cursor.execute("DROP TABLE coupons")
                after = self.moment()
                await cursor.execute(f"DELETE FROM orders WHERE buyer = {BUYERS} AND number <= {DELETED_ORDERS}")
                await cursor.execute(f"ALTER USER '{APP}'@'127.0.0.1' IDENTIFIED BY '{new_password}'")
        finally:
            root.close()
        return before, after

    async def release(self) -> tuple[int, int]:
        """Of the server, as (10, 11)."""
        root = await self._server.connect()
        try:
            async with root.cursor() as cursor:
                await cursor.execute("SELECT VERSION()")
                major, minor = str((await cursor.fetchall())[0][0]).split(".")[:2]
        finally:
            root.close()
        return int(major), int(minor)

    async def admits(self, password: str) -> bool:
        """Whether the application's account can log in with this password."""
        try:
            connection = await self._server.connect(user=APP, password=password, database=SCHEMA)
        except pymysql.err.OperationalError as error:
            if error.args[0] == 1045:
                return False
            raise
        connection.close()
        return True

    async def picture(self) -> dict[str, Any]:
        """Everything the shop consists of: content and definition of each table and view, routines, accounts. Equal
        pictures mean an equal shop. For a database in which nobody writes."""
        root = await self._server.connect(database=SCHEMA)
        try:
            async with root.cursor() as cursor:
                return await _picture(cursor)
        finally:
            root.close()


async def sums(connection: aiomysql.Connection) -> Sums:
    """The checksums of the tables that exist, in one consistent read."""
    found: Sums = {}
    async with connection.cursor() as cursor:
        await cursor.execute(f"USE {SCHEMA}")
        await cursor.execute("SHOW FULL TABLES WHERE Table_type = 'BASE TABLE'")
        present = {row[0] for row in await cursor.fetchall()}
        await cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        for name, text in _ROW_TEXT.items():
            if name in present:
                await cursor.execute(f"SELECT COUNT(*), COALESCE(SUM(CRC32({text})), 0) FROM {name}")
                rows, total = (await cursor.fetchall())[0]
                found[name] = (int(rows), int(total))
        await cursor.execute("COMMIT")
    return found


async def _picture(cursor: aiomysql.Cursor) -> dict[str, Any]:
    picture: dict[str, Any] = {}
    await cursor.execute("SHOW FULL TABLES")
    for name, kind in await cursor.fetchall():
        await cursor.execute(f"SHOW CREATE TABLE `{name}`")
        picture[f"definition of {name}"] = (await cursor.fetchall())[0][1]
        if kind == "BASE TABLE":
            await cursor.execute(f"CHECKSUM TABLE `{name}` EXTENDED")
            picture[f"content of {name}"] = (await cursor.fetchall())[0][1]
    await cursor.execute("SHOW CREATE FUNCTION vat")
    picture["function vat"] = (await cursor.fetchall())[0][2]
    await cursor.execute("SELECT User, Host, SHA2(Priv, 256) FROM mysql.global_priv ORDER BY User, Host")
    picture["accounts"] = [tuple(row) for row in await cursor.fetchall()]
    await cursor.execute("SELECT * FROM mysql.db ORDER BY User, Host, Db")
    picture["grants"] = [tuple(row) for row in await cursor.fetchall()]
    return picture


def crc(*values: object) -> int:
    """The CRC that the database computes over the same row."""
    return zlib.crc32("|".join(map(str, values)).encode())


def _email(customer: int) -> str:
    return f"customer{customer}@example.org"


def _plus(one: Mapping[str, tuple[int, int]], other: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    total = dict(one)
    for name, (rows, amount) in other.items():
        known = total.get(name, (0, 0))
        total[name] = (known[0] + rows, known[1] + amount)
    return total
