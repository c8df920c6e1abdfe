"""Table maps, and how long the rows behind them are. No I/O, and no values: rows are found and counted, not decoded.

A row image is a bitmap of NULLs over the columns that it holds, and the values of the others one behind the other, each
as long as its type, the table map's metadata and, for strings, its own first bytes say. Types are those of the log:
ENUM and SET hide in STRING, and so do UUID, INET4 and INET6.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from tidewind.engines.mariadb.log.cursor import Cursor, Data, EventDamaged
from tidewind.engines.mariadb.log.events import DELETE_ROWS, DELETE_ROWS_V1, UPDATE_ROWS, UPDATE_ROWS_V1
from tidewind.engines.mariadb.log.rows import RowsHeader

STRING: Final = 254
_BIT: Final = 16
_NEWDECIMAL: Final = 246
_ENUM: Final = 247
_SET: Final = 248
_VARIABLE: Final = frozenset({15, 253, 141})
"""VARCHAR, VAR_STRING, VARCHAR COMPRESSED: two bytes of metadata, the greatest length."""
_BLOBS: Final = frozenset({245, 249, 250, 251, 252, 255, 140})
"""JSON of MySQL, the four BLOBs, GEOMETRY, BLOB COMPRESSED: one byte of metadata, how many bytes the length takes."""
_FIXED: Final = {1: 1, 2: 2, 3: 4, 6: 0, 7: 4, 8: 8, 9: 3, 10: 3, 11: 3, 12: 8, 13: 1, 14: 3}
"""TINY, SHORT, LONG, NULL, TIMESTAMP, LONGLONG, INT24, DATE, TIME, DATETIME, YEAR, NEWDATE."""
_FRACTIONAL: Final = {17: 4, 18: 5, 19: 3}
"""TIMESTAMP2, DATETIME2, TIME2: one byte of metadata, the decimals, two of which take a byte."""
_REAL: Final = frozenset({4, 5})
_DECIMAL_BYTES: Final = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
"""Of so many digits that do not fill a group of nine."""
_METADATA_BYTES: Final = {
    **dict.fromkeys(_VARIABLE | {_BIT, _NEWDECIMAL, STRING, _ENUM, _SET}, 2),
    **dict.fromkeys(_BLOBS | _FRACTIONAL.keys() | _REAL, 1),
    **dict.fromkeys(_FIXED, 0),
}


@dataclass(frozen=True, slots=True)
class Column:
    """`kind` is the log's number of the type; `metadata` its bytes as they stand in the table map."""

    kind: int
    metadata: bytes
    nullable: bool


@dataclass(frozen=True, slots=True)
class TableMap:
    """Which table the rows events behind it mean by `table_id`. `optional` is what binlog_row_metadata adds, as it
    stands."""

    table_id: int
    flags: int
    schema: bytes
    table: bytes
    columns: tuple[Column, ...]
    optional: bytes


@dataclass(frozen=True, slots=True)
class RowCounts:
    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    def __add__(self, other: "RowCounts") -> "RowCounts":
        return RowCounts(self.inserted + other.inserted, self.updated + other.updated, self.deleted + other.deleted)


