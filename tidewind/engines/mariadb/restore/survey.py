"""Looks at what stands in the cluster, for the plan: nothing is changed and nothing is waited for."""

import os
from collections.abc import Sequence
from typing import Any

from tidewind.engines.mariadb.quoting import account_name, text_literal
from tidewind.engines.mariadb.restore import accounts_of, closing, names
from tidewind.engines.mariadb.restore.closing import Rights
from tidewind.engines.mariadb.restore.connections import SERVERS_OWN
from tidewind.engines.mariadb.restore.gate import prepared
from tidewind.engines.mariadb.restore.link import Link
from tidewind.engines.mariadb.restore.reading import not_users
from tidewind.engines.mariadb.restore.safeguard import user_schemas
from tidewind.engines.mariadb.server import server_facts
from tidewind.ports.engine import DatabaseError, Finding, TargetState
from tidewind.ports.restore import UNFINISHED_RESTORE


async def look(link: Link) -> TargetState:
    """Raises DatabaseError."""
    facts = await server_facts(link.control)
    users = await user_schemas(link)
    own = ", ".join(text_literal(schema) for schema in await not_users(link))
    counted = await link.rows(
        "SELECT table_schema, table_name, table_type, engine, table_rows, "
        "COALESCE(data_length, 0) + COALESCE(index_length, 0) "
        f"FROM information_schema.tables WHERE table_schema NOT IN ({own})"
    )
    tables: dict[tuple[str, str], dict[str, Any]] = {
        (str(schema), str(table)): {"rows": int(rows or 0), "bytes": int(size), "engine": engine}
        for schema, table, kind, engine, rows, size in counted
        if kind in ("BASE TABLE", "SYSTEM VERSIONED")
    }
    prints = await accounts_of.present_prints(link) if await _may_read_accounts(link) else {}
    return TargetState(
        facts=facts,
        findings=(*await _kind_of_server(link), *await _rights(link, users), *await _leftovers(link)),
        tables=tables,
        objects=sum(1 for row in counted if row[2] not in ("BASE TABLE", "SYSTEM VERSIONED")),
        schemas=tuple(users),
        accounts=tuple(sorted(prints)),
        account_prints=prints,
        data_bytes=sum(int(entry["bytes"]) for entry in tables.values()),
        free_bytes=await _free_bytes(link),
        prepared_xa=tuple(await prepared(link)),
        connections=await _connections(link),
    )


async def _connections(link: Link) -> int:
    """Those of others that a restore would end: not what Tidewind itself keeps open under the same account."""
    return int(
        await link.value(
            "SELECT COUNT(*) FROM information_schema.PROCESSLIST"
            " WHERE USER <> (SELECT own.USER FROM information_schema.PROCESSLIST own WHERE own.ID = CONNECTION_ID())"
            f" AND {SERVERS_OWN}"
        )
    )


async def _kind_of_server(link: Link) -> list[Finding]:
    findings = []
    if await link.rows("SHOW ALL SLAVES STATUS"):
        text = "the server is a replica: what it follows would be applied over the restored data"
        findings.append(Finding(subject="server", level="error", text=text, fix="Restore the primary instead"))
    if (
        str(
            await link.value(
                "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_VARIABLES WHERE VARIABLE_NAME = 'wsrep_on'"
            )
        ).upper()
        == "ON"
    ):
        text = "the server is a Galera node: its other nodes would take part in the restore unasked"
        findings.append(Finding(subject="server", level="error", text=text, fix="Take the node out of its cluster"))
    return [*findings, *closing.release_findings(link.version)]


async def _rights(link: Link, schemas: Sequence[str]) -> list[Finding]:
    user, _, host = str(await link.value("SELECT CURRENT_USER()")).rpartition("@")
    rights = Rights.of([str(row[0]) for row in await link.rows("SHOW GRANTS")])
    weaker = closing.rights_findings(rights) if closing.meant_for_statements(rights) else []
    missing = closing.lacking(rights, schemas)
    if not missing:
        return weaker
    lacking = Finding(
        subject="rights",
        level="error",
        text=f"the restore account {user}@{host} lacks {closing.told(missing)}",
        fix=closing.granting(rights, missing, account_name(user, host)),
    )
    return [lacking, *weaker]


async def _leftovers(link: Link) -> list[Finding]:
    """A restore that left the server closed must be dealt with before the next one takes its state for the users'."""
    found = await link.value(
        f"SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = {text_literal(names.WORK_SCHEMA)} "
        "AND table_name = 'fence'"
    )
    if not found:
        return []
    unfinished = await link.value("SELECT restore_id FROM tidewind.fence WHERE ended = 0")
    if unfinished is None:
        return []
    text = f"restore {unfinished} has not ended on this server"
    fix = "Let it end; if it failed, open the server with the SQL in its restore.failed event"
    return [Finding(subject=UNFINISHED_RESTORE, level="error", text=text, fix=fix)]


async def _may_read_accounts(link: Link) -> bool:
    try:
        await link.value("SELECT COUNT(*) FROM mysql.global_priv")
    except DatabaseError as error:
        if error.kind == "database-rights-missing":
            return False
        raise
    return True


async def _free_bytes(link: Link) -> int | None:
    """Free space under the data directory: from the DISKS plugin, or by looking where the server is this machine's."""
    data_directory = str(await link.value("SELECT @@GLOBAL.datadir"))
    plugin = await link.value("SELECT COUNT(*) FROM information_schema.PLUGINS WHERE PLUGIN_NAME = 'DISKS'")
    if plugin:
        disks = await link.rows("SELECT Path, Available FROM information_schema.DISKS")
        under = [(str(path), int(free)) for path, free in disks if data_directory.startswith(str(path))]
        if under:
            return max(under, key=lambda disk: len(disk[0]))[1] * 1024
    host = link.access.address.endpoints[0].host
    if host in ("localhost", "127.0.0.1", "::1"):
        try:
            seen = os.statvfs(data_directory)
        except OSError:
            return None
        return seen.f_bavail * seen.f_frsize
    return None
