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
    text = Text(" ✓ ", style="green")
    text.append(printable(f"{cluster} is open, {_led_to(data, zone)}"), style="bold")
    rows = [
        ("content", content(data)),
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


def content(data: Data) -> str:
    """What there is now. An undo only moves tables, and a replay changes what was loaded and counted before."""
    tables = counted(data.get("tables"), "table")
    if data.get("mode") == "undo":
        return f"{tables} moved back"
    if data.get("mode") == "point_in_time":
        return f"{tables}, each can be read"
    return f"{number(data.get('rows'))} rows of {tables}, checked"


def _led_to(data: Data, zone: str) -> str:
    if data.get("mode") == "undo":
        return "undone: it holds what it held before"
    point = data.get("point")
    if data.get("mode") != "point_in_time" or not point:
        return f"back to {data.get('backup_id')}"
    asked = parse_moment(point.get("target_time"))
    kept = parse_moment(point.get("last_kept_at"))
    last = f"{point.get('last_kept')}, committed {moment(kept, zone)}" if kept else point.get("last_kept")
    if asked is not None:
        return f"back to {moment(asked, zone)}" + (f": the last transaction is {last}" if last else "")
    return f"back to transaction {last}" if last else "back to the base, before the first transaction"


def cancelled_view(data: Data) -> Text:
    text = Text(" ! ", style="yellow")
    text.append(
        printable(
            f"restore {data.get('restore_id')} was cancelled at {data.get('step')}: {data.get('cluster_id')} is open "
            f"with the data it had before (the way back took {duration(float(data.get('return_ms') or 0) / 1000)})"
        )
    )
    return text
