"""The safeguard: everything that stands in the cluster is set aside, whole, where the way back finds it.

Tables and sequences are renamed into safety schemas, all in one statement, or one by one where a crash of the server
would leave a statement half done; what cannot be renamed (views, routines, triggers, dangling foreign keys, the schemas
themselves) is noted first and dropped. A dangling foreign key would bind to a newly loaded parent, and deleting there
would cascade into the safety copy.

Invariant: nothing is dropped before its definition is kept, and every table of the cluster is at every moment either in
its own schema or in its safety schema. So both directions can be run again from any point: what is still to be moved is
what still stands at the origin. The way back moves nothing home before everything that was loaded is out.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tidewind.engines.mariadb.quoting import quote_name, quote_table, text_literal
from tidewind.engines.mariadb.restore import names
from tidewind.engines.mariadb.restore.definitions import Definitions
from tidewind.engines.mariadb.restore.link import Link
from tidewind.engines.mariadb.restore.moves import RENAME_DEADLINE_S, Move, mend, rename_all
from tidewind.engines.mariadb.restore.objects import create_objects, create_schemas, refused_for_good
from tidewind.engines.mariadb.restore.statements import TablePath
from tidewind.ports.engine import DatabaseError, Report

KEPT_DEFINITIONS = "kept-definitions"


async def set_aside(link: Link, restore_id: str, present: Definitions, report: Report) -> int:
    """Empty the cluster into the safety schemas of `restore_id`; returns the number of tables there."""
    moves = safety_moves(restore_id, present)
    await mend(link, moves)
    await _drop_what_cannot_move(link, present)
    await make_schemas(link, (safe[0] for _, safe in moves))
    await move(link, moves)
    report("safeguarding", len(moves), len(moves), "tables")
    await drop_empty(link, (schema.name for schema in present.schemas))
    return len(moves)


async def bring_back(link: Link, restore_id: str, kept: Definitions, out: Sequence[Move]) -> tuple[str, ...]:
    """The reverse of `set_aside`. `out` says where the tables that were loaded meanwhile go, as `way_out` found it the
    first time. They go first, so a table of the users is never moved out after it came back.

    Returns what could not be made again, with the reason: the server lets objects stand that it would not create, a
    trigger whose column was dropped for one, and such a thing must not keep the users out of their tables."""
    await mend(link, [*out, *safety_moves(restore_id, kept)])
    for schema in await user_schemas(link):
        await _drop_all_but_tables(link, schema)
    await create_schemas(link, kept.schemas)
    await make_schemas(link, (new[0] for _, new in out))
    back = [(safe, home) for home, safe in safety_moves(restore_id, kept)]
    home = await never_left(link, restore_id, kept)
    gone = [(old, new) for old, new in await _still_to_go(link, out) if old not in home]
    await rename_all(link, [*gone, *await at_origin(link, back)])
    belonging = {schema.name for schema in kept.schemas}
    await drop_empty(link, [schema for schema in await user_schemas(link) if schema not in belonging])
    not_made = [reason for key in kept.foreign_keys for reason in await _add_foreign_key(link, key)]
    return (*not_made, *await create_objects(link, kept.objects, kept.schemas))


async def way_out(link: Link, restore_id: str, kept: Definitions, known: Mapping[TablePath, TablePath]) -> list[Move]:
    """Where each table that was loaded goes: where `known` says, else into a trash schema. Tables of the users that
    still stand where they belong, or do so again, go nowhere."""
    home = await never_left(link, restore_id, kept)
    moves: list[Move] = []
    for number, schema in enumerate(await user_schemas(link), start=1):
        trash = names.trash_schema(restore_id, number)
        for table in await tables_of(link, schema):
            if (schema, table) not in home:
                moves.append(((schema, table), known.get((schema, table), (trash, table))))
    return moves


async def never_left(link: Link, restore_id: str, kept: Definitions) -> frozenset[TablePath]:
    """Kept tables that are not in their safety schema: whatever has such a name in the cluster is the users' own."""
    moves = safety_moves(restore_id, kept)
    aside = {home for home, _ in await _standing_at_destination(link, moves)}
    return frozenset(home for home, _ in moves if home not in aside)


def safety_moves(restore_id: str, present: Definitions) -> list[Move]:
    """(where a table belongs, where it is kept) for every table and sequence. Numbers follow the schemas' order."""
    number = {schema.name: place for place, schema in enumerate(present.schemas, start=1)}
    return [
        ((schema, table), (names.safety_schema(restore_id, number[schema]), table)) for schema, table in present.tables
    ]


async def move(link: Link, moves: Sequence[Move]) -> None:
    """Rename whatever still stands at its origin."""
    await mend(link, moves)
    await rename_all(link, await at_origin(link, moves))


async def drop_empty(link: Link, schemas: Iterable[str]) -> None:
    """Drop schemas. Raises DatabaseError if one still holds a table: then something is not where it should be."""
    for schema in schemas:
        if await tables_of(link, schema):
            raise DatabaseError("internal-error", f"schema {schema!r} was to be dropped and still holds tables")
        await link.run(f"DROP DATABASE IF EXISTS {quote_name(schema)}")


