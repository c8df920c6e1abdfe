"""Clusters, settings, backups and restores as tables: from status records to text."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from tidewind.cli.formats import ago, counted, duration, in_zone, moment, number, parse_moment, printable, size
from tidewind.cli.ports import State, Statuses
from tidewind.cli.views.layout import facts, sentence, state, table

DEFAULT_TIME = "02:00"


def clusters_view(statuses: Statuses, now: datetime) -> RenderableType:
    """One line a cluster."""
    rows = [_cluster_row(statuses, name, now) for name in statuses.clusters()]
    if not rows:
        return Group(
            sentence("No cluster is enrolled."),
            sentence(
                "tidewind cluster enroll shop --engine mariadb --region eu-central-1 --endpoint db-1:3306 "
                "--credentials env:SHOP_CREDENTIALS",
                "dim",
            ),
        )
    return table(["cluster", "state", "engine", "region", "newest backup", "next", "backups"], rows, right=["backups"])


def _cluster_row(statuses: Statuses, name: str, now: datetime) -> list[str | Text]:
    cluster = statuses.one("cluster", name) or {}
    zone = statuses.zone(name)
    good = _completed(statuses.of("backup", name))
    newest = _at(good[0], "snapshot_time") if good else None
    following = _at(statuses.one("setting", name), "next_backup_at")
    return [
        name,
        _public_state(statuses, name),
        f"{cluster.get('engine', '')} {_short_version(cluster.get('engine_version'))}",
        f"{cluster.get('region', '')} ({zone})",
        f"{moment(newest, zone, seconds=False)}, {ago(newest, now)}" if newest else Text("none yet", style="yellow"),
        moment(following, zone, seconds=False) if cluster.get("state") != "retired" else "–",
        str(len(good)),
    ]


def _public_state(statuses: Statuses, name: str) -> Text:
    available = str((statuses.one("availability", name) or {}).get("state", "Available"))
    if available != "Available":
        return state(available)
    return state(str((statuses.one("cluster", name) or {}).get("state", "unknown")))


def cluster_view(statuses: Statuses, name: str, now: datetime) -> RenderableType:
    """Everything about one cluster."""
    cluster = statuses.one("cluster", name) or {}
    zone = statuses.zone(name)
    availability = statuses.one("availability", name) or {}
    backups = statuses.of("backup", name)
    good = _completed(backups)
    rows: list[tuple[str, str | Text]] = [
        ("state", _public_state(statuses, name)),
        ("engine", f"{cluster.get('engine', '')} {cluster.get('engine_version', '')}"),
        ("region", f"{cluster.get('region', '')} ({zone})"),
        ("endpoints", ", ".join(f"{one['host']}:{one['port']}" for one in cluster.get("endpoints", ()))),
        ("replicas", str(cluster.get("replicas", "none"))),
        ("enrolled", moment(_at(cluster, "created_at"), zone)),
    ]
    if cluster.get("retired_at"):
        rows.append(("retired", moment(_at(cluster, "retired_at"), zone)))
    rows += _setting_rows(statuses, name, now)
    rows.append(("backups", _backups_summary(good, backups, zone, now)))
    slot = statuses.one("slot", name)
    if slot is not None:
        rows.append(("newest day", _slot_text(slot)))
    if availability.get("detail"):
        rows.append(("detail", printable(availability["detail"])))
    parts: list[RenderableType] = [Text(f" {name}", style="bold"), facts(rows)]
    if availability.get("open_by_hand"):
        parts.append(sentence("It can be opened by hand with:", "yellow"))
        parts += [sentence(f"  {statement}") for statement in availability["open_by_hand"]]
    return Group(*parts)


def _backups_summary(good: Sequence[State], backups: Sequence[State], zone: str, now: datetime) -> str | Text:
    if not good:
        running = any(one.get("state") in ("pending", "running") for one in backups)
        return Text("none yet, the first is being taken" if running else "none yet", style="yellow")
    newest = _at(good[0], "snapshot_time")
    when = f"{moment(newest, zone, seconds=False)} ({ago(newest, now)})" if newest else "unknown"
    verified = ", verified" if good[0].get("verified_at") else ""
    stored = sum(int(one.get("stored_bytes") or 0) for one in good)
    return f"{len(good)} listed, {size(stored)} stored; newest {when}{verified}"


def _slot_text(slot: State) -> Text:
    text = Text(f"{slot.get('slot_date')} ")
    text.append_text(state(str(slot.get("state"))))
    if slot.get("detail"):
        text.append(f"  {printable(slot['detail'])}")
    return text


def setting_view(statuses: Statuses, name: str, now: datetime) -> RenderableType:
    return facts(_setting_rows(statuses, name, now), title=Text(f" {name}", style="bold"))


def _setting_rows(statuses: Statuses, name: str, now: datetime) -> list[tuple[str, str | Text]]:
    known = statuses.one("setting", name)
    if known is None:
        return [("backup", Text("the setting was not published yet", style="yellow"))]
    rows: list[tuple[str, str | Text]] = effective_setting_rows(known.get("setting") or {}, statuses.zone(name))
    following = _at(known, "next_backup_at")
    if following is not None:
        rows.append(("next", f"{moment(following, statuses.zone(name), seconds=False)} ({ago(following, now)})"))
    return rows


def effective_setting_rows(setting: Mapping[str, Any], zone: str) -> list[tuple[str, str | Text]]:
    """What a setting means, defaults spelt out."""
    chosen = setting.get("backup_time")
    at = f"{chosen or DEFAULT_TIME} in {zone}" + ("" if chosen else " (the default)")
    return [("backup", f"daily at {at}"), ("kept", f"at least {setting.get('retention_days')} days")]


def changed_setting_rows(
    setting: Mapping[str, Any], before: Mapping[str, Any] | None, zone: str
) -> list[tuple[str, str | Text]]:
    """What a setting means now, and what it was where that is another thing."""
    rows = effective_setting_rows(setting, zone)
    if before is None:
        return rows
    was = effective_setting_rows(before, zone)
    return [
        (name, now if now == then else f"{now}, was {then}") for (name, now), (_, then) in zip(rows, was, strict=True)
    ]


def backups_view(statuses: Statuses, name: str, now: datetime, *, everything: bool) -> RenderableType:
    """The listed backups, newest first; `everything` also shows hidden, failed and deleted ones."""
    zone = statuses.zone(name)
    found = [one for one in newest_first(statuses.of("backup", name)) if everything or _is_listed(one)]
    if not found:
        following = _at(statuses.one("setting", name), "next_backup_at")
        when = f"; the next is due {moment(following, zone, seconds=False)}" if following else ""
        return sentence(f"{name} has no backup yet{when}.")
    rows = [_backup_row(one, zone, now) for one in found]
    return table(
        ["backup", "state", "snapshot", "kind", "size", "rows", "verified", "expires"], rows, right=["size", "rows"]
    )


def _backup_row(one: State, zone: str, now: datetime) -> list[str | Text]:
    taken = _at(one, "snapshot_time") or _at(one, "started_at")
    expires = _at(one, "expires_at")
    return [
        str(one.get("backup_id")),
        _backup_state(one),
        moment(taken, zone),
        _kind(one),
        size(one.get("stored_bytes")),
        number(one.get("rows")),
        moment(_at(one, "verified_at"), zone, seconds=False),
        ago(expires, now) if expires else "–",
    ]


def backup_view(one: State, zone: str, now: datetime) -> RenderableType:
    """One backup in full."""
    rows: list[tuple[str, str | Text]] = [
        ("cluster", str(one.get("cluster_id"))),
        ("state", _backup_state(one)),
        ("kind", _kind(one)),
        ("snapshot", in_zone(_at(one, "snapshot_time"), zone)),
        ("position", str(one.get("position") or "–")),
        ("timeline", str(one.get("timeline") or "–")),
        (
            "content",
            f"{number(one.get('rows'))} rows of {counted(one.get('tables'), 'table')}, {size(one.get('row_bytes'))}",
        ),
        ("stored", size(one.get("stored_bytes"))),
        ("verified", moment(_at(one, "verified_at"), zone)),
    ]
    expires = _at(one, "expires_at")
    if expires is not None:
        rows.append(("expires", f"{moment(expires, zone)} ({ago(expires, now)})"))
    problem = one.get("problem")
    if problem and problem.get("next_step"):
        rows.append(("next", str(problem["next_step"])))
    if one.get("state") == "completed":
        rows.append(
            ("restore", f"tidewind restore plan --cluster {one.get('cluster_id')} --backup {one.get('backup_id')}")
        )
    return facts(rows, title=Text(f" {one.get('backup_id')}", style="bold"))


def _kind(one: State) -> str:
    cause = str(one.get("cause"))
    words = {"slot": f"daily {one.get('slot_date') or ''}".strip(), "base": "new base", "manual": "by hand"}
    return words.get(cause, cause)


def _backup_state(one: State) -> Text:
    if one.get("damaged"):
        return state("damaged")
    text = state(str(one.get("state")))
    if one.get("suspect"):
        text.append(f", suspect: {printable(', '.join(one['suspect']))}", style="yellow")
    problem = one.get("problem")
    if problem:
        text.append(f": {printable(problem.get('detail', ''))}", style="default")
    return text


def _is_listed(one: State) -> bool:
    return bool(one.get("listed", True)) and one.get("state") in (
        "pending",
        "running",
        "completed",
        "deleting",
        "damaged",
    )


def _completed(backups: Sequence[State]) -> list[State]:
    return [one for one in newest_first(backups) if one.get("state") == "completed" and one.get("listed", True)]


def newest_first(backups: Sequence[State]) -> list[State]:
    return sorted(
        backups, key=lambda one: str(one.get("snapshot_time") or one.get("started_at") or one.get("at")), reverse=True
    )


def restores_view(found: Sequence[State], zones: Mapping[str, str], now: datetime) -> RenderableType:
    """Restores of one cluster or of all, newest first."""
    if not found:
        return sentence("No restore was ever run.")
    ordered = sorted(found, key=lambda one: str(one.get("started_at")), reverse=True)
    rows = [_restore_row(one, zones.get(str(one["cluster_id"]), "UTC"), now) for one in ordered]
    return table(["restore", "cluster", "state", "what", "began", "took", "undo until"], rows)


def _restore_row(one: State, zone: str, now: datetime) -> list[str | Text]:
    began, ended, until = _at(one, "started_at"), _at(one, "ended_at"), _at(one, "undo_until")
    word = state(str(one.get("state")))
    if one.get("state") == "running":
        word.append(f", {one.get('step')}", style="default")
    return [
        str(one.get("restore_id")),
        str(one.get("cluster_id")),
        word,
        _what(one),
        moment(began, zone),
        duration(((ended or now) - began).total_seconds()) if began else "–",
        moment(until, zone, seconds=False) if until and until > now and one.get("state") == "completed" else "–",
    ]


def _what(one: State) -> str:
    if one.get("mode") == "undo":
        return "undo"
    return f"backup {one['backup_id']}" if one.get("backup_id") else str(one.get("mode"))


def restore_view(one: State, zone: str, now: datetime) -> RenderableType:
    """One restore in full."""
    began, ended = _at(one, "started_at"), _at(one, "ended_at")
    rows: list[tuple[str, str | Text]] = [
        ("cluster", str(one.get("cluster_id"))),
        ("state", state(str(one.get("state")))),
        ("step", str(one.get("step"))),
        ("what", _what(one)),
        ("began", in_zone(began, zone)),
    ]
    if ended is not None and began is not None:
        rows.append(("ended", f"{in_zone(ended, zone)}, after {duration((ended - began).total_seconds())}"))
    deadline, until = _at(one, "deadline"), _at(one, "undo_until")
    if deadline is not None and ended is None:
        rows.append(("time limit", f"{in_zone(deadline, zone)}: then it takes the way back by itself"))
    if until is not None and one.get("state") == "completed":
        rows.append(("undo", f"until {moment(until, zone)}:  tidewind restore undo {one.get('restore_id')}"))
    problem = one.get("problem")
    if problem:
        rows.append(("problem", str(problem.get("detail"))))
        if problem.get("next_step"):
            rows.append(("next", str(problem["next_step"])))
    return facts(rows, title=Text(f" {one.get('restore_id')}", style="bold"))


def _at(one: State | None, name: str) -> datetime | None:
    return parse_moment((one or {}).get(name))


def _short_version(version: object) -> str:
    return str(version or "").partition("-")[0]
