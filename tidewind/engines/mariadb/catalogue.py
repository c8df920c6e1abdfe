"""What is in a server: schemas and tables with everything needed to read them.

`read_catalogue` reads definitions; `listing` is the cheap second look that tells whether tables came, went or were
altered meanwhile. Neither is part of a transaction: the server's catalogue has no past.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from tidewind.domain.manifest import Schema
from tidewind.engines.mariadb.columns import (
    ColumnFacts,
    ReadColumn,
    implicit_period,
    is_period,
    read_column,
)
from tidewind.engines.mariadb.connection import Control
from tidewind.engines.mariadb.definition import Identity, identity
from tidewind.engines.mariadb.definition_text import with_true_defaults
from tidewind.engines.mariadb.failures import code_of
from tidewind.engines.mariadb.quoting import quote_name, quote_table, text_literals
from tidewind.engines.mariadb.server import HISTORY_INSERT, version_of
from tidewind.engines.mariadb.stored import NOTHING, STORED, STORED_NAME, by_table
from tidewind.ports.engine import DatabaseError

RESERVED_SCHEMA: Final = "tidewind"
"""Our own schema on a server that was restored; users must not have one of this name."""

SERVER_SCHEMAS: Final = ("information_schema", "performance_schema", "sys", "mysql")

TRANSACTIONAL: Final = frozenset({"InnoDB"})
WITHOUT_TRANSACTIONS: Final = frozenset({"MyISAM", "Aria", "MEMORY", "CSV", "ARCHIVE"})
WITHOUT_ROWS: Final = frozenset({"BLACKHOLE", "MRG_MyISAM"})
"""Kept as definitions: the one holds no rows, the other shows those of tables that are kept themselves."""

_WIDE_CHARSETS: Final = {"utf8mb4": "utf-8", "utf16": "utf-16-be", "utf16le": "utf-16-le", "utf32": "utf-32-be"}
_SCHEMA_SECONDS: Final = 300.0
_GONE: Final = frozenset({1049, 1146})


@dataclass(frozen=True, kw_only=True)
class KeyColumn:
    name: str
    data_type: str
    charset: str | None


@dataclass(frozen=True, kw_only=True)
class TableFacts:
    """A base table. `data_bytes` and `row_estimate` are the engine's estimates; `key` is the primary key or the first
    unique one over columns that are never NULL, in index order, empty if there is none."""

    schema: str
    name: str
    engine: str
    versioned: bool
    create: str
    identity: Identity
    stored_name: str
    columns: tuple[ReadColumn, ...]
    key_name: str | None
    key: tuple[KeyColumn, ...]
    data_bytes: int
    row_estimate: int
    partitions: tuple[tuple[str, int], ...]

    @property
    def path(self) -> tuple[str, str]:
        return self.schema, self.name

    @property
    def quoted(self) -> str:
        return quote_table(self.schema, self.name)


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One line of information_schema.TABLES, and what of InnoDB stands behind it (see `stored`)."""

    schema: str
    name: str
    kind: str
    engine: str | None
    made: datetime | None
    data_bytes: int
    row_estimate: int
    stored_name: str
    stored: str


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    schemas: tuple[Schema, ...]
    tables: tuple[TableFacts, ...]
    listed: tuple[Listed, ...]
    unsupported: tuple[str, ...]
    taken_at: datetime

    def of_kind(self, kind: str) -> list[Listed]:
        return [entry for entry in self.listed if entry.kind == kind]


def excluded(schemas: Sequence[str]) -> tuple[str, ...]:
    """All schemas that no snapshot holds as users' data."""
    return (*SERVER_SCHEMAS, RESERVED_SCHEMA, *schemas)


async def server_now(control: Control) -> datetime:
    """The server's own clock, UTC."""
    moment: datetime = await control.value("SELECT SYSDATE(6)")
    return moment.replace(tzinfo=UTC)


async def listing(control: Control, excluded_schemas: Sequence[str]) -> tuple[Listed, ...]:
    """Tables, views and sequences of all schemas but the excluded ones, in order of name."""
    rows = await control.rows(
        f"SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE, CREATE_TIME, DATA_LENGTH, TABLE_ROWS, {STORED_NAME}"
        f" FROM information_schema.TABLES WHERE TABLE_SCHEMA NOT IN ({text_literals(excluded_schemas)})"
        " AND TABLE_TYPE NOT LIKE '%TEMPORARY%'",
        deadline_s=_SCHEMA_SECONDS,
    )
    stored = by_table(await control.rows(STORED, deadline_s=_SCHEMA_SECONDS))
    found = [
        Listed(
            schema=schema,
            name=name,
            kind=kind,
            engine=engine,
            made=made.replace(tzinfo=UTC) if made else None,
            data_bytes=int(data_bytes or 0),
            row_estimate=int(row_estimate or 0),
            stored_name=stored_name.decode(),
            stored=stored.get(stored_name.decode(), NOTHING),
        )
        for schema, name, kind, engine, made, data_bytes, row_estimate, stored_name in rows
    ]
    return tuple(sorted(found, key=lambda entry: (entry.schema, entry.name)))


