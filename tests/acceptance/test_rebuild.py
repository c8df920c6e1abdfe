"""All topics lost: what the services say afterwards, from the store alone, is what they said before."""

import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import pytest

from tests.acceptance.deployment import Deployment
from tests.acceptance.plain_client import PlainClient
from tests.acceptance.protected import CLUSTER, ProtectedShop
from tests.servers.kafka_server import KafkaServer
from tidewind.bus.admin import TopicAdmin
from tidewind.bus.connection import Connection
from tidewind.bus.settings import BusSettings
from tidewind.runtime.secrets import resolve

KINDS = ("cluster", "setting", "backup", "availability", "restore")
VOLATILE = frozenset({"revision", "at", "next_backup_at", "ended_at"})
"""A restore's `ended_at` was its holder's moment and is then that of its record."""
_PASSING = {"availability": {"restore_id", "detail"}}
"""What a restore's holder said as it opened the cluster is not said again of a cluster that is simply open."""


def states(client: PlainClient) -> dict[str, dict[str, Any]]:
    """The newest state of every key of the kinds that the store can rebuild."""
    found: dict[str, dict[str, Any]] = {}
    for record in client.seen["status"]:
        if record["key"].split("/")[0] in KINDS:
            found[record["key"]] = record["data"]
    return {
        key: {
            name: value for name, value in data.items() if name not in VOLATILE | _PASSING.get(key.split("/")[0], set())
        }
        for key, data in found.items()
        if data is not None
    }


def days_kept(data: dict[str, Any]) -> int | None:
    """How long a backup's status says it is kept."""
    if data.get("expires_at") is None:
        return None
    return (datetime.fromisoformat(data["expires_at"]) - datetime.fromisoformat(data["snapshot_time"])).days


def all_kept_for(client: PlainClient, days: int) -> bool:
    """Whether the newest status of every completed backup says so: after a change it follows within a moment."""
    backups = [data for key, data in states(client).items() if key.startswith("backup/")]
    return all(days_kept(data) == days for data in backups if data["state"] == "completed")


def has_base(client: PlainClient, timeline: str) -> bool:
    """Whether the backup that an opening orders is there, and no other is under way."""
    backups = [data for key, data in states(client).items() if key.startswith("backup/")]
    settled = all(data["state"] not in ("pending", "running") for data in backups)
    return settled and any(data.get("timeline") == timeline for data in backups)


@pytest.mark.timeout(300)
async def test_status_topics_are_rebuilt_from_the_store(
    protected: ProtectedShop, kafka_factory: Callable[[], Awaitable[KafkaServer]]
) -> None:
    first = await protected.backup()
    second = await protected.backup()
    await protected.done("commands", "backup.verify", {"backup_id": second})
    await protected.done("commands", "backup-setting.set", {"backup_time": "03:30", "retention_days": 30})
    await protected.client.wait_status(f"setting/{CLUSTER}", lambda data: data["setting"]["retention_days"] == 30)
    for backup in (first, second):
        await protected.client.wait_status(f"backup/{CLUSTER}/{backup}", lambda data: days_kept(data) == 30)
    request = {"mode": "snapshot", "backup_id": second}
    restored = (await protected.done("restores", "restore.request", request))["restore_id"]
    undone = await protected.done("restores", "restore.undo", {"restore_id": restored})
    await protected.client.wait_status(f"restore/{CLUSTER}/{restored}", lambda data: data["state"] == "undone")
    await protected.client.wait_for("status", lambda _: has_base(protected.client, undone["timeline"]))
    message_id = await protected.client.send("commands", "tidewind.backup.run.v1", {"cluster_id": CLUSTER})
    answered = await protected.client.reply(message_id)
    ended = await protected.client.terminal(answered["job_id"])
    await protected.client.wait_for("status", lambda _: all_kept_for(protected.client, 30))
    before = states(protected.client)
    for process in protected.deployment.processes:
        if process.running:
            await process.stop()

    broker = await kafka_factory()
    old = protected.deployment
    again = Deployment(old.directory.parent / "again", broker.address)
    again.environment |= {
        name: value
        for name, value in old.environment.items()
        if name.startswith(("TIDEWIND_STORE", "TIDEWIND_KEYRING", "TEST_", "SHOP_"))
    }
    lost, new = await _home(old), await _home(again)
    try:
        await again.make_topics()
        with pytest.raises(AssertionError, match=f"ended with 78(?s:.*)TIDEWIND_ADOPT_STORE_FROM={re.escape(lost)}"):
            await again.start("snapshotter")
        again.environment["TIDEWIND_ADOPT_STORE_FROM"] = lost
        await again.start()
        async with PlainClient(broker.address, again.prefix) as client:
            for key, data in before.items():
                wanted = data.get("state")
                await client.wait_status(key, lambda found, wanted=wanted: found.get("state") == wanted)
            rebuilt = states(client)
            for key, data in before.items():
                history = [record["data"] for record in protected.client.seen["status"] if record["key"] == key]
                assert rebuilt[key] == data, history
            # A job of the lost topics still has its answer and its end.
            await client.send("commands", "tidewind.backup.run.v1", {"cluster_id": CLUSTER}, message_id=message_id)
            assert await client.reply(message_id) == answered
            assert await client.terminal(answered["job_id"]) == ended
    finally:
        print(again.logs())
        await again.close()
        old.environment["TIDEWIND_ADOPT_STORE_FROM"] = new
        await old.start()
        del old.environment["TIDEWIND_ADOPT_STORE_FROM"]


async def _home(deployment: Deployment) -> str:
    """The Kafka cluster's id and the prefix, as services name the home of a store."""
    facts = await TopicAdmin(Connection(BusSettings(bootstrap=deployment.bootstrap), resolve)).broker()
    return f"{facts.cluster_id}/{deployment.prefix}"
