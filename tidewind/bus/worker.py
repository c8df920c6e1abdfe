"""One assigned partition: the records of each key in order, one at a time, each until it is settled; those of
different keys beside each other.

A handler may have to ask a database that does not answer; clusters that share its partition must not wait for that,
least of all for a cancel. Order is promised per cluster, and the key is the cluster.

Invariant: `done` is the offset after the last record of an unbroken row of settled ones. A record is settled when its
handler returned, when it stands in the dead letters, or when it was published again where it belongs. So committing
`done` never skips a record, whatever the process does next; what was settled behind an unsettled one comes again, and
handlers answer it as before.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from tidewind.bus.records import RawRecord

log = structlog.get_logger()

_BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
PAUSE_ABOVE = 200
"""Records taken in behind the first one that is not settled: so many at most come again after a crash."""
LANES = 16
"""Keys whose records are in hand at once."""
PAUSE_ABOVE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Stall:
    """A record that fails again and again. It is tried until it succeeds; its key waits, others do not."""

    topic: str
    partition: int
    offset: int
    attempts: int
    since: float
    cause: str


Settle = Callable[[RawRecord], Awaitable[None]]


class PartitionWorker:
    """`settle` does all that one record needs, or raises; it is called for several keys at once. `settled` is called
    after each record.

    `limit_s` bounds one attempt at one record; a handler that exceeds it is cancelled and tried again.
    """

    def __init__(
        self, settle: Settle, settled: Callable[[], None], *, limit_s: float, monotonic: Callable[[], float]
    ) -> None:
        self._settle = settle
        self._settled = settled
        self._limit_s = limit_s
        self._monotonic = monotonic
        self._queue: deque[RawRecord] = deque()
        self._lanes: dict[bytes | None, deque[RawRecord]] = {}
        self._running: dict[bytes | None, asyncio.Task[None]] = {}
        self._stalls: dict[bytes | None, Stall] = {}
        self._order: deque[int] = deque()
        self._behind: set[int] = set()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._failure: BaseException | None = None
        self._stopping = False
        self.done: int | None = None
        self.expected: int | None = None
        self.task = asyncio.create_task(self._give_out())

    def add(self, record: RawRecord) -> None:
        """Queue a record; those already seen (fetched again after an error) are dropped."""
        if self._stopping or (self.expected is not None and record.origin.offset < self.expected):
            return
        self.expected = record.origin.offset + 1
        self._queue.append(record)
        self._order.append(record.origin.offset)
        self._bytes += record.size
        self._wake.set()

    @property
    def full(self) -> bool:
        return len(self._order) >= PAUSE_ABOVE or self._bytes >= PAUSE_ABOVE_BYTES

    @property
    def hungry(self) -> bool:
        return len(self._order) < PAUSE_ABOVE // 4 and self._bytes < PAUSE_ABOVE_BYTES // 4

    @property
    def stall(self) -> Stall | None:
        """The oldest."""
        return min(self._stalls.values(), key=lambda stall: stall.since, default=None)

    async def stop(self, grace_s: float) -> None:
        """Begin no further record; let those in hand end within the grace, else cancel them: they will come again."""
        self._stopping = True
        self._queue.clear()
        for waiting in self._lanes.values():
            waiting.clear()
        doing_well = {task for key, task in self._running.items() if key not in self._stalls}
        if doing_well:
            await asyncio.wait(doing_well, timeout=grace_s)
        tasks = {self.task, *self._running.values()}
        for task in tasks:
            task.cancel()
        _, late = await asyncio.wait(tasks, timeout=grace_s)
        if late:
            log.error("A handler does not end although it was cancelled", action="handler-stuck")

    async def _give_out(self) -> None:
        """Put each record behind those of its key; while as many keys as may be are in hand, the next one waits."""
        while not self._stopping:
            if self._failure is not None:
                raise self._failure
            if not self._queue or (self._queue[0].key not in self._lanes and len(self._lanes) >= LANES):
                self._wake.clear()
                await self._wake.wait()
                continue
            record = self._queue.popleft()
            if record.key in self._lanes:
                self._lanes[record.key].append(record)
                continue
            self._lanes[record.key] = deque([record])
            task = asyncio.create_task(self._work(record.key))
            self._running[record.key] = task
            task.add_done_callback(self._look_at_end)

    async def _work(self, key: bytes | None) -> None:
        waiting = self._lanes[key]
        try:
            while waiting:
                record = waiting.popleft()
                await self._until_settled(record)
                self._count(record)
        finally:
            del self._lanes[key], self._running[key]
            self._stalls.pop(key, None)
            self._wake.set()

    def _count(self, record: RawRecord) -> None:
        self._bytes -= record.size
        self._behind.add(record.origin.offset)
        while self._order and self._order[0] in self._behind:
            self.done = self._order.popleft() + 1
            self._behind.discard(self.done - 1)
        self._settled()

    def _look_at_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error
            self._wake.set()

    async def _until_settled(self, record: RawRecord) -> None:
        attempts = 0
        began = self._monotonic()
        while True:
            try:
                async with asyncio.timeout(self._limit_s):
                    await self._settle(record)
            except Exception as error:
                attempts += 1
                self._stalls[record.key] = _stalled(record, error, attempts, began)
                log.warning(
                    "A record could not be handled; its cluster waits and it is tried again",
                    action="record-retry",
                    topic=record.origin.topic,
                    partition=record.origin.partition,
                    offset=record.origin.offset,
                    attempts=attempts,
                    exc_info=error,
                )
                await asyncio.sleep(_BACKOFF_S[min(attempts, len(_BACKOFF_S)) - 1])
            else:
                self._stalls.pop(record.key, None)
                return


def _stalled(record: RawRecord, error: Exception, attempts: int, since: float) -> Stall:
    return Stall(
        topic=record.origin.topic,
        partition=record.origin.partition,
        offset=record.origin.offset,
        attempts=attempts,
        since=since,
        cause=str(error) or type(error).__name__,
    )
