"""Releases of MariaDB beside the one of this system: a backup, an accident and a restore on each that takes restores,
and the refusal on the one that does not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.mariadb.restore_data import OOPS, SEED
from tests.integration.mariadb.restore_lab import SERVICE_LOGIN, Lab, lab_on
from tests.integration.mariadb.snapshot_support import client, run
from tests.servers import installed
from tidewind.domain.problems import PREFIX
from tidewind.ports.jobs import Reject


@asynccontextmanager
async def lab_of(
    release: str, factory: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> AsyncIterator[Lab]:
    monkeypatch.setenv("TIDEWIND_TEST_SERVICE", f"{SERVICE_LOGIN.user}:{SERVICE_LOGIN.password}")
    server = await factory(installation=installed.mariadb(release), **options)
    async with lab_on(server, folder / "deployment") as lab:
        await lab.enroll()
        yield lab


@pytest.mark.parametrize("release", ["11.4", "11.8"])
async def test_a_restore_and_its_undo(
    release: str, mariadb_factory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lab_of(release, mariadb_factory, tmp_path, monkeypatch) as lab:
        lab.sql(*SEED)
        then = await lab.content()
        backup = await lab.backup()
        lab.sql(*OOPS)
        now = await lab.content()
        assert now.differences(then)
        ending = await lab.restore(backup)
        assert ending.event == "tidewind.restore.completed.v1", ending
        assert then.differences(await lab.content()) == []
        undone = await lab.undo(ending.body.restore_id)
        assert undone.event == "tidewind.restore.completed.v1", undone
        assert now.differences(await lab.content()) == []


async def test_the_oldest_release_is_backed_up_and_a_restore_is_refused_with_the_way_on(
    mariadb_factory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lab_of("10.5", mariadb_factory, tmp_path, monkeypatch) as lab:
        lab.sql("CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY)", "INSERT INTO shop.t VALUES (1)")
        backup = await lab.backup()
        connection = client(lab.server)
        run(connection, "DELETE FROM shop.t")
        connection.close()
        before = await lab.content()
        refused = await lab.decide("tidewind.restore.request.v1", mode="snapshot", backup_id=backup)
        assert isinstance(refused, Reject)
        assert refused.problem.type == PREFIX + "restore-blocked"
        assert "older than 10.6" in str(refused.problem.detail)
        assert "Upgrade the server" in str(refused.problem.detail)
        assert before.differences(await lab.content()) == []
