"""One line a transaction, and what to do with the first."""

import re
from typing import Any

from rich.text import Text

from tidewind.cli.formats import counted, number, printable
from tidewind.cli.ports import Change
from tidewind.cli.views.layout import sentence
from tidewind.ports.capture import TableChange

SHOWN = 200
"""Characters of a statement on a line."""
_NAME = re.compile(r"`(?:[^`]|``)*`|[\w$]+")


def worth_showing(change: Change, tables: frozenset[str], least_rows: int, *, ddl_only: bool) -> bool:
    """Whether a transaction is one that is looked for. `tables` are `schema.table`; none means any. A gap always is:
    what is looked for may lie in it."""
    if change.gap is not None:
        return True
    if tables and not any(f"{one.schema}.{one.table}" in tables for one in change.summary.tables):
        named = [
            {name.strip("`").replace("``", "`") for name in _NAME.findall(statement)} | {schema}
            for statement, schema in zip(change.summary.statements, change.summary.schemas, strict=True)
        ]
        if not any({*table.partition(".")[::2]} <= names for table in tables for names in named):
            return False
    if change.summary.statements:
        return True
    rows = sum(one.inserted + one.updated + one.deleted for one in change.summary.tables)
    return not ddl_only and (rows >= least_rows or change.unread)


def change_view(change: Change) -> Text:
    text = Text(f" {change.at:%Y-%m-%d %H:%M:%S}.{change.at.microsecond // 1000:03d}  ", style="dim")
    if change.gap is not None:
        return text.append(
            f"╳ gap up to here: {printable(change.gap)}; what was written in it is not known", style="red"
        )
    text.append(f"{change.position:<16}  ", style="default")
    parts = [_rows(one) for one in change.summary.tables]
    parts += [
        printable(statement if len(statement) <= SHOWN else statement[: SHOWN - 1] + "…")
        for statement in change.summary.statements
    ]
    if change.unread:
        parts.append("too large to be looked into")
    style = "yellow" if change.summary.statements or any(one.deleted for one in change.summary.tables) else "default"
    return text.append("; ".join(parts) or "nothing but its end", style=style)


def _rows(one: TableChange) -> str:
    counts = [
        f"{sign}{number(count)}{what}"
        for sign, count, what in (("+", one.inserted, ""), ("−", one.deleted, ""), ("", one.updated, " changed"))
        if count
    ]
    return f"{printable(one.schema)}.{printable(one.table)}  {' '.join(counts)} rows"


def change_data(change: Change) -> dict[str, Any]:
    return {
        "at": change.at.isoformat(),
        "position": change.position,
        "precision": change.precision,
        "tables": [
            {
                "schema": one.schema,
                "table": one.table,
                "inserted": one.inserted,
                "updated": one.updated,
                "deleted": one.deleted,
            }
            for one in change.summary.tables
        ],
        "statements": list(change.summary.statements),
        "unread": change.unread,
        "gap": change.gap,
    }


def end_view(cluster: str, seen: int, shown: int, first: Change | None) -> Text:
    if not seen:
        return sentence(f"Nothing was written then; to see what is captured:  tidewind window --cluster {cluster}")
    text = sentence(f"{number(shown)} of {counted(seen, 'transaction')}.")
    if first is not None:
        again = f"tidewind restore plan --cluster {cluster} --before {first.position}"
        text.append(f" Restore to just before the first:  {again}")
    return text
