"""The main job through Kafka alone: a client with nothing but JSON protects a real MariaDB, loses it, gets it back."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from shutil import rmtree

import pytest

from tests.acceptance import shop
from tests.acceptance.deployment import Deployment
from tests.acceptance.ground import Ground, plain, secured
from tests.acceptance.plain_client import PlainClient
from tests.oracle import content

CLUSTER = "shop-1"


@pytest.fixture(params=["plain", "secured"])
def standing(request: pytest.FixtureRequest, tmp_path: Path) -> AbstractAsyncContextManager[Ground]:
    """Each kind of installation; what only one of them needs is not started for the other."""
    if request.param == "plain":
        return plain(tmp_path, request.getfixturevalue("kafka"))
    return secured(tmp_path, request.getfixturevalue("secure_kafka"), request.getfixturevalue("certificates"))


@pytest.fixture
async def ground(standing: AbstractAsyncContextManager[Ground], tmp_path: Path) -> AsyncIterator[Ground]:
    async with standing as made:
        yield made
    rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
async def deployment(ground: Ground, tmp_path: Path) -> AsyncIterator[Deployment]:
    login = {"SHOP_LOGIN": f"{shop.SERVICE_USER}:{shop.SERVICE_PASSWORD}"}
    made = Deployment(tmp_path / "tidewind", ground.bootstrap, extra=login | ground.environment)
    try:
        await made.make_topics()
        await made.start(*ground.services)
        yield made
    finally:
        print(made.logs())
        await made.close()


@pytest.mark.timeout(240)
async def test_backup_oops_restore_undo(deployment: Deployment, ground: Ground) -> None:
    server = ground.server
    root = await server.connect()
    await shop.build(root)
    before = await content(root, spared_accounts=[shop.SERVICE_USER])

    async with PlainClient(ground.bootstrap, deployment.prefix, **ground.client) as client:
        wanted = {
            "cluster_id": CLUSTER,
            "engine": "mariadb",
            "region": "eu-central-1",
            "endpoints": [{"host": server.host, "port": server.port}],
            "credentials": "env:SHOP_LOGIN",
            "setting": {"backup_time": "02:00", "retention_days": 14},
        }
        for changes, name, says in ground.refused:
            answer = await client.reply(await client.send("commands", "tidewind.cluster.enroll.v1", wanted | changes))
            assert answer["type"] == "tidewind.command.rejected.v1", answer
            assert answer["problem"]["type"] == f"urn:tidewind:problem:{name}", answer
            assert says in answer["problem"]["detail"] + answer["problem"]["next_step"], answer
        enrolled = await client.send("commands", "tidewind.cluster.enroll.v1", wanted | ground.enrolment)
        answer = await client.reply(enrolled)
        assert answer["type"] == "tidewind.command.accepted.v1", answer
        assert answer["answer"]["zone"] == "Europe/Berlin"
        assert (await client.terminal(answer["job_id"]))["type"] == "tidewind.cluster.enrolled.v1"
        await client.wait_status(f"cluster/{CLUSTER}")
        setting = await client.wait_status(f"setting/{CLUSTER}")
        assert setting["setting"]["retention_days"] == 14
        await client.wait_status(f"availability/{CLUSTER}", lambda state: state["state"] == "Available")

        run = await client.send("commands", "tidewind.backup.run.v1", {"cluster_id": CLUSTER})
        answer = await client.reply(run)
        assert answer["type"] == "tidewind.command.accepted.v1", answer
        backup = answer["answer"]["backup_id"]
        completed = await client.terminal(answer["job_id"])
        assert completed["type"] == "tidewind.backup.completed.v1", completed
        assert completed["rows"] >= 3500

        await shop.oops(root)
        ruined = await content(root, spared_accounts=[shop.SERVICE_USER])
        assert ruined != before

        request = {"cluster_id": CLUSTER, "mode": "snapshot", "backup_id": backup, "reason": "somebody dropped orders"}
        dry = await client.reply(
            await client.send("restores", "tidewind.restore.request.v1", {**request, "dry_run": True})
        )
        assert dry["type"] == "tidewind.command.accepted.v1", dry
        assert (await client.terminal(dry["job_id"]))["type"] == "tidewind.restore.planned.v1"
        assert await content(root, spared_accounts=[shop.SERVICE_USER]) == ruined

        answer = await client.reply(await client.send("restores", "tidewind.restore.request.v1", request))
        assert answer["type"] == "tidewind.command.accepted.v1", answer
        restored = await client.terminal(answer["job_id"])
        assert restored["type"] == "tidewind.restore.completed.v1", restored
        root = await server.connect()
        after = await content(root, spared_accounts=[shop.SERVICE_USER])
        assert after.differences(before) == []
        await (await server.connect(user="app", password="app-secret-1")).ensure_closed()
        states = [
            record["data"]["state"]
            for record in client.seen["status"]
            if record["key"] == f"availability/{CLUSTER}" and record["data"]
        ]
        assert "Restoring" in states
        await client.wait_status(f"availability/{CLUSTER}", lambda state: state["state"] == "Available")

        undo = await client.reply(
            await client.send(
                "restores",
                "tidewind.restore.undo.v1",
                {"cluster_id": CLUSTER, "restore_id": restored["restore_id"]},
            )
        )
        assert undo["type"] == "tidewind.command.accepted.v1", undo
        undone = await client.terminal(undo["job_id"])
        assert undone["type"] == "tidewind.restore.completed.v1", undone
        root = await server.connect()
        assert (await content(root, spared_accounts=[shop.SERVICE_USER])).differences(ruined) == []

        verify = await client.reply(
            await client.send("commands", "tidewind.backup.verify.v1", {"cluster_id": CLUSTER, "backup_id": backup})
        )
        assert (await client.terminal(verify["job_id"]))["type"] == "tidewind.backup.verified.v1"