async def user_schemas(link: Link) -> list[str]:
    """Schemas that are neither the server's nor Tidewind's, by name."""
    found = await link.rows("SELECT schema_name FROM information_schema.schemata")
    return sorted(
        str(row[0]) for row in found if str(row[0]) not in names.SYSTEM_SCHEMAS and not names.is_ours(str(row[0]))
    )


async def tables_of(link: Link, schema: str) -> list[str]:
    """Base tables and sequences of a schema."""
    found = await link.rows(
        "SELECT table_name FROM information_schema.tables "
        f"WHERE table_schema = {text_literal(schema)} "
        "AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED', 'SEQUENCE') ORDER BY table_name"
    )
    return [str(row[0]) for row in found]


async def make_schemas(link: Link, schemas: Iterable[str]) -> None:
    for schema in dict.fromkeys(schemas):
        await link.run(f"CREATE DATABASE IF NOT EXISTS {quote_name(schema)} CHARACTER SET utf8mb4")


async def drop_schemas(link: Link, prefix: str) -> int:
    """Drop all schemas whose name begins with `prefix`; returns how many tables they held."""
    dropped = 0
    found = await link.rows("SELECT schema_name FROM information_schema.schemata")
    for schema in (str(row[0]) for row in found):
        if schema.startswith(prefix) and names.is_ours(schema):
            held = await tables_of(link, schema)
            await link.run(f"DROP DATABASE IF EXISTS {quote_name(schema)}", deadline_s=RENAME_DEADLINE_S)
            dropped += len(held)
    return dropped


async def _drop_what_cannot_move(link: Link, present: Definitions) -> None:
    for schema in (schema.name for schema in present.schemas):
        if schema in await user_schemas(link):
            await _drop_all_but_tables(link, schema)
    for key in present.foreign_keys:
        if key["table"] in await tables_of(link, key["schema"]):
            table = quote_table(key["schema"], key["table"])
            await link.run(f"ALTER TABLE {table} DROP FOREIGN KEY IF EXISTS {quote_name(key['name'])}")


async def _drop_all_but_tables(link: Link, schema: str) -> None:
    for statement in await drops_but_tables(link, schema):
        await link.run(statement)


async def drops_but_tables(link: Link, schema: str) -> list[str]:
    """Statements that drop what a schema holds beside tables."""
    own = text_literal(schema)
    listed = (
        ("TRIGGER", f"SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = {own}"),
        ("VIEW", f"SELECT table_name FROM information_schema.views WHERE table_schema = {own}"),
        ("EVENT", f"SELECT event_name FROM information_schema.events WHERE event_schema = {own}"),
        ("PACKAGE", f"SELECT name FROM mysql.proc WHERE db = {own} AND type = 'PACKAGE'"),
        ("PROCEDURE", f"SELECT name FROM mysql.proc WHERE db = {own} AND type = 'PROCEDURE'"),
        ("FUNCTION", f"SELECT name FROM mysql.proc WHERE db = {own} AND type = 'FUNCTION'"),
    )
    return [
        f"DROP {kind} IF EXISTS {quote_table(schema, str(found))}"
        for kind, query in listed
        for (found,) in await link.rows(query)
    ]


async def at_origin(link: Link, moves: Sequence[Move]) -> list[Move]:
    """Of these moves those whose table still stands where it comes from."""
    schemas = sorted({old[0] for old, _ in moves})
    standing = {(schema, table) for schema in schemas for table in await tables_of(link, schema)}
    return [(old, new) for old, new in moves if old in standing]


async def _standing_at_destination(link: Link, moves: Sequence[Move]) -> list[Move]:
    back = [(new, old) for old, new in moves]
    return [(old, new) for new, old in await at_origin(link, back)]


async def _still_to_go(link: Link, out: Sequence[Move]) -> list[Move]:
    """Of these moves those not made yet. A name that is taken at the destination tells that its move was made: what
    stands at the origin since then is another table."""
    taken = {(schema, table) for schema in {new[0] for _, new in out} for table in await tables_of(link, schema)}
    return [(old, new) for old, new in await at_origin(link, out) if new not in taken]


async def _add_foreign_key(link: Link, key: Mapping[str, Any]) -> list[str]:
    """Returns why the server would not take it, if so."""
    known = await link.value(
        "SELECT COUNT(*) FROM information_schema.table_constraints WHERE constraint_type = 'FOREIGN KEY' "
        f"AND table_schema = {text_literal(key['schema'])} AND table_name = {text_literal(key['table'])} "
        f"AND constraint_name = {text_literal(key['name'])}"
    )
    if known:
        return []
    table = quote_table(key["schema"], key["table"])
    try:
        await link.run(f"ALTER TABLE {table} ADD {key['item']}")
    except DatabaseError as error:
        if not refused_for_good(error):
            raise
        return [f"foreign key {quote_name(key['name'])} of {table} cannot be made again: {error.detail}"]
    return []
