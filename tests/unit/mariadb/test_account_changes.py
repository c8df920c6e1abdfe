"""Accounts as values, and the statements that lead from some to others."""

import json
from typing import Any

import pytest

from tidewind.engines.mariadb.restore.account_changes import changes, lacking_for
from tidewind.engines.mariadb.restore.account_state import State, state_of
from tidewind.engines.mariadb.restore.closing import Rights
from tidewind.engines.mariadb.restore.names import SWAPPED_TABLES

HASH = "*94BDCEBE19083CE2A1F959FD02F964C7AF4CFC29"
PLAIN = {"access": 0, "version_id": 101100, "plugin": "mysql_native_password", "authentication_string": HASH}
ALL_OF_10_11 = (1 << 39) - 1


def user(name: str, host: str = "%", **facts: Any) -> dict[str, Any]:
    return {"Host": host, "User": name, "Priv": json.dumps(PLAIN | facts)}


def role(name: str) -> dict[str, Any]:
    return {"Host": "", "User": name, "Priv": json.dumps({"access": 0, "is_role": True})}


def member(name: str, of: str, admin: str = "N", host: str = "%") -> dict[str, Any]:
    return {"Host": host, "User": name, "Role": of, "Admin_option": admin}


def state(*accounts: dict[str, Any], spared: tuple[str, ...] = ("svc",), **tables: list[dict[str, Any]]) -> State:
    rows: dict[str, list[dict[str, Any]]] = {table: [] for table in SWAPPED_TABLES}
    return state_of({**rows, "global_priv": list(accounts), **tables}, spared)


def said(present: State, wanted: State) -> list[str]:
    return [one.sql for one in changes(present, wanted)]


def test_nothing_is_said_where_nothing_but_locks_and_ages_differ() -> None:
    then = state(user("a", password_last_changed=7), user("b", account_locked=True))
    assert said(state(user("a", account_locked=True), user("b", password_last_changed=9)), then) == []


def test_minted_and_spared_accounts_are_no_part_of_it() -> None:
    assert said(state(user("svc"), user("tw_rst_0123456789_1_2")), state()) == []


def test_a_new_account_is_locked_until_the_opening() -> None:
    (made,) = said(state(), state(user("a", "10.%")))
    assert made.startswith(f"CREATE USER `a`@`10.%` IDENTIFIED VIA `mysql_native_password` USING '{HASH}' REQUIRE NONE")
    assert made.endswith("PASSWORD EXPIRE DEFAULT ACCOUNT LOCK")


@pytest.mark.parametrize(
    ("facts", "clause"),
    [
        ({"ssl_type": 1}, "REQUIRE SSL"),
        ({"ssl_type": 3, "x509_subject": "/CN=it's", "ssl_cipher": "x"}, "REQUIRE SUBJECT '/CN=it''s' AND CIPHER 'x'"),
        ({"max_questions": 5, "max_statement_time": 2.5}, "MAX_QUERIES_PER_HOUR 5"),
        ({"max_statement_time": 2.5}, "MAX_STATEMENT_TIME 2.5"),
        ({"password_lifetime": 0}, "PASSWORD EXPIRE NEVER"),
        ({"password_lifetime": 9}, "PASSWORD EXPIRE INTERVAL 9 DAY"),
        (
            {"auth_or": [{"plugin": "unix_socket"}, {}]},
            f"VIA `unix_socket` USING '' OR `mysql_native_password` USING '{HASH}'",
        ),
    ],
)
def test_how_an_account_logs_in(facts: dict[str, Any], clause: str) -> None:
    (changed,) = said(state(user("a")), state(user("a", **facts)))
    assert changed.startswith("ALTER USER `a`@`%` IDENTIFIED VIA ")
    assert clause in changed
    assert "LOCK" not in changed


def test_an_expired_password_stays_expired() -> None:
    assert said(state(user("a")), state(user("a", password_last_changed=0))) == ["ALTER USER `a`@`%` PASSWORD EXPIRE"]


def test_rights_are_taken_before_others_are_given() -> None:
    present = state(user("a", access=0b111))
    wanted = state(user("a", access=0b1001 | 1 << 10))
    assert said(present, wanted) == [
        "REVOKE INSERT, UPDATE ON *.* FROM `a`@`%`",
        "GRANT DELETE, GRANT OPTION ON *.* TO `a`@`%`",
    ]


def test_every_right_of_the_server_has_a_name() -> None:
    (_, granted) = said(state(), state(user("root", access=ALL_OF_10_11)))
    assert granted.count(",") == 38
    assert "SLAVE MONITOR" in granted


def test_super_of_old_releases_was_what_are_several_rights_now() -> None:
    (_, granted) = said(state(), state(user("old", access=1 << 15, version_id=100400)))
    assert "CONNECTION ADMIN" in granted
    assert "SLAVE MONITOR" not in granted


