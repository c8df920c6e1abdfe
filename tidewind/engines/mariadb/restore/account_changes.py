"""The statements that lead from one state of the accounts to another. Pure.

In this order, because each step needs the ones before: what shall not be there goes; roles and accounts are made, every
new one locked; logins change; rights are taken and given; roles are given to their members, and only then made
somebody's default. Whether an account is locked is no business of these statements, but that a new one is.

A role can only be given or taken by one of its administrators, so a role whose members differ is dropped and made
anew: whoever makes it is one. Somebody else's default role can only be set with rights on `mysql`, or as that account:
so a procedure with that account as its definer does it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tidewind.engines.mariadb.grants import pattern_of
from tidewind.engines.mariadb.quoting import quote_name, quote_table
from tidewind.engines.mariadb.restore import names
from tidewind.engines.mariadb.restore.account_state import PUBLIC, SERVER, Account, Key, Scope, State, name_of
from tidewind.engines.mariadb.restore.closing import Lacking, Rights

_PROCEDURE = quote_table(names.WORK_SCHEMA, "default_role")


@dataclass(frozen=True, kw_only=True)
class Change:
    """One statement. Of a GRANT or REVOKE also what the one who says it must hold, with GRANT OPTION."""

    sql: str
    scope: Scope | None = None
    rights: frozenset[str] = frozenset()


def changes(present: State, wanted: State) -> list[Change]:
    """What leads from `present` to `wanted`; nothing if they are the same but for locks."""
    anew = _roles_to_make_anew(present, wanted)
    gone = {key for key in present.accounts if key not in wanted.accounts and key != PUBLIC}
    there = _without(present, anew | gone)
    said = [Change(sql=_drop(key, account)) for key, account in present.accounts.items() if key in anew | gone]
    for key, account in sorted(wanted.accounts.items(), key=lambda one: not one[1].is_role):
        said += [Change(sql=sql) for sql in _account(key, there.accounts.get(key), account)]
    for key, account in {**there.accounts, **wanted.accounts}.items():
        said += _rights(name_of(key, is_role=account.is_role), there.rights.get(key, {}), wanted.rights.get(key, {}))
    said += [Change(sql=sql) for sql in _members(there, wanted)]
    for key, account in wanted.accounts.items():
        was = there.accounts.get(key)
        if account.default_role != (was.default_role if was else None):
            said += [Change(sql=sql) for sql in _default_role(key, account.default_role)]
    return [*said, *(Change(sql=sql) for sql in (*_proxies(there, wanted), *_servers(there, wanted)))]


def lacking_for(wanted: Iterable[Change], rights: Rights) -> list[Lacking]:
    """What an account with these rights lacks to say these statements."""
    missing: dict[Scope, set[str]] = {}
    for change in wanted:
        if change.scope is None:
            continue
        needed = {*(right.partition(" (")[0] for right in change.rights), "GRANT OPTION"}
        schema = change.scope.schema
        lacks = rights.lacking_on_server(needed) if schema is None else rights.lacking_on(schema, needed)
        if lacks:
            scope = SERVER if schema is None else Scope(f"{quote_name(pattern_of(schema))}.*", schema)
            missing.setdefault(scope, set()).update(lacks)
    return [Lacking(rights=tuple(sorted(lacks)), on=scope.on) for scope, lacks in missing.items()]


def _roles_to_make_anew(present: State, wanted: State) -> set[Key]:
    return {
        key
        for key, account in present.accounts.items()
        if account.is_role
        and key in wanted.accounts
        and present.members.get(key[0], {}) != wanted.members.get(key[0], {})
        and key != PUBLIC
    }


def _without(state: State, gone: set[Key]) -> State:
    """What is left of a state when these accounts were dropped."""
    return State(
        accounts={key: account for key, account in state.accounts.items() if key not in gone},
        rights={key: rights for key, rights in state.rights.items() if key not in gone},
        members={
            role: {key: admin for key, admin in members.items() if key not in gone}
            for role, members in state.members.items()
            if (role, "") not in gone
        },
        proxies={pair: grant for pair, grant in state.proxies.items() if pair[0] not in gone},
        servers=state.servers,
    )


def _drop(key: Key, account: Account) -> str:
    kind = "ROLE" if account.is_role else "USER"
    return f"DROP {kind} IF EXISTS {name_of(key, is_role=account.is_role)}"


def _account(key: Key, was: Account | None, wanted: Account) -> list[str]:
    name = name_of(key, is_role=wanted.is_role)
    if wanted.is_role:
        return [f"CREATE ROLE {name}"] if was is None and key != PUBLIC else []
    said = []
    if was is None:
        said.append(f"CREATE USER {name} {wanted.login} ACCOUNT LOCK")
    elif was.login != wanted.login or (was.expired and not wanted.expired):
        said.append(f"ALTER USER {name} {wanted.login}")
    if wanted.expired and (said or was is None or not was.expired):
        said.append(f"ALTER USER {name} PASSWORD EXPIRE")
    return said


def _rights(name: str, there: dict[Scope, frozenset[str]], wanted: dict[Scope, frozenset[str]]) -> list[Change]:
    said = []
    for scope in dict.fromkeys((*there, *wanted)):
        had, needs = there.get(scope, frozenset()), wanted.get(scope, frozenset())
        for verb, rights, word in (("REVOKE", had - needs, "FROM"), ("GRANT", needs - had, "TO")):
            if rights:
                sql = f"{verb} {', '.join(sorted(rights))} ON {scope.on} {word} {name}"
                said.append(Change(sql=sql, scope=scope, rights=rights))
    return said


def _members(there: State, wanted: State) -> list[str]:
    said = []
    for role, members in wanted.members.items():
        had = there.members.get(role, {})
        for key, admin in members.items():
            account = wanted.accounts.get(key)
            if had.get(key) != admin and account is not None:
                option = " WITH ADMIN OPTION" if admin else ""
                said.append(f"GRANT {quote_name(role)} TO {name_of(key, is_role=account.is_role)}{option}")
    return said


def _default_role(key: Key, role: str | None) -> list[str]:
    name = name_of(key, is_role=False)
    chosen = "NONE" if role is None else quote_name(role)
    return [
        f"CREATE OR REPLACE DEFINER={name} PROCEDURE {_PROCEDURE}() SQL SECURITY DEFINER SET DEFAULT ROLE {chosen}",
        f"GRANT EXECUTE ON PROCEDURE {_PROCEDURE} TO {name}",
        f"CALL {_PROCEDURE}()",
        f"REVOKE EXECUTE ON PROCEDURE {_PROCEDURE} FROM {name}",
        f"DROP PROCEDURE {_PROCEDURE}",
    ]


def _proxies(there: State, wanted: State) -> list[str]:
    said = []
    for pair in dict.fromkeys((*there.proxies, *wanted.proxies)):
        had, needs = there.proxies.get(pair), wanted.proxies.get(pair)
        key, proxied = (name_of(one, is_role=False) for one in pair)
        if had is not None and had != needs:
            said.append(f"REVOKE PROXY ON {proxied} FROM {key}")
        if needs is not None and had != needs:
            said.append(f"GRANT PROXY ON {proxied} TO {key}{' WITH GRANT OPTION' if needs else ''}")
    return said


def _servers(there: State, wanted: State) -> list[str]:
    gone = [f"DROP SERVER IF EXISTS {quote_name(name)}" for name in there.servers if name not in wanted.servers]
    made = [
        f"CREATE OR REPLACE SERVER {text}" for name, text in wanted.servers.items() if there.servers.get(name) != text
    ]
    return [*gone, *made]
