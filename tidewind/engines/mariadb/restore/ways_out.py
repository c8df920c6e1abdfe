"""The two ways out: opening on what was restored, and giving back what was there.

Both open the doors on a set of accounts; what follows (the belt, what replicas are told, events) can fail and be
repeated without making that untrue. What must not be lost across a crash in between is kept before: the log's head and
the clock before the first account is unlocked, and where each loaded table goes before the first one is moved out.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial

from tidewind.domain.manifest import DatabaseObject, Schema
from tidewind.engines.mariadb.restore import gate, names, position, reading, safeguard, variables, verify
from tidewind.engines.mariadb.restore.accounts import AccountSets
from tidewind.engines.mariadb.restore.connections import end_connections
from tidewind.engines.mariadb.restore.definitions import Definitions
from tidewind.engines.mariadb.restore.doors import Doors
from tidewind.engines.mariadb.restore.link import Link
from tidewind.engines.mariadb.restore.moves import mend
from tidewind.engines.mariadb.restore.objects import create_objects
from tidewind.engines.mariadb.restore.replicas import (
    log_account_differences,
    log_routine_rights,
    stop_forgotten_replicas,
)
from tidewind.engines.mariadb.restore.statements import TablePath
from tidewind.ports.engine import DatabaseError, RestoreScope
from tidewind.ports.restore import Memory, Opened, SafeguardSource, Source

KEPT_OPENING = "kept-opening"
KEPT_RETURN = "kept-return"
KEPT_VARIABLES = "kept-variables"
KEPT_BACK = "kept-back"
"""Kept when every table stood at home again, before the users were let in: what could not be made beside the tables."""


async def open_up(link: Link, scope: RestoreScope, doors: Doors, memory: Memory) -> Opened:
    """Let the users in on the target set."""
    kept = await memory.get(KEPT_OPENING)
    if kept is None:
        if not link.logged:
            await stop_forgotten_replicas(link, scope.restore_id)
        # Before the first account is unlocked: what users write has a later time than this.
        facts = {"position": await position.head(link), "clock": (await position.clock(link)).isoformat()}
        kept = await memory.keep(KEPT_OPENING, facts)
    async with link.unlogged():
        await doors.open("target")
    clock = kept.get("clock")  # not there if a predecessor of an earlier release kept it
    return Opened(position=kept["position"], clock=datetime.fromisoformat(clock) if clock else None)


async def give_back(
    link: Link, scope: RestoreScope, doors: Doors, source: Source | None, memory: Memory
) -> tuple[str, ...]:
    """Everything as it was at the gate, from whatever point the restore had reached. Returns what could not be made
    again, with the reason."""
    await end_connections(link, f"USER REGEXP '{names.MINTED_PATTERN}'", spared=(link.id,))
    if await doors.closed():
        await _bring_everything_back(link, scope, doors, source, memory)
    async with link.unlogged():
        await doors.open("saved")
    back = await memory.get(KEPT_BACK)
    return () if back is None else tuple(str(reason) for reason in back["not_made"])


async def settle_opened(
    link: Link,
    scope: RestoreScope,
    memory: Memory,
    *,
    events: Sequence[DatabaseObject],
    schemas: Sequence[Schema],
    wanted: Mapping[str, str | None],
) -> tuple[str, ...]:
    """What follows the opening; `wanted` are the source's variables. Returns events that could not be made."""
    belt = dict(await memory.get(gate.KEPT_GATE) or {})
    belt.update({name: value for name in belt if (value := wanted.get(name)) is not None})
    sets = AccountSets(link, scope.restore_id)
    told = partial(log_account_differences, link, sets) if link.logged else None
    return await _settle(link, told, belt, events, schemas)


async def settle_returned(link: Link, memory: Memory) -> tuple[str, ...]:
    """What follows the return. Returns events that could not be made."""
    belt = await memory.get(gate.KEPT_GATE) or {}
    kept = await memory.get(gate.KEPT_EVENTS) or {"events": []}
    events = [DatabaseObject.model_validate(event) for event in kept["events"]]
    told = partial(log_routine_rights, link) if link.logged else None
    return await _settle(link, told, belt, events, await reading.present_schemas(link))


async def _settle(
    link: Link,
    tell_replicas: Callable[[], Awaitable[None]] | None,
    belt: Mapping[str, object],
    events: Sequence[DatabaseObject],
    schemas: Sequence[Schema],
) -> tuple[str, ...]:
    """The users are in already, so one thing that fails holds up none of the others; its error comes at the end."""
    trouble: list[DatabaseError] = []
    not_made: list[str] = []

    async def make() -> None:
        not_made.extend(await make_events(link, events, schemas))

    steps = [tell_replicas, partial(gate.lift_belt, link, belt) if belt else None, make]
    for step in steps:
        if step is not None:
            try:
                await step()
            except DatabaseError as error:
                trouble.append(error)
    if trouble:
        raise trouble[0]
    return tuple(not_made)


async def _bring_everything_back(
    link: Link, scope: RestoreScope, doors: Doors, source: Source | None, memory: Memory
) -> None:
    """Only while the users are out: dropping a routine takes the rights on it with it."""
    not_made: tuple[str, ...] = ()
    kept_definitions = await memory.get(safeguard.KEPT_DEFINITIONS)
    if kept_definitions is not None:
        kept = Definitions.from_facts(kept_definitions)
        kept_moves = await memory.get(KEPT_RETURN)
        if kept_moves is None:
            await mend(link, safeguard.safety_moves(scope.restore_id, kept))
            moves = await safeguard.way_out(link, scope.restore_id, kept, _homes_of_source(source))
            kept_moves = await memory.keep(KEPT_RETURN, {"moves": [[list(old), list(new)] for old, new in moves]})
        out = [((old[0], old[1]), (new[0], new[1])) for old, new in kept_moves["moves"]]
        not_made = await safeguard.bring_back(link, scope.restore_id, kept, out)
        await verify.moved(link, kept)
    kept_variables = await memory.get(KEPT_VARIABLES)
    if kept_variables is not None:
        not_made += tuple(await variables.apply(link, kept_variables["variables"]))
    async with link.unlogged():
        not_made += await doors.bring("saved", tolerant=True)
    await memory.keep(KEPT_BACK, {"not_made": list(not_made)})


async def make_events(link: Link, events: Sequence[DatabaseObject], schemas: Sequence[Schema]) -> list[str]:
    """Make events that are not there; returns why some could not be made. The gate dropped all of them, so one that is
    there was made by a predecessor of ours, or by a user since the cluster opened."""
    found = await link.rows("SELECT event_schema, event_name FROM information_schema.events")
    there = {(str(schema), str(name)) for schema, name in found}
    return await create_objects(link, [one for one in events if (one.schema_name, one.name) not in there], schemas)


def _homes_of_source(source: Source | None) -> dict[TablePath, TablePath]:
    """For an undo, where the tables it brought into the cluster came from and go again."""
    if not isinstance(source, SafeguardSource):
        return {}
    kept = Definitions.from_facts(source.kept[safeguard.KEPT_DEFINITIONS])
    return dict(safeguard.safety_moves(source.restore_id, kept))
