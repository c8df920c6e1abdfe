"""The status topic, folded: the newest state of every key, and for how long each has been silent.

Leases depend on `silence_s`, so it must never be too long: it counts this process's monotonic time only while the view
is connected and at the end of every partition, in steps no longer than a second. Time during which Kafka was away, the
view was behind, or this process stood still is not silence of anybody.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from schemas.envelope import Message
from schemas.topics import STATUS
from tidewind.bus.admission import intake_record
from tidewind.bus.connection import Connection
from tidewind.bus.reader import Reader
from tidewind.bus.records import RawRecord
from tidewind.domain.revisions import Revision, revision_of
from tidewind.ports.clock import Clock

log = structlog.get_logger()

_POLL_S = 0.2
_ANSWER_LIMIT_S = 2.0
_STEP_LIMIT_S = 1.0


@dataclass(frozen=True)
class _State:
    revision: Revision
    data: Mapping[str, object] | None


class StatusFold:
    """The states themselves, without Kafka. `watched_s` is the time that counts as having been watched."""

    def __init__(self) -> None:
        self._states: dict[str, _State] = {}
        self._seen_at: dict[str, float] = {}
        self._late: set[str] = set()
        self.watched_s = 0.0

    def apply(self, message: Message) -> bool:
        """Fold one record; True if it changed what is known. A lower revision than the known one is ignored: it is a
        late write of a predecessor. A tombstone always removes."""
        known = self._states.get(message.key)
        self._late.discard(message.key)
        if message.data is None:
            self._seen_at[message.key] = self.watched_s
            self._states.pop(message.key, None)
            return known is not None
        revision = revision_of(message.data)
        if known is not None and revision < known.revision:
            self._late.add(message.key)
            return False
        if known is None or revision > known.revision:
            self._seen_at[message.key] = self.watched_s
        self._states[message.key] = _State(revision, message.data)
        return True

    def get(self, key: str) -> Mapping[str, object] | None:
        """The newest state: the same object until a record that is no lower was folded."""
        state = self._states.get(key)
        return None if state is None else state.data

    def keys(self, prefix: str) -> list[str]:
        return sorted(key for key in self._states if key.startswith(prefix))

    def late(self) -> list[str]:
        return sorted(self._late)

    def silence_s(self, key: str) -> float:
        return self.watched_s - self._seen_at.get(key, 0.0)


class KafkaStatusView:
    """Implements tidewind.ports.bus.StatusView. `start`, then `run` as a part of the service until cancelled."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._reader = Reader(connection, [STATUS])
        self._fold = StatusFold()
        self._caught_up = False
        self._changed = asyncio.Condition()
        self._listeners: list[Callable[[Message], None]] = []
        self._last_answer = (0, clock.monotonic())

    async def start(self, *, deadline_s: float | None = None) -> None:
        """Connect, every partition at its beginning. Raises BusUnavailable, BusError if the topic is missing."""
        limit = self._connection.settings.start_deadline_s if deadline_s is None else deadline_s
        await self._reader.open(deadline_s=limit)

    async def run(self) -> None:
        """Follow the topic until cancelled. Lost connections are waited out."""
        before = self._clock.monotonic()
        try:
            while True:
                records = await self._reader.read(timeout_s=_POLL_S)
                now = self._clock.monotonic()
                was_caught_up = self._caught_up
                self._caught_up = self._answers(now) and self._reader.at_end()
                if was_caught_up and self._caught_up:
                    self._fold.watched_s += min(now - before, _STEP_LIMIT_S)
                before = now
                await self._take(records)
        finally:
            self._caught_up = False
            await self._reader.close()

    def caught_up(self) -> bool:
        """Connected, and at the end of every partition as of its last fetch."""
        return self._caught_up and self._clock.monotonic() - self._last_answer[1] < _ANSWER_LIMIT_S

    def get(self, key: str) -> Mapping[str, object] | None:
        """The newest state of a key, or None if never seen or removed; the same object until it was read anew."""
        return self._fold.get(key)

    def keys(self, prefix: str) -> list[str]:
        """Keys beginning with `prefix`, in order."""
        return self._fold.keys(prefix)

    def late(self) -> list[str]:
        """Keys whose last record on the topic is lower than their newest: what compaction keeps would mislead."""
        return self._fold.late()

    def silence_s(self, key: str) -> float:
        """Seconds for which the view has been caught up without seeing a newer record for `key`."""
        return self._fold.silence_s(key)

    def listen(self, listener: Callable[[Message], None]) -> None:
        """Call `listener` with every record that changes what is known, in order. It must not raise."""
        self._listeners.append(listener)

    async def wait_until(self, reached: Callable[[], bool], *, deadline_s: float) -> bool:
        """Wait until a condition on this view holds; False if the deadline passed first."""
        try:
            async with asyncio.timeout(deadline_s), self._changed:
                await self._changed.wait_for(reached)
        except TimeoutError:
            return False
        return True

    def _answers(self, now: float) -> bool:
        newest = self._reader.last_answer_ms()
        if newest and newest != self._last_answer[0]:
            self._last_answer = (newest, now)
        return newest > 0 and now - self._last_answer[1] < _ANSWER_LIMIT_S

    async def _take(self, records: list[RawRecord]) -> None:
        for record in records:
            message = intake_record(record.key, record.value, record.headers, record.origin)
            if not isinstance(message, Message):
                log.warning("A status record cannot be read", action="status-unreadable", reason=message.reason)
            elif self._fold.apply(message):
                for listener in self._listeners:
                    listener(message)
        async with self._changed:
            self._changed.notify_all()
