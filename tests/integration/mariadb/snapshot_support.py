"""Takes snapshots of a real server, loads them into another with plain statements, and compares the two.

The loading here is the test's own: it knows of the product only the documented format (`load_statement` and the rule of
each column). The comparing asks both servers for every stored value in hexadecimal, and for the server's own checksum of
the raw records.
"""

import functools
import re
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql
import zstandard

from schemas.commands import Endpoint
from tidewind.domain.manifest import Column
from tidewind.embedded.mariadb import PrivateMariaDB
from tidewind.engines.mariadb.connection import LOSSLESS_UTF8, Access
from tidewind.engines.mariadb.illformed import WARNINGS_MAX, IllFormedWriter, ill_formed_rows, without_rows
from tidewind.engines.mariadb.loading import LOAD_SQL_MODE, WARNING_ERROR_VALUE, load_settings, load_statement
from tidewind.engines.mariadb.quoting import quote_name, quote_table, text_literal
from tidewind.engines.mariadb.snapshot import MariaDBSnapshotEngine
from tidewind.ports.engine import Address, Login, SnapshotContent, SnapshotRequest
from tidewind.runtime.clock import SystemRandomness
from tidewind.store.factory import StoreSettings, open_store
from tidewind.store.keyring import Keyring

PREFIX = "snapshots/shop/bkp_0000000000/a0001/"
MIB = 1024 * 1024


def address_of(server: PrivateMariaDB) -> Address:
    return Address(cluster_id="shop", endpoints=(Endpoint(host=server.host, port=server.port),), tls=None)


def login_of(server: PrivateMariaDB) -> Login:
    return Login(user=server.user, password=server.password)


def access_of(server: PrivateMariaDB) -> Access:
    return Access(address=address_of(server), login=login_of(server))


def sealed_store(folder: Path) -> StoreSettings:
    """An encrypted store in a directory."""
    keyring = folder / "keyring"
    if not keyring.exists():
        folder.mkdir(parents=True, exist_ok=True)
        keyring.touch(mode=0o600)
        keyring.write_text(Keyring.generate("test", SystemRandomness()).to_text())
        (folder / "store").mkdir()
    return StoreSettings(url=f"file://{folder / 'store'}", keyring=f"file:{keyring}")


def request_for(
    store: StoreSettings, *, workers: int = 2, chunk_bytes: int = 4 * MIB, excluded: tuple[str, ...] = ()
) -> SnapshotRequest:
    return SnapshotRequest(
        cluster_id="shop",
        backup_id="bkp_0000000000",
        attempt=1,
        prefix=PREFIX,
        workers=workers,
        chunk_bytes=chunk_bytes,
        excluded_schemas=excluded,
        open_store=functools.partial(open_store, store),
    )


@dataclass
class Reports:
    seen: list[tuple[str, float, float | None, str]] = field(default_factory=list)

    def __call__(self, step: str, done: float, total: float | None, unit: str) -> None:
        self.seen.append((step, done, total, unit))


async def take(server: PrivateMariaDB, store: StoreSettings, **options: Any) -> SnapshotContent:
    return await MariaDBSnapshotEngine().take(
        address_of(server), login_of(server), request_for(store, **options), Reports()
    )


def client(server: PrivateMariaDB, **options: Any) -> Any:
    """A blocking root connection that the test speaks plain SQL over."""
    connection = pymysql.connect(
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        charset="utf8mb4",
        autocommit=True,
        local_infile=True,
        ssl_disabled=True,
        **options,
    )
    connection.encoding = LOSSLESS_UTF8  # definitions hold binary defaults as they are
    return connection


