"""Reads `changes.v1` from outside of the service, and remembers when what came."""

import asyncio
import time

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from schemas.topics import CHANGES, EVENTS, STATUS
from tidewind.domain.blocks import block_name, unpack_block
from tidewind.ports.store import Seal


class ChangesFeed:
    """`received`: the number of each transaction of cluster `bench` to when it came here, by the wall clock; `newest`
    the highest of them. `size` are bytes of its log, `sessions` how many began; `clusters` all that blocks came of;
    `messages` counts those on changes, status and events."""

    def __init__(self, bootstrap: str, prefix: str, seal: Seal) -> None:
        self._bootstrap = bootstrap
        self._topics = [f"{prefix}{topic.name}" for topic in (CHANGES, STATUS, EVENTS)]
        self._seal = seal
        self.received: dict[int, float] = {}
        self.newest = 0
        self.size = 0
        self.sessions = 0
        self.session_began_at = 0.0
        self.last_block_at = 0.0
        self.clusters: set[str] = set()
        self.messages = 0

    async def __aenter__(self) -> "ChangesFeed":
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, auto_offset_reset="earliest", max_partition_fetch_bytes=4 << 20
        )
        await self._consumer.start()
        partitions = [
            TopicPartition(name, number)
            for name in self._topics
            for number in await self._consumer._client._wait_on_metadata(name) or ()
        ]
        self._consumer.assign(partitions)
        await self._consumer.seek_to_beginning(*partitions)
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()
        await asyncio.wait([self._reading])
        await self._consumer.stop()

    async def _read(self) -> None:
        while True:
            for records in (await self._consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    self.messages += 1
                    if record.topic == self._topics[0]:
                        await self._block(record)

    async def _block(self, record: ConsumerRecord) -> None:
        now = time.time()
        cluster, session, sequence = dict(record.headers)["ce_id"].decode().split("/")
        self.clusters.add(cluster)
        if cluster != "bench":
            return
        name = block_name(cluster, session, int(sequence))
        block = unpack_block(await self._seal.unseal(name, record.value))
        if block.begins is not None:
            self.sessions += 1
            self.session_began_at = record.timestamp / 1000
        if block.data:
            self.size += len(block.data)
            self.last_block_at = record.timestamp / 1000
        for one in block.transactions:
            number = int(one.gtid.rsplit("-", 1)[1])
            self.received.setdefault(number, now)
            self.newest = max(self.newest, number)
