"""What a set of account tables says, as values that can be compared and said again as statements. Pure.

Left out is what no statement can bring back: who granted what and when, and since when a password has been in use.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tidewind.engines.mariadb.quoting import account_name, quote_name, quote_table, text_value
from tidewind.engines.mariadb.restore import names

Key = tuple[str, str]
"""(user, host); a role has no host."""
Row = Mapping[str, Any]

_GLOBAL: Final = (
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "CREATE",
    "DROP",
    "RELOAD",
    "SHUTDOWN",
    "PROCESS",
    "FILE",
    "GRANT OPTION",
    "REFERENCES",
    "INDEX",
    "ALTER",
    "SHOW DATABASES",
    "SUPER",
    "CREATE TEMPORARY TABLES",
    "LOCK TABLES",
    "EXECUTE",
    "REPLICATION SLAVE",
    "BINLOG MONITOR",
    "CREATE VIEW",
    "SHOW VIEW",
    "CREATE ROUTINE",
    "ALTER ROUTINE",
    "CREATE USER",
    "EVENT",
    "TRIGGER",
    "CREATE TABLESPACE",
    "DELETE HISTORY",
    "SET USER",
    "FEDERATED ADMIN",
    "CONNECTION ADMIN",
    "READ_ONLY ADMIN",
    "REPLICATION SLAVE ADMIN",
    "REPLICATION MASTER ADMIN",
    "BINLOG ADMIN",
    "BINLOG REPLAY",
    "SLAVE MONITOR",
    "SHOW CREATE ROUTINE",
)
"""The right that each bit of `access` is, from the lowest on."""
_SUPER_BEFORE_10_5: Final = frozenset(_GLOBAL[_GLOBAL.index("SET USER") : _GLOBAL.index("SLAVE MONITOR")])
_FIRST_WITH_ITS_PARTS: Final = 100502
_MINTED: Final = re.compile(names.MINTED_PATTERN)
_SPELT: Final = {
    "GRANT": "GRANT OPTION",
    "CREATE TMP TABLE": "CREATE TEMPORARY TABLES",
    "DELETE VERSIONING ROWS": "DELETE HISTORY",
    "SHOW CREATE ROUTINE": "SHOW CREATE ROUTINE",
}
_TLS: Final = {0: "NONE", 1: "SSL", 2: "X509"}
_LIMITS: Final = (
    ("max_questions", "MAX_QUERIES_PER_HOUR"),
    ("max_updates", "MAX_UPDATES_PER_HOUR"),
    ("max_connections", "MAX_CONNECTIONS_PER_HOUR"),
    ("max_user_connections", "MAX_USER_CONNECTIONS"),
    ("max_statement_time", "MAX_STATEMENT_TIME"),
)
EVERYWHERE: Final = "*.*"
PUBLIC: Final[Key] = ("PUBLIC", "")
"""A role that is always there, and that no statement makes, drops or quotes."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """`login` is the clause of CREATE USER that says how it logs in and within what limits."""

    login: str
    locked: bool
    expired: bool
    is_role: bool
    default_role: str | None


@dataclass(frozen=True)
class Scope:
    """What rights are on, as it stands in GRANT, and the schema it lies in; None for the whole server."""

    on: str
    schema: str | None


SERVER: Final = Scope(EVERYWHERE, None)


@dataclass(kw_only=True)
class State:
    """`rights` of an account by what they are on; `members` of a role, and whether they may pass it on; `proxies`: who
    may act as whom; `servers` as the text that makes each. Rights on columns name their column."""

    accounts: dict[Key, Account] = field(default_factory=dict)
    rights: dict[Key, dict[Scope, frozenset[str]]] = field(default_factory=dict)
    members: dict[str, dict[Key, bool]] = field(default_factory=dict)
    proxies: dict[tuple[Key, Key], bool] = field(default_factory=dict)
    servers: dict[str, str] = field(default_factory=dict)

    def grant(self, key: Key, scope: Scope, rights: Iterable[str]) -> None:
        found = frozenset(rights)
        if found:
            own = self.rights.setdefault(key, {})
            own[scope] = own.get(scope, frozenset()) | found


def state_of(tables: Mapping[str, Iterable[Row]], spared: Iterable[str]) -> State:
    """The state that rows of the account tables, by table, describe. Minted accounts and those whose user is `spared`
    are left out."""
    without = frozenset(spared)
    state = State()
    for name, reader in _READERS.items():
        for given in tables[name]:
            row = {column.lower(): value for column, value in given.items()}
            user = str(row.get("user", ""))
            if user not in without and not _MINTED.match(user):
                reader(state, row)
    return state


def name_of(key: Key, *, is_role: bool) -> str:
    """The account as statements name it."""
    if not is_role:
        return account_name(*key)
    return "PUBLIC" if key == PUBLIC else quote_name(key[0])


def _account(state: State, row: Row) -> None:
    facts = json.loads(row["priv"])
    key = (str(row["user"]), str(row["host"]))
    is_role = bool(facts.get("is_role"))
    state.accounts[key] = Account(
        login="" if is_role else _login(facts),
        locked=bool(facts.get("account_locked")),
        expired=not is_role and facts.get("password_last_changed") == 0,
        is_role=is_role,
        default_role=facts.get("default_role") or None,
    )
    state.grant(key, SERVER, _global_rights(facts))


def _login(facts: Mapping[str, Any]) -> str:
    ways = [one or facts for one in facts.get("auth_or", [{}])]
    via = " OR ".join(
        f"{quote_name(str(one.get('plugin') or 'mysql_native_password'))}"
        f" USING {text_value(str(one.get('authentication_string') or ''))}"
        for one in ways
    )
    return f"IDENTIFIED VIA {via} REQUIRE {_tls(facts)} WITH {_limits(facts)} {_lifetime(facts)}"


def _tls(facts: Mapping[str, Any]) -> str:
    kind = int(facts.get("ssl_type") or 0)
    if kind in _TLS:
        return _TLS[kind]
    named = (("x509_issuer", "ISSUER"), ("x509_subject", "SUBJECT"), ("ssl_cipher", "CIPHER"))
    return " AND ".join(f"{word} {text_value(str(facts[one]))}" for one, word in named if facts.get(one)) or "NONE"


def _limits(facts: Mapping[str, Any]) -> str:
    return " ".join(f"{word} {float(facts.get(one) or 0):g}" for one, word in _LIMITS)


def _lifetime(facts: Mapping[str, Any]) -> str:
    days = int(facts.get("password_lifetime", -1))
    return "PASSWORD EXPIRE " + ("DEFAULT" if days < 0 else f"INTERVAL {days} DAY" if days else "NEVER")


def _global_rights(facts: Mapping[str, Any]) -> set[str]:
    """SUPER was several rights of today before 10.5.2."""
    access = int(facts.get("access") or 0)
    rights = {right for bit, right in enumerate(_GLOBAL) if access >> bit & 1}
    if "SUPER" in rights and int(facts.get("version_id") or 0) < _FIRST_WITH_ITS_PARTS:
        rights |= _SUPER_BEFORE_10_5
    return rights


def _on_schema(state: State, row: Row) -> None:
    held = [column.removesuffix("_priv") for column, value in row.items() if column.endswith("_priv") and value == "Y"]
    schema = str(row["db"])
    state.grant(_of(row), Scope(f"{quote_name(schema)}.*", schema), map(_spelt, held))


def _on_table(state: State, row: Row) -> None:
    schema = str(row["db"])
    scope = Scope(quote_table(schema, str(row["table_name"])), schema)
    state.grant(_of(row), scope, _members(row["table_priv"]))


def _on_column(state: State, row: Row) -> None:
    schema = str(row["db"])
    scope = Scope(quote_table(schema, str(row["table_name"])), schema)
    column = quote_name(str(row["column_name"]))
    state.grant(_of(row), scope, (f"{right} ({column})" for right in _members(row["column_priv"])))


def _on_routine(state: State, row: Row) -> None:
    schema = str(row["db"])
    scope = Scope(f"{row['routine_type']} {quote_table(schema, str(row['routine_name']))}", schema)
    state.grant(_of(row), scope, _members(row["proc_priv"]))


def _proxy(state: State, row: Row) -> None:
    proxied = (str(row["proxied_user"]), str(row["proxied_host"]))
    state.proxies[(_of(row), proxied)] = bool(int(row["with_grant"]))


def _membership(state: State, row: Row) -> None:
    state.members.setdefault(str(row["role"]), {})[_of(row)] = row["admin_option"] == "Y"


def _server(state: State, row: Row) -> None:
    options = (
        ("host", "HOST"),
        ("db", "DATABASE"),
        ("username", "USER"),
        ("password", "PASSWORD"),
        ("socket", "SOCKET"),
        ("owner", "OWNER"),
    )
    said = [f"{word} {text_value(str(row[column]))}" for column, word in options if row[column]]
    said.append(f"PORT {int(row['port'])}")
    wrapper = quote_name(str(row["wrapper"]))
    name = str(row["server_name"])
    state.servers[name] = f"{quote_name(name)} FOREIGN DATA WRAPPER {wrapper} OPTIONS ({', '.join(said)})"


def _of(row: Row) -> Key:
    return str(row["user"]), str(row["host"])


def _members(value: object) -> list[str]:
    return [_spelt(one) for one in str(value or "").split(",") if one]


def _spelt(right: str) -> str:
    name = right.upper().replace("_", " ")
    return _SPELT.get(name, name)


_READERS = {
    "global_priv": _account,
    "db": _on_schema,
    "tables_priv": _on_table,
    "columns_priv": _on_column,
    "procs_priv": _on_routine,
    "proxies_priv": _proxy,
    "roles_mapping": _membership,
    "servers": _server,
}
