"""The gate: closes the server to everybody but the restore, and proves that nobody is left.

In this order, because each step would leak without the one before: a belt keeps logins out that the accounts would let
in; the accounts are locked, in the way that `doors` are closed here; everybody is ended, by id; events are noted and
dropped, since those of a locked definer keep firing; everybody is ended again; prepared transactions, which hold their
locks without a connection, are rolled back. Then the log's head and the server's clock are read: from here on only the
restore writes.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from tidewind.engines.mariadb.quoting import text_literal
from tidewind.engines.mariadb.restore import position, reading, shadowing
from tidewind.engines.mariadb.restore.accounts import AccountSets
from tidewind.engines.mariadb.restore.connections import end_connections
from tidewind.engines.mariadb.restore.doors import Doors
from tidewind.engines.mariadb.restore.fence import FENCE
from tidewind.engines.mariadb.restore.link import Link
from tidewind.engines.mariadb.restore.statements import TablePath, path
from tidewind.ports.engine import DatabaseError, RestoreScope
from tidewind.ports.restore import Gated, Memory

BELT = "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'This server is being restored and is closed'"
_ON = ("1", "ON", "True")
KEPT_GATE = "kept-gate"
KEPT_EVENTS = "kept-events"

FillTarget = Callable[[AccountSets], Awaitable[None]]
"""Fills the target set with the accounts of the restore's source."""


async def close(
    link: Link,
    scope: RestoreScope,
    doors: Doors,
    *,
    keep_users: Sequence[str],
    fill_target: FillTarget,
    memory: Memory,
) -> Gated:
    """`keep_users`: Tidewind's own accounts, the service's first."""
    sets = AccountSets(link, scope.restore_id)

    async def stage(present: Mapping[str, TablePath]) -> None:
        await sets.make_empty("target")
        await fill_target(sets)
        await sets.keep_present("target", keep_users, present)
        await _refuse_to_be_locked_out(link, sets, keep_users)
        await sets.forget_minted("target")

    kept = await memory.keep(KEPT_GATE, await _belt_now(link))
    async with link.unlogged():
        await link.run("SET GLOBAL local_infile = 1")
        await doors.prepare(stage)
        await link.run(f"SET GLOBAL init_connect = {text_literal(BELT)}")
        await doors.close()
    ended = await end_connections(link, "TRUE", spared=(link.id,))
    if await memory.get(KEPT_EVENTS) is None:
        events = await reading.events(link)
        await memory.keep(KEPT_EVENTS, {"events": [event.model_dump(mode="json") for event in events]})
    await _drop_events(link)
    ended += await end_connections(link, "TRUE", spared=(link.id,))
    await roll_back_prepared(link)
    async with link.unlogged():
        await doors.remember(stage)
    return Gated(
        connections_ended=ended,
        position=await position.head(link),
        clock=await position.clock(link),
        open_by_hand=open_by_hand(scope, await doors.by_hand(), str(kept["init_connect"])),
    )


async def lift_belt(link: Link, kept: Mapping[str, object]) -> None:
    """Put back what the gate changed of the server's variables."""
    await link.run(f"SET GLOBAL init_connect = {text_literal(str(kept['init_connect']))}")
    await link.run(f"SET GLOBAL local_infile = {'ON' if str(kept['local_infile']) in _ON else 'OFF'}")


def open_by_hand(scope: RestoreScope, doors: Sequence[str], init_connect: str) -> tuple[str, ...]:
    """What an operator with an account of the service, or the server's skip-grant start, runs to open the server.
    `doors` are the statements that let the users in. The last two lift the belt and end the fence."""
    return (
        "SET SESSION sql_log_bin = 0",
        *doors,
        f"SET GLOBAL init_connect = {text_literal(init_connect)}",
        f"UPDATE {path(FENCE)} SET ended = 1 WHERE restore_id = {text_literal(scope.restore_id)}",
    )


async def prepared(link: Link) -> list[str]:
    """Prepared transactions, each as the SQL literal of its id."""
    return [str(row[3]) for row in await link.rows("XA RECOVER FORMAT = 'SQL'")]


async def roll_back_prepared(link: Link) -> None:
    for xid in await prepared(link):
        await link.run(f"XA ROLLBACK {xid}")


async def _belt_now(link: Link) -> dict[str, object]:
    init_connect, local_infile = (await link.rows("SELECT @@GLOBAL.init_connect, @@GLOBAL.local_infile"))[0]
    return {"init_connect": str(init_connect or ""), "local_infile": str(local_infile)}


async def _refuse_to_be_locked_out(link: Link, sets: AccountSets, keep_users: Sequence[str]) -> None:
    """Raises DatabaseError. The plan said so before; this is about an account that was made since."""
    own_host = str(await link.value("SELECT SUBSTRING_INDEX(USER(), '@', -1)"))
    found = await link.rows(f"SELECT User, Host FROM {path(sets.table('target', 'global_priv'))}")
    hosts = {user: [str(host) for name, host in found if str(name) == user] for user in (*keep_users, "")}
    for user in keep_users:
        blocker = shadowing.blocker(user, own_host, hosts[user], hosts[""])
        if blocker is not None:
            raise DatabaseError("restore-blocked", blocker.text, blocker.fix)


async def _drop_events(link: Link) -> None:
    found = await link.rows("SELECT event_schema, event_name FROM information_schema.events")
    for schema, event in found:
        await link.run(f"DROP EVENT IF EXISTS {path((str(schema), str(event)))}")