def outline(listed: Sequence[Listed]) -> frozenset[tuple[Any, ...]]:
    """What of a listing DDL changes and rows do not: equal outlines, no DDL between the two looks."""
    return frozenset((entry.schema, entry.name, entry.kind, entry.engine, entry.made, entry.stored) for entry in listed)


async def read_schemas(control: Control, excluded_schemas: Sequence[str]) -> tuple[Schema, ...]:
    """Schemas dropped while we look are left out: the second look will notice. Raises DatabaseError."""
    rows = await control.rows(
        "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA"
        f" WHERE SCHEMA_NAME NOT IN ({text_literals(excluded_schemas)}) ORDER BY SCHEMA_NAME"
    )
    found = []
    for (name,) in rows:
        try:
            created = await control.rows(f"SHOW CREATE DATABASE {quote_name(name)}")
        except DatabaseError as error:
            if code_of(error) in _GONE:
                continue
            raise
        found.append(Schema(name=name, create=created[0][1]))
    return tuple(found)


async def read_catalogue(control: Control, excluded_schemas: Sequence[str]) -> Catalogue:
    """Everything about the tables. Tables dropped while we look are left out: the second look will notice. Each
    table's definition is read after its place in the store: DDL that was on its way then has ended by then, for the
    definition waits for its lock. Raises DatabaseError."""
    takes_history = version_of(control.server_version)[:2] >= HISTORY_INSERT
    taken_at = await server_now(control)
    schemas = await read_schemas(control, excluded_schemas)
    listed = await listing(control, excluded_schemas)
    columns = await _columns(control, excluded_schemas)
    keys = await _keys(control, excluded_schemas)
    partitions = await _partitions(control, excluded_schemas)
    tables: list[TableFacts] = []
    unsupported: list[str] = []
    for entry in listed:
        if entry.kind not in ("BASE TABLE", "SYSTEM VERSIONED"):
            continue
        path = (entry.schema, entry.name)
        try:
            create = await show_create_table(control, *path)
            hidden = await _hidden_defaults(control, path, columns[path])
        except DatabaseError as error:
            if code_of(error) in _GONE:
                continue
            unsupported.append(f"table {quote_table(*path)}: its definition cannot be read: {error.detail}")
            continue
        facts = _table(entry, create, columns[path], keys.get(path), partitions.get(path, ()))
        reason = _refusal(facts, columns[path], takes_history)
        if reason:
            unsupported.append(f"table {quote_table(*path)}: {reason}")
        else:
            tables.append(replace(facts, create=with_true_defaults(create, hidden)) if hidden else facts)
    return Catalogue(
        schemas=schemas,
        tables=tuple(tables),
        listed=listed,
        unsupported=tuple(unsupported),
        taken_at=taken_at,
    )


async def show_create_table(control: Control, schema: str, table: str) -> str:
    rows = await control.rows(f"SHOW CREATE TABLE {quote_table(schema, table)}")
    return str(rows[0][1])


def _table(
    entry: Listed,
    create: str,
    columns: Sequence[ColumnFacts],
    key: tuple[str, tuple[KeyColumn, ...]] | None,
    partitions: tuple[tuple[str, int], ...],
) -> TableFacts:
    versioned = entry.kind == "SYSTEM VERSIONED"
    read = [column for column in map(read_column, columns) if column is not None]
    if versioned and not any(is_period(column) for column in columns):
        read.extend(implicit_period())
    return TableFacts(
        schema=entry.schema,
        name=entry.name,
        engine=entry.engine or "",
        versioned=versioned,
        create=create,
        identity=identity(create, entry.made, entry.stored),
        stored_name=entry.stored_name,
        columns=tuple(read),
        key_name=key[0] if key else None,
        key=key[1] if key else (),
        data_bytes=entry.data_bytes,
        row_estimate=entry.row_estimate,
        partitions=partitions,
    )


async def _hidden_defaults(control: Control, path: tuple[str, str], columns: Sequence[ColumnFacts]) -> dict[str, bytes]:
    """Defaults with characters above the basic plane, which every description of the table shows as '?'."""
    doubtful = [c for c in columns if c.charset in _WIDE_CHARSETS and c.default is not None and "?" in c.default]
    if not doubtful:
        return {}
    wanted = ", ".join(f"HEX(DEFAULT(t.{quote_name(column.name)}))" for column in doubtful)
    rows = await control.rows(f"SELECT {wanted} FROM (SELECT 1) one LEFT JOIN {quote_table(*path)} t ON FALSE")
    true = {column.name: bytes.fromhex(value) for column, value in zip(doubtful, rows[0], strict=True) if value}
    shown = {column.name: column for column in doubtful}
    return {name: value for name, value in true.items() if _above_basic_plane(value, str(shown[name].charset))}


