"""How a table is cut into pieces that are read in parallel. Pure, but for the estimates it is handed.

A *range* is what one SELECT reads: an interval of the table's key, one partition, or the whole table. Objects are cut
while a range is read, at row ends, so that none holds more than the chunk size whatever the estimates were worth.
Ranges are cut for balance: about four for each reader in a table that is worth it.

Tables whose key begins with an integer are cut by value, halving an interval while the server expects more rows in it
than a range should hold; the server answers that from its index without reading rows. Other keys are walked. A table
without a key is one ordered stream.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tidewind.engines.mariadb.catalogue import KeyColumn, TableFacts
from tidewind.engines.mariadb.quoting import bytes_literal, charset_literal, quote_name

RANGE_BYTES_MIN: Final = 4 * 1024 * 1024
RANGES_PER_READER: Final = 4
RANGES_MAX: Final = 4096
DEPTH_MAX: Final = 70
INTEGERS: Final = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint"})
WALKED: Final = frozenset(
    {*INTEGERS, "char", "varchar", "binary", "varbinary", "date", "datetime", "timestamp", "decimal", "uuid", "inet6"}
)

Estimate = Callable[[int, int], Awaitable[int]]
"""How many rows the server expects between two values of the key's first column, both included."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """What one SELECT reads. `condition` is SQL or empty, `bytes` an estimate for the order of work."""

    schema: str
    table: str
    condition: str
    partition: str | None
    bytes: int


def range_bytes(table_bytes: int, chunk_bytes: int, readers: int) -> int:
    """The size to cut a table's ranges to."""
    fair = table_bytes // (RANGES_PER_READER * max(readers, 1))
    return max(min(chunk_bytes, max(fair, RANGE_BYTES_MIN)), table_bytes // RANGES_MAX, 1)


def integer_led(table: TableFacts) -> bool:
    return bool(table.key) and table.key[0].data_type in INTEGERS


def walkable(table: TableFacts) -> bool:
    """Whether every column of the key has a literal that compares as the index orders."""
    return bool(table.key) and all(column.data_type in WALKED for column in table.key)


def whole(table: TableFacts) -> Range:
    return Range(schema=table.schema, table=table.name, condition="", partition=None, bytes=table.data_bytes)


async def split_values(
    low: int, high: int, total: int, rows_per_range: int, estimate: Estimate
) -> list[tuple[int, int, int]]:
    """Intervals (first, last, expected rows) that cover low..high without overlap, in order, each of about
    `rows_per_range` rows of the table's `total`, or as near as single values allow. Empty stretches are joined to their
    neighbours.

    Estimates only say how an interval's rows are shared by its halves: InnoDB doubles what it has not counted, and
    takes no interval for more than half of the table."""
    leaves: list[tuple[int, int, int]] = []
    pending = [(low, high, total, 0)]
    while pending:
        first, last, rows, depth = pending.pop()
        if rows <= rows_per_range or first >= last or depth >= DEPTH_MAX or len(leaves) + len(pending) > RANGES_MAX:
            leaves.append((first, last, rows))
            continue
        middle = (first + last) // 2
        below, above = await estimate(first, middle), await estimate(middle + 1, last)
        lower = rows * below // max(below + above, 1)
        pending.append((middle + 1, last, rows - lower, depth + 1))
        pending.append((first, middle, lower, depth + 1))
    return _joined(leaves, rows_per_range)


def _joined(leaves: Sequence[tuple[int, int, int]], rows_per_range: int) -> list[tuple[int, int, int]]:
    joined: list[tuple[int, int, int]] = []
    for first, last, rows in leaves:
        if joined and joined[-1][2] + rows <= rows_per_range:
            joined[-1] = (joined[-1][0], last, joined[-1][2] + rows)
        else:
            joined.append((first, last, rows))
    return joined


def value_conditions(column: str, intervals: Sequence[tuple[int, int, int]]) -> list[str]:
    """One condition for each interval. The outer ends are left open: estimates of the ends cannot lose a row."""
    name = quote_name(column)
    conditions = []
    for number, (first, last, _) in enumerate(intervals):
        parts = []
        if number > 0:
            parts.append(f"{name} >= {first}")
        if number < len(intervals) - 1:
            parts.append(f"{name} <= {last}")
        conditions.append(" AND ".join(parts))
    return conditions


def key_literal(column: KeyColumn, value: bytes) -> str:
    """A value of a key column, as the server sent it without conversion, as SQL that compares in the index's order."""
    if column.data_type in INTEGERS or column.data_type == "decimal":
        return value.decode("ascii")
    if column.data_type in ("date", "datetime", "timestamp", "uuid", "inet6"):
        return f"'{value.decode('ascii')}'"
    if column.charset:
        return charset_literal(column.charset, value)
    return bytes_literal(value)


def after(key: Sequence[KeyColumn], values: Sequence[str], *, inclusive: bool) -> str:
    """Rows whose key comes after the values (or is equal to them), in a form the server turns into an index range."""
    choices = []
    for depth, column in enumerate(key):
        last = depth == len(key) - 1
        equal = [f"{quote_name(c.name)} = {v}" for c, v in zip(key[:depth], values[:depth], strict=True)]
        operator = ">=" if last and inclusive else ">"
        choices.append(" AND ".join([*equal, f"{quote_name(column.name)} {operator} {values[depth]}"]))
    return "(" + " OR ".join(f"({choice})" for choice in choices) + ")"


def before(key: Sequence[KeyColumn], values: Sequence[str]) -> str:
    """Rows whose key comes before the values."""
    choices = []
    for depth, column in enumerate(key):
        equal = [f"{quote_name(c.name)} = {v}" for c, v in zip(key[:depth], values[:depth], strict=True)]
        choices.append(" AND ".join([*equal, f"{quote_name(column.name)} < {values[depth]}"]))
    return "(" + " OR ".join(f"({choice})" for choice in choices) + ")"


def walked_conditions(key: Sequence[KeyColumn], bounds: Sequence[Sequence[str]]) -> list[str]:
    """One condition for each stretch between neighbouring bounds; a bound is the first row of the next stretch."""
    conditions = []
    for number in range(len(bounds) + 1):
        parts = []
        if number > 0:
            parts.append(after(key, bounds[number - 1], inclusive=True))
        if number < len(bounds):
            parts.append(before(key, bounds[number]))
        conditions.append(" AND ".join(parts))
    return conditions


def select_statement(table: TableFacts, piece: Range) -> str:
    """The SELECT that reads a range: in key order, every column as `columns` says, history included."""
    # Otherwise a covering index might be chosen, whose order is not that in which rows are best loaded.
    force = table.key_name is not None and (bool(piece.condition) or table.key_name == "PRIMARY")
    forced = f" FORCE INDEX ({quote_name(table.key_name)})" if table.key_name and force else ""
    ordered = f" ORDER BY {', '.join(quote_name(column.name) for column in table.key)}" if piece.condition else ""
    return (
        f"SELECT SQL_NO_CACHE {', '.join(column.expression for column in table.columns)} FROM {table.quoted}"
        + (f" PARTITION ({quote_name(piece.partition)})" if piece.partition else "")
        + (" FOR SYSTEM_TIME ALL" if table.versioned else "")
        + forced
        + (f" WHERE {piece.condition}" if piece.condition else "")
        + (ordered if not piece.partition else "")
    )
