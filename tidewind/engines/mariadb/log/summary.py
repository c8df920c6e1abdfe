"""What a transaction did, in tables, counts and masked statements: `tidewind.ports.capture.LogDecoder`. No I/O."""

import re
from typing import Final

from tidewind.engines.mariadb.log.cursor import EventDamaged
from tidewind.engines.mariadb.log.events import (
    QUERY,
    QUERY_COMPRESSED,
    ROWS,
    TABLE_MAP,
    FormatDescription,
    iterate,
    parse_format_description,
)
from tidewind.engines.mariadb.log.rows import parse_rows
from tidewind.engines.mariadb.log.statements import parse_query
from tidewind.engines.mariadb.log.tables import RowCounts, TableMap, count_rows, parse_table_map
from tidewind.ports.capture import Summary, TableChange

LONGEST_STATEMENT: Final = 4_000
_BOUNDS: Final = frozenset({"BEGIN", "COMMIT", "ROLLBACK"})
_LITERAL: Final = r"""(?:'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*")"""
_SECRETS: Final = re.compile(
    rf"((?:\b(?:BY|PASSWORD|USING|AS|VIA|CONNECTION)\b(?:\s+PASSWORD)?|=)[\s=(]*){_LITERAL}", re.IGNORECASE | re.DOTALL
)
"""Also behind a bare `=`: SET PASSWORD FOR 'a'@'b' = '…'."""
_ACCOUNTS: Final = re.compile(r"\b(USER|GRANT|PASSWORD|SERVER|IDENTIFIED|MASTER|CONNECTION)\b", re.IGNORECASE)


class MariaDBLogDecoder:
    def summary(self, preamble: bytes, transaction: bytes) -> Summary:
        description = parse_format_description(preamble)
        maps: dict[int, TableMap] = {}
        counts: dict[tuple[bytes, bytes], RowCounts] = {}
        statements: list[tuple[str, str]] = []
        for event in iterate(transaction, description):
            if event.type == TABLE_MAP:
                table = parse_table_map(event.body, description.post_header_length(TABLE_MAP))
                maps[table.table_id] = table
            elif event.type in ROWS:
                _count(event.type, event.body, description, maps, counts)
            elif event.type in (QUERY, QUERY_COMPRESSED):
                query = parse_query(event.type, event.body)
                text = query.text.decode("utf-8", "replace").strip()
                if text.upper() not in _BOUNDS:
                    statements.append((masked(text), query.schema.decode("utf-8", "replace")))
        return Summary(
            tables=tuple(
                TableChange(
                    schema=schema.decode("utf-8", "replace"),
                    table=table.decode("utf-8", "replace"),
                    inserted=count.inserted,
                    updated=count.updated,
                    deleted=count.deleted,
                )
                for (schema, table), count in counts.items()
            ),
            statements=tuple(text for text, _ in statements),
            schemas=tuple(schema for _, schema in statements),
        )


def _count(
    kind: int,
    body: memoryview,
    description: FormatDescription,
    maps: dict[int, TableMap],
    counts: dict[tuple[bytes, bytes], RowCounts],
) -> None:
    rows = parse_rows(kind, body, description)
    table = maps.get(rows.table_id)
    if table is None:
        raise EventDamaged(f"rows of table {rows.table_id}, which was never named")
    name = (table.schema, table.table)
    counts[name] = counts.get(name, RowCounts()) + count_rows(rows, table)


def masked(statement: str) -> str:
    """On one line, with the literals behind words that introduce secrets taken out. A statement about
    accounts or servers shows no literal but names of accounts. Cut off above LONGEST_STATEMENT, which shows as `…`."""
    line = " ".join(statement.split())
    if _ACCOUNTS.search(line):
        line = _SECRETS.sub(lambda found: f"{found[1]}'…'", line)
    return line if len(line) <= LONGEST_STATEMENT else line[: LONGEST_STATEMENT - 1] + "…"
