"""Makes schemas, sequences, views, routines, packages, triggers and events again from their definitions.

The statements are those the server itself printed; each is run in its schema, under the session it was made in and in
the character set of that session. What exists already under the same name is replaced, so that everything here may be
run again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pymysql.charset import charset_by_name

from tidewind.domain.manifest import DatabaseObject, Schema
from tidewind.engines.mariadb.failures import INTERRUPTED, LOCK_TIMEOUT, code_of
from tidewind.engines.mariadb.quoting import quote_name, quote_table, text_literal
from tidewind.engines.mariadb.restore.link import Link
from tidewind.engines.mariadb.restore.session import set_session
from tidewind.ports.engine import DatabaseError

_CREATE_DATABASE = "CREATE DATABASE "
_DEADLOCK = frozenset({1213})
_DROPPED_AS = {
    "view": "VIEW",
    "procedure": "PROCEDURE",
    "function": "FUNCTION",
    "package": "PACKAGE",
    "package_body": "PACKAGE BODY",
    "trigger": "TRIGGER",
    "event": "EVENT",
    "sequence": "SEQUENCE",
}


async def create_schemas(link: Link, schemas: Sequence[Schema]) -> None:
    """Make schemas; one that exists is given the character set and comment of its definition."""
    for schema in schemas:
        if not schema.create.startswith(_CREATE_DATABASE):
            raise DatabaseError("database-failed", f"schema {schema.name!r} has no CREATE DATABASE as its definition")
        await link.run(f"CREATE DATABASE IF NOT EXISTS {quote_name(schema.name)}")
        await link.run(f"ALTER DATABASE {schema.create.removeprefix(_CREATE_DATABASE)}")


async def create_objects(link: Link, objects: Sequence[DatabaseObject], schemas: Sequence[Schema]) -> list[str]:
    """Make objects in the order given, but views when what they read is there. Returns why some could not be made: the
    server refuses objects that were broken before, and lets ALTER TABLE break one that stands. Raises DatabaseError
    when the server cannot be worked with at all.

    An object remembers its schema's collation at the time it was made, so the schema is given that for the moment, and
    its own, from `schemas`, at the end.
    """
    waiting = [one for one in objects if one.kind == "view"]
    maker = _Maker(link)
    _, refused = await _make_each(maker, [one for one in objects if one.kind != "view"])
    broken: list[str] = []
    while waiting:
        left, broken = await _make_each(maker, waiting)
        if len(left) == len(waiting):
            break
        waiting = left
    await set_session(link, {})
    if objects:
        await create_schemas(link, schemas)
    return [*refused, *broken]


def refused_for_good(error: DatabaseError) -> bool:
    """Whether the server understood a definition and would not take it: repeating it would not help."""
    if error.kind not in ("database-failed", "database-rights-missing"):
        return False
    return code_of(error) not in LOCK_TIMEOUT | INTERRUPTED | _DEADLOCK


async def _make_each(maker: "_Maker", objects: Sequence[DatabaseObject]) -> tuple[list[DatabaseObject], list[str]]:
    """Those that the server refused, and why."""
    left: list[DatabaseObject] = []
    reasons: list[str] = []
    for one in objects:
        try:
            await maker.make(one)
        except DatabaseError as error:
            if not refused_for_good(error):
                raise
            left.append(one)
            reasons.append(error.detail)
    return left, reasons


class _Maker:
    """Makes one object after another, and knows which collation each schema has meanwhile."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._collations: dict[str, str] = {}

    async def make(self, one: DatabaseObject) -> None:
        where = quote_table(one.schema_name, one.name)
        try:
            await self._settle(one)
            await self._link.run(f"DROP {_DROPPED_AS[one.kind]} IF EXISTS {where}")
            await self._link.run(in_charset(one.create, one.session.get("character_set_client", "utf8mb4")))
            if one.kind == "sequence" and "row" in one.attributes:
                await self._link.run(_sequence_state(where, one.attributes["row"]))
        except DatabaseError as error:
            raise DatabaseError(error.kind, f"{one.kind} {where} cannot be made again: {error.detail}") from error
        except (ValueError, LookupError) as error:
            detail = f"{one.kind} {where} cannot be made again: its character set or collation is not known"
            raise DatabaseError("database-failed", detail) from error

    async def _settle(self, one: DatabaseObject) -> None:
        """Schema, its collation and the session of an object."""
        schema = quote_name(one.schema_name)
        wanted = one.session.get("collation_database")
        if wanted is not None and wanted != await self._collation(one.schema_name):
            await self._link.run(f"ALTER DATABASE {schema} COLLATE {_collation_name(wanted)}")
            self._collations[one.schema_name] = wanted
        await set_session(self._link, {})
        await self._link.run(f"USE {schema}")
        await set_session(self._link, {key: value for key, value in one.session.items() if key != "collation_database"})

    async def _collation(self, schema: str) -> str:
        if schema not in self._collations:
            found = await self._link.value(
                "SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA "
                f"WHERE SCHEMA_NAME = {text_literal(schema)}"
            )
            self._collations[schema] = str(found)
        return self._collations[schema]


def _collation_name(collation: str) -> str:
    """The collation as it stands in a statement. ValueError if it is no name."""
    if not collation.isidentifier():
        raise ValueError(f"{collation!r} is not the name of a collation")
    return collation


def _sequence_state(where: str, row: Mapping[str, Any]) -> str:
    columns = ", ".join(quote_name(column) for column in row)
    return f"INSERT INTO {where} ({columns}) VALUES ({', '.join(str(int(value)) for value in row.values())})"


def in_charset(sql: str, charset: str) -> str:
    """A text whose bytes on the wire are those of `sql` in the character set: the connection sends UTF-8 and passes
    escaped bytes through."""
    encoding = charset_by_name(charset).encoding
    return sql.encode(encoding).decode("utf-8", "surrogateescape")
