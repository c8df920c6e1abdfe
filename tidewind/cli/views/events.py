"""One line an event: when, which cluster, what happened, in words."""

from collections.abc import Callable, Mapping
from typing import Any

from rich.text import Text

from schemas.envelope import Message
from tidewind.cli.formats import counted, duration, moment, number, parse_moment, printable, size
from tidewind.cli.views.ending import content
from tidewind.cli.views.layout import BAD, BUSY, GOOD, QUIET, WARNING

Data = Mapping[str, Any]


def _seconds(data: Data, name: str) -> str:
    value = data.get(name)
    return duration(float(value) / 1000) if isinstance(value, int | float) else "–"


def _problem(data: Data) -> str:
    problem = data.get("problem") or {}
    return str(problem.get("detail") or problem.get("title") or "")


def _completed_backup(data: Data) -> str:
    text = (
        f"backup {data.get('backup_id')} completed: {number(data.get('rows'))} rows of "
        f"{counted(data.get('tables'), 'table')}, "
        f"{size(data.get('stored_bytes'))} stored, in {_seconds(data, 'duration_ms')}"
    )
    return f"{text}; suspect: {', '.join(data['suspect'])}" if data.get("suspect") else text


def _completed_restore(data: Data) -> str:
    if data.get("mode") == "undo":
        what = "undone to before"
    elif point := data.get("point") or {}:
        what = f"restored to {point.get('last_kept') or 'the base'}, before {point.get('first_undone') or 'the end'},"
    else:
        what = f"restored from {data.get('backup_id')}"
    until = parse_moment(data.get("undo_until"))
    way = f"; undo until {moment(until, seconds=False)}" if until else ""
    return f"{what} as {data.get('restore_id')}: {content(data)}, closed {_seconds(data, 'closed_ms')}{way}"


def _failed_restore(data: Data) -> str:
    safe = "open again with the data it had" if data.get("returned") else "STILL CLOSED"
    return f"restore {data.get('restore_id')} failed at {data.get('step')}: {_problem(data)}; the cluster is {safe}"


def _moment(data: Data, name: str) -> str:
    return moment(parse_moment(data.get(name)))


def _capture_started(data: Data) -> str:
    where = f"at {data.get('position') or 'its beginning'}"
    cause = data.get("cause")
    return f"the log is captured {where}" if cause is None else f"a new log is captured {where} ({cause})"


_WORDS: dict[str, tuple[str, Callable[[Data], str]]] = {
    "command.failed": (BAD, lambda d: f"{d.get('command')} failed: {_problem(d)}"),
    "cluster.enrolled": (
        GOOD,
        lambda d: f"enrolled: {d.get('engine')} {d.get('engine_version')} in {d.get('region')} ({d.get('zone')})",
    ),
    "cluster.updated": (GOOD, lambda d: f"updated: {', '.join(d.get('changed', ()))}"),
    "cluster.retired": (QUIET, lambda d: f"retired; {len(d.get('backups_kept', ()))} backups kept until they expire"),
    "backup-setting.changed": (
        GOOD,
        lambda d: (
            f"setting changed: daily at {(d.get('setting') or {}).get('backup_time') or '02:00'} in {d.get('zone')}, "
            f"kept {(d.get('setting') or {}).get('retention_days')} days"
        ),
    ),
    "capture.started": (GOOD, _capture_started),
    "capture.stopped": (BAD, lambda d: f"the log is not captured: {_problem(d)}"),
    "capture.gap-found": (
        BAD,
        lambda d: (
            f"gap in the log from {_moment(d, 'start')} to {_moment(d, 'end')} ({d.get('cause')}): "
            "nothing in it can be restored; a new backup is taken"
        ),
    ),
    "capture.headroom-low": (WARNING, lambda d: str(d.get("detail"))),
    "window.changed": (BUSY, lambda d: f"what can be restored has changed: {d.get('detail')}"),
    "segments.deleted": (
        QUIET,
        lambda d: f"{counted(d.get('segments'), 'segment')} of the log removed, {size(d.get('freed_bytes'))} freed",
    ),
    "backup.started": (BUSY, lambda d: f"backup {d.get('backup_id')} started ({d.get('cause')})"),
    "backup.completed": (GOOD, _completed_backup),
    "backup.failed": (BAD, lambda d: f"backup {d.get('backup_id')} failed: {_problem(d)}"),
    "backup.deleted": (
        QUIET,
        lambda d: f"backup {d.get('backup_id')} deleted ({d.get('cause')}), {size(d.get('freed_bytes'))} freed",
    ),
    "backup.verified": (
        GOOD,
        lambda d: (
            f"backup {d.get('backup_id')} verified: {number(d.get('objects'))} objects, "
            f"{size(d.get('stored_bytes'))}, in {_seconds(d, 'duration_ms')}"
        ),
    ),
    "backup.damaged": (BAD, lambda d: f"backup {d.get('backup_id')} is DAMAGED: {_problem(d)}"),
    "backup.missed": (BAD, lambda d: f"the backup of {d.get('slot_date')} was missed: {d.get('detail')}"),
    "backup.overdue": (BAD, lambda d: f"the backup of {d.get('slot_date')} is overdue: {d.get('detail')}"),
    "restore.planned": (QUIET, lambda _: "a restore was planned; nothing was touched"),
    "restore.started": (WARNING, lambda d: f"restore {d.get('restore_id')} started ({d.get('mode')})"),
    "restore.gated": (
        WARNING,
        lambda d: (
            f"closed for restore {d.get('restore_id')}, {counted(d.get('connections_ended'), 'connection')} ended"
        ),
    ),
    "restore.completed": (GOOD, _completed_restore),
    "restore.failed": (BAD, _failed_restore),
    "restore.cancelled": (
        WARNING,
        lambda d: f"restore {d.get('restore_id')} cancelled at {d.get('step')}; the data before it is back",
    ),
    "restore.cancel-ended": (QUIET, lambda d: f"the cancelled restore {d.get('restore_id')} ended: {d.get('outcome')}"),
    "safeguard.expired": (
        QUIET,
        lambda d: (
            f"what restore {d.get('restore_id')} had set aside expired; "
            f"{counted(d.get('freed_tables'), 'table')} removed"
        ),
    ),
}


def event_line(message: Message) -> Text:
    """`10:31:52 UTC  shop  backup bkp_… completed: …`. An event of a newer release shows its type."""
    data = message.data or {}
    name = message.type.removeprefix("tidewind.").rpartition(".v")[0]
    style, words = _WORDS.get(name, (QUIET, lambda _: name))
    text = Text(f" {moment(message.time)}  ", style="dim")
    text.append(f"{printable(data.get('cluster_id') or message.key):<12}  ", style="bold")
    text.append(printable(words(data)), style=style)
    by = data.get("actor") or message.actor
    if by:
        text.append(f"  by {printable(by)}", style="dim")
    if data.get("reason"):
        text.append(f" “{printable(data['reason'])}”", style="dim")
    return text


def told() -> frozenset[str]:
    """The types of event that have words."""
    return frozenset(f"tidewind.{name}.v1" for name in _WORDS)


def event_data(message: Message) -> dict[str, Any]:
    """An event for programs."""
    return {
        "id": message.id,
        "type": message.type,
        "time": message.time.isoformat(),
        "source": message.source,
        "correlation_id": message.correlation_id,
        "data": dict(message.data or {}),
    }
