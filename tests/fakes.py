"""Small stand-ins for ports in tests without a network: each keeps its port's promises, in memory."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta

from schemas.envelope import Message
from schemas.topics import STATUS, Topic
from tidewind.bus.status_view import StatusFold
from tidewind.ports.bus import BusUnavailable


class ManualClock:
    """Time moves when the test says so; sleepers wake when their moment has come."""

    def __init__(self, start: datetime = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        wake = asyncio.Event()
        self._sleepers.append((self._elapsed + seconds, wake))
        await wake.wait()

    @property
    def awaited(self) -> bool:
        """Whether somebody sleeps."""
        return bool(self._sleepers)

    def advance_to_next(self) -> None:
        """Time moves to the first moment that somebody sleeps until; nothing can happen before."""
        self.advance(max(0.0, min(moment for moment, _ in self._sleepers) - self._elapsed))

    def advance(self, seconds: float) -> None:
        self._elapsed += seconds
        for moment, wake in self._sleepers:
            if moment <= self._elapsed:
                wake.set()
        self._sleepers = [(moment, wake) for moment, wake in self._sleepers if not wake.is_set()]


class RecordingPublisher:
    """Keeps what was published, in order; `down` makes sends fail as Kafka's absence does."""

    def __init__(self) -> None:
        self.messages: list[tuple[Topic, Message]] = []
        self.down = False

    async def send(self, topic: Topic, message: Message, *, deadline_s: float = 10.0) -> None:
        if self.down:
            raise BusUnavailable(f"no acknowledgement within {deadline_s} s")
        self.messages.append((topic, message))

    def post(self, topic: Topic, message: Message) -> None:
        self.messages.append((topic, message))

    async def flush(self, *, deadline_s: float) -> bool:
        return not self.down

    def of(self, topic: Topic) -> list[Message]:
        return [message for where, message in self.messages if where is topic]


class SharedView:
    """The status topic as a publisher of this test wrote it; `silence` is set by the test, per key."""

    def __init__(self, publisher: RecordingPublisher) -> None:
        self._publisher = publisher
        self.silence: dict[str, float] = {}

    def caught_up(self) -> bool:
        return True

    def get(self, key: str) -> Mapping[str, object] | None:
        return self._folded().get(key)

    def keys(self, prefix: str) -> list[str]:
        return self._folded().keys(prefix)

    def late(self) -> list[str]:
        return self._folded().late()

    def _folded(self) -> StatusFold:
        fold = StatusFold()
        for message in self._publisher.of(STATUS):
            fold.apply(message)
        return fold

    def silence_s(self, key: str) -> float:
        return self.silence.get(key, 0.0)


async def until(condition: Callable[[], bool], *, deadline_s: float = 5.0) -> None:
    """Wait for a condition, looking at it whenever the loop has turned: at once at first, as most hold soon."""
    async with asyncio.timeout(deadline_s):
        pause_s = 0.0
        while not condition():
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s + 0.0005, 0.005)


async def until_async(condition: Callable[[], Awaitable[bool]], *, deadline_s: float = 5.0) -> None:
    async with asyncio.timeout(deadline_s):
        pause_s = 0.0
        while not await condition():
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s + 0.0005, 0.005)
