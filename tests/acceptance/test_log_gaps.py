"""Gaps in a log through Kafka alone: purge, reset, failover, divergence, blocks that Kafka lost. Each is found and published
with exact bounds, a new base follows by itself, and nothing can be restored across.

One deployment, a server for each. The time to the published gap is taken from what is published, against the moment at
which the log could be looked at again.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from tests.acceptance import shop
from tests.acceptance.deployment import Deployment, ServiceProcess
from tests.acceptance.plain_client import PlainClient
from tests.acceptance.test_point_in_time import LOG
from tests.fakes import until_async
from tests.faults.severing_proxy import SeveringProxy
from tidewind.embedded.mariadb import PrivateMariaDB

FOUND_WITHIN_S = 10.0
SETUP = (
    f"CREATE USER '{shop.SERVICE_USER}'@'%' IDENTIFIED BY '{shop.SERVICE_PASSWORD}'",
    f"GRANT ALL ON *.* TO '{shop.SERVICE_USER}'@'%' WITH GRANT OPTION",
    "CREATE DATABASE shop",
    "CREATE TABLE shop.t (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(60)) ENGINE=InnoDB",
)


@dataclass
class Cluster:
    """A protected server; `port` is where it is reached."""

    name: str
    client: PlainClient
    server: PrivateMariaDB
    port: int
    gaps_seen: list[dict[str, Any]] = field(default_factory=list)

    async def sql(self, *statements: str) -> None:
        root = await self.server.connect()
        async with root.cursor() as cursor:
            for statement in statements:
                await cursor.execute(statement)
        root.close()

    async def value(self, query: str) -> str:
        root = await self.server.connect()
        async with root.cursor() as cursor:
            await cursor.execute(query)
            found, *_ = await cursor.fetchone()
        root.close()
        return str(found)

    async def write(self, count: int = 3) -> str:
        """Some transactions; the log's end behind them."""
        await self.sql(*["INSERT INTO shop.t (v) VALUES (UUID())" for _ in range(count)])
        return await self.value("SELECT @@global.gtid_binlog_pos")

    async def asked(self, topic: str, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        """The end of a command, or its refusal."""
        sent = await self.client.send(topic, f"tidewind.{kind}.v1", {"cluster_id": self.name} | body)
        reply = await self.client.reply(sent)
        if reply["type"] == "tidewind.command.rejected.v1":
            return reply
        return await self.client.terminal(reply["job_id"])

    async def enroll(self) -> None:
        enrolment = {
            "engine": "mariadb",
            "region": "eu-central-1",
            "endpoints": [{"host": self.server.host, "port": self.port}],
            "credentials": "env:SHOP_LOGIN",
        }
        end = await self.asked("commands", "cluster.enroll", enrolment)
        assert end["type"] == "tidewind.cluster.enrolled.v1", end
        await self.window(lambda state: bool(state["intervals"]))

    async def window(self, matches: Callable[[dict[str, Any]], bool], deadline_s: float = 90) -> dict[str, Any]:
        try:
            return await self.client.wait_status(f"window/{self.name}", matches, deadline_s=deadline_s)
        except AssertionError as error:
            known = {kind: self.client.status(f"{kind}/{self.name}") for kind in ("window", "capture")}
            raise AssertionError(f"{self.name}: {known}") from error

    async def restorable(self, position: str, *, after: str | None = None) -> dict[str, Any]:
        """Wait until the store holds the log up to a position, and a base of it is there; `after`: in another history
        than that."""

        def there(state: dict[str, Any]) -> bool:
            newest = state["intervals"][-1]["end"] if state["intervals"] else ""
            begun = state["gaps"][-1]["end"] if state["gaps"] else ""
            return (
                state["history"] != after
                and number(state["position"]) >= number(position)
                and bool(newest)
                and moment(newest) > (moment(begun) if begun else EPOCH)
            )

        return await self.window(there)

    async def gap(self) -> dict[str, Any]:
        """The event of the newest gap, with the moment at which Kafka had it."""
        count = len(self.gaps_seen) + 1
        found: list[dict[str, Any]] = []

        def newest(record: dict[str, Any]) -> bool:
            is_gap = record["headers"].get("ce_type") == "tidewind.capture.gap-found.v1"
            if is_gap and record["data"]["cluster_id"] == self.name and record not in found:
                found.append(record)
            return len(found) == count

        record = await self.client.wait_for("events", newest, deadline_s=120)
        self.gaps_seen.append(record["data"])
        return {**record["data"], "published": record["at"] / 1000}

    async def refused_at(self, target: datetime) -> str:
        """The detail with which a restore to that instant is refused."""
        body = {"mode": "point_in_time", "target_time": target.isoformat(), "dry_run": True}
        reply = await self.asked("restores", "restore.request", body)
        assert reply["type"] == "tidewind.command.rejected.v1", (self.name, reply)
        assert reply["problem"]["type"] == "urn:tidewind:problem:target-outside", reply
        return str(reply["problem"]["detail"])

    async def planned_at(self, position: str, *, given_again: bool = False) -> None:
        """`given_again`: the server may have counted from below the position a second time."""
        body = {"mode": "point_in_time", "target_position": position, "dry_run": True}
        end = await self.asked("restores", "restore.request", body)
        if given_again and end["type"] == "tidewind.command.rejected.v1":
            assert end["problem"]["type"] == "urn:tidewind:problem:ambiguous-position", f"{self.name}: {end}"
            return
        assert end["type"] == "tidewind.restore.planned.v1", f"{self.name}: {end}"
        assert end["plan"]["point"]["last_kept"] == position


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def number(position: str | None) -> int:
    return int((position or "").rpartition("-")[2] or 0)


@dataclass
class Country:
    deployment: Deployment
    client: PlainClient
    folder: Path
    changelog: ServiceProcess | None = None

    async def server(self, name: str, *, more: tuple[str, ...] = (), **settings: Any) -> PrivateMariaDB:
        made = PrivateMariaDB(self.folder / name, options=(*LOG, *more), **settings)
        await made.start()
        return made

    async def lose_blocks(self) -> None:
        """Everything on changes.v1 goes: as after a loss of Kafka, or where it is kept for too short."""
        topic = f"{self.deployment.prefix}changes.v1"
        consumer = AIOKafkaConsumer(bootstrap_servers=self.deployment.bootstrap)
        admin = AIOKafkaAdminClient(bootstrap_servers=self.deployment.bootstrap)
        await consumer.start()
        await admin.start()
        try:
            await consumer.topics()
            parts = [TopicPartition(topic, one) for one in consumer.partitions_for_topic(topic) or ()]
            ends = await consumer.end_offsets(parts)
            await admin.delete_records({part: RecordsToDelete(before_offset=end) for part, end in ends.items() if end})
        finally:
            await consumer.stop()
            await admin.close()


@pytest.fixture
async def country(kafka: str, server_directory: Callable[[str], Path]) -> AsyncIterator[Country]:
    folder = server_directory("gaps")
    extra = {"SHOP_LOGIN": f"{shop.SERVICE_USER}:{shop.SERVICE_PASSWORD}", "TIDEWIND_CAPTURE": "true"}
    deployment = Deployment(folder / "tidewind", kafka, extra={**extra, "TIDEWIND_CLUSTERS_EVERY_S": "1"})
    await deployment.make_topics()
    await deployment.start("scheduler", "snapshotter", "restorer")
    (changelog,) = await deployment.start("changelog")
    async with PlainClient(kafka, deployment.prefix) as client:
        yield Country(deployment, client, folder, changelog)
    print(deployment.logs())
    await deployment.close()


async def judged(
    cluster: Cluster, before: dict[str, Any], looked_at: float, cause: str, last_good: str | None
) -> float:
    """Everything that is promised of a gap; seconds until it was published. `last_good` is None where nobody knows how
    far the log was held."""
    gap = await cluster.gap()
    assert gap["cause"] == cause, (cluster.name, gap)
    assert gap["published"] - looked_at <= FOUND_WITHIN_S, (cluster.name, gap, looked_at)
    last_good = last_good or str(gap["start_position"])
    assert gap["start_position"] == last_good, (cluster.name, gap)
    start, end = moment(gap["start"]), moment(gap["end"])
    assert moment(before["intervals"][-1]["end"]) <= start <= end
    later = await cluster.write()
    after = await cluster.restorable(later, after=before["history"])
    assert [(one["start_position"], one["end_position"]) for one in after["gaps"]] == [
        (gap["start_position"], gap["end_position"])
    ]
    assert all(moment(one["end"]) <= start or moment(one["start"]) >= end for one in after["intervals"])
    middle = start + (end - start) / 2
    if start < middle < end:
        assert "cannot be restored" in await cluster.refused_at(middle)
    given_again = cause in ("reset", "diverged")
    await cluster.planned_at(last_good, given_again=given_again)
    await cluster.planned_at(later, given_again=given_again)
    return float(gap["published"] - looked_at)


async def reset(cluster: Cluster) -> float:
    last_good = await cluster.write()
    before = await cluster.restorable(last_good)
    await cluster.sql("RESET MASTER")
    looked_at = time.time()
    await cluster.write(2)
    return await judged(cluster, before, looked_at, "reset", last_good)


async def crashed(cluster: Cluster) -> float:
    """A host that crashes without having written the log's tail, and gives its numbers again."""
    last_good = await cluster.write(5)
    before = await cluster.restorable(last_good)
    await cluster.server.kill()
    cut_tail(cluster.server, transactions=3)
    await cluster.server.start()
    looked_at = time.time()
    await cluster.write(6)
    return await judged(cluster, before, looked_at, "diverged", last_good)


def cut_tail(server: PrivateMariaDB, *, transactions: int) -> None:
    """Of the newest file of the log."""
    newest = max(path for path in server.data_directory.glob("binlog.*") if path.suffix[1:].isdigit())
    data, places, at = newest.read_bytes(), [], 4
    while at < len(data):
        if data[at + 4] == GTID_EVENT:
            places.append(at)
        at += int.from_bytes(data[at + 9 : at + 13], "little")
    newest.write_bytes(data[: places[-transactions]])


async def failed_over(cluster: Cluster, replica: PrivateMariaDB, proxy: SeveringProxy) -> float:
    """To a replica that holds transactions of its own."""
    last_good = await cluster.write(5)
    before = await cluster.restorable(last_good)
    primary, cluster.server = cluster.server, replica
    await cluster.sql(
        f"SELECT MASTER_GTID_WAIT('{last_good}', 30)",
        "STOP SLAVE",
        "RESET SLAVE ALL",
        "INSERT INTO shop.t (v) VALUES ('errant')",
    )
    await primary.stop()
    proxy.lead_to(replica.host, replica.port)
    looked_at = time.time()
    return await judged(cluster, before, looked_at, "replaced", last_good)


async def purged_and_lost(country: Country, purged: Cluster, lost: Cluster) -> float:
    """The changelog is killed while both are written; what it had sent is lost, and of one the log as well."""
    befores = [await one.restorable(await one.write()) for one in (purged, lost)]
    await asyncio.gather(purged.write(40), lost.write(40))
    assert country.changelog is not None
    await country.changelog.kill()
    held = await lost.write()
    await purged.write()
    await purged.sql("FLUSH BINARY LOGS")
    newest = await purged.value("SHOW MASTER STATUS")

    async def gone() -> bool:
        await purged.sql(f"PURGE BINARY LOGS TO '{newest}'")
        return await purged.value("SHOW BINARY LOGS") == newest

    await until_async(gone, deadline_s=30)
    await country.lose_blocks()
    (country.changelog,) = await country.deployment.start("changelog")
    looked_at = time.time()
    took = await judged(purged, befores[0], looked_at, "purged", None)
    whole = await lost.restorable(held)
    assert whole["history"] == befores[1]["history"], "what Kafka lost is read again"
    assert len(whole["gaps"]) == len(befores[1]["gaps"])
    await lost.planned_at(held)
    return took


GTID_EVENT = 162


@pytest.mark.timeout(400)
async def test_every_gap_is_found_published_and_followed_by_a_base(country: Country) -> None:
    client = country.client
    servers = [await country.server(name) for name in ("reset", "crashed", "primary", "purged")]
    replica = await country.server(
        "replica", server_id=8, more=("--log-slave-updates=ON", "--gtid-strict-mode=OFF", "--server-id=8")
    )
    primary = servers[2]
    proxy = SeveringProxy(primary.host, primary.port)
    await proxy.start()
    clusters = [Cluster(name, client, server, server.port) for name, server in zip(NAMES, servers, strict=True)]
    clusters[2].port = proxy.listening
    for cluster in clusters:
        await cluster.sql("RESET MASTER")
    await Cluster("replica", client, replica, replica.port).sql(
        "SET GLOBAL gtid_slave_pos = ''",
        "RESET MASTER",
        f"CHANGE MASTER TO MASTER_HOST='{primary.host}', MASTER_PORT={primary.port}, MASTER_USER='root', "
        f"MASTER_PASSWORD='{primary.password}', MASTER_USE_GTID=slave_pos",
        "START SLAVE",
    )
    try:
        await asyncio.gather(*[cluster.sql(*SETUP) for cluster in clusters])
        await asyncio.gather(*[cluster.enroll() for cluster in clusters])
        took = await asyncio.gather(reset(clusters[0]), crashed(clusters[1]), failed_over(clusters[2], replica, proxy))
        took.append(await purged_and_lost(country, clusters[3], clusters[0]))
        print("seconds until published:", dict(zip(NAMES, took, strict=True)))
    finally:
        await proxy.close()
        for server in (*servers, replica):
            await server.remove()


NAMES = ("reset", "crashed", "failed-over", "purged")