def parse_table_map(body: Data, post_header: int = 8) -> TableMap:
    """Raises EventDamaged."""
    cursor = Cursor(body)
    table_id = cursor.number(4 if post_header == 6 else 6)
    flags = cursor.number(2)
    schema = cursor.text(cursor.number(1))
    cursor.take(1)
    table = cursor.text(cursor.number(1))
    cursor.take(1)
    kinds = bytes(cursor.take(cursor.packed()))
    metadata = Cursor(cursor.take(cursor.packed()))
    nullable = cursor.text((len(kinds) + 7) // 8)
    columns = []
    for number, kind in enumerate(kinds):
        if kind not in _METADATA_BYTES:
            raise EventDamaged(f"column {number + 1} has a type with the number {kind}, which is not known")
        own = metadata.text(_METADATA_BYTES[kind])
        columns.append(Column(kind, own, bool(nullable[number // 8] >> number % 8 & 1)))
    if metadata.left:
        raise EventDamaged("a table map has more metadata than its columns take")
    return TableMap(table_id, flags, schema, table, tuple(columns), bytes(cursor.rest()))


def split_rows(header: RowsHeader, table: TableMap) -> Iterator[tuple[memoryview, memoryview | None]]:
    """(image, second image of an UPDATE) of each row, as they stand. Raises EventDamaged if they do not end where the
    event does."""
    if header.columns != len(table.columns):
        raise EventDamaged(f"rows of {header.columns} columns for a table of {len(table.columns)}")
    measure = _measures(table, header.present)
    measure_after = _measures(table, header.present_after) if header.present_after is not None else None
    data, at = header.rows, 0
    while at < len(data):
        end = _image_end(data, at, measure)
        first = data[at:end]
        at, second = end, None
        if measure_after is not None:
            end = _image_end(data, at, measure_after)
            second = data[at:end]
            at = end
        yield first, second


def count_rows(header: RowsHeader, table: TableMap) -> RowCounts:
    """How many rows the event inserts, updates or deletes. Raises EventDamaged."""
    count = sum(1 for _ in split_rows(header, table))
    if header.kind in (UPDATE_ROWS, UPDATE_ROWS_V1):
        return RowCounts(updated=count)
    if header.kind in (DELETE_ROWS, DELETE_ROWS_V1):
        return RowCounts(deleted=count)
    return RowCounts(inserted=count)


_Measure = int | Callable[[memoryview, int], int]
"""Of a value: its size, or what finds the place behind it."""


def widths_of(table: TableMap, present: bytes) -> list[int]:
    """Of the columns in an image: the size of a value, or minus the number of bytes that its own length takes."""
    prefixed = {end: -size for size, end in _LENGTH_PREFIXED.items()}
    return [one if isinstance(one, int) else prefixed[one] for one in _measures(table, present)]


def _measures(table: TableMap, present: bytes) -> list[_Measure]:
    return [_measure(column) for number, column in enumerate(table.columns) if present[number // 8] >> number % 8 & 1]


def _image_end(data: memoryview, at: int, measures: list[_Measure]) -> int:
    nulls = at
    at += (len(measures) + 7) // 8
    if at > len(data):
        raise EventDamaged("a row ends behind its event")
    for number, measure in enumerate(measures):
        if data[nulls + number // 8] >> number % 8 & 1:
            continue
        at = at + measure if isinstance(measure, int) else measure(data, at)
        if at > len(data):
            raise EventDamaged("a row ends behind its event")
    return at


def _measure(column: Column) -> _Measure:
    kind, metadata = column.kind, column.metadata
    if kind in _FIXED:
        return _FIXED[kind]
    if kind in _REAL:
        return metadata[0]
    if kind in _FRACTIONAL:
        return _FRACTIONAL[kind] + (metadata[0] + 1) // 2
    if kind == _BIT:
        return metadata[1] + (1 if metadata[0] else 0)
    if kind == _NEWDECIMAL:
        return decimal_bytes(metadata[0], metadata[1])
    if kind in _BLOBS:
        return _LENGTH_PREFIXED[metadata[0]]
    if kind in _VARIABLE:
        return _LENGTH_PREFIXED[2 if int.from_bytes(metadata, "little") > 255 else 1]
    return _string(kind, metadata)


def _string(kind: int, metadata: bytes) -> _Measure:
    """STRING's metadata is (real type, length); bits 8 and 9 of the length stand inverted in the type's."""
    real, length = metadata[0], metadata[1]
    if real & 0x30 != 0x30:
        length |= (real & 0x30 ^ 0x30) << 4
        real |= 0x30
    if real in (_ENUM, _SET) or kind in (_ENUM, _SET):
        return length
    return _LENGTH_PREFIXED[2 if length > 255 else 1]


def decimal_bytes(precision: int, decimals: int) -> int:
    """Of a DECIMAL(precision, decimals): nine digits take four bytes."""
    if precision < decimals:
        raise EventDamaged(f"a DECIMAL({precision},{decimals})")
    whole = precision - decimals
    return whole // 9 * 4 + _DECIMAL_BYTES[whole % 9] + decimals // 9 * 4 + _DECIMAL_BYTES[decimals % 9]


def _prefixed(size: int) -> Callable[[memoryview, int], int]:
    def end(data: memoryview, at: int) -> int:
        return at + size + int.from_bytes(data[at : at + size], "little")

    return end


_LENGTH_PREFIXED: Final = {size: _prefixed(size) for size in (1, 2, 3, 4)}
