"""The session's side of a replay: prepares the server, runs the worker to its end, and leaves what the next steps need.

In this order: rights and settings that the replay needs; the base's views, routines, triggers and events, because
statements of the log change and drop them (nothing fires: events wait for their scheduler, triggers do not see row
events); the log; then events are kept and dropped again, and the accounts of the target point are set ready for the
opening. Every part may be run again.
"""

from collections.abc import Sequence
from typing import Final

from tidewind.domain.manifest import DatabaseObject
from tidewind.engines.mariadb.quoting import text_literal
from tidewind.engines.mariadb.replay import progress
from tidewind.engines.mariadb.replay.accounts_kept_shut import unmark
from tidewind.engines.mariadb.replay.worker import Advance, Advanced, ReplayPool, Start, main
from tidewind.engines.mariadb.restore import reading
from tidewind.engines.mariadb.restore.accounts import LIVE, AccountSets
from tidewind.engines.mariadb.restore.link import SESSION_SETTINGS, Link, logging_settings
from tidewind.engines.mariadb.restore.names import ACCOUNT_TABLES, SWAPPED_TABLES
from tidewind.engines.mariadb.restore.objects import create_objects
from tidewind.engines.mariadb.restore.pool import Pool
from tidewind.engines.mariadb.restore.statements import path, rename
from tidewind.ports.engine import DatabaseError, Report, RestoreScope
from tidewind.ports.restore import Memory, PointSource, Replayed

KEPT_BROKEN: Final = "kept-replay-broken"
KEPT_EVENTS: Final = "kept-replayed-events"
PACKET_BYTES: Final = 1 << 30
EVERY_RIGHT: Final = (1 << 64) - 1
_REQUIRED: Final = {"slave_exec_mode": "STRICT", "slave_run_triggers_for_rbr": "NO"}


async def replay(
    link: Link,
    scope: RestoreScope,
    source: PointSource,
    memory: Memory,
    report: Report,
    *,
    spared: Sequence[str],
    lanes: int,
) -> Replayed:
    """`spared` are the users that keep the rows they have now. Raises DatabaseError, StoreError."""
    await _settle_server(link)
    await link.run(progress.MAKE)
    found = progress.read(await link.rows(progress.select(scope.restore_id)))
    if not found.begun:
        broken = await create_objects(
            link, [one for one in source.manifest.objects if one.kind != "sequence"], source.manifest.schemas
        )
        await _give_back_rights_on_routines(link, scope)
        await memory.keep(KEPT_BROKEN, {"not_made": list(broken)})
        for statement in progress.pass_barrier(scope.restore_id, 0, 0, {}):
            await link.run(statement)
    done = await _run(_start(link, scope, source, spared, lanes), report)
    await _keep_events(link, memory)
    if done.accounts:
        await _set_accounts_ready(link, scope, spared)
    return Replayed(transactions=done.transactions, rows=done.rows, ddl=done.ddl)


async def _give_back_rights_on_routines(link: Link, scope: RestoreScope) -> None:
    """A predecessor may have made routines that were dropped to be made again, and their rights went with them."""
    kept = path(AccountSets(link, scope.restore_id).table("target", "procs_priv"))
    async with link.unlogged():
        await link.run("DELETE FROM mysql.procs_priv")
        await link.run(f"INSERT INTO mysql.procs_priv SELECT * FROM {kept}")
        await link.run("FLUSH PRIVILEGES")


async def broken_objects(memory: Memory) -> tuple[str, ...]:
    """Objects of the base that the server would not take, in words."""
    kept = await memory.get(KEPT_BROKEN)
    return () if kept is None else tuple(str(one) for one in kept["not_made"])


async def replayed_events(memory: Memory) -> list[DatabaseObject]:
    """The events of the target point."""
    kept = await memory.get(KEPT_EVENTS) or {"events": []}
    return [DatabaseObject.model_validate(event) for event in kept["events"]]


