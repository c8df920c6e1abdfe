"""The restorer as it is started, fed with what lay on its topic before: an age that only its real wiring can judge."""

import json
import time
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas.topics import RESTORES
from tests.acceptance.deployment import Deployment
from tests.acceptance.plain_client import PlainClient
from tests.integration.bus_support import PARTITIONS, read_all
from tidewind.bus.connection import Connection
from tidewind.bus.partitioner import partition_of
from tidewind.bus.settings import BusSettings
from tidewind.runtime.secrets import resolve

HOUR_MS = 3_600_000
CLUSTER = "shop"


async def _publish_old(kafka: str, topic: str, message_id: str, *, stamped_ms: int) -> None:
    """A restore in a partition that is not its cluster's, as a foreign client left it an hour ago."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics([NewTopic(topic, PARTITIONS, 1, topic_configs={"message.timestamp.type": "CreateTime"})])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all")
    await producer.start()
    headers = {
        "ce_specversion": "1.0",
        "ce_id": message_id,
        "ce_type": "tidewind.restore.request.v1",
        "ce_source": "/tests/foreign-client",
        "content-type": "application/json",
    }
    await producer.send_and_wait(
        topic,
        json.dumps({"cluster_id": CLUSTER, "mode": "snapshot", "backup_id": "bkp_0123456789"}).encode(),
        key=CLUSTER.encode(),
        headers=[(name, text.encode()) for name, text in headers.items()],
        partition=(partition_of(CLUSTER, PARTITIONS) + 1) % PARTITIONS,
        timestamp_ms=stamped_ms,
    )
    await producer.stop()


async def test_an_old_restore_in_the_wrong_partition_is_refused_and_not_made_young(kafka: str, tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "tidewind", kafka)
    name = f"{deployment.prefix}restores.v1"
    await _publish_old(kafka, name, "old-1", stamped_ms=round(time.time() * 1000) - HOUR_MS)
    # From here on the broker stamps what arrives, as it does wherever topics are made by Tidewind.
    await deployment.make_topics()
    try:
        await deployment.start("restorer")
        async with PlainClient(kafka, deployment.prefix) as client:
            reply = await client.reply("old-1")
    finally:
        await deployment.close()
    assert reply["type"] == "tidewind.command.rejected.v1"
    assert reply["problem"]["type"] == "urn:tidewind:problem:command-expired", deployment.logs()
    settings = BusSettings(bootstrap=kafka, prefix=deployment.prefix, replication_factor=1)
    stored = await read_all(Connection(settings, resolve), RESTORES)
    assert len(stored) == 1, "it must not be published again: the broker would stamp it anew"
