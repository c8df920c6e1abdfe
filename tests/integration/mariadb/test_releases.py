"""Releases of MariaDB beside the one of this system: a backup, an accident, a restore and its undo on each."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.mariadb.restore_data import OOPS, SEED
from tests.integration.mariadb.restore_lab import SERVICE_LOGIN, Lab, lab_on
from tests.servers import installed


@asynccontextmanager
async def lab_of(
    release: str, factory: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> AsyncIterator[Lab]:
    monkeypatch.setenv("TIDEWIND_TEST_SERVICE", f"{SERVICE_LOGIN.user}:{SERVICE_LOGIN.password}")
    server = await factory(installation=installed.mariadb(release), **options)
    async with lab_on(server, folder / "deployment") as lab:
        await lab.enroll()
        yield lab


def seed_of(release: str) -> list[str]:
    """History of system-versioned tables can be put back from 10.11 on, and enrolment says so."""
    return [one for one in SEED if release != "10.5" or "stock.prices" not in one]


@pytest.mark.parametrize("release", ["10.5", "11.4", "11.8"])
async def test_a_restore_and_its_undo(
    release: str, mariadb_factory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lab_of(release, mariadb_factory, tmp_path, monkeypatch) as lab:
        lab.sql(*seed_of(release))
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
