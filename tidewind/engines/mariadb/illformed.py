"""Writing rows whose text is not well formed in its character set.

Such bytes exist: old releases, replication and row events store them without a look. LOAD DATA and INSERT replace them
by '?', with warning 1366 that names the row. Two ways into a table do not look: a row event, and a copy from a column
of the very same type. So such a row is taken in two steps, inside the caller's transaction:

1. a row event (BINLOG statement) writes its text columns into a helper table whose columns have exactly the target's
   types, collation included;
2. INSERT … SELECT copies them from there, with the row's other columns as literals.

How a load uses it: run LOAD DATA; if SHOW WARNINGS has `WARNING_ILL_FORMED`, take the chunk back (ROLLBACK, or
TRUNCATE where there are no transactions), `prepare` a writer, run LOAD DATA again over `without_rows(…)`, and `write`
each row it set aside. The helper table lives in the schema `tidewind`; `drop_helpers` removes those of dead loads. The
account needs BINLOG REPLAY.
"""

import base64
import re
import struct
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tidewind.domain.manifest import Column
from tidewind.engines.mariadb.columns import INDEX
from tidewind.engines.mariadb.connection import Access, RawConnection, raw_rows
from tidewind.engines.mariadb.loading import WARNING_ILL_FORMED
from tidewind.engines.mariadb.quoting import bytes_literal, quote_name, quote_names, quote_table, text_literal
from tidewind.ports.engine import DatabaseError

HELPER_SCHEMA: Final = "tidewind"
HELPER_PREFIX: Final = "illformed_"
WARNINGS_MAX: Final = 65535
"""Set max_error_count to this before LOAD DATA, so that every row is named."""

_EVENT_HEADER: Final = struct.Struct("<IBIIIH")
_DESCRIPTION, _TABLE_MAP, _WRITE_ROWS = 15, 19, 23
_EVENT_TYPES: Final = 171
_POST_HEADERS: Final = {_TABLE_MAP: 8, _WRITE_ROWS: 8, 24: 8, 25: 8, 2: 13, 4: 8}
_BIGINT, _VARCHAR, _STRING, _BLOB = 8, 15, 254, 252
_BLOB_SIZES: Final = {"tinytext": 1, "text": 2, "mediumtext": 3, "longtext": 4}
_TABLE_ID: Final = 4242
_ROW: Final = re.compile(r" at row (\d+)$")
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_PLAIN: Final = {b"t": b"\t", b"n": b"\n", b"\\": b"\\"}


def ill_formed_rows(warnings: Iterable[Sequence[Any]]) -> set[int]:
    """Rows of the statement, the first being 1, that SHOW WARNINGS names as not well formed."""
    found = set()
    for _, code, message in warnings:
        if int(code) == WARNING_ILL_FORMED and (row := _ROW.search(str(message))):
            found.add(int(row.group(1)))
    return found


def without_rows(pieces: Iterable[bytes], rows: Collection[int], aside: list[bytes]) -> Iterator[bytes]:
    """A chunk's text without the rows named, which are put into `aside` without their newline."""
    number, rest = 1, b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        kept = []
        for line in lines:
            if number in rows:
                aside.append(line)
            else:
                kept.append(line + b"\n")
            number += 1
        if kept:
            yield b"".join(kept)


def fields(line: bytes) -> list[bytes | None]:
    """The values of a row's text."""
    return [
        None if field == b"\\N" else _ESCAPED.sub(lambda m: _PLAIN[m.group(1)], field) for field in line.split(b"\t")
    ]


@dataclass(frozen=True)
class _TextColumn:
    """`place` among the chunk's columns. `octets` is the greatest length of CHAR and VARCHAR."""

    place: int
    kind: str
    declared: str
    octets: int

    def event_type(self) -> tuple[int, bytes]:
        if self.kind == "varchar":
            return _VARCHAR, struct.pack("<H", self.octets)
        if self.kind == "char":
            return _STRING, bytes([_STRING ^ ((self.octets & 0x300) >> 4), self.octets & 0xFF])
        return _BLOB, bytes([_BLOB_SIZES[self.kind]])

    def packed(self, value: bytes) -> bytes:
        size = _BLOB_SIZES.get(self.kind) or (1 if self.octets <= 255 else 2)
        return len(value).to_bytes(size, "little") + value


