"""A restore plan: what it goes back to, what that undoes, how long it closes, what stands in the way."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from tidewind.cli.formats import counted, duration, in_zone, number, parse_moment, printable, size
from tidewind.cli.views.layout import facts

Plan = Mapping[str, Any]

HASH_SHOWN = 10
TABLES_SHOWN = 8
ACCOUNTS_SHOWN = 6


def plan_view(plan: Plan, zone: str, again: str | None) -> RenderableType:
    """`again` is the line that carries the plan out, left out where the question follows at once."""
    title = Text(f" {printable(plan.get('cluster_id', ''))} {_headline(plan, zone)}", style="bold")
    rows: list[tuple[str, str | Text]] = [*_point_rows(plan, zone), ("from", _source(plan))]
    rows += _table_rows(plan)
    rows += _account_rows(plan.get("accounts") or {})
    ended = int(plan.get("connections_ended") or 0)
    limit = duration(plan.get("limit_s"))
    rows.append(("takes", f"about {duration(plan.get('estimate_s'))} closed, given up and taken back after {limit}"))
    rows.append(("ends", counted(ended, "connection") if ended else "no connection is open now"))
    if plan.get("closing"):
        rows.append(("closing", printable(plan["closing"])))
    rows.append(("space", _space(plan)))
    rows.append(("way back", str(plan.get("way_back") or "–")))
    rows += [("warning", Text(printable(text, limit=1000), style="yellow")) for text in plan.get("warnings") or ()]
    rows += [("blocked", Text(printable(text, limit=1000), style="red")) for text in blockers_of(plan)]
    return Group(title, facts(rows), _last(plan, again))


def _headline(plan: Plan, zone: str) -> str:
    if plan.get("mode") == "undo":
        return f"back to before {plan.get('base')}"
    point = plan.get("point") or {}
    if plan.get("mode") == "point_in_time":
        at = parse_moment(point.get("target_time") or point.get("last_kept_at"))
        precise = "stamps in the log" if point.get("precision") == "stamps" else "the transaction"
        return f"back to {in_zone(at, zone)}, precise to {precise} (beta)"
    moment = parse_moment(plan.get("base_time"))
    return f"back to {in_zone(moment, zone)}" if moment else f"back to {plan.get('base')}"


def _point_rows(plan: Plan, zone: str) -> list[tuple[str, str | Text]]:
    """The last transaction kept and the first undone, by which a point is checked."""
    point = plan.get("point")
    if not point:
        return []
    rows: list[tuple[str, str | Text]] = []
    for name, key in (("last kept", "last_kept"), ("first undone", "first_undone")):
        at = parse_moment(point.get(f"{key}_at"))
        text = f"{point[key]}  {in_zone(at, zone)}" if point.get(key) else "none"
        rows.append((name, text))
    undone = plan.get("undone_transactions")
    if undone is not None:
        rows.append(("undone", counted(undone, "transaction")))
    return rows


def _source(plan: Plan) -> str:
    if plan.get("mode") == "undo":
        return f"what {plan.get('base')} set aside"
    then = plan.get("rows_then")
    rows = f", {number(then)} rows" if then is not None else ""
    if plan.get("mode") == "point_in_time":
        log = " and the log from there" if plan.get("legs") else ""
        return f"backup {plan.get('base')}{rows}{log}, timeline {plan.get('timeline')}"
    position = f", position {plan['cut']}" if plan.get("cut") else ""
    return f"backup {plan.get('base')}{rows}{position}, timeline {plan.get('timeline')}"


def _table_rows(plan: Plan) -> list[tuple[str, str | Text]]:
    """Tables that come and go, then the replaced ones whose size changes most."""
    tables: Sequence[Mapping[str, Any]] = plan.get("tables") or ()
    moving = [one for one in tables if one.get("fate") != "replaced"]
    shown = [*moving, *(one for one in tables if one.get("fate") == "replaced")][:TABLES_SHOWN]
    rows: list[tuple[str, str | Text]] = [
        ("tables" if number_ == 0 else "", _table(one)) for number_, one in enumerate(shown)
    ]
    left = int(plan.get("tables_total") or len(tables)) - len(shown)
    if left > 0:
        rows.append(("", f"and {number(left)} more"))
    return rows or [("tables", "none, neither now nor then")]


def _table(one: Mapping[str, Any]) -> Text:
    name = printable(f"{one.get('schema')}.{one.get('table')}")
    now, then = one.get("rows_now"), one.get("rows_then")
    match one.get("fate"):
        case "disappears":
            return Text(f"{name}  disappears, about {number(now)} rows", style="yellow")
        case "returns":
            return Text(f"{name}  returns" + (f", {number(then)} rows" if then is not None else ""), style="green")
    if then is None:
        return Text(f"{name}  replaced")
    return Text(f"{name}  about {number(now)} → {number(then)} rows")


def _account_rows(accounts: Mapping[str, Any]) -> list[tuple[str, str | Text]]:
    words = (("disappear", "disappear"), ("appear", "return"), ("change", "get back their secret and rights of then"))
    said = []
    for name, what in words:
        found = list(accounts.get(name) or ())
        if found:
            shown = ", ".join(map(str, found[:ACCOUNTS_SHOWN]))
            more = f" and {len(found) - ACCOUNTS_SHOWN} more" if len(found) > ACCOUNTS_SHOWN else ""
            said.append(f"{shown}{more} {what if len(found) > 1 else _singular(what)}")
    return [("accounts" if place == 0 else "", text) for place, text in enumerate(said)]


def _singular(what: str) -> str:
    return {"disappear": "disappears", "return": "returns"}.get(what, "gets back its secret and rights of then")


def _space(plan: Plan) -> str:
    needed, free = plan.get("space_needed") or 0, plan.get("space_free")
    if not needed:
        return "none: only names change"
    return f"needs {size(needed)} free, {'has ' + size(free) if free is not None else 'what is free is not known'}"


def _last(plan: Plan, again: str | None) -> Text:
    if blockers_of(plan):
        return Text(" This cannot be done until what blocks it is gone.", style="red")
    text = Text(f" Nothing stands in the way. Plan {hash_of(plan)}")
    return text.append(f":\n   {printable(again, limit=2000)}", style="bold") if again else text.append(".")


def blockers_of(plan: Plan) -> list[str]:
    return [str(one) for one in plan.get("blockers") or ()]


def hash_of(plan: Plan) -> str:
    """The shortened hash: any beginning of 6 digits or more confirms a plan."""
    return str(plan.get("plan_hash") or "")[:HASH_SHOWN]
