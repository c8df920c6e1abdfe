"""Looks at a server before it is enrolled, and for `tidewind doctor`: who it is and what stands in the way.

The looking is here; `findings` judges what was seen and is pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tidewind.engines.mariadb import grants
from tidewind.engines.mariadb.catalogue import (
    RESERVED_SCHEMA,
    SERVER_SCHEMAS,
    TRANSACTIONAL,
    WITHOUT_ROWS,
    WITHOUT_TRANSACTIONS,
)
from tidewind.engines.mariadb.connection import Access, Control
from tidewind.engines.mariadb.log import settings
from tidewind.engines.mariadb.quoting import account_name, quote_name, quote_table, text_literals
from tidewind.engines.mariadb.restore import closing
from tidewind.engines.mariadb.restore.closing import Rights
from tidewind.engines.mariadb.restore.names import SYSTEM_SCHEMAS, is_ours
from tidewind.engines.mariadb.server import HISTORY_INSERT, OLDEST, server_facts
from tidewind.ports.engine import Address, DatabaseError, Finding, Login, Preflight, ServerFacts

_FENCE_TABLE: Final = "fence"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a look found. `replica_sources` is None where the account may not see them."""

    facts: ServerFacts
    cluster_id: str
    subject: str
    variables: Mapping[str, str]
    galera: bool
    replica_sources: int | None
    held: frozenset[str]
    account: str
    restore_rights: Rights | None
    restore_account: str | None
    reserved_tables: tuple[str, ...] | None
    engines: tuple[tuple[str, str, str], ...]
    versioned: tuple[tuple[str, str], ...]
    schemas: tuple[str, ...]
    filtered: str = ""
    """What SHOW MASTER STATUS says that the log leaves out."""


async def look_at(address: Address, login: Login, restore_login: Login | None) -> Preflight:
    """Raises DatabaseError if the server cannot be reached or refuses an account."""
    async with await Control.connect(Access(address=address, login=login)) as control:
        facts = await server_facts(control)
        restore_account = None
        rights, account = await rights_of(control)
        restore_rights = rights
        if restore_login is not None and restore_login.user != login.user:
            async with await Control.connect(Access(address=address, login=restore_login)) as other:
                restore_rights, restore_account = await rights_of(other)
        seen = Seen(
            facts=facts,
            cluster_id=address.cluster_id,
            subject=control.access.subject,
            variables=await log_variables(control),
            galera=await _galera(control),
            replica_sources=await _replica_sources(control),
            held=rights.on_server,
            account=account,
            restore_rights=restore_rights,
            restore_account=restore_account,
            reserved_tables=await _reserved(control),
            engines=await _foreign_tables(control),
            versioned=await _versioned(control),
            schemas=await _schemas(control),
            filtered=await filtered_schemas(control),
        )
    return Preflight(facts=facts, findings=tuple(findings(seen)))


async def rights_of(control: Control) -> tuple[Rights, str]:
    """(rights held, the account as GRANT names it). Raises DatabaseError."""
    rows = await control.rows("SHOW GRANTS")
    account: str = await control.value("SELECT CURRENT_USER()")
    user, _, host = account.rpartition("@")
    return Rights.of([str(row[0]) for row in rows]), account_name(user, host)


