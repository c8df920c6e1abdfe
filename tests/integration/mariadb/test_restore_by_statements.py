"""Restores by an account that has no rights on the tables of `mysql`: locks, accounts and rights by statements."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.integration.mariadb.restore_data import HOSTILE_SCHEMA, OOPS, SEED
from tests.integration.mariadb.restore_lab import SERVICE_LOGIN, Lab, lab_on, without_mysql
from tests.integration.mariadb.snapshot_support import client, rows
from tidewind.domain.problems import PREFIX
from tidewind.ports.jobs import Reject

REQUEST = "tidewind.restore.request.v1"
COMPLETED = "tidewind.restore.completed.v1"
SCHEMAS = ("shop", "stock", HOSTILE_SCHEMA, "later")
BEFORE = (
    *SEED,
    "CREATE ROLE boss",
    "GRANT clerk TO boss WITH ADMIN OPTION",
    "GRANT boss TO app@'%' WITH ADMIN OPTION",
    "CREATE USER asleep@'%' IDENTIFIED BY 'a' ACCOUNT LOCK",
    "CREATE USER woken@'%' IDENTIFIED BY 'w' ACCOUNT LOCK",
    "CREATE USER guarded@'10.0.0.%' IDENTIFIED BY 'g' REQUIRE SUBJECT '/CN=it''s' AND CIPHER 'x' "
    "WITH MAX_QUERIES_PER_HOUR 7 MAX_STATEMENT_TIME 2.5 PASSWORD EXPIRE INTERVAL 90 DAY",
    "GRANT SELECT, RELOAD ON *.* TO guarded@'10.0.0.%' WITH GRANT OPTION",
    "CREATE USER ''@'nowhere.invalid'",
    "GRANT ALL ON `st\\_ock%`.* TO asleep@'%'",
)
AFTER = (
    *OOPS,
    "ALTER USER woken@'%' ACCOUNT UNLOCK",
    "ALTER USER guarded@'10.0.0.%' REQUIRE NONE WITH MAX_QUERIES_PER_HOUR 0 PASSWORD EXPIRE NEVER",
    "REVOKE RELOAD, GRANT OPTION ON *.* FROM guarded@'10.0.0.%'",
    "REVOKE boss FROM app@'%'",
    "GRANT SELECT ON stock.old TO fresh@'%'",
)


@pytest.fixture
async def lab(mariadb_factory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    monkeypatch.setenv("TIDEWIND_TEST_SERVICE", f"{SERVICE_LOGIN.user}:{SERVICE_LOGIN.password}")
    server = await mariadb_factory()
    async with lab_on(server, tmp_path / "deployment", granted=without_mysql(*SCHEMAS)) as made:
        made.sql(f"GRANT SHUTDOWN ON *.* TO '{SERVICE_LOGIN.user}'@'%' WITH GRANT OPTION")
        await made.enroll()
        yield made


def may_log_in(lab: Lab, user: str, password: str) -> bool:
    try:
        pymysql.connect(host=lab.server.host, port=lab.server.port, user=user, password=password).close()
    except pymysql.err.OperationalError:
        return False
    return True


async def test_restore_and_undo_bring_back_accounts_locks_and_rights(lab: Lab) -> None:
    lab.sql(*BEFORE)
    then = await lab.content()
    backup = await lab.backup()
    lab.sql(*AFTER)
    now = await lab.content()

    ending = await lab.restore(backup)
    assert ending.event == COMPLETED, ending
    assert then.differences(await lab.content()) == []
    assert not may_log_in(lab, "woken", "w")
    assert may_log_in(lab, "app", "app-before")

    undone = await lab.undo(ending.body.restore_id)
    assert undone.event == COMPLETED, undone
    assert now.differences(await lab.content()) == []
    assert may_log_in(lab, "woken", "w")

    again = await lab.undo(undone.body.restore_id)
    assert again.event == COMPLETED, again
    assert then.differences(await lab.content()) == []
    connection = client(lab.server)
    assert not rows(connection, "SELECT User FROM mysql.global_priv WHERE User LIKE 'tw\\_%'")
    assert not rows(connection, "SELECT * FROM mysql.db WHERE User LIKE 'tw\\_%'")
    connection.close()


async def test_the_plan_says_how_it_closes_and_what_is_weaker(lab: Lab) -> None:
    lab.sql(*BEFORE)
    backup = await lab.backup()
    job = await lab.accept(REQUEST, mode="snapshot", backup_id=backup, dry_run=True)
    plan = job.answer["plan"]
    assert plan["blockers"] == []
    assert "ACCOUNT LOCK" in plan["closing"]
    assert any("one after another" in text for text in plan["warnings"])


async def test_the_plan_names_every_right_that_is_missing(lab: Lab) -> None:
    lab.sql(*BEFORE, "CREATE USER files@'%'", "GRANT FILE ON *.* TO files@'%'", "CREATE DATABASE o_ther")
    backup = await lab.backup()
    user = f"'{SERVICE_LOGIN.user}'@'%'"
    lab.sql(*AFTER, "REVOKE FILE ON *.* FROM files@'%'", f"REVOKE CONNECTION ADMIN ON *.* FROM {user}")
    refused = await lab.decide(REQUEST, mode="snapshot", backup_id=backup)
    assert isinstance(refused, Reject)
    assert refused.problem.type == PREFIX + "restore-blocked"
    told = str(refused.problem.detail)
    name = f"`{SERVICE_LOGIN.user}`@`%`"
    assert f"GRANT CONNECTION ADMIN ON *.* TO {name}" in told
    assert f"GRANT FILE ON *.* TO {name}" in told
    assert f"ON `o\\_ther`.* TO {name}" in told
    every = "ALL PRIVILEGES ON `o\\_ther`.*"
    for right in ("CONNECTION ADMIN ON *.*", "FILE ON *.*", every):
        lab.sql(f"GRANT {right} TO {user} WITH GRANT OPTION")
    ending = await lab.restore(backup)
    assert ending.event == COMPLETED, ending


async def test_attached_replicas_are_refused(lab: Lab) -> None:
    lab.sql(*BEFORE)
    backup = await lab.backup()
    entry = await lab.tools.registry.newest("shop")
    assert entry is not None
    assert await lab.tools.registry.put(entry.model_copy(update={"replicas": "attached", "revision": 2}))
    refused = await lab.decide(REQUEST, mode="snapshot", backup_id=backup)
    assert isinstance(refused, Reject)
    assert "replicas are told of accounts by rows" in str(refused.problem.detail)
