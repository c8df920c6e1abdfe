"""Whether a stretch of the log names certain tables. Looks at SHOW BINLOG EVENTS, a page at a time.

Row events name their tables in table maps. A statement is taken to name a table when its text mentions it, or when it
is an account statement and the table is one of the `mysql` schema: an alarm too many costs a second reading.
"""

import re
from collections.abc import Collection
from typing import Final

from tidewind.engines.mariadb.connection import Control
from tidewind.engines.mariadb.server import LogPlace

PAGE_EVENTS: Final = 5000
PAGES_MAX: Final = 200
_TABLE_MAP: Final = re.compile(r"^table_id: \d+ \((.*)\)$", re.DOTALL)
_ACCOUNTS: Final = re.compile(
    r"\b(GRANT|REVOKE|USER|ROLE|PASSWORD|SERVER|FUNCTION|PROCEDURE|PACKAGE|SONAME|DATABASE|RENAME|DROP)\b",
    re.IGNORECASE,
)
_BOUNDS: Final = frozenset({"BEGIN", "COMMIT", "ROLLBACK"})


async def named_between(control: Control, start: LogPlace, end: LogPlace, tables: Collection[tuple[str, str]]) -> bool:
    """True if an event between the two places names one of the tables, and also if the stretch is too long to look
    through. Raises DatabaseError."""
    if start == end:
        return False
    files = await _files(control, start, end)
    for file in files:
        offset = start.offset if file == start.file else 4
        for _ in range(PAGES_MAX):
            events = await control.rows(f"SHOW BINLOG EVENTS IN {quoted_file(file)} FROM {offset} LIMIT {PAGE_EVENTS}")
            for event in events:
                if file == end.file and int(event[1]) >= end.offset:
                    return False
                if _names(str(event[2]), str(event[5]), tables):
                    return True
            if len(events) < PAGE_EVENTS:
                break
            offset = int(events[-1][4])
        else:
            return True
    return False


def quoted_file(file: str) -> str:
    """SHOW takes a plain string only."""
    if not re.fullmatch(r"[^'\\\0]+", file):
        raise ValueError(f"{file!r} is not the name of a log file")
    return f"'{file}'"


async def _files(control: Control, start: LogPlace, end: LogPlace) -> list[str]:
    if start.file == end.file:
        return [start.file]
    names = [str(row[0]) for row in await control.rows("SHOW BINARY LOGS")]
    return [name for name in names if start.file <= name <= end.file]


def _names(kind: str, info: str, tables: Collection[tuple[str, str]]) -> bool:
    if kind == "Table_map":
        found = _TABLE_MAP.match(info)
        return found is None or any(found.group(1) == f"{schema}.{table}" for schema, table in tables)
    if kind not in ("Query", "Query_compressed", "Execute_load_query"):
        return False
    if info.strip() in _BOUNDS:
        return False
    text = info.casefold()
    if any(table.casefold() in text for _, table in tables):
        return True
    return any(schema == "mysql" for schema, _ in tables) and bool(_ACCOUNTS.search(info))
