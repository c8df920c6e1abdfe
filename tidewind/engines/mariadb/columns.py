"""How each column is read so that no bit is lost, and how it is written back. Pure.

Rows travel as text in the column's own character set, unconverted. Plain text of these types would lose something:

    FLOAT                  the server prints 6 digits            read as DOUBLE, which is printed so that it reads back
    FLOAT(M,D) DOUBLE(M,D) printed with D digits                 the same
    ENUM, SET              '' is member and error value at once; read and written as number where the text of the
                           members equal in their collation      members is not enough to tell them apart

Everything else is exact as text or raw bytes: integers, DECIMAL, BIT (big-endian bytes), GEOMETRY (SRID and WKB),
zero and impossible dates, UUID, INET4, INET6, JSON, strings and blobs of any bytes. TIMESTAMP is in zone +00:00.
Bytes that are not well formed in their column's character set are read as they are; LOAD DATA refuses them with warning
1366, and `illformed` says how they are written.

Generated columns are neither read nor written. The period columns of a system-versioned table are read, and written
with system_versioning_insert_history on.
"""

import re
from dataclasses import dataclass
from typing import Final

from tidewind.domain.manifest import Column
from tidewind.engines.mariadb.quoting import quote_name

PLAIN: Final = "plain"
INDEX: Final = "index"
"""ENUM and SET as the number that is stored."""
PERIOD: Final = "period"
"""ROW START and ROW END of a system-versioned table."""

ROW_START: Final = "row_start"
ROW_END: Final = "row_end"
"""Names of the period columns where the table declares none itself; the server hides them from its catalogue."""

_MEMBER: Final = re.compile(r"'((?:[^'\\]|''|\\.)*)'")
_SAFE_MEMBER: Final = re.compile(r"[A-Za-z0-9_.:/+-](?:[A-Za-z0-9 _.:/+-]*[A-Za-z0-9_.:/+-])?")
_BYTES: Final = {"uuid": 16, "inet6": 16, "inet4": 4}
_REAL_WITH_DIGITS: Final = re.compile(r"(?:double|real)(?: precision)?\(", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class ColumnFacts:
    """A column as information_schema.COLUMNS describes it. `generation` is its GENERATION_EXPRESSION, `default` its
    COLUMN_DEFAULT."""

    name: str
    data_type: str
    column_type: str
    charset: str | None
    collation: str | None
    generation: str | None
    default: str | None = None


@dataclass(frozen=True, kw_only=True)
class ReadColumn:
    """`expression` goes into the SELECT; `column` stands in the manifest."""

    column: Column
    expression: str


def is_period(facts: ColumnFacts) -> bool:
    return facts.generation in ("ROW START", "ROW END")


def read_column(facts: ColumnFacts) -> ReadColumn | None:
    """How to read a column; None for a generated one."""
    if facts.generation is not None and not is_period(facts):
        return None
    name = quote_name(facts.name)
    kind = facts.data_type.lower()
    rule, expression = PLAIN, name
    if is_period(facts):
        rule = PERIOD
    elif kind == "float" or (kind == "double" and _REAL_WITH_DIGITS.match(facts.column_type)):
        # Multiplying keeps the sign of zero, adding 0 would not.
        expression = f"{name} * 1e0"
    elif kind in _BYTES:
        expression = f"CAST({name} AS BINARY({_BYTES[kind]}))"
    elif kind in ("enum", "set") and not members_are_plain(facts.column_type):
        rule, expression = INDEX, f"CAST({name} AS UNSIGNED)"
    return ReadColumn(column=Column(name=facts.name, kind=facts.column_type, load=rule), expression=expression)


def implicit_period() -> tuple[ReadColumn, ReadColumn]:
    """The period columns of a table made with nothing but WITH SYSTEM VERSIONING."""
    start, end = (
        ReadColumn(column=Column(name=name, kind="timestamp(6)", load=PERIOD), expression=quote_name(name))
        for name in (ROW_START, ROW_END)
    )
    return start, end


def members_are_plain(column_type: str) -> bool:
    """Whether the text of ENUM or SET members tells them apart in every collation, and from the error value ''."""
    members = _MEMBER.findall(column_type)
    folded = {member.casefold() for member in members}
    return len(folded) == len(members) and all(_SAFE_MEMBER.fullmatch(member) for member in members)


@dataclass(frozen=True)
class LoadRule:
    """`target` stands in LOAD DATA's list of columns and variables, `assignment` in its SET clause."""

    target: str
    assignment: str | None


def load_rule(column: Column, number: int) -> LoadRule:
    """How the `number`-th column of a chunk is written. ValueError for a rule of a newer release."""
    name = quote_name(column.name)
    if column.load in (PLAIN, PERIOD):
        return LoadRule(name, None)
    if column.load == INDEX:
        variable = f"@v{number}"
        return LoadRule(variable, f"{name} = CAST({variable} AS UNSIGNED)")
    raise ValueError(f"column {column.name!r} is written by the unknown rule {column.load!r}")
