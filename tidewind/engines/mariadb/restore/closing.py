"""The ways of closing a server to its users, and which of them a server and an account allow. Pure.

    swap        the account tables are exchanged for a locked set by one RENAME
    rows        every account is locked in place by one UPDATE; rows go back one table after another, accounts last
    statements  every account is locked by a statement of its own; what differs goes back as GRANT, CREATE USER, …

A swap is whole or not at all, and needs a server on which a RENAME of several tables is. Both it and the rows need
rights on the tables of `mysql`; the statements need none, but every right that they are to give, with GRANT OPTION.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tidewind.engines.mariadb import grants
from tidewind.engines.mariadb.quoting import quote_name
from tidewind.engines.mariadb.restore import names
from tidewind.engines.mariadb.server import ATOMIC_RENAME
from tidewind.ports.engine import Finding

Closing = Literal["swap", "rows", "statements"]

OWN_PATTERN: Final = names.WORK_SCHEMA + r"\_%"
"""The safety and trash schemas, as a grant on them names them."""

_TOLD_RIGHTS: Final = 4
_TOLD_SCOPES: Final = 3

TOLD: Final[Mapping[Closing, str]] = {
    "swap": "the account tables are swapped for a locked set, at one instant",
    "rows": "every account is locked in place by one UPDATE of mysql.global_priv",
    "statements": "every account is locked by ALTER USER … ACCOUNT LOCK, with init_connect as a belt",
}


@dataclass(frozen=True, kw_only=True)
class Rights:
    """What an account holds: on the server, and on schemas by the pattern that its grant names."""

    on_server: frozenset[str]
    on_schemas: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, show_grants: Iterable[str]) -> "Rights":
        lines = list(show_grants)
        return cls(on_server=grants.global_grants(lines), on_schemas=grants.schema_grants(lines))

    def lacking_on_server(self, wanted: Iterable[str]) -> list[str]:
        """GRANT OPTION is part of no ALL PRIVILEGES."""
        found = set(grants.missing(self.on_server, wanted))
        if "GRANT OPTION" in wanted and "GRANT OPTION" not in self.on_server:
            found.add("GRANT OPTION")
        return sorted(found)

    def lacking_on(self, schema: str, wanted: Iterable[str]) -> list[str]:
        """Of `wanted` what neither a grant on the server nor one on the schema gives. `schema` is a name, or one of the
        patterns that stand in grants, which only the same pattern covers."""
        held = set(self.on_server)
        for pattern, rights in self.on_schemas.items():
            if pattern == schema or grants.matches(pattern, schema):
                held |= rights
        lacking = set(grants.missing(frozenset(held), wanted))
        if "GRANT OPTION" in wanted and "GRANT OPTION" not in held:
            lacking.add("GRANT OPTION")
        return sorted(lacking)

    def as_grants(self, account: str) -> list[str]:
        """Statements that give an account the same. `account` is quoted."""
        scopes = {"*.*": self.on_server, **{f"{quote_name(one)}.*": rights for one, rights in self.on_schemas.items()}}
        return [
            Lacking(rights=tuple(sorted(rights)), on=scope).fix(account) for scope, rights in scopes.items() if rights
        ]


@dataclass(frozen=True, kw_only=True)
class Lacking:
    """Rights that are missing `on` the server (`*.*`) or a schema."""

    rights: tuple[str, ...]
    on: str

    def fix(self, account: str) -> str:
        """The statement that gives them. `account` is quoted."""
        plain = [right for right in self.rights if right != "GRANT OPTION"]
        option = " WITH GRANT OPTION" if "GRANT OPTION" in self.rights else ""
        return f"GRANT {', '.join(plain) or 'USAGE'} ON {self.on} TO {account}{option}"


def told(missing: Sequence[Lacking]) -> str:
    """What is missing, short enough to be read: the statement that gives it names the rest."""
    return "; ".join(
        [f"{_some(one.rights)} on {one.on}" for one in missing[:_TOLD_SCOPES]]
        + ([f"and rights on {len(missing) - _TOLD_SCOPES} more schemas"] if len(missing) > _TOLD_SCOPES else [])
    )


def _some(rights: Sequence[str]) -> str:
    left = len(rights) - _TOLD_RIGHTS
    return ", ".join(rights[:_TOLD_RIGHTS]) + (f" and {left} more rights" if left > 0 else "")


def granting(rights: Rights, missing: Sequence[Lacking], account: str) -> str:
    """The line that gives them: everything, unless the account is one that is to hold less. `account` is quoted."""
    if not meant_for_statements(rights):
        return f"GRANT {grants.ALL} ON *.* TO {account} WITH GRANT OPTION;"
    return " ".join(f"{one.fix(account)};" for one in missing)


def closing_of(version: tuple[int, ...], rights: Rights) -> Closing:
    """How a server of this version is closed by an account with these rights."""
    if rights.lacking_on_server(grants.DATA_GRANTS):
        return "statements"
    return "swap" if version[:2] >= ATOMIC_RENAME else "rows"


def lacking(rights: Rights, schemas: Iterable[str]) -> list[Lacking]:
    """What an account lacks for a restore of a cluster with these schemas. An account that was given no right on the
    data of the whole server, but some on single schemas, is meant to work without rights on `mysql`."""
    if not meant_for_statements(rights):
        missing = rights.lacking_on_server(grants.RESTORE_GRANTS)
        return [Lacking(rights=tuple(missing), on="*.*")] if missing else []
    found = []
    if missing := rights.lacking_on_server(grants.STATEMENT_GRANTS):
        found.append(Lacking(rights=tuple(missing), on="*.*"))
    wanted = (*grants.DATA_GRANTS, "GRANT OPTION")
    for schema, pattern in (
        (names.WORK_SCHEMA, names.WORK_SCHEMA),
        (OWN_PATTERN, OWN_PATTERN),
        *((one, grants.pattern_of(one)) for one in sorted(schemas)),
    ):
        if missing := rights.lacking_on(schema, wanted):
            found.append(Lacking(rights=tuple(missing), on=f"{quote_name(pattern)}.*"))
    return found


def release_findings(version: tuple[int, ...]) -> list[Finding]:
    """What is weaker about a server of this version."""
    if version[:2] >= ATOMIC_RENAME:
        return []
    text = (
        f"MariaDB {'.'.join(map(str, version))} moves tables one by one in a restore, and a crash of it in the "
        "middle of one can leave it in pieces. A restore brings a definition after its data if its account has FILE "
        "and secure_file_priv is empty; otherwise it names the file that somebody must move on the server's host"
    )
    return [Finding(subject="server", level="warn", text=text, fix="Upgrade the server to 10.6 or newer")]


def rights_findings(rights: Rights) -> list[Finding]:
    """What is weaker about the way an account with these rights closes a server."""
    if not rights.lacking_on_server(grants.DATA_GRANTS):
        return []
    text = (
        "the restore account has no rights on the tables of mysql: accounts are locked and opened one after another, "
        "what differs about them goes back as statements, the age of changed passwords begins anew, rights on what "
        "does not exist and statistics of ANALYZE are not put back"
    )
    return [Finding(subject="gate", level="warn", text=text)]


def meant_for_statements(rights: Rights) -> bool:
    """Whether an account is one that restores without rights on `mysql`: it has some on schemas, none on all data."""
    everywhere = rights.on_server & {grants.ALL, *grants.DATA_GRANTS}
    return not everywhere and bool(rights.on_schemas)