def run(connection: Any, *statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def rows(connection: Any, sql: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


async def chunk_texts(content: SnapshotContent, store: StoreSettings) -> dict[int, bytes]:
    """The text of every chunk, proved against the manifest's length and counts."""
    texts = {}
    async with open_store(store) as opened:
        for chunk in content.chunks:
            stored = await opened.get(chunk.key)
            texts[chunk.number] = zstandard.ZstdDecompressor().decompressobj().decompress(stored)
            assert len(texts[chunk.number]) == chunk.row_bytes
            assert texts[chunk.number].count(b"\n") == chunk.rows
    return texts


async def load(content: SnapshotContent, store: StoreSettings, target: PrivateMariaDB) -> None:
    """Into an empty server, in the manifest's order."""
    texts = await chunk_texts(content, store)
    connection = client(target)
    run(
        connection,
        "SET foreign_key_checks = 0, unique_checks = 1, time_zone = '+00:00', sql_log_bin = 0",
        f"SET sql_mode = '{LOAD_SQL_MODE}', explicit_defaults_for_timestamp = ON",
    )
    for schema in content.schemas:
        run(connection, schema.create)
    for entry in content.objects:
        if entry.kind == "sequence":
            values = ", ".join(str(value) for value in entry.attributes["row"].values())
            name = quote_table(entry.schema_name, entry.name)
            run(
                connection,
                f"USE {quote_name(entry.schema_name)}",
                entry.create,
                f"INSERT INTO {name} VALUES ({values})",
            )
    for table in content.tables:
        run(connection, f"USE {quote_name(table.schema_name)}", table.create)
    for table in content.tables:
        for number in table.chunks:
            load_chunk(target, connection, table.schema_name, table.name, table.columns, texts[number])
    for entry in content.objects:
        if entry.kind != "sequence" and not entry.attributes.get("broken"):
            create_object(connection, entry)
    connection.close()


def load_chunk(
    target: PrivateMariaDB, connection: Any, schema: str, table: str, columns: tuple[Column, ...], text: bytes
) -> int:
    """As the format describes it; returns how many rows had to be written one by one."""
    settings = ", ".join(f"{name} = {value}" for name, value in load_settings(columns).items())
    run(connection, f"SET {settings}, max_error_count = {WARNINGS_MAX}", "START TRANSACTION")
    warnings = _load_text(connection, schema, table, columns, text)
    odd = ill_formed_rows(warnings)
    if odd:
        run(connection, "ROLLBACK")
        writer = IllFormedWriter(connection, access_of(target), schema, table, columns)
        writer.prepare()
        run(connection, "START TRANSACTION")
        aside: list[bytes] = []
        rest = b"".join(without_rows([text], odd, aside))
        warnings = _load_text(connection, schema, table, columns, rest)
        for line in aside:
            writer.write(line)
        run(connection, "COMMIT")
        writer.close()
    run(connection, "COMMIT")
    warnings = [row for row in warnings if row[1] != WARNING_ERROR_VALUE]
    assert not warnings, f"{schema}.{table}: {warnings[:5]}"
    return len(odd)


def _load_text(
    connection: Any, schema: str, table: str, columns: tuple[Column, ...], text: bytes
) -> list[tuple[Any, ...]]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(text)
        file.flush()
        statement = load_statement(schema, table, columns, file_name="chunk").replace("'chunk'", f"'{file.name}'", 1)
        run(connection, statement)
        return rows(connection, "SHOW WARNINGS")


def create_object(connection: Any, entry: Any) -> None:
    settings = ", ".join(f"{name} = '{value}'" for name, value in entry.session.items())
    run(connection, f"USE {quote_name(entry.schema_name)}", f"SET {settings}", entry.create)
    run(connection, "SET NAMES utf8mb4", f"SET sql_mode = '{LOAD_SQL_MODE}', time_zone = '+00:00'")


def tables_of(connection: Any) -> list[tuple[str, str, str]]:
    found = rows(
        connection,
        "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA NOT IN"
        " ('information_schema', 'performance_schema', 'sys', 'mysql') AND TABLE_SCHEMA NOT LIKE 'tidewind%' ORDER BY 1, 2",
    )
    return [(str(schema), str(name), str(kind)) for schema, name, kind in found]


def stored_values(connection: Any, schema: str, table: str, kind: str) -> list[tuple[Any, ...]]:
    """Every row of a table, sorted: strings and the like in hexadecimal, real numbers as exact binary fractions."""
    described = rows(
        connection,
        "SELECT COLUMN_NAME, DATA_TYPE FROM information_schema.COLUMNS"
        f" WHERE TABLE_SCHEMA = {text_literal(schema)} AND TABLE_NAME = {text_literal(table)} ORDER BY ORDINAL_POSITION",
    )
    history = ""
    if kind == "SYSTEM VERSIONED":
        history = " FOR SYSTEM_TIME ALL"
        hidden = rows(connection, f"SHOW CREATE TABLE {quote_table(schema, table)}")[0][1]
        if "ROW START" not in hidden:
            described += [("row_start", "timestamp"), ("row_end", "timestamp")]
    values = ", ".join(_exact(quote_name(str(name)), str(data_type)) for name, data_type in described)
    return sorted(rows(connection, f"SELECT {values} FROM {quote_table(schema, table)}{history}"), key=repr)


def _exact(name: str, data_type: str) -> str:
    if data_type in ("float", "double"):
        # The quotient by a power of two is exact, so 17 digits of it tell all bits; the sign of zero by itself.
        return f"CONCAT({name} * 1e0, '/', LEFT(CAST({name} * 1e0 AS CHAR), 1), '/', FORMAT({name} * 1e0, 38))"
    if data_type in ("enum", "set"):
        return f"CONCAT(CAST({name} AS UNSIGNED), '/', HEX({name}))"
    if data_type in ("bit", "tinyint", "smallint", "mediumint", "int", "bigint", "decimal"):
        return f"CAST({name} AS CHAR)" if data_type != "bit" else f"HEX({name})"
    if data_type in ("date", "datetime", "timestamp", "time", "year", "uuid", "inet6", "inet4"):
        return f"CAST({name} AS CHAR)"
    return f"HEX({name})"


@dataclass(frozen=True)
class Held:
    """What a server holds: definitions, values, raw checksums, in the order of the tables."""

    tables: list[tuple[str, str, str]]
    definitions: dict[str, str]
    values: dict[str, list[tuple[Any, ...]]]
    checksums: dict[str, Any]
    listings: dict[str, list[tuple[Any, ...]]]


def held(server: PrivateMariaDB) -> Held:
    connection = client(server)
    run(connection, "SET time_zone = '+00:00', sql_mode = '', group_concat_max_len = 1048576")
    tables = tables_of(connection)
    definitions, values, checksums = {}, {}, {}
    for schema, table, kind in tables:
        name = quote_table(schema, table)
        shown = rows(connection, f"SHOW CREATE TABLE {name}")[0][1]
        definitions[name] = re.sub(r" AUTO_INCREMENT=\d+", "", shown)
        if kind == "SEQUENCE":
            values[name] = rows(connection, f"SELECT * FROM {name}")
        elif kind != "VIEW":
            values[name] = stored_values(connection, schema, table, kind)
            checksums[name] = rows(connection, f"CHECKSUM TABLE {name} EXTENDED")[0][1]
    listings = {kind: rows(connection, listing) for kind, listing in _LISTINGS.items()}
    connection.close()
    return Held(tables, definitions, values, checksums, listings)


def apart(one: Held, other: Held) -> list[str]:
    """What differs between two states. Empty if nothing does."""
    found = [] if one.tables == other.tables else [f"tables: {set(one.tables) ^ set(other.tables)}"]
    for name, shown in one.definitions.items():
        if shown != other.definitions.get(name):
            found.append(f"definition of {name}: {[shown, other.definitions.get(name)]}")
        if one.values.get(name) != other.values.get(name):
            found.append(f"values of {name}: {_rows_apart(one.values.get(name, []), other.values.get(name, []))}")
        if one.checksums.get(name) != other.checksums.get(name):
            found.append(f"checksum of {name}: {[one.checksums.get(name), other.checksums.get(name)]}")
    for kind, listed in one.listings.items():
        if listed != other.listings[kind]:
            found.append(f"{kind}: {listed} != {other.listings[kind]}")
    return found


def difference(one: PrivateMariaDB, other: PrivateMariaDB) -> list[str]:
    """What differs between two servers. Empty if nothing does."""
    return apart(held(one), held(other))


def _rows_apart(one: list[tuple[Any, ...]], other: list[tuple[Any, ...]]) -> str:
    """The first rows that only one of two has, and how many there are."""
    counted = Counter(one), Counter(other)
    only = [sorted((counted[i] - counted[1 - i]).elements(), key=repr) for i in (0, 1)]
    return f"{len(only[0])} only in the one: {only[0][:4]}, {len(only[1])} only in the other: {only[1][:4]}"


_NOT_OURS = "NOT RLIKE '^(tidewind.*|information_schema|performance_schema|sys|mysql)$'"
_LISTINGS = {
    "routines": "SELECT ROUTINE_SCHEMA, ROUTINE_NAME, ROUTINE_TYPE, ROUTINE_DEFINITION, SQL_MODE, DEFINER, ROUTINE_COMMENT,"
    " CHARACTER_SET_CLIENT, COLLATION_CONNECTION, DATABASE_COLLATION, SECURITY_TYPE, IS_DETERMINISTIC"
    f" FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA {_NOT_OURS} ORDER BY 1, 2, 3",
    "triggers": "SELECT TRIGGER_SCHEMA, TRIGGER_NAME, EVENT_OBJECT_TABLE, ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER,"
    " ACTION_STATEMENT, SQL_MODE, DEFINER, CHARACTER_SET_CLIENT, COLLATION_CONNECTION"
    f" FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA {_NOT_OURS} ORDER BY 1, 2",
    "events": "SELECT EVENT_SCHEMA, EVENT_NAME, TIME_ZONE, EVENT_DEFINITION, EVENT_TYPE, EXECUTE_AT, INTERVAL_VALUE,"
    " INTERVAL_FIELD, SQL_MODE, STARTS, ENDS, STATUS, ON_COMPLETION, DEFINER, CHARACTER_SET_CLIENT"
    f" FROM information_schema.EVENTS WHERE EVENT_SCHEMA {_NOT_OURS} ORDER BY 1, 2",
    "views": "SELECT TABLE_SCHEMA, TABLE_NAME, VIEW_DEFINITION, CHECK_OPTION, DEFINER, SECURITY_TYPE,"
    " CHARACTER_SET_CLIENT, COLLATION_CONNECTION"
    f" FROM information_schema.VIEWS WHERE TABLE_SCHEMA {_NOT_OURS} ORDER BY 1, 2",
}
