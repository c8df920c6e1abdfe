"""The two ways out: opening on what was restored, and giving back what was there.

Both swap a set of account tables in, so each lets the users in at one instant. What must not be lost across a crash in
between is kept before: the log's head before the first account is unlocked, and where each loaded table goes before the
first one is moved out.
"""

from collections.abc import Mapping, Sequence

from tidewind.domain.manifest import DatabaseObject, Schema
from tidewind.engines.mariadb.restore import gate, names, position, reading, safeguard, variables
from tidewind.engines.mariadb.restore.accounts import AccountSets
from tidewind.engines.mariadb.restore.connections import end_connections
from tidewind.engines.mariadb.restore.definitions import Definitions
from tidewind.engines.mariadb.restore.link import Link
from tidewind.engines.mariadb.restore.objects import create_objects
from tidewind.engines.mariadb.restore.replicas import (
    log_account_differences,
    log_routine_rights,
    stop_forgotten_replicas,
)
from tidewind.engines.mariadb.restore.statements import TablePath
from tidewind.ports.engine import RestoreScope
from tidewind.ports.restore import Memory, Opened, SafeguardSource, Source

KEPT_OPENING = "kept-opening"
KEPT_RETURN = "kept-return"
KEPT_VARIABLES = "kept-variables"


async def open_up(
    link: Link,
    scope: RestoreScope,
    memory: Memory,
    *,
    events: Sequence[DatabaseObject],
    schemas: Sequence[Schema],
    wanted: Mapping[str, str | None],
) -> Opened:
    """Let the users in on the target set. `wanted` are the source's variables."""
    kept = await memory.get(KEPT_OPENING)
    if kept is None:
        if not link.logged:
            await stop_forgotten_replicas(link, scope.restore_id)
        kept = await memory.keep(KEPT_OPENING, {"position": await position.head(link)})
    sets = AccountSets(link, scope.restore_id)
    async with link.unlogged():
        await sets.swap("target", "closed")
    if link.logged:
        await log_account_differences(link, sets)
    belt = dict(await memory.get(gate.KEPT_GATE) or {})
    belt.update({name: value for name in belt if (value := wanted.get(name)) is not None})
    await gate.lift_belt(link, belt)
    await make_events(link, events, schemas)
    return Opened(position=kept["position"])


async def give_back(link: Link, scope: RestoreScope, source: Source | None, memory: Memory) -> None:
    """Everything as it was at the gate, from whatever point the restore had reached."""
    await end_connections(link, f"USER REGEXP '{names.MINTED_PATTERN}'", spared=(link.id,))
    sets = AccountSets(link, scope.restore_id)
    if await sets.exists("saved"):
        await _bring_everything_back(link, scope, source, memory)
    async with link.unlogged():
        await sets.swap("saved", "closed")
    if link.logged:
        await log_routine_rights(link)
    belt = await memory.get(gate.KEPT_GATE)
    if belt is not None:
        await gate.lift_belt(link, belt)
    kept_events = await memory.get(gate.KEPT_EVENTS)
    if kept_events is not None:
        events = [DatabaseObject.model_validate(event) for event in kept_events["events"]]
        await make_events(link, events, await reading.present_schemas(link))


async def _bring_everything_back(link: Link, scope: RestoreScope, source: Source | None, memory: Memory) -> None:
    """Only while the users' own account tables are not live: dropping a routine takes its rights with it."""
    kept_definitions = await memory.get(safeguard.KEPT_DEFINITIONS)
    if kept_definitions is not None:
        kept_moves = await memory.get(KEPT_RETURN)
        if kept_moves is None:
            moves = await safeguard.way_out(link, scope.restore_id, _homes_of_source(source))
            kept_moves = await memory.keep(KEPT_RETURN, {"moves": [[list(old), list(new)] for old, new in moves]})
        out = [((old[0], old[1]), (new[0], new[1])) for old, new in kept_moves["moves"]]
        await safeguard.bring_back(link, scope.restore_id, Definitions.from_facts(kept_definitions), out)
    kept_variables = await memory.get(KEPT_VARIABLES)
    if kept_variables is not None:
        await variables.apply(link, kept_variables["variables"])


async def make_events(link: Link, events: Sequence[DatabaseObject], schemas: Sequence[Schema]) -> None:
    """Events that are not there. The gate dropped all of them, so one that is there was made by a predecessor of ours,
    or by a user since the cluster opened."""
    found = await link.rows("SELECT event_schema, event_name FROM information_schema.events")
    there = {(str(schema), str(name)) for schema, name in found}
    await create_objects(link, [one for one in events if (one.schema_name, one.name) not in there], schemas)


def _homes_of_source(source: Source | None) -> dict[TablePath, TablePath]:
    """For an undo, where the tables it brought into the cluster came from and go again."""
    if not isinstance(source, SafeguardSource):
        return {}
    kept = Definitions.from_facts(source.kept[safeguard.KEPT_DEFINITIONS])
    return dict(safeguard.safety_moves(source.restore_id, kept))
