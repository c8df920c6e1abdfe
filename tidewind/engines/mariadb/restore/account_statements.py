"""Doors by statements: for an account that has no rights on the tables of `mysql`.

Before an account is locked its name is written into a table of the work schema, so which ones were open is known
whatever happens; that this table stands is what closed means. Accounts are locked and everybody is ended until both
find nothing: whoever was still connected could have made or opened one. What differs about the accounts of a set goes
back while all are locked, and is compared until nothing differs but what the server refused; the opening unlocks and
nothing else, account by account.
"""

from collections.abc import Mapping, Sequence

from tidewind.engines.mariadb.quoting import account_name, text_literal
from tidewind.engines.mariadb.restore import names
from tidewind.engines.mariadb.restore.account_changes import changes
from tidewind.engines.mariadb.restore.account_rows import KEPT_ACCOUNTS
from tidewind.engines.mariadb.restore.account_state import State, state_of
from tidewind.engines.mariadb.restore.accounts import LIVE, AccountSets
from tidewind.engines.mariadb.restore.connections import end_connections
from tidewind.engines.mariadb.restore.doors import Stage
from tidewind.engines.mariadb.restore.link import Link
from tidewind.engines.mariadb.restore.names import SWAPPED_TABLES, SetKind
from tidewind.engines.mariadb.restore.objects import refused_for_good
from tidewind.engines.mariadb.restore.statements import TablePath, path
from tidewind.ports.engine import DatabaseError
from tidewind.ports.restore import Memory

_PASSES = 4
_AT_ONCE = 50
_IS_LOCKED = "COALESCE(JSON_VALUE(Priv, '$.account_locked'), 0) = 1"
_IS_USER = "JSON_VALUE(Priv, '$.is_role') IS NULL"


