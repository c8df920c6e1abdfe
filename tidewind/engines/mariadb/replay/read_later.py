"""Definitions logged before the position as of which a backup holds a table that it read later than the rest. Pure.

Such a table has no transactions, stood there with the same definition when the backup began and when it was read, and
is loaded as it was read. What was done to it as a whole in between has its effect already: run again, a TRUNCATE would
take away rows that were written behind it and whose events are passed over. What also does something else can be
neither run nor passed over.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final, Literal

Judgement = Literal["run", "skip", "refuse"]
Behind = Callable[[str, str], bool]
"""(schema, table): whether the backup holds the table as of this statement or later."""

_NAME: Final = r"(?:`(?:[^`]|``)+`|[\w$\x80-\U0010ffff]+)"
_TABLE: Final = rf"({_NAME})(?:\s*\.\s*({_NAME}))?"
_ONE_TABLE: Final = re.compile(
    rf"(TRUNCATE(?:\s+TABLE)?|(?:ALTER|CREATE)(?:\s+(?:OR\s+REPLACE|ONLINE|IGNORE))*\s+TABLE)"
    rf"(?:\s+IF\s+(?:NOT\s+)?EXISTS)?\s+{_TABLE}",
    re.IGNORECASE,
)
_SEVERAL: Final = re.compile(r"(DROP|RENAME)\s+TABLES?(?:\s+IF\s+EXISTS)?\s+", re.IGNORECASE)
_DROPS_SCHEMA: Final = re.compile(rf"DROP\s+(?:DATABASE|SCHEMA)(?:\s+IF\s+EXISTS)?\s+({_NAME})", re.IGNORECASE)
_RENAMES: Final = re.compile(r"\bRENAME\s+(?!COLUMN\b|INDEX\b|KEY\b|CONSTRAINT\b)", re.IGNORECASE)
_EACH: Final = re.compile(_TABLE)
_BETWEEN: Final = re.compile(r"\s*(?:(?:WAIT\s+\d+|NOWAIT)\s+)?(?:,|TO\b)\s*", re.IGNORECASE)


def judge(words: str, schema: str, behind: Behind, in_schema: Callable[[str], bool]) -> Judgement:
    """`words` from the statement's first one on, `schema` its default; `in_schema`: whether any table of a schema is
    behind."""
    dropped = _DROPS_SCHEMA.match(words)
    if dropped:
        return "refuse" if in_schema(_bare(dropped[1])) else "run"
    several = _SEVERAL.match(words)
    if several:
        named = list(_named(words, several.end(), schema))
        found = [behind(*one) for one in named]
        if not any(found):
            return "run"
        return "skip" if all(found) and several[1].upper() == "DROP" else "refuse"
    one = _ONE_TABLE.match(words)
    if one is None or not behind(*_bared(one[2], one[3], schema)):
        return "run"
    return "refuse" if one[1][:5].upper() == "ALTER" and _RENAMES.search(words, one.end()) else "skip"


def _named(words: str, at: int, schema: str) -> Iterator[tuple[str, str]]:
    """The tables of a list."""
    while (found := _EACH.match(words, at)) is not None:
        yield _bared(found[1], found[2], schema)
        between = _BETWEEN.match(words, found.end())
        if between is None:
            return
        at = between.end()


def _bared(first: str, second: str | None, schema: str) -> tuple[str, str]:
    return (schema, _bare(first)) if second is None else (_bare(first), _bare(second))


def _bare(name: str) -> str:
    return name[1:-1].replace("``", "`") if name[0] == "`" else name
