"""The fence: how an epoch shuts every earlier one out of the server.

    tidewind.fence      one row: the operation and epoch in force, the server it was taken on, the restore, and its end
    tidewind.progress   what was loaded, each row written in the transaction that loaded it

An epoch works under an account of its own, and the account is the fence: taking over raises the row, deletes every
earlier account from every set of account tables on the server, live or kept, kills the connections by id until two
looks find none, and only then makes its own account. A driver that reconnects silently finds no account to log in with.
A predecessor that wakes in the middle of its own takeover finds a higher row, or its connection dead. Where the service
account may not write the account tables, minted accounts come and go by statements.

Invariant: (operation, epoch) in the row never falls, and an ended restore is never begun again.
"""

import hashlib
import json
from dataclasses import dataclass

from tidewind.engines.mariadb.quoting import account_name, quote_name, text_literal
from tidewind.engines.mariadb.restore import names
from tidewind.engines.mariadb.restore.closing import Closing, Rights, closing_of
from tidewind.engines.mariadb.restore.connections import end_connections
from tidewind.engines.mariadb.restore.link import Link
from tidewind.engines.mariadb.restore.statements import TablePath, path
from tidewind.engines.mariadb.server import server_facts
from tidewind.ports.engine import DatabaseError, Login, RestoreScope
from tidewind.ports.restore import Mint, RestoreEnded, ServerReplaced

FENCE = (names.WORK_SCHEMA, "fence")
PROGRESS = (names.WORK_SCHEMA, "progress")
_ACCOUNTS = ("mysql", "global_priv")

