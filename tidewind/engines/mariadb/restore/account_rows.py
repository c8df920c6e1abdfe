"""Doors by rows: for servers on which a RENAME of several tables can be left half done.

One UPDATE of `mysql.global_priv` locks every account and puts each row's own text into it under a key of ours. The
account tables survive a crash of the server statement by statement, so either all rows carry the key or none does: that
they do is what closed means. Rows go back into the other tables first, in any number of tries, and the users come in
with the one statement that takes the key away.
"""

from tidewind.engines.mariadb.quoting import quote_name, text_literal
from tidewind.engines.mariadb.restore import names
from tidewind.engines.mariadb.restore.accounts import AccountSets
from tidewind.engines.mariadb.restore.doors import Stage
from tidewind.engines.mariadb.restore.link import Link
from tidewind.engines.mariadb.restore.names import SWAPPED_TABLES, SetKind
from tidewind.engines.mariadb.restore.statements import path
from tidewind.ports.restore import Memory

BEFORE = "$.tidewind_before"
"""Where a row of a closed server keeps its own text."""
KEPT_ACCOUNTS = "kept-accounts"
"""Kept when the saved and the target set are complete."""

_GLOBAL = ("mysql", "global_priv")
_MINTED = f"User REGEXP '{names.MINTED_PATTERN}'"
_TEXT = "CONCAT(Priv, '')"
"""The row as a string: as the JSON that the column holds it would be put in as an object."""
_MARKED = f"JSON_EXISTS(Priv, '{BEFORE}')"


class RowDoors:
    def __init__(self, link: Link, sets: AccountSets, service_user: str, memory: Memory) -> None:
        self._link = link
        self._sets = sets
        self._service = text_literal(service_user)
        self._memory = memory

    async def closed(self) -> bool:
        return bool(await self._link.value(f"SELECT COUNT(*) FROM {path(_GLOBAL)} WHERE {_MARKED}"))

    async def prepare(self, stage: Stage) -> None:
        """Sets are made when nobody can change an account any more."""

    async def close(self) -> None:
        """The service's row is marked and stays open: so that something is marked even if there is nobody else."""
        await self._link.run(
            f"UPDATE {path(_GLOBAL)} SET Priv = IF(User = {self._service} OR JSON_EXISTS(Priv, '$.is_role'), "
            f"JSON_SET(Priv, '{BEFORE}', {_TEXT}), JSON_SET(Priv, '{BEFORE}', {_TEXT}, '$.account_locked', true)) "
            f"WHERE NOT {_MARKED} AND NOT {_MINTED}"
        )
        await self._link.run("FLUSH PRIVILEGES")

    async def remember(self, stage: Stage) -> None:
        if await self._memory.get(KEPT_ACCOUNTS) is not None:
            return
        await self._sets.make_empty("saved")
        await self._sets.copy("saved", {table: ("mysql", table) for table in SWAPPED_TABLES})
        await self._sets.forget_minted("saved")
        await self._link.run(_unmark(path(self._sets.table("saved", "global_priv"))))
        await stage(self._sets.tables("saved"))
        await self._memory.keep(KEPT_ACCOUNTS, {"complete": True})

    async def bring(self, wanted: SetKind, *, tolerant: bool) -> tuple[str, ...]:
        return ()

    async def open(self, wanted: SetKind) -> None:
        """Until the sets are complete nothing but the marks has changed."""
        if await self.closed():
            complete = await self._memory.get(KEPT_ACCOUNTS) is not None
            for statement in self._pour(wanted) if complete else (_unmark(path(_GLOBAL)),):
                await self._link.run(statement)
        await self._link.run("FLUSH PRIVILEGES")

    async def by_hand(self) -> tuple[str, ...]:
        complete = await self._memory.get(KEPT_ACCOUNTS) is not None
        back = self._pour("saved") if complete else (_unmark(path(_GLOBAL)),)
        # The server itself writes times of zero into these tables, which a strict session would not take.
        minted = f"DELETE FROM {path(_GLOBAL)} WHERE {_MINTED}"
        return ("SET SESSION sql_mode = ''", *back, minted, "FLUSH PRIVILEGES")

    def _pour(self, kind: SetKind) -> tuple[str, ...]:
        """Minted accounts have no rows but their own ones of `global_priv`."""
        statements: list[str] = []
        for table in (one for one in SWAPPED_TABLES if one != "global_priv"):
            live, own = f"mysql.{quote_name(table)}", path(self._sets.table(kind, table))
            statements += [f"DELETE FROM {live}", f"INSERT INTO {live} SELECT * FROM {own}"]
        own = path(self._sets.table(kind, "global_priv"))
        return (
            *statements,
            f"DELETE FROM {path(_GLOBAL)} WHERE NOT {_MINTED} AND (Host, User) NOT IN (SELECT Host, User FROM {own})",
            f"REPLACE INTO {path(_GLOBAL)} SELECT * FROM {own}",
        )


def _unmark(table: str) -> str:
    return f"UPDATE {table} SET Priv = JSON_VALUE(Priv, '{BEFORE}') WHERE {_MARKED}"
