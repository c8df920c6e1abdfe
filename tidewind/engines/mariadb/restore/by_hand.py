"""The way back as text: what an operator runs, as the service's account, when Tidewind could not.

The statements are those of `ways_out.give_back`, for the state the server is in now. They are for reading too, so they
stand one by one and in order; where they would not fit into an event, only the accounts' part stands there, with where
to find the rest.
"""

from collections.abc import Sequence

from tidewind.domain.manifest import DatabaseObject
from tidewind.engines.mariadb.quoting import quote_name, quote_table, text_literal
from tidewind.engines.mariadb.restore import gate, safeguard
from tidewind.engines.mariadb.restore.accounts import AccountSets
from tidewind.engines.mariadb.restore.definitions import Definitions
from tidewind.engines.mariadb.restore.link import Link
from tidewind.engines.mariadb.restore.statements import rename
from tidewind.engines.mariadb.restore.ways_out import KEPT_VARIABLES
from tidewind.ports.engine import RestoreScope
from tidewind.ports.restore import Memory

MAX_BYTES = 200_000


async def way_back(link: Link, scope: RestoreScope, memory: Memory) -> tuple[str, ...]:
    """The statements, in order."""
    belt = await memory.get(gate.KEPT_GATE) or {}
    opening = gate.open_by_hand(scope, str(belt.get("init_connect", "")))
    kept = await memory.get(safeguard.KEPT_DEFINITIONS)
    if kept is None or not await AccountSets(link, scope.restore_id).exists("saved"):
        return opening
    statements = ["SET SESSION foreign_key_checks = 0", f"SET SESSION sql_log_bin = {int(link.logged)}"]
    statements += await _tables(link, scope, Definitions.from_facts(kept))
    statements += _variables(await memory.get(KEPT_VARIABLES))
    kept_events = await memory.get(gate.KEPT_EVENTS) or {"events": []}
    events = _objects([DatabaseObject.model_validate(event) for event in kept_events["events"]])
    whole = (*statements, *opening[:-1], *events, opening[-1])
    if sum(len(statement) for statement in whole) > MAX_BYTES:
        where = f"jobs/{scope.cluster_id}/{scope.job_id}/step-{safeguard.KEPT_DEFINITIONS}.json"
        return (
            f"-- the tables are in the schemas tidewind_{scope.restore_id.lower()}_s…, definitions in {where}",
            *opening,
        )
    return whole


async def _tables(link: Link, scope: RestoreScope, kept: Definitions) -> list[str]:
    """Everything but accounts: what was loaded goes, what was set aside returns."""
    out = await safeguard.way_out(link, scope.restore_id, {})
    back = [(safe, home) for home, safe in safeguard.safety_moves(scope.restore_id, kept)]
    there = await safeguard.user_schemas(link)
    moves = [*out, *await safeguard.at_origin(link, back)]
    needed = dict.fromkeys([*(schema.name for schema in kept.schemas), *(new[0] for _, new in out)])
    statements = [drop for schema in there for drop in await safeguard.drops_but_tables(link, schema)]
    statements += [f"CREATE DATABASE IF NOT EXISTS {quote_name(schema)}" for schema in needed]
    statements += [f"ALTER DATABASE {schema.create.removeprefix('CREATE DATABASE ')}" for schema in kept.schemas]
    statements += [rename(moves)] if moves else []
    belonging = {schema.name for schema in kept.schemas}
    statements += [f"DROP DATABASE {quote_name(schema)}" for schema in there if schema not in belonging]
    statements += [
        f"ALTER TABLE {quote_table(key['schema'], key['table'])} ADD {key['item']}" for key in kept.foreign_keys
    ]
    return statements + _objects(kept.objects)


def _objects(objects: Sequence[DatabaseObject]) -> list[str]:
    statements = []
    for one in objects:
        session = {key: value for key, value in one.session.items() if key != "collation_database"}
        assigned = ", ".join(f"SESSION {quote_name(name)} = {text_literal(value)}" for name, value in session.items())
        statements += [f"USE {quote_name(one.schema_name)}", *([f"SET {assigned}"] if assigned else []), one.create]
    return [*statements, "SET NAMES utf8mb4"] if statements else []


def _variables(kept: object) -> list[str]:
    return ["-- global variables may still be those of the backup: compare SHOW GLOBAL VARIABLES"] if kept else []
