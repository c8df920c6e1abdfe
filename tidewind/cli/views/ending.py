"""How a restore ended, in words: what holds now, and the way on."""

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from tidewind.cli.formats import counted, duration, moment, number, parse_moment, printable

Data = Mapping[str, Any]


def completed_view(data: Data, zone: str) -> Text:
    """The lines after a restore or undo that went well."""
    cluster, restore = data.get("cluster_id"), data.get("restore_id")
    closed = duration(float(data.get("closed_ms") or 0) / 1000)
    what = "undone: it holds what it held before" if data.get("mode") == "undo" else f"back to {data.get('backup_id')}"
    text = Text(" ✓ ", style="green")
    text.append(printable(f"{cluster} is open, {what}"), style="bold")
    tables = counted(data.get("tables"), "table")
    # An undo only moves tables: no row is written or counted.
    undone = data.get("mode") == "undo"
    rows = [
        ("content", f"{tables} moved back" if undone else f"{number(data.get('rows'))} rows of {tables}, checked"),
        ("closed", f"{closed}, the whole took {duration(float(data.get('duration_ms') or 0) / 1000)}"),
        ("timeline", f"{data.get('timeline')}; a new base backup is on its way"),
    ]
    until = parse_moment(data.get("undo_until"))
    if until is not None:
        rows.append(("way back", f"until {moment(until, zone)}:  tidewind restore undo {restore}"))
    for name, value in rows:
        text.append(f"\n     {name:<9} ", style="dim")
        text.append(printable(value))
    return text


def cancelled_view(data: Data) -> Text:
    text = Text(" ! ", style="yellow")
    text.append(
        printable(
            f"restore {data.get('restore_id')} was cancelled at {data.get('step')}: {data.get('cluster_id')} is open "
            f"with the data it had before (the way back took {duration(float(data.get('return_ms') or 0) / 1000)})"
        )
    )
    return text
