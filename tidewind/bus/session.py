"""One membership in a consumer group: from joining until the connection, the fetcher or the service ends.

The poll loop does nothing but hand records to the workers, hold back what they cannot take, and look whether everything
else is alive. Two traps of aiokafka shape it: `getmany` may block for a whole rebalance, so nothing else waits for it;
and when one partition's bytes make it raise, records of other partitions drained in the same call are gone, so after
any such error every partition is put back to what its worker expects next.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, CorruptRecordException, IllegalStateError, KafkaError

from schemas.envelope import Origin, Poison
from schemas.topics import Topic
from tidewind.bus.connection import Connection, end, partition_counts
from tidewind.bus.records import RawRecord, consumed
from tidewind.bus.worker import PartitionWorker, Settle, Stall
from tidewind.ports.bus import BusError, HeldBack, Ownership, PartitionsHandler
from tidewind.ports.clock import Clock

log = structlog.get_logger()

_POLL_MS = 200
_PROBE_MS = 500
_CORRUPT_TRIES = 5
_UNREADABLE = (CorruptRecordException, ValueError, IndexError, TypeError, AssertionError, OverflowError)
_COMMIT_S = 10.0
_METADATA_S = 5.0


class FetcherDied(Exception):
    """A background task of the client ended although nobody asked it to."""


class Session(ConsumerRebalanceListener):  # type: ignore[misc]
    """`run` once."""

    def __init__(
        self,
        connection: Connection,
        *,
        group: str,
        topics: list[Topic],
        settle: Settle,
        clock: Clock,
        held_back: Mapping[Topic, HeldBack],
        on_assigned: PartitionsHandler | None,
        on_revoked: PartitionsHandler | None,
        grace_s: float,
        handler_limit_s: float,
        silence_limit_s: float,
    ) -> None:
        self._connection = connection
        self._group = group
        self._topics = {connection.name(topic): topic for topic in topics}
        self._settle = settle
        self._held_back = held_back
        self._clock = clock
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._grace_s = grace_s
        self._handler_limit_s = handler_limit_s
        self._silence_limit_s = silence_limit_s
        self._consumer: Any = None
        self._workers: dict[TopicPartition, PartitionWorker] = {}
        self._paused: set[TopicPartition] = set()
        self._settled = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._committer: asyncio.Task[None] | None = None
        self._assigned_task: asyncio.Task[None] | None = None
        self._committed: dict[TopicPartition, int] = {}
        self._unreadable: dict[tuple[TopicPartition, int], int] = {}
        self._fetch_seen = (0, 0.0)
        self.total = 0
        self.ownership: Ownership | None = None

    async def run(self, deadline_s: float | None) -> None:
        """Until cancelled, or something fails. Leaves the group on the way out."""
        self._consumer = await self._connection.group_consumer(self._group, deadline_s=deadline_s)
        try:
            self.total = await self._count_partitions()
            self._consumer.subscribe(list(self._topics), listener=self)
            self._start_committer()
            self._fetch_seen = (0, self._clock.monotonic())
            while True:
                await self._poll()
                self._hold_back()
                self._look_after()
        finally:
            await self._leave()

    def stalls(self) -> tuple[Stall, ...]:
        found = [worker.stall for worker in self._workers.values() if worker.stall is not None]
        return tuple(sorted(found, key=lambda stall: stall.since))

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Called by the client before every rebalance, with everything this member has."""
        self.ownership = None
        await self._drop(list(revoked))
        self._start_committer()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        for place in assigned:
            self._workers[place] = PartitionWorker(
                self._settle,
                self._settled.set,
                limit_s=self._handler_limit_s,
                monotonic=self._clock.monotonic,
            )
        partitions = frozenset(place.partition for place in assigned)
        self.ownership = Ownership(partitions=partitions, total=self.total)
        log.info("Partitions assigned", action="assigned", group=self._group, partitions=sorted(partitions))
        if self._on_assigned is not None:
            if self._assigned_task is not None:
                self._assigned_task.cancel()
                self._tasks.discard(self._assigned_task)
            self._assigned_task = asyncio.create_task(self._tell(self._on_assigned, partitions))
            self._tasks.add(self._assigned_task)

    async def _tell(self, handler: PartitionsHandler, partitions: frozenset[int]) -> None:
        await handler(partitions)

    async def _count_partitions(self) -> int:
        """How many partitions each topic has: one number. Raises BusError."""
        counts = await partition_counts(self._consumer, self._topics, deadline_s=_METADATA_S)
        missing = sorted(set(self._topics) - set(counts))
        if missing:
            raise BusError(f"There is no topic {', '.join(missing)}; make it with:  tidewind topics apply")
        if len(set(counts.values())) != 1:
            raise BusError(
                f"The topics have different numbers of partitions: {counts}; a cluster's records would be handled by "
                "two instances. See:  tidewind topics check"
            )
        return next(iter(counts.values()))

    async def _poll(self) -> None:
        try:
            fetched = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=500)
        except _UNREADABLE as error:
            await self._recover(error)
        else:
            for place, records in fetched.items():
                worker = self._workers.get(place)
                if worker is not None:
                    for record in records:
                        worker.add(consumed(self._topics[place.topic], record))

    async def _recover(self, error: Exception) -> None:
        """Some partition's bytes cannot be parsed. Put all back, then ask each alone: only the one raises."""
        log.warning("Records could not be parsed", action="unreadable-records", cause=str(error))
        for place, worker in self._workers.items():
            self._consumer.seek(place, await self._expected(place, worker))
        await asyncio.gather(*(self._probe(place, worker) for place, worker in list(self._workers.items())))

    async def _expected(self, place: TopicPartition, worker: PartitionWorker) -> int:
        """The offset after what the worker was given; where it would begin if it was given nothing yet."""
        if worker.expected is not None:
            return worker.expected
        committed = await self._consumer.committed(place)
        if committed is not None:
            return int(committed)
        return int((await self._consumer.beginning_offsets([place]))[place])

    async def _probe(self, place: TopicPartition, worker: PartitionWorker) -> None:
        try:
            fetched = await self._consumer.getmany(place, timeout_ms=_PROBE_MS, max_records=1)
        except _UNREADABLE as fault:
            await self._step_over(place, worker, fault)
        else:
            for record in fetched.get(place, ()):
                worker.add(consumed(self._topics[place.topic], record))

    async def _step_over(self, place: TopicPartition, worker: PartitionWorker, fault: Exception) -> None:
        offset = await self._consumer.position(place)
        tries = self._unreadable.get((place, offset), 0) + 1
        self._unreadable[(place, offset)] = tries
        if isinstance(fault, CorruptRecordException) and tries < _CORRUPT_TRIES:
            return
        del self._unreadable[(place, offset)]
        fault_of_it = Poison("unreadable-record", f"the bytes cannot be parsed as a Kafka record: {fault}")
        origin = Origin(topic=place.topic, partition=place.partition, offset=offset, timestamp_ms=0, broker_time=False)
        worker.add(
            RawRecord(
                topic=self._topics[place.topic],
                key=None,
                value=None,
                headers=(),
                origin=origin,
                fault=fault_of_it,
            )
        )
        self._consumer.seek(place, offset + 1)

    def _hold_back(self) -> None:
        for place, worker in self._workers.items():
            try:
                if worker.full and place not in self._paused:
                    self._consumer.pause(place)
                    self._paused.add(place)
                elif worker.hungry and place in self._paused:
                    self._consumer.resume(place)
                    self._paused.discard(place)
            except IllegalStateError:
                self._paused.discard(place)

    def _look_after(self) -> None:
        """Raise if anything that should run has ended, or nothing was fetched for too long."""
        for task in [*self._tasks]:
            if task.done():
                self._tasks.discard(task)
                task.result()
        for place, worker in self._workers.items():
            if worker.task.done():
                raise FetcherDied(f"the worker of {place.topic}/{place.partition} ended")
        if self._consumer._fetcher.error_future.done():
            raise FetcherDied("the client's fetcher ended")
        self._watch_silence()

    def _watch_silence(self) -> None:
        """A fetch answers at least every quarter of a second when Kafka is there, with or without records."""
        now = self._clock.monotonic()
        waiting = [place for place in self._workers if place not in self._paused]
        newest = 0
        for place in waiting:
            if place in self._consumer.assignment():
                newest = max(newest, self._consumer.last_poll_timestamp(place) or 0)
        if not waiting or newest != self._fetch_seen[0]:
            self._fetch_seen = (newest, now)
        elif now - self._fetch_seen[1] > self._silence_limit_s:
            raise FetcherDied(f"nothing was fetched for {self._silence_limit_s:.0f} s")

    def _start_committer(self) -> None:
        self._committer = asyncio.create_task(self._commit_settled(), name=f"commits of {self._group}")
        self._tasks.add(self._committer)

    async def _stop_committer(self) -> None:
        if self._committer is not None:
            self._tasks.discard(self._committer)
            self._committer.cancel()
            await asyncio.wait({self._committer})
            self._committer = None

    async def _commit_settled(self) -> None:
        while True:
            await self._settled.wait()
            self._settled.clear()
            try:
                await self._commit(list(self._workers))
            except CommitFailedError as error:
                log.info("A rebalance overtook a commit", action="commit-refused", cause=str(error))
            except KafkaError as error:
                log.warning("Offsets could not be committed yet", action="commit-retry", cause=str(error))
                await asyncio.sleep(1)
                self._settled.set()

    async def _commit(self, places: list[TopicPartition]) -> None:
        """Commit what is settled and not yet committed."""
        offsets = {
            place: done
            for place in places
            if (done := self._done(place)) is not None and done > self._committed.get(place, -1)
        }
        if offsets:
            await self._consumer.commit(offsets)
            self._committed |= offsets

    def _done(self, place: TopicPartition) -> int | None:
        """The offset after what is settled, or of the first record that is held back."""
        worker = self._workers.get(place)
        if worker is None or worker.done is None:
            return None
        holding = self._held_back.get(self._topics[place.topic])
        held = holding(place.partition) if holding is not None else None
        return worker.done if held is None else min(worker.done, held)

    def commit_soon(self) -> None:
        self._settled.set()

    async def _drop(self, places: list[TopicPartition]) -> None:
        """Let go of partitions: end what is in hand, commit what is settled."""
        # A commit still on its way, with older offsets, could land after the last one and take it back.
        await self._stop_committer()
        workers = [self._workers[place] for place in places if place in self._workers]
        await asyncio.gather(*(worker.stop(self._grace_s) for worker in workers))
        try:
            async with asyncio.timeout(_COMMIT_S):
                await self._commit(places)
        except (KafkaError, TimeoutError) as error:
            log.warning("What was settled is not committed and will be delivered again", cause=str(error))
        for place in places:
            self._workers.pop(place, None)
            self._paused.discard(place)
            self._committed.pop(place, None)
        if places and self._on_revoked is not None:
            # The client only logs what a listener raises; as a task it is seen by the poll loop.
            lost = frozenset(place.partition for place in places)
            task = asyncio.create_task(self._tell(self._on_revoked, lost))
            self._tasks.add(task)
            await asyncio.wait({task}, timeout=self._grace_s)

    async def _leave(self) -> None:
        self.ownership = None
        try:
            await self._drop(list(self._workers))
        finally:
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=self._grace_s)
            await end(self._consumer)
