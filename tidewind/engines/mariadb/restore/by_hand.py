"""The way back as text: what an operator runs, as the service's account, when Tidewind could not.

The statements are those of `ways_out.give_back`, for the state the server is in now. They are for reading too, so they
stand one by one and in order; where they would not fit into an event, only the accounts' part stands there. Texts of
views, routines, triggers and events may hold secrets of the users, so they are pointed at and never printed.

Invariant: once the users are in on what was restored, nothing here moves or drops anything of theirs.
"""

from tidewind.domain import keys
from tidewind.engines.mariadb.quoting import quote_name, quote_table
from tidewind.engines.mariadb.restore import gate, safeguard
from tidewind.engines.mariadb.restore.definitions import Definitions
from tidewind.engines.mariadb.restore.doors import Doors
from tidewind.engines.mariadb.restore.link import Link
from tidewind.engines.mariadb.restore.statements import renames
from tidewind.engines.mariadb.restore.ways_out import KEPT_OPENING, KEPT_VARIABLES
from tidewind.ports.engine import RestoreScope
from tidewind.ports.restore import Memory

MAX_BYTES = 200_000


async def way_back(link: Link, scope: RestoreScope, doors: Doors, memory: Memory) -> tuple[str, ...]:
    """The statements, in order; those that begin with `--` are for the reader."""
    belt = await memory.get(gate.KEPT_GATE) or {}
    opening = gate.open_by_hand(scope, await doors.by_hand(), str(belt.get("init_connect", "")))
    if not await doors.closed():
        said = "-- the restored data and its accounts are in force; there is no way back but an undo"
        return (*((said,) if await memory.get(KEPT_OPENING) is not None else ()), *opening[-2:])
    kept = await memory.get(safeguard.KEPT_DEFINITIONS)
    if kept is None:
        return opening
    statements = ["SET SESSION foreign_key_checks = 0", f"SET SESSION sql_log_bin = {int(link.logged)}"]
    statements += await _tables(link, scope, Definitions.from_facts(kept))
    statements += _variables(await memory.get(KEPT_VARIABLES))
    pointers = _pointers(scope)
    whole = (*pointers, *statements, *opening)
    if sum(len(statement) for statement in whole) > MAX_BYTES:
        return (f"-- the tables are in the schemas tidewind_{scope.restore_id.lower()}_s…", *pointers, *opening)
    return whole


def _pointers(scope: RestoreScope) -> tuple[str, ...]:
    """Where the definitions are that these statements do not make again."""
    notes = (
        ("views, routines, triggers", safeguard.KEPT_DEFINITIONS),
        ("events", gate.KEPT_EVENTS),
    )
    found = [(what, keys.job(scope.cluster_id, scope.job_id, f"step-{note}.json")) for what, note in notes]
    return tuple(f"-- to be made again by hand: {what}, as defined in {where}" for what, where in found)


async def _tables(link: Link, scope: RestoreScope, kept: Definitions) -> list[str]:
    """Everything but accounts: what was loaded goes, what was set aside returns."""
    out = await safeguard.way_out(link, scope.restore_id, kept, {})
    back = [(safe, home) for home, safe in safeguard.safety_moves(scope.restore_id, kept)]
    there = await safeguard.user_schemas(link)
    moves = [*out, *await safeguard.at_origin(link, back)]
    needed = dict.fromkeys([*(schema.name for schema in kept.schemas), *(new[0] for _, new in out)])
    statements = [drop for schema in there for drop in await safeguard.drops_but_tables(link, schema)]
    statements += [f"CREATE DATABASE IF NOT EXISTS {quote_name(schema)}" for schema in needed]
    statements += [f"ALTER DATABASE {schema.create.removeprefix('CREATE DATABASE ')}" for schema in kept.schemas]
    statements += renames(moves, at_once=link.renames_at_once)
    belonging = {schema.name for schema in kept.schemas}
    statements += [f"DROP DATABASE {quote_name(schema)}" for schema in there if schema not in belonging]
    statements += [
        f"ALTER TABLE {quote_table(key['schema'], key['table'])} ADD {key['item']}" for key in kept.foreign_keys
    ]
    return statements


def _variables(kept: object) -> list[str]:
    return ["-- global variables may still be those of the backup: compare SHOW GLOBAL VARIABLES"] if kept else []
