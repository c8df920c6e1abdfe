"""What earlier releases left is listed, verified and restored by this one, and what they said is understood."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from shutil import copytree

import pytest

from schemas.messages import MESSAGES
from tests.acceptance import shop
from tests.acceptance.deployment import Deployment
from tests.acceptance.plain_client import PlainClient
from tests.acceptance.protected import CLUSTER, LOGINS, ProtectedShop
from tests.compat.released import AUDITOR, AUDITOR_PASSWORD, FORMATS, Released
from tests.oracle import content
from tidewind.embedded.mariadb import PrivateMariaDB


def test_there_is_a_released_format() -> None:
    assert FORMATS


@pytest.mark.parametrize("name", FORMATS)
def test_its_messages_are_understood(name: str) -> None:
    models = {message.name: message.body for message in MESSAGES}
    messages = [one for one in Released(name).messages if one["data"] is not None]
    assert {one["topic"] for one in messages} == {"replies", "events", "status", "progress"}
    for one in messages:
        understood = models[one["headers"]["ce_type"]].model_validate(one["data"])
        written = understood.model_dump(mode="json")
        assert {field: written[field] for field in one["data"]} == one["data"], "nothing of it was lost"


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.timeout(180)
async def test_its_backup_is_listed_verified_and_restored(
    name: str, kafka: str, tmp_path: Path, mariadb_factory: Callable[..., Awaitable[PrivateMariaDB]]
) -> None:
    """Into another server than the one it was taken of, which is gone with its release."""
    released = Released(name)
    server = await mariadb_factory(options=("--event-scheduler=ON",))
    root = await server.connect()
    async with root.cursor() as cursor:
        await cursor.execute(f"CREATE USER '{shop.SERVICE_USER}'@'%' IDENTIFIED BY '{shop.SERVICE_PASSWORD}'")
        await cursor.execute(f"GRANT ALL ON *.* TO '{shop.SERVICE_USER}'@'%' WITH GRANT OPTION")
    root.close()
    deployment = Deployment(tmp_path / "tidewind", kafka, extra={**LOGINS, "TEST_KEYRING": released.keyring})
    copytree(released.store, deployment.directory / "store", dirs_exist_ok=True)
    ended = next(one["data"] for one in released.messages if ".backup.completed." in one["headers"]["ce_type"])
    backup = ended["backup_id"]
    try:
        await deployment.make_topics()
        await deployment.start()
        async with PlainClient(kafka, deployment.prefix) as client:
            made = ProtectedShop(deployment, client, server)
            listed = await client.wait_status(f"backup/{CLUSTER}/{backup}", lambda data: data["state"] == "completed")
            assert listed["rows"] == ended["rows"]
            setting = await client.wait_status(f"setting/{CLUSTER}")
            assert setting["setting"] == {"backup_time": "03:30", "retention_days": 90}
            verified = await made.done("commands", "backup.verify", {"backup_id": backup})
            assert verified["type"] == "tidewind.backup.verified.v1", verified
            moved = {"endpoints": [{"host": server.host, "port": server.port}]}
            updated = await made.done("commands", "cluster.update", moved)
            assert updated["type"] == "tidewind.cluster.updated.v1", updated
            restored = await made.done("restores", "restore.request", {"mode": "snapshot", "backup_id": backup})
            assert restored["type"] == "tidewind.restore.completed.v1", restored
        auditor = await server.connect(user=AUDITOR, password=AUDITOR_PASSWORD)
        found = await content(auditor, spared_accounts=[shop.SERVICE_USER])
        auditor.close()
        assert found.differences(released.content) == []
    finally:
        print(deployment.logs())
        await deployment.close()
