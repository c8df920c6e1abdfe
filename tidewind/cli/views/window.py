"""The recoverable window as a picture: what can be restored, gaps in it, timelines, and how far behind it all is."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from tidewind.cli.formats import ago, duration, moment, number, parse_moment, printable, size
from tidewind.cli.ports import State, Statuses
from tidewind.cli.views.layout import sentence, state
from tidewind.cli.views.states import newest_first

BAR = 58
_LINE, _STAMPED, _GAP = "─", "╌", "╳"
_Span = tuple[datetime, datetime, Mapping[str, Any]]


def window_view(statuses: Statuses, name: str, now: datetime) -> RenderableType:
    """Everything `tidewind window` shows of a cluster."""
    cluster = statuses.one("cluster", name) or {}
    zone = statuses.zone(name)
    title = Text(f" {name}", style="bold")
    title.append(f" · {cluster.get('engine', '')} {cluster.get('engine_version', '')}", style="default")
    title.append(f" · {cluster.get('region', '')} ({zone}) · ", style="default")
    title.append_text(state(str(cluster.get("state", "unknown"))))
    window = statuses.one("window", name)
    parts: list[RenderableType] = [title]
    parts += _reach(window, zone, now)
    parts += _timelines(window, zone)
    parts.append(_backups(statuses, name, zone))
    parts += _behind(statuses.one("capture", name), window)
    return Group(*parts)


def _reach(window: State | None, zone: str, now: datetime) -> list[RenderableType]:
    told = _spans((window or {}).get("intervals"))
    intervals = _joined(told)
    if not intervals:
        why = "no log is captured yet" if window is None else "the first backup of the log is not complete yet"
        return [sentence(f"can be restored to its backups only: {why}", "yellow")]
    gaps = _spans((window or {}).get("gaps"))
    first, last = intervals[0][0], max(end for _, end, _ in intervals)
    parts: list[RenderableType] = [
        sentence("can be restored to any second of" if len(intervals) == 1 and not gaps else "can be restored to"),
        _picture(told, first, last, zone, now),
    ]
    if len(intervals) > 1:
        parts += [
            sentence(f"  {moment(start, zone)} – {moment(end, zone)}   {one.get('timeline')}")
            for start, end, one in intervals
        ]
    parts += [
        sentence(
            f"  gap {duration((end - start).total_seconds())}, {moment(start, zone)} – {moment(end, zone)}: "
            f"{printable(one.get('detail') or one.get('cause'))}",
            "red",
        )
        for start, end, one in gaps
    ]
    stamped = [(start, end) for start, end, one in told if one.get("precision") == "stamps"]
    if stamped:
        start, end = stamped[-1]
        more = f"; {len(stamped) - 1} earlier too" if len(stamped) > 1 else ""
        parts.append(
            sentence(
                f"  {_STAMPED} {moment(start, zone)} – {moment(end, zone)}: read after the fact, so that times are the"
                f" log's own, which are whole seconds and can be set by clients{more}",
                "yellow",
            )
        )
    return parts


def _joined(intervals: Sequence[_Span]) -> list[_Span]:
    """Stretches without a break, whatever their precision."""
    found: list[_Span] = []
    for start, end, one in intervals:
        if found and found[-1][1] == start and found[-1][2].get("timeline") == one.get("timeline"):
            found[-1] = (found[-1][0], end, one)
        else:
            found.append((start, end, one))
    return found


def _picture(
    intervals: Sequence[_Span],
    first: datetime,
    last: datetime,
    zone: str,
    now: datetime,
) -> Text:
    cells = bar(intervals, first, last)
    text = Text(f"   {moment(first, zone)} ")
    for cell in cells:
        text.append(cell, style={_LINE: "green", _STAMPED: "yellow", _GAP: "red"}.get(cell, "default"))
    text.append("●", style="green")
    return text.append(f" {moment(last, zone)}   ({ago(last, now)})")


def bar(intervals: Sequence[_Span], first: datetime, last: datetime) -> str:
    """One cell a stretch of time: a cross where any of it cannot be restored, a broken line where most of it has the
    log's own times, else a line."""
    whole = (last - first) / BAR or timedelta(microseconds=1)
    cells = []
    for index in range(BAR):
        begin, end = first + index * whole, first + (index + 1) * whole
        covered = _overlap(intervals, begin, end)
        stamped = _overlap([one for one in intervals if one[2].get("precision") == "stamps"], begin, end)
        whole_cell = _STAMPED if stamped * 2 >= end - begin else _LINE
        cells.append(whole_cell if covered >= (end - begin) * 0.999 else _GAP)
    return "".join(cells)