async def log_variables(control: Control) -> dict[str, str]:
    """Those that say what the log is, by name, as far as the release has them. Raises DatabaseError."""
    rows = await control.rows(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({text_literals(settings.VARIABLES)})")
    return {str(name).lower(): str(value) for name, value in rows}


def filters(status: Sequence[tuple[Any, ...]]) -> str:
    """What the log leaves out by schema, in the rows of SHOW MASTER STATUS; empty if nothing. Pure."""
    named = zip(("binlog_do_db", "binlog_ignore_db"), status[0][2:4], strict=False) if status else ()
    return ", ".join(f"{name} {value}" for name, value in named if value)


async def filtered_schemas(control: Control) -> str:
    """What the log leaves out, as `filters` says it; empty where the account may not see it. Raises DatabaseError."""
    try:
        return filters(await control.rows("SHOW MASTER STATUS"))
    except DatabaseError as error:
        if error.kind == "database-rights-missing":
            return ""
        raise


async def _galera(control: Control) -> bool:
    rows = await control.rows("SHOW GLOBAL VARIABLES LIKE 'wsrep_on'")
    return bool(rows) and str(rows[0][1]).upper() in ("ON", "1")


async def _replica_sources(control: Control) -> int | None:
    try:
        return len(await control.rows("SHOW ALL SLAVES STATUS"))
    except DatabaseError as error:
        if error.kind == "database-rights-missing":
            return None
        raise


async def _reserved(control: Control) -> tuple[str, ...] | None:
    """Tables of a schema with our name; None if there is no such schema."""
    rows: Sequence[tuple[Any, ...]] = await control.rows(
        "SELECT t.TABLE_NAME FROM information_schema.SCHEMATA s LEFT JOIN information_schema.TABLES t"
        f" ON t.TABLE_SCHEMA = s.SCHEMA_NAME WHERE s.SCHEMA_NAME = '{RESERVED_SCHEMA}'"
    )
    return tuple(str(row[0]) for row in rows if row[0]) if rows else None


async def _foreign_tables(control: Control) -> tuple[tuple[str, str, str], ...]:
    known = sorted(TRANSACTIONAL | WITHOUT_TRANSACTIONS | WITHOUT_ROWS)
    rows = await control.rows(
        "SELECT TABLE_SCHEMA, TABLE_NAME, ENGINE FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE'"
        f" AND ENGINE NOT IN ({text_literals(known)}) AND TABLE_SCHEMA NOT IN ({text_literals(SERVER_SCHEMAS)})"
        " ORDER BY TABLE_SCHEMA, TABLE_NAME LIMIT 20"
    )
    return tuple((str(schema), str(table), str(engine)) for schema, table, engine in rows)


async def _versioned(control: Control) -> tuple[tuple[str, str], ...]:
    rows = await control.rows(
        "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE = 'SYSTEM VERSIONED'"
        " ORDER BY TABLE_SCHEMA, TABLE_NAME LIMIT 20"
    )
    return tuple((str(schema), str(table)) for schema, table in rows)


async def _schemas(control: Control) -> tuple[str, ...]:
    """Those of the users."""
    rows = await control.rows("SELECT SCHEMA_NAME FROM information_schema.SCHEMATA ORDER BY 1")
    names = [str(row[0]) for row in rows]
    return tuple(name for name in names if name.lower() not in SYSTEM_SCHEMAS and not is_ours(name))


def findings(seen: Seen) -> list[Finding]:
    """Everything worth an operator's look, errors for what makes backups or restores impossible."""
    return [*_server(seen), *settings.findings(seen.variables, seen.filtered), *_rights_findings(seen), *_content(seen)]


def _server(seen: Seen) -> list[Finding]:
    found: list[Finding] = []
    release = tuple(int(part) for part in seen.facts.version.split(".")[:2])
    if release >= OLDEST:
        found.extend(closing.release_findings(release))
    if release < OLDEST:
        found.append(
            Finding(
                subject="database",
                level="error",
                text=f"MariaDB {seen.facts.version} is older than 10.5, the oldest that can be protected",
                fix="Upgrade the server",
            )
        )
    if seen.galera:
        found.append(
            Finding(
                subject="database",
                level="error",
                text="the server is a Galera node; those are not supported yet",
                fix="Enrol a server that belongs to no Galera cluster (wsrep_on = OFF)",
            )
        )
    if seen.replica_sources:
        found.append(
            Finding(
                subject="database",
                level="error",
                text="the server is itself a replica: an in-place restore of it would be overwritten by its source",
                fix="Enrol the source, or turn this server into a primary: STOP ALL SLAVES; RESET SLAVE ALL;",
            )
        )
    return found


def _rights_findings(seen: Seen) -> list[Finding]:
    found = []
    if missing := grants.missing(seen.held, grants.BACKUP_GRANTS):
        why = f": {grants.BACKUP_GRANTS[missing[0]]}" if len(missing) == 1 else ""
        found.append(
            Finding(
                subject="grants",
                level="error",
                text=f"backup account lacks {', '.join(missing)}{why}",
                fix=f"GRANT {', '.join(missing)} ON *.* TO {seen.account};",
            )
        )
    found.extend(settings.rights(seen.held, seen.account))
    if seen.restore_account is not None:
        found.extend(
            Finding(
                subject="grants",
                level="warn",
                text=f"backup account has {name}, which it never needs",
                fix=None if name == grants.ALL else f"REVOKE {name} ON *.* FROM {seen.account};",
            )
            for name in grants.excess(seen.held)
        )
    if seen.restore_rights is not None:
        found.extend(_restore_findings(seen, seen.restore_rights))
    if seen.replica_sources is None and not any("SLAVE MONITOR" in finding.text for finding in found):
        found.append(
            Finding(
                subject="grants",
                level="error",
                text="backup account may not see whether the server is a replica",
                fix=f"GRANT SLAVE MONITOR ON *.* TO {seen.account};",
            )
        )
    return found or [Finding(subject="grants", level="ok", text="all that is needed, nothing in excess")]


def _restore_findings(seen: Seen, rights: Rights) -> list[Finding]:
    account = seen.restore_account or seen.account
    lacking = closing.lacking(rights, seen.schemas)
    if not closing.meant_for_statements(rights) and "GRANT OPTION" not in rights.on_server:
        lacking = [*lacking, closing.Lacking(rights=("GRANT OPTION",), on="*.*")]
    found = []
    if lacking:
        fix = closing.granting(rights, lacking, account)
        if seen.restore_account is None:
            another = f"tidewind cluster update {seen.cluster_id} --restore-credentials env:NAME"
            fix = f"{fix}  or name an account that holds them:  {another}"
        found.append(
            Finding(
                subject="restores",
                level="error" if seen.restore_account else "warn",
                text=f"the account for restores lacks {closing.told(lacking)}",
                fix=fix,
            )
        )
    if seen.restore_account and closing.meant_for_statements(rights):
        found.extend(closing.rights_findings(rights))
    return found


def _content(seen: Seen) -> list[Finding]:
    found = []
    if seen.reserved_tables is not None and _FENCE_TABLE not in seen.reserved_tables:
        found.append(
            Finding(
                subject="schemas",
                level="error",
                text=f"a schema named {quote_name(RESERVED_SCHEMA)} exists; the name is needed for restores",
                fix="Rename it: move its tables to a schema of another name, then drop it",
            )
        )
    found.extend(
        Finding(
            subject="tables",
            level="error",
            text=f"{quote_table(schema, table)} has engine {engine}, whose rows cannot be kept",
            fix="Convert it to InnoDB, or drop it",
        )
        for schema, table, engine in seen.engines
    )
    if tuple(int(part) for part in seen.facts.version.split(".")[:2]) < HISTORY_INSERT:
        found.extend(
            Finding(
                subject="tables",
                level="error",
                text=f"{quote_table(schema, table)} is system-versioned; history can be put back from MariaDB 10.11 on",
                fix="Upgrade the server to 10.11, or ALTER TABLE … DROP SYSTEM VERSIONING",
            )
            for schema, table in seen.versioned
        )
    return found
