"""Sets of the account tables, and the swap that puts one of them in force.

A restore keeps up to four sets in the work schema (see `names.SetKind`). A swap is one RENAME of all their tables, so
that which set is live can be told from which names exist, and a swap can neither be done by half nor undo itself: run
twice, it fails. The live tables are never written row by row, but for the fence's own accounts.
"""

from collections.abc import Sequence

from tidewind.engines.mariadb.quoting import quote_name, text_literal, text_literals
from tidewind.engines.mariadb.restore import names
from tidewind.engines.mariadb.restore.connections import end_connections
from tidewind.engines.mariadb.restore.fence import remove_minted
from tidewind.engines.mariadb.restore.link import Link, waited_too_long
from tidewind.engines.mariadb.restore.names import ACCOUNT_TABLES, SWAPPED_TABLES, SetKind
from tidewind.engines.mariadb.restore.statements import TablePath, path, rename
from tidewind.ports.engine import DatabaseError

_SWAP_TRIES = 10
_SWAP_WAIT_S = 2
LOCKED_BEFORE = "$.tidewind_locked_before"
"""Where a locked row keeps what its own lock said."""


class AccountSets:
    """The sets of one restore."""

    def __init__(self, link: Link, restore_id: str) -> None:
        self._link = link
        self._restore_id = restore_id

    def table(self, kind: SetKind, table: str) -> TablePath:
        return (names.WORK_SCHEMA, names.account_table(self._restore_id, kind, table))

    async def exists(self, kind: SetKind) -> bool:
        schema, table = self.table(kind, "global_priv")
        return bool(
            await self._link.value(
                "SELECT COUNT(*) FROM information_schema.tables "
                f"WHERE table_schema = {text_literal(schema)} AND table_name = {text_literal(table)}"
            )
        )

    async def make_empty(self, kind: SetKind) -> None:
        """Begin a set anew, shaped as the live tables are."""
        await self.drop(kind)
        for table in SWAPPED_TABLES:
            await self._link.run(f"CREATE TABLE {path(self.table(kind, table))} LIKE mysql.{quote_name(table)}")

    async def copy(self, kind: SetKind, source: Sequence[tuple[str, TablePath]]) -> None:
        """Fill a set from other tables, each given as (account table, where its rows are)."""
        for table, origin in source:
            await self._link.run(f"INSERT INTO {path(self.table(kind, table))} SELECT * FROM {path(origin)}")

    async def keep_present(self, kind: SetKind, users: Sequence[str]) -> None:
        """Give these users, in the set, exactly the rows they have now."""
        wanted = ", ".join(text_literal(user) for user in users)
        for table in ACCOUNT_TABLES:
            own = path(self.table(kind, table))
            await self._link.run(f"DELETE FROM {own} WHERE User IN ({wanted})")
            await self._link.run(f"INSERT INTO {own} SELECT * FROM mysql.{quote_name(table)} WHERE User IN ({wanted})")

    async def lock_all_but(self, kind: SetKind, users: Sequence[str]) -> None:
        """Lock every row of the set but those users'. Anonymous rows go: a locked one would still stand before a named
        account of a less exact host, and shut the service out."""
        own = path(self.table(kind, "global_priv"))
        spared = ", ".join(text_literal(user) for user in users)
        await self._link.run(f"DELETE FROM {own} WHERE User = ''")
        await self._link.run(
            f"UPDATE {own} SET Priv = JSON_SET(Priv, '{LOCKED_BEFORE}', "
            "COALESCE(JSON_VALUE(Priv, '$.account_locked'), 0) = 1, '$.account_locked', true) "
            f"WHERE User NOT IN ({spared}) AND JSON_VALUE(Priv, '$.is_role') IS NULL"
        )

    async def who_would_be_taken(self, kind: SetKind, user: str) -> tuple[str, list[str], list[str]]:
        """The host this connection comes from, and the hosts of that user's and of the anonymous rows of the set."""
        own_host = str(await self._link.value("SELECT SUBSTRING_INDEX(USER(), '@', -1)"))
        own = path(self.table(kind, "global_priv"))
        found = await self._link.rows(f"SELECT User, Host FROM {own} WHERE User IN ('', {text_literal(user)})")
        mine = [str(host) for name, host in found if name]
        return own_host, mine, [str(host) for name, host in found if not name]

    async def add_minted(self, kind: SetKind) -> None:
        """The minted accounts that are live now are part of the set too."""
        own = path(self.table(kind, "global_priv"))
        await self._link.run(
            f"REPLACE INTO {own} SELECT * FROM mysql.global_priv WHERE User REGEXP '{names.MINTED_PATTERN}'"
        )

    async def swap(self, wanted: SetKind, live_becomes: SetKind) -> None:
        """Put a set in force. Nothing happens if that was done before: the wanted set's own tables are gone then."""
        if await self.exists(wanted):
            moves: list[tuple[TablePath, TablePath]] = []
            for table in SWAPPED_TABLES:
                moves.append((("mysql", table), self.table(live_becomes, table)))
                moves.append((self.table(wanted, table), ("mysql", table)))
            await self.drop(live_becomes)
            await self._rename(rename(moves))
        await self._link.run("FLUSH PRIVILEGES")

    async def forget_minted(self, kind: SetKind) -> None:
        await remove_minted(self._link, [self.table(kind, "global_priv")])

    async def drop(self, *kinds: SetKind) -> None:
        """Remove what there is of these sets, in one statement, or none if nothing is there: the server makes every
        DROP durable by itself, also one that finds nothing."""
        wanted = [self.table(kind, table) for kind in kinds for table in SWAPPED_TABLES]
        found = await self._link.rows(
            f"SELECT table_name FROM information_schema.tables WHERE table_schema = {text_literal(names.WORK_SCHEMA)} "
            f"AND table_name IN ({text_literals(table for _, table in wanted)})"
        )
        there = {str(row[0]) for row in found}
        if there:
            present = ", ".join(path(one) for one in wanted if one[1] in there)
            await self._link.run(f"DROP TABLE IF EXISTS {present}")

    async def _rename(self, statement: str) -> None:
        """A user's open transaction that read an account table holds its lock: end everybody and try again."""
        for attempt in range(1, _SWAP_TRIES + 1):
            try:
                async with self._link.waiting_for_locks(_SWAP_WAIT_S):
                    await self._link.run(statement)
            except DatabaseError as error:
                if not waited_too_long(error) or attempt == _SWAP_TRIES:
                    raise
                await end_connections(self._link, "TRUE", spared=(self._link.id,))
            else:
                return
