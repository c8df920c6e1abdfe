"""The second half of the main job through Kafka alone: every change captured, an accident found, the cluster put back to
the transaction before it, nothing else lost; and the undo of it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import shop
from tests.acceptance.deployment import Deployment
from tests.acceptance.plain_client import PlainClient
from tests.oracle import content
from tidewind.embedded.mariadb import PrivateMariaDB

CLUSTER = "shop-1"
LOG = (
    "--event-scheduler=ON",
    "--log-bin=binlog",
    "--binlog-format=ROW",
    "--binlog-checksum=CRC32",
    "--server-id=7",
    "--gtid-strict-mode=ON",
    "--sync-binlog=1",
)


@pytest.fixture
async def deployment(kafka: str, tmp_path: Path) -> AsyncIterator[Deployment]:
    made = Deployment(
        tmp_path / "tidewind",
        kafka,
        extra={"SHOP_LOGIN": f"{shop.SERVICE_USER}:{shop.SERVICE_PASSWORD}", "TIDEWIND_CAPTURE": "true"},
    )
    await made.make_topics()
    await made.start("scheduler", "snapshotter", "changelog", "restorer")
    yield made
    print(made.logs())
    await made.close()


async def ended(client: PlainClient, topic: str, kind: str, body: dict[str, Any]) -> dict[str, Any]:
    reply = await client.reply(await client.send(topic, kind, {"cluster_id": CLUSTER} | body))
    assert reply["type"] == "tidewind.command.accepted.v1", reply
    return await client.terminal(reply["job_id"])


async def position(root: Any) -> str:
    async with root.cursor() as cursor:
        await cursor.execute("SELECT @@global.gtid_binlog_pos")
        (found,) = await cursor.fetchone()
        return str(found)


async def captured(client: PlainClient, wanted: str) -> dict[str, Any]:
    """Wait until the store holds the log up to a position, and there is a base."""
    number = int(wanted.rpartition("-")[2])

    def there(state: dict[str, Any]) -> bool:
        held = str(state["position"] or "").rpartition("-")[2]
        return bool(state["intervals"]) and held.isdigit() and int(held) >= number

    try:
        return await client.wait_status(f"window/{CLUSTER}", there, deadline_s=90)
    except AssertionError as error:
        known = {kind: client.status(f"{kind}/{CLUSTER}") for kind in ("window", "capture")}
        raise AssertionError(f"waited for {wanted}; {known}") from error


@pytest.mark.timeout(300)
async def test_an_accident_is_undone_to_the_transaction_before_it(
    deployment: Deployment, mariadb_factory: Callable[..., Awaitable[PrivateMariaDB]], kafka: str
) -> None:
    server = await mariadb_factory(options=LOG)
    root = await server.connect()
    await shop.build(root)
    async with PlainClient(kafka, deployment.prefix) as client:
        enrolment = {
            "engine": "mariadb",
            "region": "eu-central-1",
            "endpoints": [{"host": server.host, "port": server.port}],
            "credentials": "env:SHOP_LOGIN",
        }
        enrolled = await ended(client, "commands", "tidewind.cluster.enroll.v1", enrolment)
        assert enrolled["type"] == "tidewind.cluster.enrolled.v1", enrolled
        await captured(client, await position(root))

        async with root.cursor() as cursor:
            await cursor.execute("INSERT INTO shop.customers (name, balance) VALUES ('after the base', 7)")
            await cursor.execute("UPDATE shop.orders SET total = total + 1 WHERE id % 3 = 0")
            await cursor.execute("ALTER TABLE shop.customers ADD COLUMN email VARCHAR(90) DEFAULT 'none'")
            await cursor.execute("DELETE FROM shop.customers WHERE id = 3")
            await cursor.execute("ALTER USER 'app'@'%' IDENTIFIED BY 'app-secret-2'")
        before = await content(root, spared_accounts=[shop.SERVICE_USER])
        last_good = await position(root)
        await shop.oops(root)
        ruined = await content(root, spared_accounts=[shop.SERVICE_USER])
        await captured(client, await position(root))

        point = {"mode": "point_in_time", "target_position": last_good}
        planned = await ended(client, "restores", "tidewind.restore.request.v1", {**point, "dry_run": True})
        plan = planned["plan"]
        assert plan["point"]["last_kept"] == last_good
        assert plan["beta"] is True
        assert plan["replayed_transactions"] == 5, "what was written between the base and the accident"
        undone = plan["undone"]
        assert (undone["transactions"], undone["transactions_at_least"], undone["rows_at_least"]) == (14, False, False)
        assert undone["tables"] == [
            {"schema": "shop", "table": "customers", "inserted": 0, "updated": 500, "deleted": 0}
        ]
        assert any("DROP TABLE" in one["statement"] for one in undone["statements"])
        assert "changed-by-intruder" not in str(plan)
        assert plan["accounts"] == {
            "appear": ["'leaver'@'%'"],
            "disappear": ["'intruder'@'%'"],
            "change": ["'app'@'%'"],
        }
        moving = {one["table"]: one["fate"] for one in plan["tables"] if one["fate"] != "replaced"}
        assert moving == {
            "orders": "returns",
            "ta\nble`\"'": "returns",
            "created_later": "disappears",
            "t": "disappears",
        }
        restored = await ended(
            client, "restores", "tidewind.restore.request.v1", {**point, "plan_hash": plan["plan_hash"]}
        )
        assert restored["type"] == "tidewind.restore.completed.v1", restored
        root = await server.connect()
        assert (await content(root, spared_accounts=[shop.SERVICE_USER])).differences(before) == []
        await (await server.connect(user="app", password="app-secret-2")).ensure_closed()

        undone = await ended(client, "restores", "tidewind.restore.undo.v1", {"restore_id": restored["restore_id"]})
        assert undone["type"] == "tidewind.restore.completed.v1", undone
        root = await server.connect()
        assert (await content(root, spared_accounts=[shop.SERVICE_USER])).differences(ruined) == []

        future = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        refused = await client.reply(
            await client.send(
                "restores",
                "tidewind.restore.request.v1",
                {"cluster_id": CLUSTER, "mode": "point_in_time", "target_time": future},
            )
        )
        assert refused["problem"]["type"] == "urn:tidewind:problem:target-outside"
