"""A client that knows only Kafka and the documents in `schemas/json`: it imports nothing of Tidewind."""

import asyncio
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

Record = dict[str, Any]


class PlainClient:
    """Publishes commands and remembers everything it reads on replies, events, status and progress."""

    def __init__(self, bootstrap: str, prefix: str, **security: Any) -> None:
        """`security` are aiokafka's own arguments for TLS and SASL."""
        self._connection = {"bootstrap_servers": bootstrap, **security}
        self._prefix = prefix
        self.seen: dict[str, list[Record]] = {name: [] for name in ("replies", "events", "status", "progress")}
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> "PlainClient":
        self._producer = AIOKafkaProducer(**self._connection, acks="all")
        await self._producer.start()
        self._consumer = AIOKafkaConsumer(
            **self._connection, auto_offset_reset="earliest", isolation_level="read_committed"
        )
        await self._consumer.start()
        names = [f"{self._prefix}{kind}.v1" for kind in self.seen]
        partitions = []
        for name in names:
            found = await self._partitions(name)
            partitions += [TopicPartition(name, number) for number in found]
        self._consumer.assign(partitions)
        await self._consumer.seek_to_beginning(*partitions)
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()
        await asyncio.wait([self._reading])
        await self._consumer.stop()
        await self._producer.stop()

    async def send(
        self, topic: str, kind: str, body: Record, *, message_id: str | None = None, cluster: str | None = None
    ) -> str:
        """Publish a command in binary mode; returns its id. Keyed by the cluster id with Java's partitioner."""
        message_id = message_id or str(uuid.uuid4())
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_id", message_id.encode()),
            ("ce_type", kind.encode()),
            ("ce_source", b"/tests/plain-client"),
            ("content-type", b"application/json"),
            ("actor", b"operator@example.org"),
        ]
        key = (cluster or body["cluster_id"]).encode()
        await self._producer.send_and_wait(
            f"{self._prefix}{topic}.v1", json.dumps(body).encode(), key=key, headers=headers
        )
        return message_id

    async def send_raw(
        self, topic: str, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]
    ) -> None:
        await self._producer.send_and_wait(f"{self._prefix}{topic}.v1", value, key=key, headers=headers)

    async def wait_for(self, kind: str, matches: Callable[[Record], bool], *, deadline_s: float = 60) -> Record:
        """The first record of a topic that matches; AssertionError with what was seen if none comes."""
        until = time.monotonic() + deadline_s
        async with self._changed:
            while True:
                for record in self.seen[kind]:
                    if matches(record):
                        return record
                left = until - time.monotonic()
                if left <= 0:
                    recent = [
                        (record["headers"].get("ce_type"), record["data"])
                        for name in ("replies", "events")
                        for record in self.seen[name][-4:]
                    ]
                    raise AssertionError(f"nothing on {kind} matched within {deadline_s} s; lately {recent}")
                try:
                    async with asyncio.timeout(left):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    async def reply(self, message_id: str, *, deadline_s: float = 60) -> Record:
        """The body of the answer to a command, with its type under "type"."""
        found = await self.wait_for(
            "replies", lambda record: record["headers"].get("correlation-id") == message_id, deadline_s=deadline_s
        )
        return {"type": found["headers"]["ce_type"], **found["data"]}

    async def terminal(self, job: str, *, deadline_s: float = 120) -> Record:
        """The end of a job."""
        ends = (
            ".completed.v1", ".failed.v1", ".enrolled.v1", ".changed.v1", ".updated.v1", ".retired.v1", ".deleted.v1",
            ".verified.v1", ".damaged.v1", ".planned.v1", ".cancelled.v1", ".cancel-ended.v1",
        )  # fmt: skip
        found = await self.wait_for(
            "events",
            lambda record: record["data"].get("job_id") == job and record["headers"]["ce_type"].endswith(ends),
            deadline_s=deadline_s,
        )
        return {"type": found["headers"]["ce_type"], **found["data"]}

    def status(self, key: str) -> Record | None:
        """The newest state of a status key, None if there is none or it was removed."""
        found = [record for record in self.seen["status"] if record["key"] == key]
        return found[-1]["data"] if found else None

    async def wait_status(
        self, key: str, matches: Callable[[Record], bool] = lambda _: True, *, deadline_s: float = 60
    ) -> Record:
        found = await self.wait_for(
            "status",
            lambda record: record["key"] == key and record["data"] is not None and matches(record["data"]),
            deadline_s=deadline_s,
        )
        state: Record = found["data"]
        return state

    async def _partitions(self, name: str) -> set[int]:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            await self._consumer._client.force_metadata_update()
            found = self._consumer.partitions_for_topic(name)
            if found:
                return set(found)
            await self._consumer.topics()
        raise AssertionError(f"no topic {name}")

    async def _read(self) -> None:
        while True:
            batches = await self._consumer.getmany(timeout_ms=200)
            async with self._changed:
                for where, records in batches.items():
                    kind = where.topic.removeprefix(self._prefix).removesuffix(".v1")
                    for record in records:
                        self.seen[kind].append(
                            {
                                "key": (record.key or b"").decode(),
                                "headers": {name: value.decode() for name, value in record.headers},
                                "data": None if record.value is None else json.loads(record.value),
                                "at": record.timestamp,
                            }
                        )
                self._changed.notify_all()
