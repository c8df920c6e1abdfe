"""What is said of what was seen."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tidewind.engines.mariadb.grants import (
    ALL,
    BACKUP_GRANTS,
    CAPTURE_GRANTS,
    RESTORE_GRANTS,
    excess,
    global_grants,
    missing,
)
from tidewind.engines.mariadb.preflight import Seen, findings
from tidewind.engines.mariadb.restore.closing import Rights
from tidewind.engines.mariadb.server import version_of
from tidewind.engines.mariadb.system_tables import ACCOUNT_TABLES, RULES, SYSTEM_TABLES, rule_of
from tidewind.engines.mariadb.variables import NEVER, why_never
from tidewind.ports.engine import ServerFacts


def on_server(*rights: str) -> Rights:
    return Rights(on_server=frozenset(rights), on_schemas={})


GOOD = Seen(
    facts=ServerFacts(
        engine="mariadb",
        version="10.11.19",
        identity="1-a",
        zone="UTC",
        position="0-1-1",
        now=datetime(2026, 1, 1, tzinfo=UTC),
    ),
    cluster_id="shop",
    subject="db:3306",
    variables={
        "log_bin": "ON",
        "binlog_format": "ROW",
        "binlog_row_image": "FULL",
        "binlog_checksum": "CRC32",
        "gtid_strict_mode": "ON",
        "sync_binlog": "1",
    },
    galera=False,
    replica_sources=0,
    held=frozenset({*BACKUP_GRANTS, *CAPTURE_GRANTS}),
    account="`b`@`%`",
    restore_rights=on_server(*RESTORE_GRANTS, "GRANT OPTION"),
    restore_account="`r`@`%`",
    reserved_tables=None,
    engines=(),
    versioned=(),
    schemas=("shop",),
)


def test_nothing_to_say_of_a_good_server() -> None:
    assert {finding.level for finding in findings(GOOD)} == {"ok"}


@pytest.mark.parametrize(
    ("changes", "level", "text"),
    [
        ({"galera": True}, "error", "Galera"),
        ({"replica_sources": 1}, "error", "itself a replica"),
        ({"replica_sources": None}, "error", "may not see whether"),
        ({"reserved_tables": ()}, "error", "a schema named `tidewind` exists"),
        ({"engines": (("s", "t", "SPIDER"),)}, "error", "`s`.`t` has engine SPIDER"),
        ({"variables": {"log_bin": "OFF"}}, "warn", "binary log is off"),
        ({"variables": {**GOOD.variables, "binlog_format": "STATEMENT"}}, "warn", "binlog_format is STATEMENT"),
        ({"held": frozenset({*BACKUP_GRANTS, "DROP"})}, "warn", "has DROP, which it never needs"),
        ({"held": frozenset()}, "error", "lacks BINLOG ADMIN, BINLOG MONITOR"),
        ({"held": frozenset({*BACKUP_GRANTS} - {"RELOAD"})}, "error", "lacks RELOAD: to hold off commits"),
        ({"held": frozenset(BACKUP_GRANTS)}, "warn", "lacks REPLICATION SLAVE"),
        ({"filtered": "binlog_do_db shop"}, "warn", "leaves schemas out (binlog_do_db shop)"),
        ({"restore_rights": on_server(*BACKUP_GRANTS)}, "error", "lacks ALTER"),
        ({"restore_rights": on_server(*BACKUP_GRANTS), "restore_account": None}, "warn", "lacks ALTER"),
        ({"facts": replace(GOOD.facts, version="10.4.30")}, "error", "older than 10.5"),
        ({"facts": replace(GOOD.facts, version="10.5.29")}, "warn", "moves tables one by one"),
        (
            {"facts": replace(GOOD.facts, version="10.6.1"), "versioned": (("s", "h"),)},
            "error",
            "`s`.`h` is system-versioned",
        ),
    ],
)
def test_findings(changes: dict[str, Any], level: str, text: str) -> None:
    found = [finding for finding in findings(replace(GOOD, **changes)) if text in finding.text]
    assert found, [finding.text for finding in findings(replace(GOOD, **changes))]
    assert {finding.level for finding in found} == {level}


def test_missing_rights_are_one_line_that_grants_them() -> None:
    found = [one for one in findings(replace(GOOD, held=frozenset())) if one.level == "error"]
    assert len(found) == 1
    assert str(found[0].fix).count("GRANT") == 1
    for account in (None, "`r`@`%`"):
        (one,) = [
            one
            for one in findings(replace(GOOD, restore_rights=on_server(*BACKUP_GRANTS), restore_account=account))
            if one.subject == "restores"
        ]
        assert len(one.text) < 200
        assert str(one.fix).startswith("GRANT ALL PRIVILEGES ON *.* TO ")
        assert ";;" not in str(one.fix)
        assert ("tidewind cluster update shop --restore-credentials" in str(one.fix)) is (account is None)


def test_our_own_schema_of_a_restored_server_is_no_finding() -> None:
    assert not [f for f in findings(replace(GOOD, reserved_tables=("fence", "progress"))) if f.level == "error"]


def test_grants_are_read_from_show_grants() -> None:
    held = global_grants(
        [
            "GRANT SELECT, REPLICA MONITOR ON *.* TO `b`@`%` IDENTIFIED BY PASSWORD '*X' WITH GRANT OPTION",
            "GRANT DROP ON `shop`.* TO `b`@`%`",
        ]
    )
    assert held == {"SELECT", "SLAVE MONITOR", "GRANT OPTION"}
    assert missing(held, ["SELECT", "RELOAD"]) == ["RELOAD"]
    assert missing(global_grants(["GRANT ALL PRIVILEGES ON *.* TO `r`@`%`"]), BACKUP_GRANTS) == []
    assert excess(held) == ["GRANT OPTION"]
    assert ALL == "ALL PRIVILEGES"


@pytest.mark.parametrize(
    ("text", "numbers"), [("10.11.19-MariaDB-log", (10, 11, 19)), ("5.5.5-10.6.2-MariaDB", (10, 6, 2))]
)
def test_version_of(text: str, numbers: tuple[int, ...]) -> None:
    assert version_of(text) == numbers


def test_mysql_is_no_mariadb() -> None:
    with pytest.raises(ValueError, match="not a version"):
        version_of("8.4.3")


def test_system_tables_have_one_rule_each() -> None:
    assert len(SYSTEM_TABLES) == len({entry.table for entry in SYSTEM_TABLES.values()})
    assert {entry.rule for entry in SYSTEM_TABLES.values()} == set(RULES)
    assert len(ACCOUNT_TABLES) == 7
    assert rule_of("GLOBAL_PRIV") is SYSTEM_TABLES["global_priv"]
    assert rule_of("novel") is None


def test_variables_left_out_say_why() -> None:
    assert why_never("SERVER_ID")
    assert why_never("wsrep_anything")
    assert why_never("max_connections") is None
    assert why_never("init_connect") is None
    assert all(why for why in NEVER.values())