def _above_basic_plane(value: bytes, charset: str) -> bool:
    text = value.decode(_WIDE_CHARSETS[charset], "replace")
    return any(ord(ch) > 0xFFFF for ch in text)


def _refusal(table: TableFacts, columns: Sequence[ColumnFacts], takes_history: bool) -> str | None:
    """Why a table cannot be kept, None if it can."""
    if table.versioned and not takes_history:
        return "it is system-versioned, and this release of MariaDB does not take history back (10.11 does)"
    if table.engine not in TRANSACTIONAL | WITHOUT_TRANSACTIONS | WITHOUT_ROWS:
        return f"its rows are not in this server's own storage (engine {table.engine or 'unknown'})"
    if table.versioned and any(is_period(c) and c.data_type.lower() == "bigint" for c in columns):
        return "its history is kept by transaction id (ROW START as BIGINT), which no other server can take over"
    return None


async def _columns(control: Control, excluded_schemas: Sequence[str]) -> dict[tuple[str, str], list[ColumnFacts]]:
    rows = await control.rows(
        "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_SET_NAME, COLLATION_NAME,"
        " GENERATION_EXPRESSION, COLUMN_DEFAULT FROM information_schema.COLUMNS"
        f" WHERE TABLE_SCHEMA NOT IN ({text_literals(excluded_schemas)})"
        " ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION",
        deadline_s=_SCHEMA_SECONDS,
    )
    found: dict[tuple[str, str], list[ColumnFacts]] = defaultdict(list)
    for schema, table, name, data_type, column_type, charset, collation, generation, default in rows:
        found[schema, table].append(
            ColumnFacts(
                name=name,
                data_type=data_type,
                column_type=column_type,
                charset=charset,
                collation=collation,
                generation=generation,
                default=default,
            )
        )
    return found


async def _keys(
    control: Control, excluded_schemas: Sequence[str]
) -> dict[tuple[str, str], tuple[str, tuple[KeyColumn, ...]]]:
    """For each table the key that orders and tells apart its rows."""
    rows = await control.rows(
        "SELECT s.TABLE_SCHEMA, s.TABLE_NAME, s.INDEX_NAME, s.COLUMN_NAME, s.SUB_PART, s.NULLABLE, s.INDEX_TYPE,"
        " c.DATA_TYPE, c.CHARACTER_SET_NAME, c.GENERATION_EXPRESSION"
        " FROM information_schema.STATISTICS s JOIN information_schema.COLUMNS c"
        " ON c.TABLE_SCHEMA = s.TABLE_SCHEMA AND c.TABLE_NAME = s.TABLE_NAME AND c.COLUMN_NAME = s.COLUMN_NAME"
        f" WHERE s.NON_UNIQUE = 0 AND s.TABLE_SCHEMA NOT IN ({text_literals(excluded_schemas)})"
        " ORDER BY s.TABLE_SCHEMA, s.TABLE_NAME, s.INDEX_NAME <> 'PRIMARY', s.INDEX_NAME, s.SEQ_IN_INDEX",
        deadline_s=_SCHEMA_SECONDS,
    )
    indexes: dict[tuple[str, str], dict[str, list[KeyColumn] | None]] = defaultdict(dict)
    for schema, table, index, name, prefix, nullable, kind, data_type, charset, generation in rows:
        columns = indexes[schema, table].setdefault(index, [])
        if columns is None:
            continue
        usable = prefix is None and nullable != "YES" and kind == "BTREE"
        if not usable or (generation is not None and not generation.startswith("ROW ")):
            indexes[schema, table][index] = None
        else:
            columns.append(KeyColumn(name=name, data_type=data_type.lower(), charset=charset))
    found = {}
    for path, candidates in indexes.items():
        for index, columns in candidates.items():
            if columns:
                found[path] = (index, tuple(columns))
                break
    return found


async def _partitions(
    control: Control, excluded_schemas: Sequence[str]
) -> dict[tuple[str, str], tuple[tuple[str, int], ...]]:
    rows = await control.rows(
        "SELECT TABLE_SCHEMA, TABLE_NAME, PARTITION_NAME, SUM(DATA_LENGTH) FROM information_schema.PARTITIONS"
        f" WHERE PARTITION_NAME IS NOT NULL AND TABLE_SCHEMA NOT IN ({text_literals(excluded_schemas)})"
        " GROUP BY TABLE_SCHEMA, TABLE_NAME, PARTITION_NAME"
        " ORDER BY TABLE_SCHEMA, TABLE_NAME, MIN(PARTITION_ORDINAL_POSITION)",
        deadline_s=_SCHEMA_SECONDS,
    )
    found: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
    for schema, table, name, size in rows:
        found[schema, table].append((name, int(size or 0)))
    return {path: tuple(parts) for path, parts in found.items()}
