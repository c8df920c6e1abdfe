"""Definitions of CREATE SERVER at a point of the log: no log holds them, so they come as they were last looked at."""

from collections.abc import Mapping
from typing import Any

from tidewind.engines.mariadb.quoting import quote_name, text_literal
from tidewind.engines.mariadb.restore.accounts import AccountSets
from tidewind.engines.mariadb.restore.link import Link
from tidewind.engines.mariadb.restore.statements import path


async def put(link: Link, sets: AccountSets, servers: Mapping[str, Mapping[str, Any]]) -> None:
    """Make them part of the set that opening puts in force, instead of the backup's. `servers`: name to its columns in
    `mysql.servers`. May be run again. Raises DatabaseError."""
    own = path(sets.table("target", "servers"))
    await link.run(f"DELETE FROM {own}")
    for columns in servers.values():
        names = ", ".join(quote_name(name) for name in columns)
        values = ", ".join(_literal(value) for value in columns.values())
        await link.run(f"INSERT INTO {own} ({names}) VALUES ({values})")


def _literal(value: str | int | None) -> str:
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int) else text_literal(value)
