"""Ending other people's connections, by id: KILL USER kills nothing when the host was resolved to a name."""

import asyncio
import time

from tidewind.engines.mariadb.failures import code_of
from tidewind.engines.mariadb.restore.link import Link
from tidewind.ports.engine import DatabaseError

_PAUSE_S = 0.01
_UNKNOWN_CONNECTION = 1094
END_DEADLINE_S = 120.0
SERVERS_OWN = (
    "USER NOT IN ('system user', 'event_scheduler') AND COMMAND NOT IN ('Daemon', 'Binlog Dump', 'Binlog Dump GTID')"
)


async def end_connections(link: Link, which: str, *, spared: tuple[int, ...]) -> int:
    """Kill until two looks in a row find nothing, rollbacks included; returns how many were ended. `which` is a
    condition on the process list. The server's own threads and replicas' dumps are spared.

    What proves it is the order, not the pause: whoever comes after the caller shut the door is refused, and whoever
    came before is in the list from the server's greeting on.

    Raises DatabaseError (database-unreachable) if some are left after the deadline: a rollback may take that long, and
    trying again later is right.
    """
    ended: set[int] = set()
    looks = 0
    give_up = time.monotonic() + END_DEADLINE_S
    ids = ", ".join(str(one) for one in spared)
    while looks < 2:
        found = await link.rows(
            f"SELECT ID FROM information_schema.PROCESSLIST WHERE ({which}) AND {SERVERS_OWN} AND ID NOT IN ({ids})"
        )
        left = [int(row[0]) for row in found]
        looks = 0 if left else looks + 1
        for one in left:
            if time.monotonic() > give_up:
                raise DatabaseError("database-unreachable", f"{len(left)} connections are still rolling back")
            await _kill(link, one)
            ended.add(one)
        if looks < 2:
            await asyncio.sleep(_PAUSE_S)
    return len(ended)


async def _kill(link: Link, connection: int) -> None:
    try:
        await link.run(f"KILL HARD CONNECTION {connection}")
    except DatabaseError as error:
        if code_of(error) != _UNKNOWN_CONNECTION:  # it ended by itself in the meantime
            raise
