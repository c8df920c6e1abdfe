"""What the tests of the bus share: settings for a broker, topics of their own, messages, a handler that records."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas.envelope import Message
from schemas.topics import TOPICS, Topic
from tidewind.bus.connection import Connection
from tidewind.bus.partitioner import partition_of
from tidewind.bus.reader import Reader
from tidewind.bus.records import RawRecord
from tidewind.bus.settings import BusSettings
from tidewind.runtime.clock import SystemClock

PARTITIONS = 12
CLOCK = SystemClock()


class Runs(Protocol):
    async def run(self) -> None: ...


Part = TypeVar("Part", bound=Runs)


def no_secrets(reference: str) -> str:
    raise AssertionError(f"nothing here needs {reference}")


def connection(address: str, **more: object) -> Connection:
    """A connection with a topic prefix of its own."""
    values: dict[str, object] = {
        "bootstrap": address,
        "prefix": f"t{uuid.uuid4().hex[:8]}.",
        "session_timeout_s": 6,
        "request_timeout_s": 5,
        "start_deadline_s": 30,
        "replication_factor": 1,
    }
    return Connection(BusSettings.model_validate(values | more), no_secrets)


async def make_topics(link: Connection, *, partitions: int = PARTITIONS, only: Sequence[Topic] = TOPICS) -> None:
    """Declared topics under the connection's prefix, by a plain admin client."""
    admin = AIOKafkaAdminClient(bootstrap_servers=link.settings.bootstrap)
    await admin.start()
    try:
        await admin.create_topics(
            [NewTopic(link.name(topic), partitions, 1, topic_configs=topic.config()) for topic in only]
        )
    finally:
        await admin.close()


def message(key: str, number: int = 0, *, kind: str = "tidewind.backup.run.v1", **data: object) -> Message:
    return Message(
        id=f"{key}-{number}-{uuid.uuid4().hex[:6]}",
        type=kind,
        source="/tests",
        time=datetime.now(UTC),
        key=key,
        data={"cluster_id": key.split("/")[1] if "/" in key else key, "number": number} | data,
    )


def clusters_in_different_partitions(count: int) -> list[str]:
    """Cluster ids no two of which share a partition."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < count:
        name = f"cluster-{number}"
        found.setdefault(partition_of(name, PARTITIONS), name)
        number += 1
    return list(found.values())[:count]


async def eventually(reached: Callable[[], bool], *, within_s: float = 60.0, what: str = "it") -> float:
    """Wait until the condition holds and return how long that took; fail after the deadline."""
    began = time.monotonic()
    while not reached():
        assert time.monotonic() - began < within_s, f"{what} did not happen within {within_s} s"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


class Recorder:
    """A handler that keeps what it was given, per key in order."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def __call__(self, given: Message) -> None:
        self.messages.append(given)

    def numbers(self, key: str) -> list[object]:
        return [given.data["number"] for given in self.messages if given.key == key and given.data is not None]


@contextlib.asynccontextmanager
async def running(part: Part) -> AsyncIterator[Part]:
    """Run a part of a service for the length of a block. If it ends before that, the block fails with its error."""
    task = asyncio.create_task(part.run())
    try:
        yield part
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.wait({task}, timeout=30)
        assert task.done(), "it must stop when it is cancelled"


async def read_all(link: Connection, topic: Topic) -> list[RawRecord]:
    """Every record of a topic, as it is now."""
    reader = Reader(link, [topic])
    await reader.open(deadline_s=20)
    ends = await reader.ends()
    records: list[RawRecord] = []
    until = time.monotonic() + 20
    while any(reader.position[place] < end for place, end in ends.items()):
        assert time.monotonic() < until, "the topic could not be read"
        records += await reader.read()
    await reader.close()
    return records
