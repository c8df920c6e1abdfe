"""Looks at what restoring a source would meet on a server, for the plan: nothing is changed or waited for."""

from collections.abc import Mapping, Sequence
from typing import Any

from tidewind.engines.mariadb.quoting import account_name, text_literals
from tidewind.engines.mariadb.restore import accounts_of, closing, releases, safeguard, shadowing
from tidewind.engines.mariadb.restore.account_changes import Change, changes, lacking_for
from tidewind.engines.mariadb.restore.account_state import state_of
from tidewind.engines.mariadb.restore.account_statements import SERVERS_OWN
from tidewind.engines.mariadb.restore.accounts import LIVE, AccountSets
from tidewind.engines.mariadb.restore.closing import Rights
from tidewind.engines.mariadb.restore.definitions import Definitions
from tidewind.engines.mariadb.restore.link import Link
from tidewind.engines.mariadb.restore.names import SWAPPED_TABLES
from tidewind.engines.mariadb.restore.statements import path
from tidewind.ports.engine import DatabaseError, Finding
from tidewind.ports.restore import PointSource, SafeguardSource, SnapshotSource, Source, SourceState

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""Rows of the account tables, by table."""


async def examine(link: Link, source: Source, keep_users: Sequence[str], *, logged: bool) -> SourceState:
    """Raises DatabaseError, StoreError."""
    rights = Rights.of([str(row[0]) for row in await link.rows("SHOW GRANTS")])
    user, _, host = str(await link.value("SELECT CURRENT_USER()")).rpartition("@")
    kept = list(dict.fromkeys((user, *keep_users)))
    way = closing.closing_of(link.version, rights)
    prints, found = None, list[Finding]()
    if isinstance(source, SnapshotSource):
        held = await accounts_of.held_rows(source)
        prints = accounts_of.prints(held)
        rows: Rows = {table: _as_records(*held[table]) for table in held}
        schemas = [schema.name for schema in source.manifest.schemas]
        found += releases.crossing(source.manifest, link.version)
    else:
        rows = await _set_aside(link, source)
        schemas = [one.name for one in Definitions.from_facts(source.kept[safeguard.KEPT_DEFINITIONS]).schemas]
    try:
        found += await _shadowed(link, kept, rows)
        if way == "statements":
            missing = closing.lacking(rights, schemas)
            said = await _changes(link, kept, rows)
            missing += lacking_for(said, rights)
            found += _lacks(rights, list(dict.fromkeys(missing)), user, host)
            found += await _impossible(link, said, logged=logged)
    except DatabaseError as error:
        if error.kind != "database-rights-missing":
            raise  # else the survey says which right that is
    if isinstance(source, PointSource) and way != "swap":
        found.append(
            Finding(
                subject="closing",
                level="error",
                text="a point in time needs the account tables swapped at one instant: MariaDB 10.6 or newer, and "
                "rights on the tables of mysql; whole backups can be restored",
                fix=f"GRANT ALL PRIVILEGES ON *.* TO {account_name(user, host)} WITH GRANT OPTION;",
            )
        )
    return SourceState(
        account_prints=prints, findings=tuple(found), closing=closing.TOLD[way], kept_users=frozenset(kept)
    )


async def _set_aside(link: Link, source: SafeguardSource) -> Rows:
    sets = AccountSets(link, source.restore_id)
    if not await sets.exists("saved"):
        return {}
    return {table: await link.records(f"SELECT * FROM {path(sets.table('saved', table))}") for table in SWAPPED_TABLES}


async def _shadowed(link: Link, kept: Sequence[str], rows: Rows) -> list[Finding]:
    own_host = str(await link.value("SELECT SUBSTRING_INDEX(USER(), '@', -1)"))
    present = await link.rows(f"SELECT User, Host FROM mysql.global_priv WHERE User IN ({text_literals(kept)})")
    anonymous = [str(row["Host"]) for row in rows.get("global_priv", ()) if row["User"] == ""]
    blockers = (
        shadowing.blocker(user, own_host, [str(host) for name, host in present if str(name) == user], anonymous)
        for user in kept
    )
    return [one for one in blockers if one is not None]


async def _changes(link: Link, kept: Sequence[str], rows: Rows) -> list[Change]:
    """What would have to be said. Tables that the source does not hold stay as they are."""
    spared = (*kept, SERVERS_OWN)
    present = {table: await link.records(f"SELECT * FROM {path(LIVE[table])}") for table in SWAPPED_TABLES}
    return changes(state_of(present, spared), state_of({**present, **rows}, spared))


def _lacks(rights: Rights, missing: Sequence[closing.Lacking], user: str, host: str) -> list[Finding]:
    """Nothing of an account that is meant to hold everything: the survey says what it lacks."""
    if not missing or not closing.meant_for_statements(rights):
        return []
    text = (
        f"to give back accounts and data by statements, the restore account {user}@{host} lacks {closing.told(missing)}"
    )
    fix = closing.granting(rights, missing, account_name(user, host))
    return [Finding(subject="rights", level="error", text=text, fix=fix)]


async def _impossible(link: Link, said: Sequence[Change], *, logged: bool) -> list[Finding]:
    found = []
    if logged:
        text = "replicas are told of accounts by rows of mysql.*, which the restore account may not write"
        fix = "Give it INSERT, UPDATE and DELETE on *.*, or enrol the cluster with replicas: none"
        found.append(Finding(subject="gate", level="error", text=text, fix=fix))
    if any(one.sql.startswith(("CREATE USER", "ALTER USER")) for one in said):
        strict = await link.value(
            "SELECT COUNT(*) FROM information_schema.PLUGINS WHERE PLUGIN_TYPE = 'PASSWORD VALIDATION' "
            "AND PLUGIN_STATUS = 'ACTIVE' AND @@GLOBAL.strict_password_validation"
        )
        if strict:
            text = "a plugin validates passwords and the server refuses stored ones that it cannot look into"
            fix = "SET GLOBAL strict_password_validation = OFF until the restore is over"
            found.append(Finding(subject="gate", level="error", text=text, fix=fix))
    return found


def _as_records(columns: Sequence[str], rows: Sequence[accounts_of.Row]) -> list[dict[str, str | None]]:
    return [
        {
            name: None if value is None else value.decode(errors="replace")
            for name, value in zip(columns, row, strict=True)
        }
        for row in rows
    ]
