"""What a capture lives through without a gap: its own instances killed and stopped while the database is written, Kafka
away for longer than a stream is borne with, the database restarted, logs compressed and encrypted, clients that set
their clocks."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import shop
from tests.acceptance.deployment import Deployment
from tests.acceptance.plain_client import PlainClient
from tests.acceptance.test_log_gaps import Cluster, number
from tests.acceptance.test_point_in_time import LOG
from tests.oracle import Content, content
from tests.servers.kafka_server import KafkaServer
from tidewind.embedded.mariadb import PrivateMariaDB
from tidewind.runtime.log_archive import LogArchive
from tidewind.store.factory import StoreSettings, open_store

STREAM_BORNE_S = 2
"""How long the server keeps a stream that nobody reads: minutes, where users run it. So a moment stands for an hour."""
KEY = "1;770A8A65DA156D24EE2A093277530142"


async def encrypted_server(folder: Path) -> PrivateMariaDB:
    """Its log is compressed and encrypted."""
    keys = folder / "keys"
    keys.write_text(KEY)
    server = PrivateMariaDB(
        folder / "mariadb",
        options=(
            *LOG,
            "--log-bin-compress=ON",
            "--log-bin-compress-min-len=10",
            "--plugin-load-add=file_key_management",
            f"--file-key-management-filename={keys}",
            "--encrypt-binlog=ON",
        ),
    )
    await server.start()
    return server


@pytest.fixture
async def broker(kafka_factory: Callable[[], Awaitable[KafkaServer]]) -> KafkaServer:
    return await kafka_factory()


@pytest.fixture
async def deployment(broker: KafkaServer, tmp_path: Path) -> AsyncIterator[Deployment]:
    made = Deployment(
        tmp_path / "tidewind",
        broker.address,
        extra={
            "SHOP_LOGIN": f"{shop.SERVICE_USER}:{shop.SERVICE_PASSWORD}",
            "TIDEWIND_CAPTURE": "true",
            "TIDEWIND_CAPTURE_BUFFER_MIB": "2",
            "TIDEWIND_CLUSTERS_EVERY_S": "1",
        },
    )
    await made.make_topics()
    await made.start("scheduler", "snapshotter", "restorer", "changelog", "changelog")
    yield made
    print(made.logs())
    await made.close()


async def picture(server: PrivateMariaDB) -> Content:
    """But for variables, which a restart gives back and no log holds: they are looked at while somebody can look."""
    connection = await server.connect()
    try:
        return await content(connection, spared_accounts=[shop.SERVICE_USER], variables=())
    finally:
        connection.close()


@dataclass
class Writer:
    """Writes without a pause, one transaction after the other."""

    cluster: Cluster
    written: int = 0

    async def run(self) -> None:
        root: Any = await self.cluster.server.connect()
        try:
            async with root.cursor() as cursor:
                while True:
                    self.written += 1
                    await cursor.execute(f"INSERT INTO shop.counted VALUES ({self.written}, REPEAT('x', 3000))")
                    await asyncio.sleep(0.01)
        finally:
            root.close()


async def strike(deployment: Deployment, cluster: Cluster) -> None:
    """One instance of the changelog stops and the other is killed, the successor of both is killed when the first has
    woken; each time somebody captures on before the next. All the while the database is written."""
    stopped, killed = deployment.processes[-2:]
    writing = asyncio.create_task(Writer(cluster).run())
    try:
        stopped.signal(signal.SIGSTOP)
        await killed.kill()
        (successor,) = await deployment.start("changelog")
        await captured_on(cluster)
        stopped.signal(signal.SIGCONT)
        await captured_on(cluster)
        await successor.kill()
        await captured_on(cluster)
    finally:
        writing.cancel()
        await asyncio.wait([writing])


async def captured_on(cluster: Cluster) -> None:
    """What is written by now comes into the store."""
    end = number(await cluster.value("SELECT @@global.gtid_binlog_pos"))
    await cluster.window(lambda state: number(state["position"]) >= end)


async def archived(deployment: Deployment) -> list[int]:
    """The numbers of the transactions in the store, in their order there; each segment begins where one ended."""
    settings = StoreSettings(url=deployment.environment["TIDEWIND_STORE_URL"], keyring="env:TEST_KEYRING")
    found, position = [], None
    async with open_store(settings) as store:
        log = LogArchive(store)
        (history,) = await log.histories("shop-1")
        async for ref in log.segments("shop-1", history.history):
            assert ref.head.from_position == (position or history.position)
            position = ref.head.to_position
            found += [number(one.gtid) for one in await log.transactions(ref)]
    return found


@pytest.mark.timeout(300)
async def test_killed_and_stopped_changelogs_and_an_outage_of_kafka_and_of_the_database_leave_no_gap(
    deployment: Deployment, broker: KafkaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEYRING", deployment.environment["TEST_KEYRING"])
    server = await encrypted_server(tmp_path)
    root: Any = await server.connect()
    await shop.build(root, customers=50, orders=200)
    root.close()
    async with PlainClient(broker.address, deployment.prefix) as client:
        cluster = Cluster("shop-1", client, server, server.port)
        await cluster.sql(f"SET GLOBAL net_write_timeout = {STREAM_BORNE_S}")
        await cluster.enroll()
        before = await cluster.restorable(await cluster.value("SELECT @@global.gtid_binlog_pos"))
        await cluster.sql("CREATE TABLE shop.counted (id INT PRIMARY KEY, v TEXT) ENGINE=InnoDB")
        await strike(deployment, cluster)

        await broker.kill()
        await cluster.sql(
            "SET timestamp = 86400",
            "INSERT INTO shop.customers (name) VALUES ('of 1970')",
            "SET timestamp = 2147400000",
            "INSERT INTO shop.customers (name) VALUES ('of 2038')",
            "SET timestamp = DEFAULT",
            "CREATE TABLE shop.much (id INT PRIMARY KEY, v LONGBLOB) ENGINE=InnoDB",
        )
        for row in range(8):
            noise = os.urandom(1 << 20).hex()
            await cluster.sql(f"INSERT INTO shop.much VALUES ({row}, X'{noise}')")
        await cluster.sql("FLUSH BINARY LOGS", "SET timestamp = 1000", "UPDATE shop.orders SET total = total + 1")
        await server.stop()
        await server.start()
        await cluster.sql("DELETE FROM shop.customers WHERE id % 2 = 0")
        then, last_good = await picture(server), await cluster.value("SELECT @@global.gtid_binlog_pos")
        await cluster.sql("DROP TABLE shop.much", "DELETE FROM shop.customers")
        end = await cluster.value("SELECT @@global.gtid_binlog_pos")
        await broker.start()

        after = await cluster.restorable(end)
        assert after["history"] == before["history"]
        assert after["gaps"] == []
        ends = [one["end"] for one in after["intervals"][:-1]]
        assert ends == [one["start"] for one in after["intervals"][1:]], "one stretch, cut only where precision changes"
        found = await archived(deployment)
        assert found == list(range(found[0], number(end) + 1)), "each transaction once"
        point = {"mode": "point_in_time", "target_position": last_good}
        restored = await cluster.asked("restores", "restore.request", point)
        assert restored["type"] == "tidewind.restore.completed.v1", restored
        assert restored["point"]["precision"] == "stamps"
        assert (await picture(server)).differences(then) == []
    await server.remove()
