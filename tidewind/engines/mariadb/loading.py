"""The statement that takes a chunk's text back, and the session it needs. Pure; used by the restore.

Two statements do it: LOAD DATA, which takes everything, and INSERT with array binding, which takes most tables and
costs the server a third less.

The text is what `rows` describes: tab between fields, newline after rows, backslash escapes, \\N for NULL. Declared
`CHARACTER SET binary`, so that the server stores the bytes and converts nothing.
"""

from collections.abc import Sequence
from typing import Final

from tidewind.domain.manifest import Column
from tidewind.engines.mariadb.columns import PERIOD, PLAIN, load_rule
from tidewind.engines.mariadb.quoting import quote_names, quote_table

LOAD_SQL_MODE: Final = "NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION"
"""No strictness: '2024-02-31', zero dates, id 0 and an ENUM's error value go in as they were."""

WARNING_ILL_FORMED: Final = 1366
"""Warning of LOAD DATA: bytes that are not well formed in the column's character set were replaced by '?'. The chunk
must be taken back and its rows written as `illformed` does."""

WARNING_ERROR_VALUE: Final = 1265
"""Warning of LOAD DATA that is expected of an ENUM holding its error value ''; of any other column it is a failure."""


def load_settings(columns: Sequence[Column]) -> dict[str, str]:
    """Session variables, beside LOAD_SQL_MODE and those every connection sets, name to SQL value."""
    settings = {"foreign_key_checks": "0", "unique_checks": "0", "check_constraint_checks": "0"}
    if any(column.load == PERIOD for column in columns):
        settings["system_versioning_insert_history"] = "1"
    return settings


def load_statement(
    schema: str, table: str, columns: Sequence[Column], *, partition: str | None = None, file_name: str = "chunk"
) -> str:
    """LOAD DATA LOCAL for one chunk. `file_name` is only a label: the data is sent from memory when the server asks.

    `partition` is not needed for correctness: rows find their partition by themselves.
    """
    if not file_name.isidentifier():
        raise ValueError(f"{file_name!r} cannot be the label of a chunk")
    rules = [load_rule(column, number) for number, column in enumerate(columns)]
    assignments = [rule.assignment for rule in rules if rule.assignment]
    into = quote_table(schema, table)
    return (
        f"LOAD DATA LOCAL INFILE '{file_name}' INTO TABLE {into}"
        + (f" PARTITION ({partition})" if partition else "")
        + " CHARACTER SET binary FIELDS TERMINATED BY X'09' ESCAPED BY X'5C' LINES TERMINATED BY X'0A'"
        + f" ({', '.join(rule.target for rule in rules)})"
        + (f" SET {', '.join(assignments)}" if assignments else "")
    )


def insert_statement(schema: str, table: str, columns: Sequence[Column]) -> str | None:
    """INSERT for an array binding whose parameters are the fields of the text; None where a column is not written as it
    is read, which LOAD DATA does."""
    if any(column.load != PLAIN for column in columns):
        return None
    names = quote_names(column.name for column in columns)
    return f"INSERT INTO {quote_table(schema, table)} ({names}) VALUES ({', '.join('?' * len(columns))})"
