"""Sequences, views, routines, packages, triggers and events, each with the session it was made under.

Returned in an order in which they can be created around the tables: sequences (columns may default to their values),
then, after the tables, routines (their bodies are looked at when they run), views after the views they show, triggers
in their order of firing, and events.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from tidewind.domain.manifest import DatabaseObject
from tidewind.engines.mariadb.connection import Control
from tidewind.engines.mariadb.failures import code_of
from tidewind.engines.mariadb.quoting import quote_table, text_literals
from tidewind.ports.engine import DatabaseError

_SECONDS: Final = 300.0
_GONE: Final = frozenset({1049, 1146, 1305, 1360, 1539, 4091})
_ROUTINES: Final = {
    "PROCEDURE": "procedure",
    "FUNCTION": "function",
    "PACKAGE": "package",
    "PACKAGE BODY": "package_body",
}
_ROUTINE_ORDER: Final = ("PACKAGE", "FUNCTION", "PROCEDURE", "PACKAGE BODY")
_NAME: Final = re.compile(r"`((?:[^`]|``)+)`\.`((?:[^`]|``)+)`")
_SESSION: Final = {
    "sql_mode": "sql_mode",
    "time_zone": "time_zone",
    "character_set_client": "character_set_client",
    "collation_connection": "collation_connection",
    "database collation": "collation_database",
}


async def read_objects(
    control: Control,
    excluded_schemas: Sequence[str],
    sequences: Iterable[tuple[str, str]],
    views: Iterable[tuple[str, str]],
) -> tuple[DatabaseObject, ...]:
    """All objects beside tables. Those dropped while we look are left out. Raises DatabaseError."""
    excluded = text_literals(excluded_schemas)
    found: list[DatabaseObject] = []
    for schema, name in sequences:
        found.extend(await _sequence(control, schema, name))
    found.extend(await _routines(control, excluded))
    found.extend(in_order(await _views(control, views)))
    found.extend(await _triggers(control, excluded))
    found.extend(await read_events(control, excluded_schemas))
    return tuple(found)


async def _show(control: Control, kind: str, schema: str, name: str) -> dict[str, Any] | None:
    """One row of SHOW CREATE, keys in lower case; None if the object is gone."""
    try:
        rows = await control.records(f"SHOW CREATE {kind} {quote_table(schema, name)}")
    except DatabaseError as error:
        if code_of(error) in _GONE:
            return None
        raise
    return {key.lower(): value for key, value in rows[0].items()}


def _made(
    kind: str,
    schema: str,
    name: str,
    shown: dict[str, Any],
    column: str,
    *,
    attributes: dict[str, Any] | None = None,
) -> DatabaseObject:
    create = shown[column]
    if create is None:
        raise DatabaseError(
            "database-rights-missing",
            f"the definition of {kind} {quote_table(schema, name)} is hidden from the backup account",
            "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON *.* to it",
        )
    session = {setting: str(shown[key]) for key, setting in _SESSION.items() if shown.get(key) is not None}
    return DatabaseObject.model_validate(
        {
            "kind": kind,
            "schema_name": schema,
            "name": name,
            "create": create,
            "session": session,
            "attributes": attributes or {},
        }
    )


async def _sequence(control: Control, schema: str, name: str) -> list[DatabaseObject]:
    shown = await _show(control, "SEQUENCE", schema, name)
    return [] if shown is None else [_made("sequence", schema, name, shown, "create table")]


async def sequence_row(control: Control, schema: str, name: str) -> dict[str, int]:
    """The sequence's state, column by column: `INSERT INTO sequence VALUES (…)` of these puts it back. Not part of any
    transaction: never less than any value handed out before. Raises DatabaseError."""
    rows = await control.records(f"SELECT * FROM {quote_table(schema, name)}")
    return {key: int(value) for key, value in rows[0].items()}


async def _views(control: Control, views: Iterable[tuple[str, str]]) -> list[DatabaseObject]:
    """A view that shows something gone is kept all the same, with the attribute `broken`: it cannot be created as long
    as what it shows is not there."""
    # The comment tells only where the view is opened, which the server does only for a column like TABLE_ROWS.
    comments = await control.rows(
        "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_COMMENT, TABLE_ROWS FROM information_schema.TABLES"
        " WHERE TABLE_TYPE = 'VIEW'",
        deadline_s=_SECONDS,
    )
    invalid = {(schema, name) for schema, name, comment, _ in comments if "references invalid" in comment}
    found = []
    for schema, name in views:
        shown = await _show(control, "VIEW", schema, name)
        if shown is not None:
            attributes = {"broken": True} if (schema, name) in invalid else {}
            found.append(_made("view", schema, name, shown, "create view", attributes=attributes))
    return found


def in_order(views: Sequence[DatabaseObject]) -> list[DatabaseObject]:
    """Views after the views they show. The server writes every name in a view's definition out in full, as
    `schema`.`name`. Views that show each other (possible once a table was replaced by a view) keep their order."""
    by_path = {(view.schema_name, view.name): view for view in views}
    ordered: dict[tuple[str, str], DatabaseObject] = {}
    for start in by_path:
        pending, entered = [start], {start}
        while pending:
            path = pending[-1]
            needed = [
                other
                for other in _names(by_path[path].create)
                if other in by_path and other not in entered | ordered.keys()
            ]
            if needed:
                pending.append(needed[0])
                entered.add(needed[0])
            else:
                ordered.setdefault(path, by_path[path])
                pending.pop()
    return list(ordered.values())


def _names(create: str) -> list[tuple[str, str]]:
    return [(schema.replace("``", "`"), name.replace("``", "`")) for schema, name in _NAME.findall(create)]


async def _routines(control: Control, excluded: str) -> list[DatabaseObject]:
    rows = await control.rows(
        "SELECT ROUTINE_SCHEMA, ROUTINE_NAME, ROUTINE_TYPE FROM information_schema.ROUTINES"
        f" WHERE ROUTINE_SCHEMA NOT IN ({excluded}) ORDER BY ROUTINE_SCHEMA, ROUTINE_NAME",
        deadline_s=_SECONDS,
    )
    found = []
    for wanted in _ROUTINE_ORDER:
        for schema, name, kind in rows:
            if kind == wanted:
                shown = await _show(control, kind, schema, name)
                if shown is not None:
                    found.append(_made(_ROUTINES[kind], schema, name, shown, f"create {kind.lower()}"))
    return found


async def _triggers(control: Control, excluded: str) -> list[DatabaseObject]:
    rows = await control.rows(
        "SELECT TRIGGER_SCHEMA, TRIGGER_NAME, EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE, ACTION_TIMING,"
        " EVENT_MANIPULATION, ACTION_ORDER FROM information_schema.TRIGGERS"
        f" WHERE TRIGGER_SCHEMA NOT IN ({excluded}) ORDER BY EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE, ACTION_TIMING,"
        " EVENT_MANIPULATION, ACTION_ORDER",
        deadline_s=_SECONDS,
    )
    found = []
    for schema, name, table_schema, table, timing, event, order in rows:
        shown = await _show(control, "TRIGGER", schema, name)
        if shown is not None:
            attributes = {
                "table": [table_schema, table],
                "timing": timing,
                "event": event,
                "order": int(order),
            }
            found.append(_made("trigger", schema, name, shown, "sql original statement", attributes=attributes))
    return found


async def read_events(control: Control, excluded_schemas: Sequence[str]) -> list[DatabaseObject]:
    """Those not dropped while we look. Raises DatabaseError."""
    rows = await control.rows(
        "SELECT EVENT_SCHEMA, EVENT_NAME, STATUS FROM information_schema.EVENTS"
        f" WHERE EVENT_SCHEMA NOT IN ({text_literals(excluded_schemas)}) ORDER BY EVENT_SCHEMA, EVENT_NAME",
        deadline_s=_SECONDS,
    )
    found = []
    for schema, name, status in rows:
        shown = await _show(control, "EVENT", schema, name)
        if shown is not None:
            found.append(_made("event", schema, name, shown, "create event", attributes={"status": status}))
    return found
