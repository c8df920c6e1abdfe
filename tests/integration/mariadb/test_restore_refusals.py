"""What stops a restore on a real server: no space for the load, a Galera node, accounts that would lock it out."""

from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.integration.mariadb.restore_lab import CLUSTER, SERVICE_LOGIN, lab_on
from tests.integration.mariadb.snapshot_support import address_of
from tests.servers.galera import galera_options
from tidewind.domain import keys
from tidewind.domain.manifest import Manifest
from tidewind.domain.problems import PREFIX
from tidewind.domain.records import parse
from tidewind.engines.mariadb.grants import RESTORE_GRANTS
from tidewind.engines.mariadb.snapshot import MariaDBSnapshotEngine
from tidewind.ports.jobs import Reject

REQUEST = "tidewind.restore.request.v1"
SHOP = (
    "CREATE DATABASE shop",
    "USE shop",
    "CREATE TABLE shop.goods (id INT PRIMARY KEY, text VARCHAR(8000)) ENGINE=InnoDB",
    "INSERT INTO shop.goods SELECT seq, REPEAT('x', 7000) FROM seq_1_to_{rows}",
)


@pytest.fixture(autouse=True)
def _login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEWIND_TEST_SERVICE", f"{SERVICE_LOGIN.user}:{SERVICE_LOGIN.password}")


async def test_a_disk_that_is_full_during_the_load_gives_the_old_data_back(
    mariadb_factory: Any, tmp_path: Path
) -> None:
    server = await mariadb_factory(
        options=("--innodb-file-per-table=0", "--innodb-data-file-path=ibdata1:12M:autoextend:max:48M")
    )
    async with lab_on(server, tmp_path / "deployment") as lab:
        await lab.enroll()
        lab.sql(*(statement.format(rows=3000) for statement in SHOP))
        backup = await lab.backup()
        lab.sql("DELETE FROM shop.goods WHERE id = 7", "UPDATE shop.goods SET text = 'now' WHERE id = 8")
        now = await lab.content()
        ending = await lab.restore(backup)
        assert ending.event == "tidewind.restore.failed.v1", ending
        assert ending.body.returned
        assert ending.body.problem.type == PREFIX + "database-full"
        assert "no space left on the server" in ending.body.problem.detail
        assert "is full" in ending.body.problem.detail
        assert "Free space" in ending.body.problem.next_step
        assert now.differences(await lab.content()) == []
        lab.sql("INSERT INTO shop.goods VALUES (7, 'it goes on')")


async def test_a_galera_node_is_refused(mariadb_factory: Any, tmp_path: Path) -> None:
    server = await mariadb_factory()
    async with lab_on(server, tmp_path / "deployment") as lab:
        await lab.enroll()
        lab.sql(*(statement.format(rows=3) for statement in SHOP))
        backup = await lab.backup()
        await server.stop()
        await server.start(extra_options=galera_options())
        refused = await lab.decide(REQUEST, mode="snapshot", backup_id=backup)
        assert isinstance(refused, Reject)
        assert refused.problem.type == PREFIX + "restore-blocked"
        assert "Galera node" in str(refused.problem.detail)
        preflight = await MariaDBSnapshotEngine().preflight(address_of(server), SERVICE_LOGIN, None)
        assert any("Galera node" in one.text for one in preflight.findings if one.level == "error")


async def test_a_backup_of_a_later_release_is_refused(mariadb_factory: Any, tmp_path: Path) -> None:
    async with lab_on(await mariadb_factory(), tmp_path / "deployment") as lab:
        await lab.enroll()
        lab.sql(*(statement.format(rows=3) for statement in SHOP))
        backup = await lab.backup()
        key = keys.manifest(keys.attempt(CLUSTER, backup, 1))
        manifest = parse(Manifest, await lab.store.get(key))
        await lab.store.put(key, manifest.model_copy(update={"engine_version": "99.1.2"}).to_bytes())
        refused = await lab.decide(REQUEST, mode="snapshot", backup_id=backup)
        assert isinstance(refused, Reject)
        assert refused.problem.type == PREFIX + "restore-blocked"
        assert "older than 99.1.2 of the backup" in str(refused.problem.detail)


async def test_anonymous_accounts_of_the_backup_never_lock_the_service_out(
    mariadb_factory: Any, tmp_path: Path
) -> None:
    """For the server the most exact host comes first, and a nameless account takes every name."""
    server = await mariadb_factory()
    local = f"'{SERVICE_LOGIN.user}'@'localhost'"
    make = (
        f"CREATE USER {local} IDENTIFIED BY '{SERVICE_LOGIN.password}'",
        f"GRANT {', '.join(sorted(RESTORE_GRANTS))} ON *.* TO {local}",
    )
    async with lab_on(server, tmp_path / "deployment") as lab:
        await lab.enroll()
        lab.sql(*(statement.format(rows=3) for statement in SHOP), *make, "CREATE USER ''@'localhost'")
        backup = await lab.backup()
        lab.sql("DROP USER ''@'localhost'", f"DROP USER {local}")
        now = await lab.content()
        refused = await lab.decide(REQUEST, mode="snapshot", backup_id=backup)
        assert isinstance(refused, Reject)
        assert refused.problem.type == PREFIX + "restore-blocked"
        assert f"Create `{SERVICE_LOGIN.user}`@`localhost`" in str(refused.problem.detail)
        planned = await lab.accept(REQUEST, mode="snapshot", backup_id=backup, dry_run=True)
        (blocker,) = planned.answer["plan"]["blockers"]
        assert f"Create `{SERVICE_LOGIN.user}`@`localhost`" in blocker
        assert now.differences(await lab.content()) == []

        lab.sql(*make)
        ending = await lab.restore(backup)
        assert ending.event == "tidewind.restore.completed.v1", ending
        pymysql.connect(
            host=server.host,
            port=server.port,
            user=SERVICE_LOGIN.user,
            password=SERVICE_LOGIN.password,
            ssl_disabled=True,
        ).close()


async def test_anonymous_accounts_never_lock_the_backups_own_account_out_either(
    mariadb_factory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await mariadb_factory()
    local = f"'{SERVICE_LOGIN.user}'@'localhost'"
    monkeypatch.setenv("TIDEWIND_TEST_BACKUPS", "backups:b-Passw0rd")
    async with lab_on(server, tmp_path / "deployment") as lab:
        entry = await lab.enroll()
        accounts = {"credentials": "env:TIDEWIND_TEST_BACKUPS", "restore_credentials": "env:TIDEWIND_TEST_SERVICE"}
        assert await lab.tools.registry.put(entry.model_copy(update={**accounts, "revision": 2}))
        lab.sql(
            *(statement.format(rows=3) for statement in SHOP),
            "CREATE USER backups@'%' IDENTIFIED BY 'b-Passw0rd'",
            f"CREATE USER {local} IDENTIFIED BY '{SERVICE_LOGIN.password}'",
            f"GRANT {', '.join(sorted(RESTORE_GRANTS))} ON *.* TO {local}",
            "CREATE USER ''@'localhost'",
        )
        backup = await lab.backup()
        refused = await lab.decide(REQUEST, mode="snapshot", backup_id=backup)
        assert isinstance(refused, Reject)
        assert "Create `backups`@`localhost`" in str(refused.problem.detail)
        lab.sql("CREATE USER backups@localhost IDENTIFIED BY 'b-Passw0rd'")
        ending = await lab.restore(backup)
        assert ending.event == "tidewind.restore.completed.v1", ending
        pymysql.connect(host=server.host, port=server.port, user="backups", password="b-Passw0rd").close()
