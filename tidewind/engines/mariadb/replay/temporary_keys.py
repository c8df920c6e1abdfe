"""Indexes that only the replay has: for tables without a key, whose every UPDATE and DELETE would read all of them.

An index stands until the next statement that names its table, or the end. Which tables have one is asked of the
catalogue when a replay begins, so that a predecessor's are found; its name is nobody else's.
"""

from collections.abc import Callable, Sequence
from typing import Final

from tidewind.engines.mariadb.quoting import quote_name, quote_table, text_literal
from tidewind.engines.mariadb.replay.lanes import TableName

NAME: Final = "tidewind_replay"
ROWS_MIN: Final = 500
"""Below this reading the whole table is no slower than making an index."""
_COLUMNS_MAX: Final = 4
_PREFIX: Final = 32
_GOOD: Final = ("bigint", "int", "datetime", "timestamp", "decimal", "mediumint", "date", "time", "smallint", "uuid")
_TEXT: Final = ("varchar", "char", "varbinary", "binary")
_LONG: Final = ("text", "tinytext", "mediumtext", "longtext", "blob", "tinyblob", "mediumblob", "longblob")

Ask = Callable[[str], Sequence[tuple[object, ...]]]


class TemporaryKeys:
    """`ask` runs a statement that no log hears of."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._there: set[TableName] = set()

    def find(self) -> None:
        """What a predecessor left. Raises DatabaseError."""
        found = self._ask(
            "SELECT DISTINCT TABLE_SCHEMA, TABLE_NAME FROM information_schema.STATISTICS "
            f"WHERE INDEX_NAME = {text_literal(NAME)}"
        )
        self._there = {(str(schema), str(table)) for schema, table in found}

    def has(self, table: TableName) -> bool:
        return table in self._there

    def add(self, table: TableName) -> None:
        """Nobody may be changing the table's definition. Raises DatabaseError."""
        where = f"TABLE_SCHEMA = {text_literal(table[0])} AND TABLE_NAME = {text_literal(table[1])}"
        columns = self._ask(
            "SELECT COLUMN_NAME, DATA_TYPE, CHARACTER_MAXIMUM_LENGTH FROM information_schema.COLUMNS "
            f"WHERE {where} AND IS_GENERATED = 'NEVER' AND EXTRA NOT LIKE '%PERIOD%' ORDER BY ORDINAL_POSITION"
        )
        key = parts([(str(name), str(kind), int(str(length or 0))) for name, kind, length in columns])
        if key:
            self._ask(f"ALTER TABLE {quote_table(*table)} ADD INDEX {quote_name(NAME)} ({', '.join(key)})")
            self._there.add(table)

    def drop_named(self, text: bytes) -> None:
        """Before a statement: drop the indexes of tables that it may name. Raises DatabaseError."""
        words = text.decode("utf-8", "replace").casefold()
        for schema, table in sorted(self._there):
            if table.casefold().replace("`", "``") in words:
                self._drop((schema, table))

    def drop_all(self) -> None:
        for table in sorted(self._there):
            self._drop(table)

    def _drop(self, table: TableName) -> None:
        """The table itself may have gone with its schema."""
        self._ask(f"ALTER TABLE IF EXISTS {quote_table(*table)} DROP INDEX IF EXISTS {quote_name(NAME)}")
        self._there.discard(table)


def parts(columns: Sequence[tuple[str, str, int]]) -> list[str]:
    """The index's columns, those that tell rows apart best first; [] if none can be indexed. `columns`: name, type,
    length in characters."""
    plain = [quote_name(name) for kind in _GOOD for name, own, _ in columns if own == kind]
    texts = [
        quote_name(name) + (f"({_PREFIX})" if length > _PREFIX else "")
        for name, kind, length in columns
        if kind in _TEXT
    ]
    longs = [f"{quote_name(name)}({_PREFIX})" for name, kind, _ in columns if kind in _LONG]
    return [*plain, *texts, *longs][:_COLUMNS_MAX]