_MAKE = (
    f"CREATE DATABASE IF NOT EXISTS {quote_name(names.WORK_SCHEMA)} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    f"CREATE TABLE IF NOT EXISTS {path(FENCE)} (one TINYINT NOT NULL PRIMARY KEY CHECK (one = 1), "
    "operation BIGINT NOT NULL, epoch BIGINT NOT NULL, server_identity VARCHAR(255) NOT NULL, "
    "restore_id VARCHAR(32) NOT NULL, ended TINYINT NOT NULL, mark VARCHAR(64) NOT NULL) ENGINE=InnoDB",
    f"CREATE TABLE IF NOT EXISTS {path(PROGRESS)} (restore_id VARCHAR(32) NOT NULL, item VARCHAR(64) NOT NULL, "
    "rows_done BIGINT NOT NULL, PRIMARY KEY (restore_id, item)) ENGINE=InnoDB",
    f"INSERT IGNORE INTO {path(FENCE)} VALUES (1, 0, 0, '', '', 1, UUID())",
)


@dataclass(frozen=True, kw_only=True)
class Held:
    """The fence as it is held: the account to work under and the service account's own (user, host). `closing` is how
    the service account's rights let it close the server."""

    login: Login
    service: tuple[str, str]
    closing: Closing


async def take(link: Link, scope: RestoreScope, mint: Mint, began_on: str | None) -> Held:
    """Take the fence with the service account's `link`. Raises ServerReplaced before anything is touched if the server
    is not the one this restore began on; DatabaseError also when the fence is not ours to take."""
    if began_on is not None:
        found = await server_identity(link)
        if found != began_on:
            raise ServerReplaced(began_on, found)
    for statement in _MAKE:
        await link.run(statement)
    identity = await server_identity(link)
    rights = Rights.of([str(row[0]) for row in await link.rows("SHOW GRANTS")])
    closing = closing_of(link.version, rights)
    try:
        await _raise_fence(link, scope, identity)
    except RestoreEnded:
        if closing == "statements":  # `end` may have died before the very last account went
            async with link.unlogged():
                await drop_minted(link)
        raise
    service = _split_account(str(await link.value("SELECT CURRENT_USER()")))
    account = names.minted_account(scope.restore_id, scope.operation, scope.epoch)
    password = mint(account)
    async with link.unlogged():
        await _shut_out(link, service, closing)
        if closing == "statements":
            await _mint_by_statements(link, account, password, service[1], rights)
        else:
            await _mint(link, account, password, service)
    return Held(login=Login(user=account, password=password), service=service, closing=closing)


async def server_identity(link: Link) -> str:
    """Which data directory this is: what the server tells, and the mark that the work schema was made with."""
    there = await link.value(
        f"SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = {text_literal(FENCE[0])} "
        f"AND table_name = {text_literal(FENCE[1])}"
    )
    made = await link.value(f"SELECT mark FROM {path(FENCE)}") if there else "unmarked"
    return f"{(await server_facts(link.control)).identity} {made}"


async def end(link: Link, scope: RestoreScope, closing: Closing) -> None:
    """The restore is over: no minted account and no progress is left, and its fence can never be taken again. This is
    the last thing a restore does, so that a successor either finds all of it done or can do all of it again. The
    connection may itself be under an account that goes: it lives on until it is closed, but for rights on schemas, so
    an account that needs those goes after the end was written; `take` finds it if nobody came to that."""
    own = names.minted_account(scope.restore_id, scope.operation, scope.epoch)
    async with link.unlogged():
        await _remove_minted(link, closing, but=own)
    await link.run(f"DELETE FROM {path(PROGRESS)} WHERE restore_id = {text_literal(scope.restore_id)}")
    await link.run(
        f"UPDATE {path(FENCE)} SET ended = 1 WHERE restore_id = {text_literal(scope.restore_id)} "
        f"AND operation = {scope.operation} AND epoch = {scope.epoch}"
    )
    if closing == "statements":
        async with link.unlogged():
            await drop_minted(link)


async def forget_minted_in(link: Link, table: TablePath) -> None:
    """Delete the rows about minted accounts from an account table."""
    await link.run(f"DELETE FROM {path(table)} WHERE User REGEXP '{names.MINTED_PATTERN}'")


async def drop_minted(link: Link, *, but: str = "") -> None:
    """Drop every minted account, by statements."""
    found = await link.rows(
        f"SELECT User, Host FROM {path(_ACCOUNTS)} WHERE User REGEXP '{names.MINTED_PATTERN}' "
        f"AND User <> {text_literal(but)}"
    )
    if found:
        accounts = ", ".join(account_name(str(user), str(host)) for user, host in found)
        await link.run(f"DROP USER IF EXISTS {accounts}")


async def _remove_minted(link: Link, closing: Closing, *, but: str = "") -> None:
    """From the live accounts and from every set of them that restores keep. By rows, all of them go whoever asks."""
    found = await link.rows(
        f"SELECT table_name FROM information_schema.tables WHERE table_schema = {text_literal(names.WORK_SCHEMA)} "
        "AND table_name REGEXP '^rst_[0-9a-z]{10}_(gate|target|saved|closed)_global_priv$'"
    )
    for (table,) in found:
        await forget_minted_in(link, (names.WORK_SCHEMA, str(table)))
    if closing == "statements":
        await drop_minted(link, but=but)
    else:
        await forget_minted_in(link, _ACCOUNTS)
        await link.run("FLUSH PRIVILEGES")


async def _raise_fence(link: Link, scope: RestoreScope, identity: str) -> None:
    mine = f"{scope.operation}, {scope.epoch}"
    await link.run(
        f"UPDATE {path(FENCE)} SET operation = {scope.operation}, epoch = {scope.epoch}, ended = 0, "
        f"server_identity = {text_literal(identity)}, restore_id = {text_literal(scope.restore_id)} "
        f"WHERE (operation < {scope.operation} AND ended = 1) "
        f"OR (restore_id = {text_literal(scope.restore_id)} AND (operation, epoch) <= ({mine}) AND ended = 0 "
        f"AND server_identity = {text_literal(identity)})"
    )
    row = (await link.rows(f"SELECT operation, epoch, restore_id, ended, server_identity FROM {path(FENCE)}"))[0]
    operation, epoch, restore, ended, known = row
    if (operation, epoch, restore, ended) == (scope.operation, scope.epoch, scope.restore_id, 0):
        return
    if restore == scope.restore_id and known != identity:
        raise ServerReplaced(str(known), identity)
    if restore == scope.restore_id and ended and operation == scope.operation:
        raise RestoreEnded(scope.restore_id)
    if restore == scope.restore_id:
        raise DatabaseError("operation-running", f"restore {restore} is held under epoch {epoch}")
    raise DatabaseError(
        "restore-blocked",
        f"restore {restore} closed this server and has not ended",
        "Open the server with the SQL in that restore's event, which also ends it here",
    )


async def _shut_out(link: Link, service: tuple[str, str], closing: Closing) -> None:
    """Delete earlier accounts everywhere, then end what is still connected, predecessors' takeovers included."""
    user = text_literal(service[0])
    await end_connections(link, f"USER = {user}", spared=(link.id,))
    await _remove_minted(link, closing)
    await end_connections(link, f"USER REGEXP '{names.MINTED_PATTERN}'", spared=(link.id,))


async def _mint(link: Link, account: str, password: str, service: tuple[str, str]) -> None:
    """An account with the service account's global rights. Its host is the service account's, and also the very host we
    come from: there no anonymous account can stand before it. Only the password's hash ever reaches the server."""
    own_host = str(await link.value("SELECT SUBSTRING_INDEX(USER(), '@', -1)"))
    found = await link.rows(
        "SELECT JSON_VALUE(Priv, '$.access'), JSON_VALUE(Priv, '$.version_id'), UNIX_TIMESTAMP() "
        f"FROM {path(_ACCOUNTS)} WHERE User = {text_literal(service[0])} AND Host = {text_literal(service[1])}"
    )
    if not found or found[0][0] is None:
        raise DatabaseError("database-rights-missing", "the restore account has no global rights of its own")
    rights, version, now = found[0]
    row = {
        "access": int(rights),
        "version_id": int(version or 0),
        "plugin": "mysql_native_password",
        "authentication_string": native_hash(password),
        "password_last_changed": int(now),
    }
    for host in dict.fromkeys((service[1], own_host)):
        await link.run(
            f"REPLACE INTO {path(_ACCOUNTS)} (Host, User, Priv) "
            f"VALUES ({text_literal(host)}, {text_literal(account)}, {text_literal(json.dumps(row))})"
        )
    await link.run("FLUSH PRIVILEGES")


async def _mint_by_statements(link: Link, account: str, password: str, service_host: str, rights: Rights) -> None:
    """The same, by statements: with every right the service account has on the server and on schemas."""
    own_host = str(await link.value("SELECT SUBSTRING_INDEX(USER(), '@', -1)"))
    for host in dict.fromkeys((service_host, own_host)):
        name = account_name(account, host)
        await link.run(f"CREATE USER {name} IDENTIFIED VIA mysql_native_password USING '{native_hash(password)}'")
        for statement in rights.as_grants(name):
            await link.run(statement)


def native_hash(password: str) -> str:
    """How mysql_native_password stores a password; the protocol's definition, not a choice of ours."""
    inner = hashlib.sha1(password.encode(), usedforsecurity=False).digest()
    return "*" + hashlib.sha1(inner, usedforsecurity=False).hexdigest().upper()


def _split_account(account: str) -> tuple[str, str]:
    user, _, host = account.rpartition("@")
    return user, host
