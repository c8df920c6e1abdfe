"""Asks the server where to cut tables, for `chunking`."""

from collections.abc import AsyncIterator
from typing import Final

from tidewind.engines.mariadb import chunking
from tidewind.engines.mariadb.catalogue import KeyColumn, TableFacts
from tidewind.engines.mariadb.chunking import Range
from tidewind.engines.mariadb.connection import Control
from tidewind.engines.mariadb.failures import code_of
from tidewind.engines.mariadb.quoting import quote_name
from tidewind.ports.engine import DatabaseError

_WALK_SECONDS: Final = 600.0
_NOT_WELL_FORMED: Final = 1300


async def plan_table(control: Control, table: TableFacts, *, chunk_bytes: int, readers: int) -> AsyncIterator[Range]:
    """The ranges of one table, in the order of its key, as they become known. Raises DatabaseError."""
    size = chunking.range_bytes(table.data_bytes, chunk_bytes, readers)
    if table.data_bytes <= size or table.row_estimate < 2:
        yield chunking.whole(table)
    elif table.partitions:
        for name, data_bytes in table.partitions:
            yield Range(schema=table.schema, table=table.name, condition="", partition=name, bytes=data_bytes)
    elif chunking.integer_led(table):
        for piece in await _by_value(control, table, size):
            yield piece
    elif chunking.walkable(table):
        async for piece in _walked(control, table, size):
            yield piece
    else:
        yield chunking.whole(table)


def _rows_per_range(table: TableFacts, size: int) -> int:
    return max(table.row_estimate * size // max(table.data_bytes, 1), 1)


async def _by_value(control: Control, table: TableFacts, size: int) -> list[Range]:
    column = quote_name(table.key[0].name)
    index = quote_name(table.key_name or "")

    async def estimate(low: int, high: int) -> int:
        rows = await control.records(
            f"EXPLAIN SELECT {column} FROM {table.quoted} FORCE INDEX ({index}) WHERE {column} BETWEEN {low} AND {high}"
        )
        return int(rows[0]["rows"] or 0)

    ends = await control.rows(f"SELECT MIN({column}), MAX({column}) FROM {table.quoted}")
    low, high = ends[0]
    if low is None:
        return [chunking.whole(table)]
    rows_each = _rows_per_range(table, size)
    intervals = await chunking.split_values(int(low), int(high), table.row_estimate, rows_each, estimate)
    total = sum(rows for _, _, rows in intervals) or 1
    conditions = chunking.value_conditions(table.key[0].name, intervals)
    return [
        Range(
            schema=table.schema,
            table=table.name,
            condition=condition,
            partition=None,
            bytes=table.data_bytes * rows // total,
        )
        for condition, (_, _, rows) in zip(conditions, intervals, strict=True)
    ]


async def _walked(control: Control, table: TableFacts, size: int) -> AsyncIterator[Range]:
    """Steps along the index. The last range is open to the end, so what is added meanwhile is not missed."""
    step = _rows_per_range(table, size)
    previous: list[str] | None = None
    while True:
        bound = await _step(control, table, previous, step)
        conditions = [] if previous is None else [chunking.after(table.key, previous, inclusive=True)]
        if bound is not None:
            conditions.append(chunking.before(table.key, bound))
        yield Range(
            schema=table.schema,
            table=table.name,
            condition=" AND ".join(conditions),
            partition=None,
            bytes=size,
        )
        if bound is None:
            return
        previous = bound


async def _step(control: Control, table: TableFacts, previous: list[str] | None, step: int) -> list[str] | None:
    """The key `step` rows on, as literals; None beyond the end, or where a key cannot be written as a literal."""
    names = [quote_name(column.name) for column in table.key]
    wanted = ", ".join(
        f"HEX({name})" if _as_hex(column) else f"CAST({name} AS CHAR)"
        for name, column in zip(names, table.key, strict=True)
    )
    where = f" WHERE {chunking.after(table.key, previous, inclusive=True)}" if previous else ""
    try:
        rows = await control.rows(
            f"SELECT {wanted} FROM {table.quoted} FORCE INDEX ({quote_name(table.key_name or '')}){where}"
            f" ORDER BY {', '.join(names)} LIMIT 1 OFFSET {step}",
            deadline_s=_WALK_SECONDS,
        )
        if not rows:
            return None
        bound = [
            chunking.key_literal(column, bytes.fromhex(value) if _as_hex(column) else str(value).encode())
            for column, value in zip(table.key, rows[0], strict=True)
        ]
        await control.execute(f"DO {', '.join(bound)}")
    except DatabaseError as error:
        if code_of(error) == _NOT_WELL_FORMED:
            return None
        raise
    return bound


def _as_hex(column: KeyColumn) -> bool:
    return column.charset is not None or column.data_type in ("binary", "varbinary")
