"""A restore plan: what it goes back to, what that undoes, how long it closes, what stands in the way."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from tidewind.cli.formats import counted, duration, in_zone, number, parse_moment, printable, size
from tidewind.cli.views.layout import facts

Plan = Mapping[str, Any]

HASH_SHOWN = 10
TABLES_SHOWN = 8
ACCOUNTS_SHOWN = 6
UNDONE_SHOWN = 8


def plan_view(plan: Plan, zone: str, again: str | None) -> RenderableType:
    """`again` is the line that carries the plan out, left out where the question follows at once."""
    title = Text(f" {printable(plan.get('cluster_id', ''))} {_headline(plan, zone)}", style="bold")
    rows: list[tuple[str, str | Text]] = [*_point_rows(plan, zone), ("from", _source(plan))]
    rows += _undone_rows(plan)
    rows += _table_rows(plan)
    rows += _account_rows(plan.get("accounts") or {})
    ended = int(plan.get("connections_ended") or 0)
    limit = duration(plan.get("limit_s"))
    replay = plan.get("estimate_replay_s") or 0.0
    of_it = f" ({duration(replay)} of it replay)" if replay else ""
    takes = f"about {duration(plan.get('estimate_s'))} closed{of_it}, given up and taken back after {limit}"
    rows.append(("takes", takes))
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
        text = f"{point[key]}  {to_the_millisecond(at)}" if point.get(key) and at else "none"
        rows.append((name, text))
    return rows


def to_the_millisecond(at: datetime) -> str:
    """In UTC: two transactions of one second are told apart."""
    utc = at.astimezone(UTC)
    return f"{utc:%Y-%m-%d %H:%M:%S}.{utc.microsecond // 1000:03d} UTC"


def _undone_rows(plan: Plan) -> list[tuple[str, str | Text]]:
    """What was written since, and will be gone."""
    undone = plan.get("undone")
    if not undone:
        return []
    count = int(undone.get("transactions") or 0)
    least = "at least " if undone.get("transactions_at_least") else ""
    looked = int(undone.get("looked_into") or 0)
    text = f"{least}{counted(count, 'transaction')}" if count else f"{least}nothing" if least else "nothing"
    if undone.get("rows_at_least") and count:
        text += f"; the rows below are of the first {number(looked)}, so there may be more"
    lines: list[str | Text] = [text]
    tables = list(undone.get("tables") or ())
    lines += [Text(_written(one), style="yellow" if one.get("deleted") else "") for one in tables[:UNDONE_SHOWN]]
    left = max(0, len(tables) - UNDONE_SHOWN) + int(undone.get("tables_not_listed") or 0)
    if left > 0:
        lines.append(f"and {counted(left, 'more table')}")
    statements = list(undone.get("statements") or ())
    lines += [
        Text(f"{one.get('position')}  {printable(one.get('statement', ''))}", style="yellow")
        for one in statements[:UNDONE_SHOWN]
    ]
    left = max(0, len(statements) - UNDONE_SHOWN) + int(undone.get("statements_not_listed") or 0)
    if left > 0:
        lines.append(f"and {counted(left, 'more statement')}")
    return [("undone" if place == 0 else "", line) for place, line in enumerate(lines)]


def _written(one: Mapping[str, Any]) -> str:
    counts = [
        f"{sign}{number(one.get(key))}{what}"
        for sign, key, what in (("+", "inserted", ""), ("−", "deleted", ""), ("", "updated", " changed"))
        if one.get(key)
    ]
    return f"{printable(one.get('schema'))}.{printable(one.get('table'))}  {' '.join(counts)} rows"


def _source(plan: Plan) -> str:
    if plan.get("mode") == "undo":
        return f"what {plan.get('base')} set aside"
    then = plan.get("rows_then")
    rows = f", {number(then)} rows" if then is not None else ""
    if plan.get("mode") == "point_in_time":
        replayed = plan.get("replayed_transactions")
        count = f" and {counted(replayed, 'transaction')} of log" if replayed else " and the log from there"
        log = count if plan.get("legs") else ""
        return f"backup {plan.get('base')}{rows}{log}, timeline {plan.get('timeline')}"
    position = f", position {plan['cut']}" if plan.get("cut") else ""
    return f"backup {plan.get('base')}{rows}{position}, timeline {plan.get('timeline')}"


def _table_rows(plan: Plan) -> list[tuple[str, str | Text]]:
    """Tables that come and go, then the replaced ones whose size changes most. Of a point only the former: how many
    rows the others had at its backup is not how many they had at the point."""
    tables: Sequence[Mapping[str, Any]] = plan.get("tables") or ()
    moving = [one for one in tables if one.get("fate") != "replaced"]
    if plan.get("undone") and plan.get("mode") == "point_in_time":
        more = f"{counted(int(plan.get('tables_total') or len(tables)) - len(moving), 'table')} as of the point"
        shown_moving = [("" if at else "tables", _table(one)) for at, one in enumerate(moving[:TABLES_SHOWN])]
        return [*shown_moving, ("" if moving else "tables", more)]
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
