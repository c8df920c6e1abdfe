"""What is waiting to be acknowledged by Kafka: bounded, ordered by key, nothing but progress ever dropped.

Records of one message key always share a lane, and a lane is first in, first out: so the order of a key is kept however
long Kafka is away. A status record that nobody waits for replaces the unsent one of its key, because only the newest
state matters; everything else is kept until it is acknowledged.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from schemas.topics import PROGRESS, STATUS
from tidewind.bus.partitioner import partition_of_bytes, routing_part
from tidewind.bus.records import Outgoing
from tidewind.ports.bus import BusError

_LANES = 16

Lane = tuple[str, int]
"""Topic name and a number: records that must stay in order have the same lane."""


class OutboxFull(BusError):
    """More is waiting for Kafka than may be held in memory, and none of it may be dropped."""


@dataclass(eq=False)
class Entry:
    """One record in the outbox. `waiter` is set when somebody waits for its acknowledgement."""

    record: Outgoing
    lane: Lane
    waiter: asyncio.Future[None] | None = None
    sending: bool = field(default=False)


def lane_of(record: Outgoing) -> Lane:
    """By the key as a whole topic's partition would be chosen, whatever the number of partitions is."""
    if record.partition is not None:
        return record.topic.name, _LANES + record.partition
    return record.topic.name, partition_of_bytes(routing_part(record.topic, record.key or b""), _LANES)


class Outbox:
    """Not for several threads. `max_progress` bounds the progress records alone."""

    def __init__(self, *, max_records: int, max_bytes: int, max_progress: int) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._max_progress = max_progress
        self._lanes: dict[Lane, deque[Entry]] = {}
        self._newest_status: dict[bytes, Entry] = {}
        self._progress: deque[Entry] = deque()
        self.records = 0
        self.bytes = 0
        self.dropped_progress = 0

    def add(self, record: Outgoing, waiter: asyncio.Future[None] | None = None) -> Entry:
        """Queue a record. Raises OutboxFull."""
        replaced = self._replaced(record, waiter)
        if replaced is not None:
            self.bytes += record.size - replaced.record.size
            replaced.record = record
            return replaced
        if record.topic.name == PROGRESS.name and len(self._progress) >= self._max_progress:
            self._drop_progress()
        while self.records >= self._max_records or self.bytes + record.size > self._max_bytes:
            if not self._drop_progress():
                raise OutboxFull(
                    f"{self.records} records ({self.bytes} bytes) wait for Kafka, which is the most that may be held"
                )
        entry = Entry(record, lane_of(record), waiter)
        self._lanes.setdefault(entry.lane, deque()).append(entry)
        self.records += 1
        self.bytes += record.size
        if record.topic.name == PROGRESS.name:
            self._progress.append(entry)
        elif record.topic.name == STATUS.name and record.key is not None:
            self._newest_status[record.key] = entry
        return entry

    def take(self, lane: Lane, *, max_records: int, max_bytes: int) -> list[Entry]:
        """The oldest entries of a lane, at least one if there is any, marked as being sent. They stay queued."""
        taken: list[Entry] = []
        size = 0
        for entry in self._lanes.get(lane, ()):
            size += entry.record.size
            if taken and (len(taken) >= max_records or size > max_bytes):
                break
            entry.sending = True
            taken.append(entry)
        return taken

    def remove(self, entries: list[Entry]) -> None:
        """Forget entries: acknowledged, or given up before they were sent."""
        for entry in entries:
            queue = self._lanes[entry.lane]
            queue.remove(entry)
            if not queue:
                del self._lanes[entry.lane]
            self.records -= 1
            self.bytes -= entry.record.size
            self._forget(entry)

    def lanes(self) -> Iterator[Lane]:
        """Lanes with something in them."""
        return iter(tuple(self._lanes))

    def entries(self) -> Iterator[Entry]:
        for queue in self._lanes.values():
            yield from queue

    def _replaced(self, record: Outgoing, waiter: asyncio.Future[None] | None) -> Entry | None:
        if record.topic.name != STATUS.name or record.key is None or waiter is not None:
            return None
        entry = self._newest_status.get(record.key)
        return entry if entry is not None and entry.waiter is None and not entry.sending else None

    def _drop_progress(self) -> bool:
        for entry in self._progress:
            if not entry.sending:
                self.remove([entry])
                self.dropped_progress += 1
                return True
        return False

    def _forget(self, entry: Entry) -> None:
        if entry.record.topic.name == PROGRESS.name:
            self._progress.remove(entry)
        key = entry.record.key
        if key is not None and self._newest_status.get(key) is entry:
            del self._newest_status[key]
