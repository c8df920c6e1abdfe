"""The statement that takes a chunk's text back, and the session it needs. Pure; used by the restore.

Two statements do it: LOAD DATA, which takes everything, and INSERT with array binding, which takes most tables and
costs the server a third less.

The text is what `rows` describes: tab between fields, newline after rows, backslash escapes, \\N for NULL. Declared
`CHARACTER SET binary`, so that the server stores the bytes and converts nothing.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

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


_COMPUTED: Final = re.compile(r" GENERATED ALWAYS AS \(")
_OF_EXPRESSIONS: Final = frozenset({1292, 1365, 1411, 1441, 1901})
"""Warnings of an expression that is computed: value truncated or wrong, division by 0, what functions say of dates."""
_NAMED: Final = re.compile(r"\bcolumn (?:'(?P<plain>.*)'|`.*`\.`.*`\.`(?P<quoted>.*)`) at row \d+$", re.DOTALL)


def computes(create: str) -> bool:
    """Whether a table has generated columns, which the server computes anew for every row it takes."""
    return _COMPUTED.search(create) is not None


def load_settings(columns: Sequence[Column], *, computed: bool = False) -> dict[str, str]:
    """Session variables, beside LOAD_SQL_MODE and those every connection sets, name to SQL value. `computed`: the table
    has generated columns. Rounding one into its type is worth a note to the server, for every row."""
    settings = {"foreign_key_checks": "0", "unique_checks": "0", "check_constraint_checks": "0"}
    settings["sql_notes"] = "0" if computed else "1"
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


def unexpected_warning(
    warnings: Sequence[Sequence[Any]], columns: Sequence[Column], *, has_members: bool, computed: bool
) -> str | None:
    """What a LOAD DATA did to the rows that it should not have done, in words. `warnings` are those of SHOW WARNINGS:
    level, code and text; `columns` those that were loaded.

    What the server says of computing other columns tells nothing of the rows: it said the same when they were written.
    """
    loaded = {column.name.casefold() for column in columns}
    for _, code, text in warnings:
        if int(code) == WARNING_ILL_FORMED or (int(code) == WARNING_ERROR_VALUE and has_members):
            continue
        named = _NAMED.search(str(text)) if computed else None
        if named is not None and (named["plain"] or named["quoted"] or "").replace("``", "`").casefold() not in loaded:
            continue
        if computed and named is None and int(code) in _OF_EXPRESSIONS:
            continue
        return f"it warned: {text} ({code})"
    return None


def insert_statement(schema: str, table: str, columns: Sequence[Column]) -> str | None:
    """INSERT for an array binding whose parameters are the fields of the text; None where a column is not written as it
    is read, which LOAD DATA does."""
    if any(column.load != PLAIN for column in columns):
        return None
    names = quote_names(column.name for column in columns)
    return f"INSERT INTO {quote_table(schema, table)} ({names}) VALUES ({', '.join('?' * len(columns))})"