class StatementDoors:
    def __init__(
        self, link: Link, sets: AccountSets, restore_id: str, keep_users: Sequence[str], memory: Memory
    ) -> None:
        self._link = link
        self._sets = sets
        self._opened = unlocked_table(restore_id)
        self._service_user = keep_users[0]
        self._keep_users = keep_users
        self._memory = memory

    async def closed(self) -> bool:
        return bool(
            await self._link.value(
                "SELECT COUNT(*) FROM information_schema.tables "
                f"WHERE table_schema = {text_literal(self._opened[0])} AND table_name = {text_literal(self._opened[1])}"
            )
        )

    async def prepare(self, stage: Stage) -> None:
        """Sets are made when nobody can change an account any more."""

    async def close(self) -> None:
        await self._link.run(
            f"CREATE TABLE IF NOT EXISTS {path(self._opened)} (User VARCHAR(128) NOT NULL, Host VARCHAR(255) NOT NULL, "
            "PRIMARY KEY (User, Host)) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
        )
        while found := await self._unlocked():
            values = ", ".join(f"({text_literal(user)}, {text_literal(host)})" for user, host in found)
            await self._link.run(f"INSERT IGNORE INTO {path(self._opened)} VALUES {values}")
            await self._each(found, "LOCK")
            await end_connections(self._link, "TRUE", spared=(self._link.id,))

    async def remember(self, stage: Stage) -> None:
        if await self._memory.get(KEPT_ACCOUNTS) is not None:
            return
        await self._sets.make_empty("saved")
        await self._sets.copy("saved", LIVE)
        await self._sets.forget_minted("saved")
        await self._link.run(
            f"UPDATE {path(self._sets.table('saved', 'global_priv'))} "
            "SET Priv = JSON_SET(Priv, '$.account_locked', false) "
            f"WHERE (User, Host) IN (SELECT User, Host FROM {path(self._opened)})"
        )
        await stage(self._sets.tables("saved"))
        await self._memory.keep(KEPT_ACCOUNTS, {"complete": True})

    async def bring(self, wanted: SetKind, *, tolerant: bool) -> tuple[str, ...]:
        if not await self.closed() or await self._memory.get(KEPT_ACCOUNTS) is None:
            return ()
        goal = await self._state(self._sets.tables(wanted))
        refused: dict[str, str] = {}
        for _ in range(_PASSES):
            left = [one.sql for one in changes(await self._state(LIVE), goal)]
            if set(left) <= refused.keys():
                break
            refused = {}
            for sql in left:
                try:
                    await self._link.run(sql)
                except DatabaseError as error:
                    if not refused_for_good(error) or (error.kind == "database-rights-missing" and not tolerant):
                        raise
                    refused[sql] = error.detail
        return tuple(refused.values())

    async def open(self, wanted: SetKind) -> None:
        if not await self.closed():
            return
        if await self._memory.get(KEPT_ACCOUNTS) is None:
            found = await self._link.rows(f"SELECT User, Host FROM {path(self._opened)}")
        else:
            found = await self._link.rows(
                f"SELECT User, Host FROM {path(self._sets.table(wanted, 'global_priv'))} "
                f"WHERE {_IS_USER} AND NOT {_IS_LOCKED}"
            )
        await self._each([(str(user), str(host)) for user, host in found], "UNLOCK")
        await self._link.run(f"DROP TABLE IF EXISTS {path(self._opened)}")

    async def by_hand(self) -> tuple[str, ...]:
        found = await self._link.rows(f"SELECT User, Host FROM {path(self._opened)}") if await self.closed() else []
        pour = (
            f"-- DELETE FROM {path(LIVE[name])}; INSERT INTO {path(LIVE[name])} SELECT * FROM {path(own)};"
            for name, own in self._sets.tables("saved").items()
        )
        minted = await self._link.rows(
            f"SELECT User, Host FROM mysql.global_priv WHERE User REGEXP '{names.MINTED_PATTERN}'"
        )
        return (
            *(f"DROP USER IF EXISTS {account_name(str(user), str(host))}" for user, host in minted),
            *(f"ALTER USER IF EXISTS {account_name(str(user), str(host))} ACCOUNT UNLOCK" for user, host in found),
            "-- accounts may still be those of the backup; with rights on mysql, sql_mode '', then FLUSH PRIVILEGES:",
            *pour,
        )

    async def _unlocked(self) -> list[tuple[str, str]]:
        found = await self._link.rows(
            f"SELECT User, Host FROM mysql.global_priv WHERE {_IS_USER} AND NOT {_IS_LOCKED} "
            f"AND User <> {text_literal(self._service_user)} AND User NOT REGEXP '{names.MINTED_PATTERN}'"
        )
        return [(str(user), str(host)) for user, host in found]

    async def _each(self, accounts: Sequence[tuple[str, str]], verb: str) -> None:
        named = [account_name(user, host) for user, host in accounts]
        for start in range(0, len(named), _AT_ONCE):
            await self._link.run(f"ALTER USER IF EXISTS {', '.join(named[start : start + _AT_ONCE])} ACCOUNT {verb}")

    async def _state(self, tables: Mapping[str, TablePath]) -> State:
        return await read_state(self._link, tables, [self._service_user])


async def read_state(link: Link, tables: Mapping[str, TablePath], spared: Sequence[str]) -> State:
    """The accounts in these tables, but for the minted ones, those spared, and the server's own."""
    found = {table: await link.records(f"SELECT * FROM {path(tables[table])}") for table in SWAPPED_TABLES}
    return state_of(found, (*spared, SERVERS_OWN))


SERVERS_OWN = "mariadb.sys"
"""The definer of the server's own views: locked for ever, and nobody's to change."""


def unlocked_table(restore_id: str) -> TablePath:
    """Where a closing notes which accounts were open."""
    return (names.WORK_SCHEMA, f"{names.tag(restore_id)}_unlocked")


async def forget(link: Link, restore_id: str) -> None:
    await link.run(f"DROP TABLE IF EXISTS {path(unlocked_table(restore_id))}")
