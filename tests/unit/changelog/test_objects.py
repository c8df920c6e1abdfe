"""How many objects a cluster's log leaves in the store: a handful an idle hour, under 10,000 in all that is kept.

Time is a hand's. What is kept is the window of 90 days, the day before it, and up to a week more to the next base.
"""

import asyncio
import bisect
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest

from services.changelog.handlers.archive import Archive
from services.changelog.handlers.rollups import RollUps
from services.changelog.rules.assembly import IDLE_MARK_US
from services.changelog.rules.rollups import HOUR_US, groups
from services.changelog.settings import ChangelogSettings
from tests.fakes import ManualClock
from tidewind.domain import keys
from tidewind.domain.blocks import pack_block
from tidewind.domain.lived import microseconds
from tidewind.domain.log_stream import Block, Mark, SessionStart, Transaction
from tidewind.domain.segments import SEGMENT_AGE_S, SegmentHead
from tidewind.ports.bus import BinaryRecord
from tidewind.ports.store import ObjectInfo, ObjectMissing, StoredObject
from tidewind.runtime import log_archive
from tidewind.runtime.catalogue import Catalogue
from tidewind.runtime.ledger import Ledger
from tidewind.runtime.log_archive import LogArchive

KEPT_DAYS = 90 + 1 + 7
DRIVEN_DAYS = 14
MOST_OBJECTS = 10_000
HOUR_S = 3600.0
PREAMBLE = b"FDE!"


