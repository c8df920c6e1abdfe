"""The gate: closes the server to everybody but the restore, and proves that nobody is left.

In this order, because each step would leak without the one before: the sets of account tables are staged; a belt keeps
logins out that the accounts would let in; the locked set is swapped in; everybody is ended, by id; events are noted and
dropped, since those of a locked definer keep firing; everybody is ended again; prepared transactions, which hold their
locks without a connection, are rolled back. Then the log's head is read: from here on only the restore writes.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from tidewind.engines.mariadb.quoting import account_name, text_literal
from tidewind.engines.mariadb.restore import names, position, reading, shadowing
from tidewind.engines.mariadb.restore.accounts import AccountSets
from tidewind.engines.mariadb.restore.connections import end_connections
from tidewind.engines.mariadb.restore.fence import FENCE
from tidewind.engines.mariadb.restore.link import Link
from tidewind.engines.mariadb.restore.names import SWAPPED_TABLES
from tidewind.engines.mariadb.restore.statements import path, rename
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
    *,
    service_user: str,
    keep_users: Sequence[str],
    fill_target: FillTarget,
    memory: Memory,
) -> Gated:
    sets = AccountSets(link, scope.restore_id)
    kept = await memory.keep(KEPT_GATE, await _belt_now(link))
    async with link.unlogged():
        await link.run("SET GLOBAL local_infile = 1")
        if not await sets.exists("saved"):
            await _stage(sets, service_user, keep_users, fill_target)
        await link.run(f"SET GLOBAL init_connect = {text_literal(BELT)}")
        if not await sets.exists("saved"):
            await sets.swap("gate", "saved")
        await link.run("FLUSH PRIVILEGES")
        await sets.forget_minted("saved")
    ended = await end_connections(link, "TRUE", spared=(link.id,))
    if await memory.get(KEPT_EVENTS) is None:
        events = await reading.events(link)
        await memory.keep(KEPT_EVENTS, {"events": [event.model_dump(mode="json") for event in events]})
    await _drop_events(link)
    ended += await end_connections(link, "TRUE", spared=(link.id,))
    await roll_back_prepared(link)
    return Gated(
        connections_ended=ended,
        position=await position.head(link),
        open_by_hand=open_by_hand(scope, str(kept["init_connect"])),
    )


async def lift_belt(link: Link, kept: Mapping[str, object]) -> None:
    """Put back what the gate changed of the server's variables."""
    await link.run(f"SET GLOBAL init_connect = {text_literal(str(kept['init_connect']))}")
    await link.run(f"SET GLOBAL local_infile = {'ON' if str(kept['local_infile']) in _ON else 'OFF'}")


def open_by_hand(scope: RestoreScope, init_connect: str) -> tuple[str, ...]:
    """What an operator with an account of the service, or the server's skip-grant start, runs to open the server."""
    moves = []
    for table in SWAPPED_TABLES:
        saved = (names.WORK_SCHEMA, names.account_table(scope.restore_id, "saved", table))
        closed = (names.WORK_SCHEMA, names.account_table(scope.restore_id, "closed", table))
        moves += [(("mysql", table), closed), (saved, ("mysql", table))]
    return (
        "SET SESSION sql_log_bin = 0",
        rename(moves),
        "FLUSH PRIVILEGES",
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


async def _stage(sets: AccountSets, service_user: str, keep_users: Sequence[str], fill_target: FillTarget) -> None:
    await sets.make_empty("target")
    await fill_target(sets)
    await sets.keep_present("target", list(dict.fromkeys((service_user, *keep_users))))
    await _refuse_to_be_locked_out(sets, service_user)
    await sets.make_empty("gate")
    await sets.copy("gate", [(table, sets.table("target", table)) for table in SWAPPED_TABLES])
    await sets.lock_all_but("gate", [service_user])
    await sets.add_minted("gate")
    await sets.forget_minted("target")


async def _refuse_to_be_locked_out(sets: AccountSets, service_user: str) -> None:
    """Raises DatabaseError while nothing is closed yet."""
    own_host, service_hosts, anonymous_hosts = await sets.who_would_be_taken("target", service_user)
    before = shadowing.hosts_before(own_host, service_hosts, anonymous_hosts)
    if before:
        missing = ", ".join(account_name(service_user, host) for host in before)
        raise DatabaseError(
            "restore-blocked",
            f"the accounts to be restored hold anonymous ones on {', '.join(map(repr, before))}: from {own_host} the "
            f"server would take {service_user!r} for one of them, and nobody could go on once it is open",
            f"Create {missing} with the password and rights the service's account has, and repeat",
        )


async def _drop_events(link: Link) -> None:
    found = await link.rows("SELECT event_schema, event_name FROM information_schema.events")
    for schema, event in found:
        await link.run(f"DROP EVENT IF EXISTS {path((str(schema), str(event)))}")
