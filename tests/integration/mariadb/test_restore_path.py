"""A restore and its undo on a real server, compared object by object."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.mariadb.restore_data import OOPS, SEED, differing, picture
from tests.integration.mariadb.restore_lab import SERVICE_LOGIN, Lab, lab_on
from tests.integration.mariadb.snapshot_support import client, rows


@pytest.fixture
async def lab(mariadb_factory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    monkeypatch.setenv("TIDEWIND_TEST_SERVICE", f"{SERVICE_LOGIN.user}:{SERVICE_LOGIN.password}")
    server = await mariadb_factory()
    async with lab_on(server, tmp_path / "deployment") as made:
        await made.enroll()
        yield made


def look(lab: Lab) -> dict[str, Any]:
    connection = client(lab.server)
    try:
        return picture(connection)
    finally:
        connection.close()


async def test_restore_and_undo_put_everything_back(lab: Lab) -> None:
    lab.sql(*SEED)
    then = look(lab)
    backup = await lab.backup()
    lab.sql(*OOPS)
    now = look(lab)
    assert differing(then, now)

    ending = await lab.restore(backup)
    assert ending.event == "tidewind.restore.completed.v1", ending
    assert differing(then, look(lab)) == {}

    undone = await lab.undo(ending.body.restore_id)
    assert undone.event == "tidewind.restore.completed.v1", undone
    assert not (lambda d: [print(k, *v, sep="\n   ") for k, v in d.items()])(differing(now, look(lab)))

    again = await lab.undo(undone.body.restore_id)
    assert again.event == "tidewind.restore.completed.v1", again
    assert differing(then, look(lab)) == {}
    left = rows(client(lab.server), "SELECT User FROM mysql.global_priv WHERE User LIKE 'tw\\_%'")
    assert left == () or left == []