async def _settle_server(link: Link) -> None:
    """Rights that statements of any account need, room for the largest events, and no event that fires."""
    for name, wanted in _REQUIRED.items():
        if str(await link.value(f"SELECT @@GLOBAL.{name}")).upper() != wanted:
            await link.run(f"SET GLOBAL {name} = '{wanted}'")
    if int(await link.value("SELECT @@GLOBAL.max_allowed_packet")) < PACKET_BYTES:
        await link.run(f"SET GLOBAL max_allowed_packet = {PACKET_BYTES}")
    if str(await link.value("SELECT @@GLOBAL.event_scheduler")).upper() == "ON":
        await link.run("SET GLOBAL event_scheduler = OFF")
    ours = text_literal(link.access.login.user)
    async with link.unlogged():
        await link.run(
            f"UPDATE mysql.global_priv SET Priv = JSON_SET(Priv, '$.access', {EVERY_RIGHT}) WHERE User = {ours}"
        )
        # No right covers GRANT PROXY: only who may act as anybody may let others do so.
        await link.run(
            "INSERT IGNORE INTO mysql.proxies_priv (Host, User, Proxied_host, Proxied_user, With_grant) "
            f"SELECT Host, User, '', '', 1 FROM mysql.global_priv WHERE User = {ours}"
        )
        await link.run("FLUSH PRIVILEGES")


def _start(link: Link, scope: RestoreScope, source: PointSource, spared: Sequence[str], lanes: int) -> Start:
    return Start(
        access=link.access,
        open_store=source.open_store,
        restore_id=scope.restore_id,
        cluster=source.manifest.cluster_id,
        legs=source.legs,
        segments=source.segments,
        own_positions=own_positions(source),
        spared=tuple(spared),
        settings={**SESSION_SETTINGS, **logging_settings(logged=link.logged)},
        lanes=lanes,
    )


async def _run(start: Start, report: Report) -> Advanced:
    pool: ReplayPool = Pool(main, start, 1)
    last: list[Advanced] = []

    async def told(_: Advance, done: Advanced) -> Sequence[Advance]:
        last[:] = [done]
        report("replaying", done.transactions, None, "transactions")
        return () if done.ended else (Advance(),)

    try:
        await pool.run([Advance()], told)
    finally:
        await pool.close()
    return last[0]


def own_positions(source: PointSource) -> dict[tuple[str, str], str]:
    """Tables that the backup holds as of another position than its own."""
    tables = {(one.schema_name, one.name): one.position for one in source.manifest.tables}
    tables |= {("mysql", one.name): one.position for one in source.manifest.system_tables}
    return {table: position for table, position in tables.items() if position is not None}


async def _keep_events(link: Link, memory: Memory) -> None:
    if await memory.get(KEPT_EVENTS) is None:
        events = await reading.events(link)
        await memory.keep(KEPT_EVENTS, {"events": [event.model_dump(mode="json") for event in events]})
    found = await link.rows("SELECT event_schema, event_name FROM information_schema.events")
    for schema, event in found:
        await link.run(f"DROP EVENT IF EXISTS {path((str(schema), str(event)))}")


async def _set_accounts_ready(link: Link, scope: RestoreScope, spared: Sequence[str]) -> None:
    """The live, locked account tables hold the target's accounts now: make the set that opening swaps in of them. It is
    made beside the old one and takes its place in one RENAME, so that there is a whole one at any time."""
    sets = AccountSets(link, scope.restore_id)
    if not await sets.exists("target"):
        raise DatabaseError("internal-error", "the accounts to be restored are not there any more")
    kept = ", ".join(text_literal(user) for user in spared)
    async with link.unlogged():
        await sets.make_empty("gate")
        await sets.copy("gate", LIVE)
        await sets.forget_minted("gate")
        for table in ACCOUNT_TABLES:
            own, old = path(sets.table("gate", table)), path(sets.table("target", table))
            await link.run(f"DELETE FROM {own} WHERE User IN ({kept})")
            await link.run(f"INSERT INTO {own} SELECT * FROM {old} WHERE User IN ({kept}) OR User = ''")
        await link.run(unmark(path(sets.table("gate", "global_priv"))))
        await sets.drop("closed")
        moves = []
        for table in SWAPPED_TABLES:
            moves.append((sets.table("target", table), sets.table("closed", table)))
            moves.append((sets.table("gate", table), sets.table("target", table)))
        await link.run(rename(moves))
        await sets.drop("closed")
