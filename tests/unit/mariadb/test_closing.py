"""How a server is closed, and what an account lacks for it."""

import pytest

from tidewind.engines.mariadb.grants import RESTORE_GRANTS, STATEMENT_GRANTS, matches, pattern_of, schema_grants
from tidewind.engines.mariadb.restore.closing import (
    Rights,
    closing_of,
    lacking,
    meant_for_statements,
    release_findings,
    rights_findings,
)

SVC = "`svc`@`%`"
EVERYTHING = Rights.of([f"GRANT {', '.join(sorted(RESTORE_GRANTS))} ON *.* TO {SVC}"])


def by_statements(*schemas: str) -> Rights:
    there = ", ".join(sorted(STATEMENT_GRANTS - {"GRANT OPTION"}))
    patterns = ("tidewind", "tidewind\\_%", *schemas)
    return Rights.of(
        [
            f"GRANT {there} ON *.* TO {SVC} IDENTIFIED BY PASSWORD '*00' WITH GRANT OPTION",
            *(f"GRANT ALL PRIVILEGES ON `{pattern}`.* TO {SVC} WITH GRANT OPTION" for pattern in patterns),
        ]
    )


@pytest.mark.parametrize(
    ("version", "rights", "closing"),
    [
        ((10, 6, 0), EVERYTHING, "swap"),
        ((11, 8, 9), EVERYTHING, "swap"),
        ((10, 5, 29), EVERYTHING, "rows"),
        ((10, 5, 29), Rights.of([f"GRANT ALL PRIVILEGES ON *.* TO {SVC}"]), "rows"),
        ((10, 5, 29), by_statements("shop"), "statements"),
        ((11, 4, 1), by_statements("shop"), "statements"),
    ],
)
def test_the_way_follows_from_version_and_rights(version: tuple[int, ...], rights: Rights, closing: str) -> None:
    assert closing_of(version, rights) == closing


def test_nothing_lacks() -> None:
    assert lacking(EVERYTHING, ["shop", "any"]) == []
    assert lacking(by_statements("shop", "st%"), ["shop", "stock"]) == []
    assert not meant_for_statements(EVERYTHING)
    assert meant_for_statements(by_statements("shop"))


def test_each_missing_right_comes_with_the_statement_that_gives_it() -> None:
    fixes = [one.fix(SVC) for one in lacking(by_statements("shop"), ["shop", "o_ther"])]
    assert len(fixes) == 1
    assert fixes[0].startswith("GRANT ALTER, ALTER ROUTINE, CREATE")
    assert fixes[0].endswith(f"ON `o\\_ther`.* TO {SVC}")
    bare = Rights.of([f"GRANT SELECT ON *.* TO {SVC}", f"GRANT ALL PRIVILEGES ON `shop`.* TO {SVC}"])
    found = {one.on: one.rights for one in lacking(bare, ["shop"])}
    assert "CREATE USER" in found["*.*"]
    assert found["`shop`.*"] == ("GRANT OPTION",)
    assert "`tidewind\\_%`.*" in found


def test_an_account_with_rights_on_all_data_is_told_of_the_ordinary_ones_only() -> None:
    partly = Rights.of([f"GRANT INSERT ON *.* TO {SVC}", f"GRANT SELECT ON `shop`.* TO {SVC}"])
    (found,) = lacking(partly, ["shop"])
    assert found.on == "*.*"
    assert "UPDATE" in found.rights


def test_what_is_weaker_is_said() -> None:
    assert release_findings((10, 6, 0)) == rights_findings(EVERYTHING) == []
    assert "one by one" in release_findings((10, 5, 29))[0].text
    assert "one after another" in rights_findings(by_statements())[0].text


@pytest.mark.parametrize(
    ("pattern", "schema", "same"),
    [
        ("shop", "shop", True),
        ("sh%", "shop", True),
        ("sh_p", "shop", True),
        ("sh\\_p", "shop", False),
        ("sh\\_p", "sh_p", True),
        ("%", "mysql", True),
        ("sh.p", "shop", False),
    ],
)
def test_patterns_of_grants(pattern: str, schema: str, same: bool) -> None:
    assert matches(pattern, schema) is same


@pytest.mark.parametrize("name", ["plain", "a_b", "a%b", "a\\b", "a`b\"c'..\\/é"])
def test_a_schemas_own_pattern_matches_it_alone(name: str) -> None:
    assert matches(pattern_of(name), name)
    assert not matches(pattern_of(name), name.replace("_", "x").replace("%", "xx") + "x")


def test_grants_on_tables_and_roles_are_none_on_schemas() -> None:
    lines = [
        f"GRANT SELECT, INSERT ON `a``b`.* TO {SVC} WITH GRANT OPTION",
        f"GRANT SELECT ON `a`.`t` TO {SVC}",
        f"GRANT `clerk` TO {SVC}",
    ]
    assert schema_grants(lines) == {"a`b": frozenset({"SELECT", "INSERT", "GRANT OPTION"})}


def test_an_accounts_rights_can_be_given_to_another() -> None:
    rights = Rights.of([f"GRANT USAGE ON *.* TO {SVC} WITH GRANT OPTION", f"GRANT DROP ON `s%`.* TO {SVC}"])
    assert rights.as_grants("`x`@`y`") == [
        "GRANT USAGE ON *.* TO `x`@`y` WITH GRANT OPTION",
        "GRANT DROP ON `s%`.* TO `x`@`y`",
    ]