def _overlap(intervals: Sequence[_Span], begin: datetime, end: datetime) -> timedelta:
    return sum((max(timedelta(0), min(end, stop) - max(begin, start)) for start, stop, _ in intervals), timedelta(0))


def _timelines(window: State | None, zone: str) -> list[RenderableType]:
    found = list((window or {}).get("timelines") or ())
    if len(found) < 2:
        return []
    lines: list[RenderableType] = []
    for index, one in enumerate(found):
        name = printable(one.get("timeline"))
        began, back = parse_moment(one.get("started_at")), parse_moment(one.get("restored_to"))
        text = Text(f" {'timelines' if index == 0 else '':<11} {'└─ ' if index else ''}{name}")
        if one.get("restore_id"):
            to = f"to {moment(back, zone)} " if back else ""
            text.append(f"  restored {moment(began, zone)} {to}of {one.get('parent')} ({one.get('restore_id')})")
        ended = parse_moment(one.get("ended_at"))
        text.append(f"  left {moment(ended, zone)}" if ended else "  ● now", style="dim" if ended else "green")
        lines.append(text)
    return lines


def _backups(statuses: Statuses, name: str, zone: str) -> RenderableType:
    good = [
        one
        for one in newest_first(statuses.of("backup", name))
        if one.get("state") == "completed" and one.get("listed", True)
    ]
    following = parse_moment((statuses.one("setting", name) or {}).get("next_backup_at"))
    then = f"; next {moment(following, zone, seconds=False)}" if following else ""
    if not good:
        return sentence(f"backups      none yet{then}", "yellow")
    newest = good[0]
    verified = ", verified" if newest.get("verified_at") else ""
    return sentence(
        f"backups      {number(len(good))} listed, newest {moment(parse_moment(newest.get('snapshot_time')), zone)}, "
        f"{size(newest.get('stored_bytes'))}{verified}{then}"
    )


def _behind(capture: State | None, window: State | None) -> list[RenderableType]:
    if capture is None:
        return []
    parts: list[RenderableType] = []
    if capture.get("state") == "capturing":
        behind = f"Kafka {duration(capture.get('lag_s'))}"
        if window is not None:
            behind += f" · store {duration(window.get('store_lag_s'))}"
        parts.append(sentence(f"behind       {behind}"))
        room = capture.get("headroom_s")
        if room is not None:
            parts.append(sentence(f"head-room    {duration(room)} until the server purges what was not read"))
    elif capture.get("state") == "off":
        parts.append(sentence("capture      off: the log is not read", "yellow"))
    else:
        problem = capture.get("problem") or {}
        parts.append(sentence(f"capture      {capture.get('state')}: {printable(problem.get('detail', ''))}", "red"))
        if problem.get("next_step"):
            parts.append(sentence(f"             →  {printable(problem['next_step'])}"))
    return parts


def _spans(found: object) -> list[_Span]:
    spans = []
    for one in found if isinstance(found, list | tuple) else ():
        start, end = parse_moment(one.get("start")), parse_moment(one.get("end"))
        if start is not None and end is not None:
            spans.append((start, end, one))
    return sorted(spans, key=lambda span: span[0])
