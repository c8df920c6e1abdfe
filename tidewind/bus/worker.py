"""One assigned partition: its records in order, one at a time, each until it is settled.

Invariant: `done` is the offset after the last record of an unbroken row of settled ones. A record is settled when its
handler returned, when it stands in the dead letters, or when it was published again where it belongs. So committing
`done` never skips a record, whatever the process does next.
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
PAUSE_ABOVE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Stall:
    """A record that fails again and again. It is tried until it succeeds; the partition waits, others do not."""

    topic: str
    partition: int
    offset: int
    attempts: int
    since: float
    cause: str


Settle = Callable[[RawRecord], Awaitable[None]]


class PartitionWorker:
    """`settle` does all that one record needs, or raises. `settled` is called after each.

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
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._in_hand = False
        self._stopping = False
        self.done: int | None = None
        self.expected: int | None = None
        self.stall: Stall | None = None
        self.task = asyncio.create_task(self._work())

    def add(self, record: RawRecord) -> None:
        """Queue a record; those already seen (fetched again after an error) are dropped."""
        if self._stopping or (self.expected is not None and record.origin.offset < self.expected):
            return
        self.expected = record.origin.offset + 1
        self._queue.append(record)
        self._bytes += record.size
        self._arrived.set()

    @property
    def full(self) -> bool:
        return len(self._queue) >= PAUSE_ABOVE or self._bytes >= PAUSE_ABOVE_BYTES

    @property
    def hungry(self) -> bool:
        return len(self._queue) < PAUSE_ABOVE // 4 and self._bytes < PAUSE_ABOVE_BYTES // 4

    async def stop(self, grace_s: float) -> None:
        """Begin no further record; let the one in hand end within the grace, else cancel it: it will come again."""
        self._stopping = True
        self._queue.clear()
        if self._in_hand and self.stall is None:
            await asyncio.wait({self.task}, timeout=grace_s)
        self.task.cancel()
        _, late = await asyncio.wait({self.task}, timeout=grace_s)
        if late:
            log.error("A handler does not end although it was cancelled", action="handler-stuck")

    async def _work(self) -> None:
        while not self._stopping:
            if not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            record = self._queue.popleft()
            self._bytes -= record.size
            self._in_hand = True
            await self._until_settled(record)
            self._in_hand = False
            self.done = record.origin.offset + 1
            self._settled()

    async def _until_settled(self, record: RawRecord) -> None:
        attempts = 0
        began = self._monotonic()
        while True:
            try:
                async with asyncio.timeout(self._limit_s):
                    await self._settle(record)
            except Exception as error:
                attempts += 1
                self.stall = _stalled(record, error, attempts, began)
                log.warning(
                    "A record could not be handled; its partition waits and it is tried again",
                    action="record-retry",
                    topic=record.origin.topic,
                    partition=record.origin.partition,
                    offset=record.origin.offset,
                    attempts=attempts,
                    exc_info=error,
                )
                await asyncio.sleep(_BACKOFF_S[min(attempts, len(_BACKOFF_S)) - 1])
            else:
                self.stall = None
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
