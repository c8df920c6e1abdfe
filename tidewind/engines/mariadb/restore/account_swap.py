"""Doors by a swap of the account tables.

A swap is one RENAME of all their tables, so that which set is live can be told from which names exist, and a swap can
neither be done by half nor undo itself: run twice, it fails. The live tables are never written row by row, but for the
fence's own accounts. Closed is while both the saved and the target set stand in the work schema: the gate's swap makes
the one, and every opening takes one of them away.
"""

from tidewind.engines.mariadb.restore import names
from tidewind.engines.mariadb.restore.accounts import LIVE, AccountSets
from tidewind.engines.mariadb.restore.connections import end_connections
from tidewind.engines.mariadb.restore.doors import Stage
from tidewind.engines.mariadb.restore.link import Link, waited_too_long
from tidewind.engines.mariadb.restore.names import SWAPPED_TABLES, SetKind
from tidewind.engines.mariadb.restore.statements import TablePath, rename
from tidewind.ports.engine import DatabaseError

_TRIES = 10
_WAIT_S = 2


class SwapDoors:
    def __init__(self, link: Link, sets: AccountSets, restore_id: str, service_user: str) -> None:
        self._link = link
        self._sets = sets
        self._restore_id = restore_id
        self._service_user = service_user

    async def closed(self) -> bool:
        return await self._sets.exists("saved") and await self._sets.exists("target")

    async def prepare(self, stage: Stage) -> None:
        if await self.closed():
            return
        await stage(LIVE)
        await self._sets.make_empty("gate")
        await self._sets.copy("gate", self._sets.tables("target"))
        await self._sets.lock_all_but("gate", [self._service_user])
        await self._sets.add_minted("gate")

    async def close(self) -> None:
        if not await self.closed():
            await self.put_in_force("gate", "saved")
        await self._link.run("FLUSH PRIVILEGES")
        await self._sets.forget_minted("saved")

    async def remember(self, stage: Stage) -> None:
        """The swap made the saved set of what was live."""

    async def bring(self, wanted: SetKind, *, tolerant: bool) -> tuple[str, ...]:
        return ()

    async def open(self, wanted: SetKind) -> None:
        await self.put_in_force(wanted, "closed")

    async def by_hand(self) -> tuple[str, ...]:
        moves = []
        for table in SWAPPED_TABLES:
            saved = (names.WORK_SCHEMA, names.account_table(self._restore_id, "saved", table))
            closed = (names.WORK_SCHEMA, names.account_table(self._restore_id, "closed", table))
            moves += [(("mysql", table), closed), (saved, ("mysql", table))]
        return (rename(moves), "FLUSH PRIVILEGES")

    async def put_in_force(self, wanted: SetKind, live_becomes: SetKind) -> None:
        """Put a set in force. Nothing happens if that was done before: the wanted set's own tables are gone then."""
        if await self._sets.exists(wanted):
            moves: list[tuple[TablePath, TablePath]] = []
            for table in SWAPPED_TABLES:
                moves.append((("mysql", table), self._sets.table(live_becomes, table)))
                moves.append((self._sets.table(wanted, table), ("mysql", table)))
            await self._sets.drop(live_becomes)
            await self._rename(rename(moves))
        await self._link.run("FLUSH PRIVILEGES")

    async def _rename(self, statement: str) -> None:
        """A user's open transaction that read an account table holds its lock: end everybody and try again."""
        for attempt in range(1, _TRIES + 1):
            try:
                async with self._link.waiting_for_locks(_WAIT_S):
                    await self._link.run(statement)
            except DatabaseError as error:
                if not waited_too_long(error) or attempt == _TRIES:
                    raise
                await end_connections(self._link, "TRUE", spared=(self._link.id,))
            else:
                return
