"""What a MariaDB server holds, read in the plainest way: the judge of every restore.

Independent of the product: rows as the server's own HEX of each column, or as text where HEX would round, with the
history of system-versioned tables; definitions as SHOW CREATE says, sequences also with where they stand; accounts as
SHOW CREATE USER and SHOW GRANTS say.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

OURS = ("information_schema", "performance_schema", "mysql", "sys", "tidewind")


@dataclass
class Content:
    """Everything by name. Compare with `==`; `differences` says where two contents differ."""

    schemas: dict[str, str] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)
    rows: dict[str, tuple[int, str]] = field(default_factory=dict)
    objects: dict[str, str] = field(default_factory=dict)
    accounts: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)

    def differences(self, other: "Content") -> list[str]:
        found = []
        for part in ("schemas", "tables", "rows", "objects", "accounts", "variables"):
            ours: dict[str, Any] = getattr(self, part)
            theirs: dict[str, Any] = getattr(other, part)
            found += [
                f"{part} {name}: {ours.get(name)!r} != {theirs.get(name)!r}"
                for name in sorted(ours.keys() | theirs.keys())
                if ours.get(name) != theirs.get(name)
            ]
        return found


async def content(
    connection: Any,
    *,
    spared_schemas: str = r"^tidewind(_|$)",
    spared_accounts: Iterable[str] = (),
    variables: Iterable[str] = ("max_connections", "sql_mode", "max_allowed_packet", "wait_timeout", "event_scheduler"),
) -> Content:
    """Read a server. `connection` is an aiomysql connection of an account that sees everything."""
    found = Content()
    async with connection.cursor() as cursor:
        await cursor.execute("SET NAMES utf8mb4, time_zone = '+00:00', sql_mode = '', sql_quote_show_create = 1")
        await cursor.execute("USE information_schema")  # else definitions leave out the current schema's name
        schemas = [row[0] for row in await _all(cursor, "SHOW DATABASES")]
        for schema in schemas:
            if schema in OURS or re.search(spared_schemas, schema):
                continue
            found.schemas[schema] = (await _all(cursor, f"SHOW CREATE DATABASE {_q(schema)}"))[0][1]
            await _schema(cursor, schema, found)
        await _accounts(cursor, found, frozenset(spared_accounts))
        for name in variables:
            found.variables[name] = str((await _all(cursor, f"SELECT @@global.{name}"))[0][0])
    return found


async def _schema(cursor: Any, schema: str, found: Content) -> None:
    tables = await _all(
        cursor,  # SHOW FULL TABLES calls a system-versioned table a plain one
        "SELECT TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s ORDER BY 1",
        (schema,),
    )
    for name, kind in tables:
        full = f"{_q(schema)}.{_q(name)}"
        if kind == "VIEW":
            found.objects[f"view {full}"] = (await _all(cursor, f"SHOW CREATE VIEW {full}"))[0][1]
        elif kind == "SEQUENCE":
            create = (await _all(cursor, f"SHOW CREATE SEQUENCE {full}"))[0][1]
            found.objects[f"sequence {full}"] = f"{create}\n{(await _all(cursor, f'SELECT * FROM {full}'))[0]}"
        else:
            create = (await _all(cursor, f"SHOW CREATE TABLE {full}"))[0][1]
            found.tables[full] = re.sub(r" AUTO_INCREMENT=\d+", "", create)
            found.rows[full] = await _rows(cursor, schema, name, history=create if kind == "SYSTEM VERSIONED" else None)
    for kind, listing in (("TRIGGER", "TRIGGERS"), ("EVENT", "EVENTS")):
        column = 0 if kind == "TRIGGER" else 1
        for row in await _all(cursor, f"SHOW {listing} FROM {_q(schema)}"):
            full = f"{_q(schema)}.{_q(row[column])}"
            definition = (await _all(cursor, f"SHOW CREATE {kind} {full}"))[0]
            found.objects[f"{kind.lower()} {full}"] = "\n".join(str(part) for part in definition[:4])
    routines = await _all(
        cursor,
        "SELECT ROUTINE_NAME, ROUTINE_TYPE FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = %s",
        (schema,),
    )
    for name, kind in routines:
        full = f"{_q(schema)}.{_q(name)}"
        definition = (await _all(cursor, f"SHOW CREATE {kind} {full}"))[0]
        found.objects[f"{kind.lower()} {full}"] = "\n".join(str(part) for part in definition[:3])


async def _rows(cursor: Any, schema: str, table: str, *, history: str | None) -> tuple[int, str]:
    """How many there are, and a digest of their values. `history` is the definition of a table that keeps one: it says
    whether the period's columns, which every row has, are listed with the others."""
    columns = await _all(
        cursor,
        "SELECT COLUMN_NAME, DATA_TYPE FROM information_schema.COLUMNS "
        "WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s ORDER BY ORDINAL_POSITION",
        (schema, table),
    )
    every = "" if history is None else " FOR SYSTEM_TIME ALL"
    if history is not None and "GENERATED ALWAYS AS ROW START" not in history:
        columns += [("row_start", "timestamp"), ("row_end", "timestamp")]
    readings = [reading for name, kind in columns for reading in _readings(_q(name), kind)]
    await cursor.execute(f"SELECT CONCAT_WS(',', {', '.join(readings)}) FROM {_q(schema)}.{_q(table)}{every}")
    lines = sorted(row[0] if isinstance(row[0], bytes) else row[0].encode() for row in await cursor.fetchall())
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line + b"\n")
    return len(lines), digest.hexdigest()


def _readings(column: str, kind: str) -> list[str]:
    """Expressions that differ wherever two values of a column differ. HEX takes a number for an integer, and a member of
    an ENUM or SET for its text, which need not tell it from none."""
    if kind in ("float", "double"):
        # Multiplied, so that a FLOAT is shown with all its digits. The sign of zero shows in no text, but in an angle.
        signed = f"IF({column} = 0 AND ATAN2({column}, -1) < 0, '-', NULL)"
        return [signed, f"IFNULL(HEX({column} * 1e0), 'N')", f"IFNULL(CAST({column} * 1e0 AS CHAR), 'N')"]
    if kind == "decimal":
        return [f"IFNULL(CAST({column} AS CHAR), 'N')"]
    if kind in ("enum", "set"):
        return [f"IFNULL(CAST({column} AS UNSIGNED), 'N')", f"IFNULL(HEX({column}), 'N')"]
    return [f"IFNULL(HEX({column}), 'N')"]


async def _accounts(cursor: Any, found: Content, spared: frozenset[str]) -> None:
    rows = await _all(cursor, "SELECT User, Host, JSON_VALUE(Priv, '$.is_role') FROM mysql.global_priv")
    for user, host, is_role in rows:
        if user in spared or user.startswith("tw_") or user in ("mariadb.sys", "PUBLIC"):
            continue
        name = f"'{user}'" if is_role else f"'{user}'@'{host}'"
        lines = [row[0] for row in await _all(cursor, f"SHOW GRANTS FOR {name}")]
        if not is_role:
            lines.insert(0, (await _all(cursor, f"SHOW CREATE USER {name}"))[0][0])
        found.accounts[name] = "\n".join(sorted(lines))


async def _all(cursor: Any, statement: str, parameters: tuple[Any, ...] | None = None) -> list[tuple[Any, ...]]:
    await cursor.execute(statement, parameters)
    return list(await cursor.fetchall())


def _q(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
