"""Sets of the account tables in the work schema.

A restore keeps up to four (see `names.SetKind`). What puts one of them in force is another matter, in which servers and
the rights of accounts differ: see `doors`.
"""

from collections.abc import Mapping, Sequence

from tidewind.engines.mariadb.quoting import quote_name, text_literal, text_literals
from tidewind.engines.mariadb.restore import names
from tidewind.engines.mariadb.restore.fence import forget_minted_in
from tidewind.engines.mariadb.restore.link import Link
from tidewind.engines.mariadb.restore.names import ACCOUNT_TABLES, SWAPPED_TABLES, SetKind
from tidewind.engines.mariadb.restore.statements import TablePath, path

LIVE: Mapping[str, TablePath] = {table: ("mysql", table) for table in SWAPPED_TABLES}
LOCKED_BEFORE = "$.tidewind_locked_before"
"""Where a locked row keeps what its own lock said."""


class AccountSets:
    """The sets of one restore."""

    def __init__(self, link: Link, restore_id: str) -> None:
        self._link = link
        self._restore_id = restore_id

    def table(self, kind: SetKind, table: str) -> TablePath:
        return (names.WORK_SCHEMA, names.account_table(self._restore_id, kind, table))

    def tables(self, kind: SetKind) -> Mapping[str, TablePath]:
        """Account table to where the set has it."""
        return {table: self.table(kind, table) for table in SWAPPED_TABLES}

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

    async def copy(self, kind: SetKind, source: Mapping[str, TablePath]) -> None:
        """Fill a set from other tables, by account table."""
        for table, origin in source.items():
            await self._link.run(f"INSERT INTO {path(self.table(kind, table))} SELECT * FROM {path(origin)}")

    async def keep_present(self, kind: SetKind, users: Sequence[str], present: Mapping[str, TablePath]) -> None:
        """Give these users, in the set, exactly the rows that `present` has of them."""
        wanted = ", ".join(text_literal(user) for user in users)
        for table in ACCOUNT_TABLES:
            own = path(self.table(kind, table))
            await self._link.run(f"DELETE FROM {own} WHERE User IN ({wanted})")
            await self._link.run(f"INSERT INTO {own} SELECT * FROM {path(present[table])} WHERE User IN ({wanted})")

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

    async def add_minted(self, kind: SetKind) -> None:
        """The minted accounts that are live now are part of the set too."""
        own = path(self.table(kind, "global_priv"))
        await self._link.run(
            f"REPLACE INTO {own} SELECT * FROM mysql.global_priv WHERE User REGEXP '{names.MINTED_PATTERN}'"
        )

    async def forget_minted(self, kind: SetKind) -> None:
        for table in ACCOUNT_TABLES:
            await forget_minted_in(self._link, self.table(kind, table))

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
