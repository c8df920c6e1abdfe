"""The main job through Kafka alone: a client with nothing but JSON protects a real MariaDB, loses it, gets it back."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.acceptance import shop
from tests.acceptance.deployment import Deployment
from tests.acceptance.plain_client import PlainClient
from tests.oracle import content
from tidewind.embedded.mariadb import PrivateMariaDB

CLUSTER = "shop-1"


@pytest.fixture
async def deployment(kafka: str, tmp_path: Path) -> AsyncIterator[Deployment]:
    made = Deployment(
        tmp_path / "tidewind", kafka, extra={"SHOP_LOGIN": f"{shop.SERVICE_USER}:{shop.SERVICE_PASSWORD}"}
    )
    await made.make_topics()
    await made.start()
    yield made
    print(made.logs())
    await made.close()


@pytest.mark.timeout(240)
async def test_backup_oops_restore_undo(
    deployment: Deployment, mariadb_factory: Callable[..., Awaitable[PrivateMariaDB]], kafka: str
) -> None:
    server = await mariadb_factory(options=("--event-scheduler=ON",))
    root = await server.connect()
    await shop.build(root)
    before = await content(root, spared_accounts=[shop.SERVICE_USER])

    async with PlainClient(kafka, deployment.prefix) as client:
        enrolled = await client.send(
            "commands",
            "tidewind.cluster.enroll.v1",
            {
                "cluster_id": CLUSTER,
                "engine": "mariadb",
                "region": "eu-central-1",
                "endpoints": [{"host": server.host, "port": server.port}],
                "credentials": "env:SHOP_LOGIN",
                "setting": {"backup_time": "02:00", "retention_days": 14},
            },
        )
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
