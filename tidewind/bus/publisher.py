"""Publishes records and keeps what Kafka has not acknowledged yet.

Invariant: a record leaves the outbox only when Kafka has acknowledged it, or when its sender was told within the
deadline that it had not been sent. Repeats after a lost connection are possible and harmless (messages have ids, states
have revisions); losses and reorderings within a key are not possible while the process lives.

An idempotent send of aiokafka never expires by itself, and a failed batch leaves a hole in its sequence numbers that
makes the next one fatal. So every wait here has a deadline of its own, and after any failure the producer is replaced
and everything from the first unacknowledged record on is sent again, in order.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from schemas.envelope import Message
from schemas.topics import Topic
from tidewind.bus.connection import Connection, abandon, end, partition_counts
from tidewind.bus.outbox import Entry, Lane, Outbox
from tidewind.bus.partitioner import partition_of_bytes, routing_part
from tidewind.bus.records import NAME_HEADER, Outgoing, outgoing
from tidewind.ports.bus import BusUnavailable, MessageTooLarge

log = structlog.get_logger()

_BATCH_RECORDS = 100
_BATCH_BYTES = 4_000_000
_METADATA_S = 5.0
_NOT_THE_PRODUCER = (UnknownTopicOrPartitionError, AssertionError)
_BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class KafkaPublisher:
    """Implements tidewind.ports.bus.Publisher.

    `start`, then `run` as a part of the service until cancelled, then `close`. Records may be posted before `start`.
    `patience_s` is how long an acknowledgement may take before the producer is replaced.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        max_records: int = 100_000,
        max_bytes: int = 128 * 1024 * 1024,
        max_progress: int = 1_000,
        patience_s: float = 30.0,
    ) -> None:
        self._connection = connection
        self._patience_s = patience_s
        self._outbox = Outbox(max_records=max_records, max_bytes=max_bytes, max_progress=max_progress)
        self._producer: Any = None
        self._ready = asyncio.Event()
        self._broken = asyncio.Event()
        self._died = asyncio.Event()
        self._changed = asyncio.Condition()
        self._lanes: dict[Lane, asyncio.Task[None]] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._partitions: dict[str, int] = {}

    async def start(self, *, deadline_s: float | None = None, required: bool = True) -> None:
        """Connect. Raises BusUnavailable naming the address after the deadline (by default the settings'); with
        `required` False it goes on trying in the background instead."""
        limit = self._connection.settings.start_deadline_s if deadline_s is None else deadline_s
        try:
            self._producer = await self._connection.producer(deadline_s=limit)
            self._ready.set()
        except BusUnavailable as error:
            if required:
                raise
            log.warning(str(error), action="kafka-unavailable")
        self._keeper = asyncio.create_task(self._keep_producer(), name="publisher")
        for lane in self._outbox.lanes():
            self._wake(lane)

    async def run(self) -> None:
        """Returns only by raising: what ends the publisher ends the service."""
        assert self._keeper is not None, "start() first"
        died = asyncio.create_task(self._died.wait())
        try:
            await asyncio.wait({died, self._keeper}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            died.cancel()
        if self._keeper.done() and not self._keeper.cancelled():
            self._keeper.result()
        raise RuntimeError("the publisher ended by itself; see the log")

    async def send(self, topic: Topic, message: Message, *, deadline_s: float = 10.0) -> None:
        """Publish and wait for the acknowledgement of all in-sync replicas. Raises BusUnavailable, MessageTooLarge."""
        await self.send_record(outgoing(topic, message), deadline_s=deadline_s)

    async def send_record(self, record: Outgoing, *, deadline_s: float = 10.0) -> None:
        """The same for a record as it is."""
        entry = self._add(record, asyncio.get_running_loop().create_future())
        try:
            async with asyncio.timeout(deadline_s):
                await self._acknowledged(entry)
        except TimeoutError:
            stored = "may or may not be stored" if entry.sending else "was not sent"
            raise BusUnavailable(
                f"Kafka at {self._connection.settings.bootstrap} did not acknowledge a record for "
                f"{self._connection.name(record.topic)} within {deadline_s:g} s; it {stored}"
            ) from None

    async def send_binary(self, topic: Topic, key: str, name: str, value: bytes, headers: Mapping[str, str]) -> None:
        named = ((NAME_HEADER, name.encode()), *((header, text.encode()) for header, text in headers.items()))
        record = Outgoing(topic=topic, key=key.encode(), value=value, headers=named)
        await self._acknowledged(self._add(record, asyncio.get_running_loop().create_future()))

    def post(self, topic: Topic, message: Message) -> None:
        """Queue and return. Raises MessageTooLarge, and OutboxFull when the bound is reached and nothing can go."""
        self._add(outgoing(topic, message), None)

    async def _acknowledged(self, entry: Entry) -> None:
        """Wait for it; one that nobody waits for any more is taken back unless it is on its way."""
        waiter = entry.waiter
        assert waiter is not None
        try:
            await waiter
        finally:
            if not waiter.done() or waiter.cancelled():
                entry.waiter = None
                if not entry.sending:
                    self._outbox.remove([entry])

    async def flush(self, *, deadline_s: float) -> bool:
        """Wait until everything queued is acknowledged; False if the deadline passed first."""
        try:
            async with asyncio.timeout(deadline_s), self._changed:
                await self._changed.wait_for(lambda: self._outbox.records == 0)
        except TimeoutError:
            return False
        return True

    async def close(self, *, deadline_s: float = 10.0) -> bool:
        """Flush, then disconnect. False if something was still unacknowledged."""
        flushed = await self.flush(deadline_s=deadline_s)
        if not flushed:
            log.error(
                f"{self._outbox.records} records were not acknowledged before the end",
                action="outbox-not-empty",
                topics=sorted({entry.record.topic.name for entry in self._outbox.entries()}),
            )
        tasks = [*self._lanes.values()] + ([self._keeper] if self._keeper else [])
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5)
        if self._producer is not None:
            await end(self._producer)
            self._producer = None
        return flushed

    @property
    def pending(self) -> tuple[int, int]:
        """Records and bytes that wait for an acknowledgement."""
        return self._outbox.records, self._outbox.bytes

    @property
    def connected(self) -> bool:
        return self._ready.is_set()

    async def partitions(self, topic: Topic, *, deadline_s: float = 10.0) -> int:
        """How many partitions the topic has. Raises BusUnavailable, also if there is no such topic."""
        address = self._connection.settings.bootstrap
        try:
            async with asyncio.timeout(deadline_s):
                await self._ready.wait()
                return await self._count(self._producer, topic, deadline_s=min(deadline_s, _METADATA_S))
        except UnknownTopicOrPartitionError as error:
            name = self._connection.name(topic)
            text = f"Kafka at {address} has no topic {name}; make it with:  tidewind topics apply"
            raise BusUnavailable(text) from error
        except (TimeoutError, KafkaError) as error:
            raise BusUnavailable(f"Kafka at {address} did not answer within {deadline_s:g} s") from error

    def _add(self, record: Outgoing, waiter: asyncio.Future[None] | None) -> Entry:
        if record.size > record.topic.record_limit:
            raise MessageTooLarge(
                f"a record of {record.size} bytes for {record.topic.name}: "
                f"the limit is {record.topic.record_limit} bytes"
            )
        entry = self._outbox.add(record, waiter)
        if self._keeper is not None:
            self._wake(entry.lane)
        return entry

    def _wake(self, lane: Lane) -> None:
        if lane not in self._lanes:
            task = asyncio.create_task(self._drain(lane), name=f"outbox {lane[0]} {lane[1]}")
            task.add_done_callback(self._lane_ended)
            self._lanes[lane] = task

    def _lane_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.error("The publisher failed", action="publisher-died", exc_info=task.exception())
            self._died.set()

    async def _drain(self, lane: Lane) -> None:
        """Send a lane until it is empty."""
        failures = 0
        try:
            while True:
                await self._ready.wait()
                entries = self._outbox.take(lane, max_records=_BATCH_RECORDS, max_bytes=_BATCH_BYTES)
                if not entries:
                    return
                producer = self._producer
                acknowledged, error = await self._try(producer, entries)
                await self._settle(entries[:acknowledged])
                if error is None:
                    failures = 0
                    continue
                self._report(lane, entries[acknowledged], error, failures)
                if producer is self._producer and not isinstance(error, _NOT_THE_PRODUCER):
                    self._ready.clear()
                    self._broken.set()
                await asyncio.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
                failures += 1
        finally:
            del self._lanes[lane]

    async def _try(self, producer: Any, entries: list[Entry]) -> tuple[int, BaseException | None]:
        """How many of the entries, from the first, were acknowledged, and what stopped the next one.

        A later entry may have been stored although an earlier one failed; it is sent again after it, so that the last
        record of a key is the newest.
        """
        futures: list[asyncio.Future[Any]] = []
        stopped: BaseException | None = None
        try:
            async with asyncio.timeout(self._patience_s):
                for entry in entries:
                    futures.append(await self._hand_over(producer, entry.record))
                await asyncio.wait(futures)
        except (KafkaError, TimeoutError, OSError, AssertionError) as error:
            stopped = error
        failures = [_failure(future) for future in futures]
        acknowledged = next((number for number, failure in enumerate(failures) if failure), len(failures))
        if acknowledged == len(entries):
            return acknowledged, None
        if acknowledged < len(failures):
            stopped = failures[acknowledged]
        return acknowledged, stopped

    async def _hand_over(self, producer: Any, record: Outgoing) -> asyncio.Future[Any]:
        count = await self._count(producer, record.topic)
        partition = record.partition
        if partition is None:
            partition = partition_of_bytes(routing_part(record.topic, record.key or b""), count)
        future: asyncio.Future[Any] = await producer.send(
            self._connection.name(record.topic),
            value=record.value,
            key=record.key,
            partition=partition,
            timestamp_ms=record.timestamp_ms,
            headers=list(record.headers),
        )
        return future

    async def _count(self, producer: Any, topic: Topic, *, deadline_s: float = 1.0) -> int:
        name = self._connection.name(topic)
        if name not in self._partitions:
            counts = await partition_counts(producer, [name], deadline_s=deadline_s)
            if name not in counts:
                raise UnknownTopicOrPartitionError(f"there is no topic {name}")
            self._partitions[name] = counts[name]
        return self._partitions[name]

    async def _settle(self, entries: list[Entry]) -> None:
        if not entries:
            return
        self._outbox.remove(entries)
        for entry in entries:
            if entry.waiter is not None and not entry.waiter.done():
                entry.waiter.set_result(None)
        if self._outbox.records == 0:
            async with self._changed:
                self._changed.notify_all()

    def _report(self, lane: Lane, entry: Entry, error: BaseException, failures: int) -> None:
        level = log.error if failures in (3, 10) or failures % 100 == 99 else log.warning
        level(
            "A record was not acknowledged; it stays queued and is sent again",
            action="publish-retry",
            topic=lane[0],
            cause=str(error) or type(error).__name__,
            failures=failures + 1,
            waiting=self._outbox.records,
            bytes=entry.record.size,
        )

    async def _keep_producer(self) -> None:
        """Replace the producer whenever a lane found it broken, for as long as it takes."""
        while True:
            if self._producer is None:
                self._producer = await self._connection.producer(deadline_s=None)
                self._partitions.clear()
                self._broken.clear()
                self._ready.set()
            await self._broken.wait()
            self._ready.clear()
            broken, self._producer = self._producer, None
            await abandon(broken)


def _failure(future: asyncio.Future[Any]) -> BaseException | None:
    """Why a record was not acknowledged; None if it was."""
    if not future.done():
        return TimeoutError("no acknowledgement in time")
    return KafkaError("the producer gave it up") if future.cancelled() else future.exception()
