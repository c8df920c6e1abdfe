"""Tables without lines, and states in colour: colour is only ever for state."""

from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

from tidewind.cli.formats import printable

GOOD, WARNING, BAD, BUSY, QUIET = "green", "yellow", "red", "cyan", "dim"

_STATES = {
    "protected": GOOD,
    "completed": GOOD,
    "Available": GOOD,
    "verified": GOOD,
    "ok": GOOD,
    "running": BUSY,
    "pending": BUSY,
    "due": BUSY,
    "deleting": BUSY,
    "Restoring": BUSY,
    "deferred": WARNING,
    "warn": WARNING,
    "suspect": WARNING,
    "cancelled": WARNING,
    "waiting": WARNING,
    "missing": WARNING,
    "differs": WARNING,
    "failed": BAD,
    "missed": BAD,
    "damaged": BAD,
    "error": BAD,
    "RestoreFailed": BAD,
    "retired": QUIET,
    "deleted": QUIET,
    "expired": QUIET,
    "undone": QUIET,
    "replayed": QUIET,
    "dropped": QUIET,
}


def state(word: str) -> Text:
    """A word in the colour of what it means."""
    return Text(printable(word), style=_STATES.get(word, "default"))


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, right: Sequence[str] = ()) -> Table:
    """Columns named in `right` are aligned there; the text is taken as it is, never as markup."""
    grid = Table(box=None, padding=(0, 1), pad_edge=True, header_style="dim")
    for column in columns:
        grid.add_column(Text(column), justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row))
    return grid


def facts(rows: Iterable[tuple[str, str | Text]], *, title: str | Text | None = None) -> Table:
    """Names and values, one a line, under a title."""
    grid = Table(box=None, padding=(0, 1), show_header=False, title=title, title_justify="left", title_style="bold")
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(Text(name), value if isinstance(value, Text) else Text(printable(value, limit=2000)))
    return grid


def sentence(text: str, style: str = "") -> Text:
    """One line, indented as tables are."""
    return Text(f" {printable(text, limit=2000)}", style=style)
