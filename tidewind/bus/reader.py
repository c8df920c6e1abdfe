"""Reads partitions without a group: from places of one's own choice, committing nothing, through lost connections.

Where it stands is kept here, not in the client: after any failure a new client begins at the first record not yet
handed out, so that no reader sees a hole or a record twice.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from schemas.topics import Topic
from tidewind.bus.connection import Connection, end, partition_counts
from tidewind.bus.records import RawRecord, consumed
from tidewind.ports.bus import BusError, BusUnavailable

log = structlog.get_logger()

Place = tuple[str, int]
"""Topic name without prefix, partition."""

_METADATA_S = 5.0
_RESTART_S = 0.5


class Reader:
    """`open`, then `read` as often as wanted, then `close`. Not for several tasks at once."""

    def __init__(self, connection: Connection, topics: Sequence[Topic]) -> None:
        self._connection = connection
        self._topics = {connection.name(topic): topic for topic in topics}
        self._consumer: Any = None
        self._next: dict[TopicPartition, int] = {}
        self.reconnects = 0

    async def open(
        self, *, partitions: Mapping[str, Sequence[int]] | None = None, at_end: bool = False, deadline_s: float | None
    ) -> None:
        """Assign partitions (all, or those named by topic) at their beginning or end. Raises BusUnavailable, and
        BusError if a topic does not exist."""
        self._consumer = await self._connection.reader(deadline_s=deadline_s)
        try:
            counts = await partition_counts(self._consumer, self._topics, deadline_s=_METADATA_S)
        except KafkaError as error:
            raise BusUnavailable(f"Kafka at {self._connection.settings.bootstrap}: {error}") from error
        missing = sorted(set(self._topics) - set(counts))
        if missing:
            await self.close()
            raise BusError(f"There is no topic {', '.join(missing)}; make it with:  tidewind topics apply")
        places = [
            TopicPartition(name, number)
            for name, topic in self._topics.items()
            for number in range(counts[name])
            if partitions is None or number in partitions.get(topic.name, ())
        ]
        self._consumer.assign(places)
        edges = await self._edges(places, at_end=at_end)
        for place, offset in edges.items():
            self._next[place] = offset
            self._consumer.seek(place, offset)

    async def seek_to_time(self, timestamp_ms: int) -> None:
        """Go to the first record of that time or later in every partition; to the beginning where the broker cannot
        tell."""
        places = list(self._next)
        found = await self._consumer.offsets_for_times(dict.fromkeys(places, timestamp_ms))
        starts = await self._edges(places, at_end=False)
        ends = await self._edges(places, at_end=True)
        known = any(found.get(place) is not None for place in places)
        for place in places:
            hit = found.get(place)
            offset = hit.offset if hit is not None else (ends[place] if known else starts[place])
            self._next[place] = offset
            self._consumer.seek(place, offset)

    async def ends(self) -> dict[Place, int]:
        """The offsets after the last records, asked of the broker now. Raises BusUnavailable."""
        edges = await self._edges(list(self._next), at_end=True)
        return {self._place(place): offset for place, offset in edges.items()}

    @property
    def position(self) -> dict[Place, int]:
        """The next offset of every partition."""
        return {self._place(place): offset for place, offset in self._next.items()}

    def at_end(self) -> bool:
        """Whether nothing newer was there when each partition last answered a fetch."""
        for place, offset in self._next.items():
            highwater = self._consumer.highwater(place) if self._consumer is not None else None
            if highwater is None or offset < highwater:
                return False
        return True

    def last_answer_ms(self) -> int:
        """The time of the oldest newest answer over all partitions; 0 before the first. Only good for seeing change."""
        if self._consumer is None:
            return 0
        return min((self._consumer.last_poll_timestamp(place) or 0 for place in self._next), default=0)

    async def read(self, *, timeout_s: float = 0.2) -> list[RawRecord]:
        """What has come, perhaps nothing. Lost connections are restored here, for as long as it takes."""
        if self._consumer is None:
            await self._reopen()
        try:
            fetched = await self._consumer.getmany(timeout_ms=round(timeout_s * 1000), max_records=1000)
            if self._consumer._fetcher.error_future.done():
                raise KafkaError("the client's fetcher ended")
        except (KafkaError, OSError, ValueError, IndexError, TypeError, AssertionError) as error:
            log.warning("A reader lost its connection and makes a new one", action="reader-restart", cause=str(error))
            await self.close()
            await asyncio.sleep(_RESTART_S)
            return []
        records = []
        for place, found in fetched.items():
            for record in found:
                if record.offset >= self._next[place]:
                    records.append(consumed(self._topics[place.topic], record))
                    self._next[place] = record.offset + 1
            # Markers and compacted records leave offsets that no record has: the client knows how far it is.
            self._next[place] = max(self._next[place], await self._consumer.position(place))
        return records

    async def close(self) -> None:
        """Disconnect. `read` connects again and goes on where it was."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await end(consumer)

    async def _reopen(self) -> None:
        self._consumer = await self._connection.reader(deadline_s=None)
        self._consumer.assign(list(self._next))
        for place, offset in self._next.items():
            self._consumer.seek(place, offset)
        self.reconnects += 1

    async def _edges(self, places: list[TopicPartition], *, at_end: bool) -> dict[TopicPartition, int]:
        ask = self._consumer.end_offsets if at_end else self._consumer.beginning_offsets
        try:
            edges: dict[TopicPartition, int] = await ask(places)
        except KafkaError as error:
            raise BusUnavailable(f"Kafka at {self._connection.settings.bootstrap}: {error}") from error
        return edges

    def _place(self, place: TopicPartition) -> Place:
        return self._topics[place.topic].name, place.partition