def test_rights_on_schemas_tables_columns_and_routines() -> None:
    key = {"Host": "%", "User": "a", "Db": "s`x"}
    wanted = state(
        user("a"),
        db=[key | {"Select_priv": "Y", "Create_tmp_table_priv": "Y", "Grant_priv": "Y", "Drop_priv": "N"}],
        tables_priv=[
            key | {"Table_name": "t", "Table_priv": "Show view,Delete versioning rows", "Column_priv": "Select"}
        ],
        columns_priv=[key | {"Table_name": "t", "Column_name": "c", "Column_priv": "Select,References"}],
        procs_priv=[key | {"Routine_name": "p", "Routine_type": "PROCEDURE", "Proc_priv": "Execute,Grant"}],
    )
    assert said(state(user("a")), wanted) == [
        "GRANT CREATE TEMPORARY TABLES, GRANT OPTION, SELECT ON `s``x`.* TO `a`@`%`",
        "GRANT DELETE HISTORY, REFERENCES (`c`), SELECT (`c`), SHOW VIEW ON `s``x`.`t` TO `a`@`%`",
        "GRANT EXECUTE, GRANT OPTION ON PROCEDURE `s``x`.`p` TO `a`@`%`",
    ]


def test_a_role_whose_members_differ_is_made_anew_with_all_that_belongs_to_it() -> None:
    present = state(role("r"), user("a"), user("b"), roles_mapping=[member("a", "r")])
    on_schema = {"Host": "", "User": "r", "Db": "s", "Select_priv": "Y"}
    wanted = state(
        role("r"), user("a"), user("b"), db=[on_schema], roles_mapping=[member("a", "r"), member("b", "r", "Y")]
    )
    assert said(present, wanted) == [
        "DROP ROLE IF EXISTS `r`",
        "CREATE ROLE `r`",
        "GRANT SELECT ON `s`.* TO `r`",
        "GRANT `r` TO `a`@`%`",
        "GRANT `r` TO `b`@`%` WITH ADMIN OPTION",
    ]


def test_what_went_comes_back_and_what_came_goes() -> None:
    wanted = state(role("r"), user("a", default_role="r"), roles_mapping=[member("a", "r")])
    back = said(state(user("new")), wanted)
    assert back[0] == "DROP USER IF EXISTS `new`@`%`"
    assert back[1] == "CREATE ROLE `r`"
    assert back[2].startswith("CREATE USER `a`@`%`")
    assert back[3] == "GRANT `r` TO `a`@`%`"
    assert "DEFINER=`a`@`%`" in back[4]
    assert back[4].endswith("SET DEFAULT ROLE `r`")
    assert back[5:] == [
        "GRANT EXECUTE ON PROCEDURE `tidewind`.`default_role` TO `a`@`%`",
        "CALL `tidewind`.`default_role`()",
        "REVOKE EXECUTE ON PROCEDURE `tidewind`.`default_role` FROM `a`@`%`",
        "DROP PROCEDURE `tidewind`.`default_role`",
    ]


def test_public_is_never_made_or_dropped() -> None:
    on_schema = {"Host": "", "User": "PUBLIC", "Db": "s", "Select_priv": "Y"}
    with_public = state(role("PUBLIC"), db=[on_schema])
    assert said(state(), with_public) == ["GRANT SELECT ON `s`.* TO PUBLIC"]
    assert said(with_public, state()) == ["REVOKE SELECT ON `s`.* FROM PUBLIC"]


def test_proxies_and_servers() -> None:
    proxy = {"Host": "%", "User": "a", "Proxied_host": "h", "Proxied_user": "p", "With_grant": 1}
    empty = {"Db": "", "Username": "", "Password": "it's", "Socket": "", "Owner": "", "Wrapper": "mysql", "Port": 3}
    far = empty | {"Server_name": "far", "Host": "then"}
    wanted = state(user("a"), proxies_priv=[proxy], servers=[far])
    assert said(state(user("a"), servers=[far | {"Server_name": "near"}]), wanted) == [
        "GRANT PROXY ON `p`@`h` TO `a`@`%` WITH GRANT OPTION",
        "DROP SERVER IF EXISTS `near`",
        "CREATE OR REPLACE SERVER `far` FOREIGN DATA WRAPPER `mysql` OPTIONS (HOST 'then', PASSWORD 'it''s', PORT 3)",
    ]


def test_what_is_lacking_to_say_it_is_named_once_for_each_scope() -> None:
    key = {"Host": "%", "User": "a", "Db": "s_1"}
    wanted = state(
        user("a", access=1 << 9),
        tables_priv=[key | {"Table_name": "t", "Table_priv": "Select,Insert", "Column_priv": ""}],
        columns_priv=[key | {"Table_name": "t", "Column_name": "c", "Column_priv": "Update"}],
    )
    rights = Rights.of(["GRANT SELECT ON *.* TO `svc`@`%` WITH GRANT OPTION"])
    found = [one.fix("`svc`@`%`") for one in lacking_for(changes(state(user("a")), wanted), rights)]
    assert found == [
        "GRANT FILE ON *.* TO `svc`@`%`",
        "GRANT INSERT, UPDATE ON `s\\_1`.* TO `svc`@`%`",
    ]
    assert (
        lacking_for(
            changes(state(user("a")), wanted), Rights.of(["GRANT ALL PRIVILEGES ON *.* TO `s` WITH GRANT OPTION"])
        )
        == []
    )