class OnTheSpot(ThreadPoolExecutor):
    """Does at once what would go to a thread: the hours of this module are made of very many very short calls."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


class CountedStore:
    """A store in memory that seals nothing and counts what it is asked."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.keys: list[str] = []
        self._content: dict[str, bytes] = {}
        self._infos: dict[str, ObjectInfo] = {}
        self.puts = 0
        self.reads = 0

    async def put(self, key: str, data: bytes) -> StoredObject:
        if key not in self._content:
            bisect.insort(self.keys, key)
        self._content[key] = data
        self._infos[key] = ObjectInfo(key=key, size=len(data), modified=self._clock.now())
        self.puts += 1
        return StoredObject(key=key, size=len(data), sha256="")

    async def put_if_absent(self, key: str, data: bytes) -> bool:
        if key in self._content:
            return False
        await self.put(key, data)
        return True

    async def put_stream(self, key: str, parts: AsyncIterator[bytes]) -> StoredObject:
        return await self.put(key, b"".join([part async for part in parts]))

    async def get(self, key: str) -> bytes:
        self.reads += 1
        if key not in self._content:
            raise ObjectMissing("read", key, "it is not there")
        return self._content[key]

    async def stream(self, key: str, *, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        data = await self.get(key)
        yield data[start:] if length is None else data[start : start + length]

    async def info(self, key: str) -> ObjectInfo | None:
        raise NotImplementedError

    async def list(self, prefix: str, *, after: str = "") -> AsyncIterator[ObjectInfo]:
        at = bisect.bisect_left(self.keys, max(prefix, after))
        for key in self.keys[at:]:
            if not key.startswith(prefix):
                return
            yield self._infos[key]

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            if self._content.pop(key, None) is not None:
                self.keys.remove(key)

    async def now(self) -> datetime:
        return self._clock.now()

    async def close(self) -> None:
        """Nothing to close."""

    async def seal(self, name: str, content: bytes) -> bytes:
        return content

    async def unseal(self, name: str, sealed: bytes) -> bytes:
        return sealed


class Life:
    """A cluster whose log is archived while time goes by in steps."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = CountedStore(self.clock)
        archived = LogArchive(self.store)
        settings = ChangelogSettings()
        self._archive = Archive(
            self.store, self.store, archived, clock=self.clock, settings=settings, commit_soon=lambda: None
        )
        self._roll_ups = RollUps(
            self._archive,
            archived,
            self.store,
            Catalogue(self.store),
            Ledger(self.store),
            clock=self.clock,
            settings=settings,
        )
        self.roll_up_every_s = settings.roll_up_every_s
        self._rolled_at = 0.0
        self._history = "h_0000000001"
        self._session = 0
        self._sequence = self._offset = self._number = self._begun = 0

    async def begin(self) -> None:
        """A session, of the history that is there or of the first."""
        cause = None if self._session else "first"
        self._session += 1
        self._sequence = self._offset = 0
        self._begun = self._number
        await self._send(PREAMBLE, (), cause=cause, begins=True)

    async def step(self, seconds: float, size: int = 0) -> None:
        """Time passes, at its end a transaction of so many bytes comes, and a mark."""
        self.clock.advance(seconds)
        transactions: tuple[Transaction, ...] = ()
        if size:
            self._number += 1
            ends = self._offset + size
            now_us = microseconds(self.clock.now())
            transactions = (Transaction(f"0-1-{self._number}", self._offset, ends, now_us, 0, 7),)
        await self._send(bytes(size), transactions)
        for known in self._archive.logs.values():
            await self._archive._seal_due(known)
        if self.clock.monotonic() - self._rolled_at >= self.roll_up_every_s:
            self._rolled_at = self.clock.monotonic()
            await self._roll_ups.roll_up("shop", self._history)

    async def _send(
        self, data: bytes, transactions: tuple[Transaction, ...], *, cause: str | None = None, begins: bool = False
    ) -> None:
        now_us = microseconds(self.clock.now())
        position = f"0-1-{self._number}" if self._number else ""
        start = SessionStart(
            history=self._history,
            position=f"0-1-{self._begun}" if self._begun else "",
            cause=cause,
            after_history=None,
            server_identity="1-abc",
            server_version="10.11.19",
            opened_us=now_us,
            preamble=PREAMBLE.hex(),
        )
        session = keys.session_name(self._session)
        block = Block(
            cluster_id="shop",
            session=session,
            sequence=self._sequence,
            start=self._offset,
            data=data,
            transactions=transactions,
            marks=(Mark(position=position, before_us=now_us, after_us=now_us + 1000),),
            begins=start if begins else None,
        )
        self._offset += len(data)
        name = f"{session}/{self._sequence}"
        self._sequence += 1
        await self._archive.take(
            BinaryRecord(key="shop", name=name, value=pack_block(block), partition=0, offset=self._sequence)
        )

    def objects(self) -> int:
        return len(self.store.keys)


@pytest.fixture
async def life() -> Life:
    asyncio.get_running_loop().set_default_executor(OnTheSpot())
    made = Life()
    await made.begin()
    return made


async def test_an_idle_cluster_leaves_a_handful_of_objects_an_hour(life: Life) -> None:
    """One look each quarter of an hour is one object, and an hour of them becomes one."""
    life.roll_up_every_s = 24 * HOUR_S  # a listing each ten minutes would take the time
    began = life.store.puts
    for _ in range(DRIVEN_DAYS * 24 * 4):
        await life.step(HOUR_S / 4)
    assert life.store.puts - began <= DRIVEN_DAYS * 24 * (HOUR_S * 1_000_000 / IDLE_MARK_US + 1)
    singles = [key for key in life.store.keys if "/rollups/" not in key]
    assert len(singles) <= (3 + 24) * 4 + 1
    assert DRIVEN_DAYS * 24 - 27 <= life.objects() <= DRIVEN_DAYS * 24 + len(singles)
    assert KEPT_DAYS * 24 + len(singles) < MOST_OBJECTS


async def test_a_steady_trickle_is_an_object_an_hour(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment every few seconds is gone within three hours, and reading what is to be rolled up costs few reads, also
    where other clusters' segments are what is remembered."""
    monkeypatch.setattr(log_archive, "_REMEMBERED", 20)
    hours = 8
    for _ in range(hours):
        for _ in range(int(HOUR_S / 10)):
            await life.step(10, size=300)
    reads = life.store.reads
    for _ in range(int(HOUR_S / 10)):
        await life.step(10, size=300)
    rolled = [key for key in life.store.keys if "/rollups/" in key]
    assert hours - 3 <= len(rolled) <= hours
    assert life.objects() - len(rolled) <= 3.3 * HOUR_S / 10
    assert life.store.reads - reads <= 2 * HOUR_S / 10 + 50
    in_a_row = KEPT_DAYS * 24 * len(rolled) / (hours - 2) + 3.3 * HOUR_S / SEGMENT_AGE_S
    assert in_a_row < MOST_OBJECTS


async def test_sessions_that_begin_again_and_again_leave_no_more(life: Life) -> None:
    for _ in range(5 * int(HOUR_S / 30)):
        await life.begin()
        await life.step(30, size=50)
    for _ in range(12 * 5):
        await life.step(300)
    assert life.objects() <= 11 + 4 * 4


@pytest.mark.parametrize("stored_mb", [1, 4, 8])
def test_a_busy_cluster_stays_within_what_can_be_listed(stored_mb: int) -> None:
    """A segment every five seconds, for which up to 16 MB of log were packed into so many."""
    count = int(HOUR_S / SEGMENT_AGE_S)
    heads = [sealed_at(number, round(number * SEGMENT_AGE_S * 1_000_000)) for number in range(1, count)]
    found = groups([(head, stored_mb << 20) for head in heads], 3 * HOUR_US)
    assert sum(map(len, found)) == count - 1
    assert KEPT_DAYS * 24 * len(found) + 3.3 * count < MOST_OBJECTS


def sealed_at(number: int, sealed_us: int) -> SegmentHead:
    return SegmentHead.model_construct(number=number, sealed_us=sealed_us)


async def test_what_is_remembered_of_segments_does_not_grow_with_the_window(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_archive, "_REMEMBERED", 50)
    for _ in range(6 * int(HOUR_S / 60)):
        await life.step(60, size=50)
    archived = LogArchive(life.store)
    history = "h_0000000001"
    for _ in range(2):
        for found in await archived.objects("shop", history):
            assert len(await archived.refs("shop", history, found)) == found.last - found.first + 1
            kept = [len(refs) for refs in archived._refs.values()]
            assert archived._remembered == sum(kept)
            assert sum(kept) <= 50 or len(kept) == 1