class IllFormedWriter:
    """Blocking. Use after `prepare`, inside a transaction, and `close` it at the end."""

    def __init__(
        self, connection: RawConnection, access: Access, schema: str, table: str, columns: Sequence[Column]
    ) -> None:
        self._connection = connection
        self._access = access
        self._schema = schema
        self._table = table
        self._columns = columns
        self._texts: list[_TextColumn] = []
        self._helper = f"{HELPER_PREFIX}{connection.thread_id()}"

    def prepare(self) -> None:
        """Make the helper table. Commits what is open on the connection, as all DDL does, and makes the helper's schema
        the default one: BINLOG wants any. Raises DatabaseError."""
        self._texts = self._text_columns()
        declared = "".join(f", c{text.place} {text.declared}" for text in self._texts)
        helper = quote_table(HELPER_SCHEMA, self._helper)
        self._run(f"CREATE SCHEMA IF NOT EXISTS {quote_name(HELPER_SCHEMA)}")
        self._run(f"CREATE OR REPLACE TABLE {helper} (id BIGINT PRIMARY KEY{declared}) ENGINE=InnoDB")
        self._run(f"USE {quote_name(HELPER_SCHEMA)}")
        version = raw_rows(self._connection, self._access, "SELECT VERSION()")[0][0]
        self._binlog(_description(str(version)))

    def write(self, line: bytes) -> None:
        """Insert one row, given as its text. Raises DatabaseError."""
        values = fields(line)
        self._binlog(_table_map(HELPER_SCHEMA, self._helper, self._texts) + _write_row(self._texts, values))
        taken = {text.place for text in self._texts}
        sources = [
            quote_name(f"c{place}") if place in taken else _literal(column, value)
            for place, (column, value) in enumerate(zip(self._columns, values, strict=True))
        ]
        helper = quote_table(HELPER_SCHEMA, self._helper)
        names = quote_names(column.name for column in self._columns)
        self._run(
            f"INSERT INTO {quote_table(self._schema, self._table)} ({names}) SELECT {', '.join(sources)} FROM {helper}"
        )
        self._run(f"DELETE FROM {helper}")

    def close(self) -> None:
        """Remove the helper table. Commits what is open on the connection."""
        self._run(f"DROP TABLE IF EXISTS {quote_table(HELPER_SCHEMA, self._helper)}")

    def _text_columns(self) -> list[_TextColumn]:
        described = {
            name: rest
            for name, *rest in raw_rows(
                self._connection,
                self._access,
                "SELECT c.COLUMN_NAME, c.DATA_TYPE, c.COLUMN_TYPE, c.CHARACTER_SET_NAME, c.COLLATION_NAME,"
                " c.CHARACTER_OCTET_LENGTH FROM information_schema.COLUMNS c JOIN information_schema.CHARACTER_SETS s"
                " ON s.CHARACTER_SET_NAME = c.CHARACTER_SET_NAME AND s.MAXLEN > 1"
                f" WHERE c.TABLE_SCHEMA = {text_literal(self._schema)} AND c.TABLE_NAME = {text_literal(self._table)}",
            )
        }
        texts = []
        for place, column in enumerate(self._columns):
            if column.name in described and column.load != INDEX:
                kind, column_type, charset, collation, octets = described[column.name]
                if kind in ("enum", "set") or "COMPRESSED" in column_type.upper():
                    continue
                declared = f"{column_type} CHARACTER SET {charset} COLLATE {collation}"
                texts.append(_TextColumn(place, kind, declared, int(octets)))
        return texts

    def _run(self, sql: str) -> None:
        raw_rows(self._connection, self._access, sql)

    def _binlog(self, events: bytes) -> None:
        limit = raw_rows(self._connection, self._access, "SELECT @@max_allowed_packet")[0][0]
        statement = f"BINLOG '{base64.b64encode(events).decode()}'"
        if len(statement) >= limit:
            raise DatabaseError(
                "database-failed",
                f"{quote_table(self._schema, self._table)} holds a row with ill-formed text of {len(events)} bytes,"
                f" more than one statement may have (max_allowed_packet is {limit})",
                f"SET GLOBAL max_allowed_packet = {len(statement) * 2}; and repeat",
            )
        self._run(statement)


def drop_helpers(connection: RawConnection, access: Access) -> None:
    """Remove what dead writers left. No writer may be at work. Raises DatabaseError."""
    names = raw_rows(
        connection,
        access,
        f"SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = '{HELPER_SCHEMA}'"
        f" AND LEFT(TABLE_NAME, {len(HELPER_PREFIX)}) = '{HELPER_PREFIX}'",
    )
    for (name,) in names:
        raw_rows(connection, access, f"DROP TABLE IF EXISTS {quote_table(HELPER_SCHEMA, str(name))}")


def _literal(column: Column, value: bytes | None) -> str:
    if value is None:
        return "NULL"
    if column.load == INDEX:
        return str(int(value))
    return bytes_literal(value)


def _event(kind: int, body: bytes) -> bytes:
    return _EVENT_HEADER.pack(0, kind, 1, _EVENT_HEADER.size + len(body), 0, 0) + body


def _description(version: str) -> bytes:
    """A format description event without checksums, as the server of this version would write it."""
    lengths = bytearray(_EVENT_TYPES)
    for kind, length in _POST_HEADERS.items():
        lengths[kind - 1] = length
    lengths[_DESCRIPTION - 1] = 2 + 50 + 4 + 1 + _EVENT_TYPES
    body = struct.pack("<H50sIB", 4, version.encode()[:49], 0, _EVENT_HEADER.size) + bytes(lengths) + b"\0"
    return _event(_DESCRIPTION, body)


def _counted(number: int) -> bytes:
    return bytes([number]) if number < 251 else b"\xfc" + struct.pack("<H", number)


def _table_map(schema: str, table: str, texts: Sequence[_TextColumn]) -> bytes:
    types = [text.event_type() for text in texts]
    metadata = b"".join(part for _, part in types)
    names = b"".join(bytes([len(name)]) + name + b"\0" for name in (schema.encode(), table.encode()))
    columns = len(texts) + 1
    nullable = ((1 << columns) - 2).to_bytes((columns + 7) // 8, "little")
    body = (
        _TABLE_ID.to_bytes(6, "little")
        + b"\1\0"
        + names
        + _counted(columns)
        + bytes([_BIGINT, *(kind for kind, _ in types)])
        + _counted(len(metadata))
        + metadata
        + nullable
    )
    return _event(_TABLE_MAP, body)


def _write_row(texts: Sequence[_TextColumn], values: Sequence[bytes | None]) -> bytes:
    columns = len(texts) + 1
    size = (columns + 7) // 8
    nulls = sum(1 << (number + 1) for number, text in enumerate(texts) if values[text.place] is None)
    row = nulls.to_bytes(size, "little") + struct.pack("<q", 1)
    row += b"".join(text.packed(value) for text in texts if (value := values[text.place]) is not None)
    present = ((1 << columns) - 1).to_bytes(size, "little")
    return _event(_WRITE_ROWS, _TABLE_ID.to_bytes(6, "little") + b"\1\0" + _counted(columns) + present + row)
