"""A partition's worker: order within a key, no waiting between keys, and no offset past an unsettled record."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from schemas.envelope import Origin
from schemas.topics import RESTORES
from tests.fakes import until
from tidewind.bus.records import RawRecord
from tidewind.bus.worker import LANES, PAUSE_ABOVE, PartitionWorker

Settle = Callable[[RawRecord], Awaitable[None]]


def record(offset: int, key: str | None) -> RawRecord:
    origin = Origin(topic="t", partition=0, offset=offset, timestamp_ms=0, broker_time=True)
    raw = None if key is None else key.encode()
    return RawRecord(topic=RESTORES, key=raw, value=b"{}", headers=(), origin=origin)


class Gate:
    """A handler that holds the keys it is told to, and notes what it has begun and settled."""

    def __init__(self) -> None:
        self.held: dict[bytes | None, asyncio.Event] = {}
        self.begun: list[int] = []
        self.settled: list[int] = []
        self.at_once = 0
        self.most_at_once = 0

    def hold(self, key: str) -> asyncio.Event:
        return self.held.setdefault(key.encode(), asyncio.Event())

    async def __call__(self, given: RawRecord) -> None:
        self.begun.append(given.origin.offset)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if given.key in self.held:
                await self.held[given.key].wait()
            await asyncio.sleep(0)
            self.settled.append(given.origin.offset)
        finally:
            self.at_once -= 1


Make = Callable[[Settle], PartitionWorker]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    made: list[PartitionWorker] = []

    def start(settle: Settle) -> PartitionWorker:
        loop = asyncio.get_running_loop()
        made.append(PartitionWorker(settle, lambda: None, limit_s=5, monotonic=loop.time))
        return made[-1]

    yield start
    for worker in made:
        await worker.stop(0.1)


async def test_a_cluster_whose_database_does_not_answer_keeps_no_other_waiting(make: Make) -> None:
    gate = Gate()
    release = gate.hold("dead")
    worker = make(gate)
    for offset, key in enumerate(["dead", "shop", "dead", "bank", "shop"], start=10):
        worker.add(record(offset, key))
    await until(lambda: sorted(gate.settled) == [11, 13, 14])
    assert worker.done is None, "nothing may be committed past the record that is not settled"
    assert 12 not in gate.begun, "the second of a cluster waits for its first"
    release.set()
    await until(lambda: worker.done == 15)
    assert gate.settled.index(10) < gate.settled.index(12)


async def test_in_any_interleaving_keys_keep_their_order_and_done_its_promise(make: Make) -> None:
    chance = random.Random(7)
    keys = {offset: chance.choice(["a", "b", "c", "d", None]) for offset in range(0, 600, 3)}
    seen: dict[str | None, list[int]] = {}
    settled: set[int] = set()

    async def settle(given: RawRecord) -> None:
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        if chance.random() < 0.02:
            raise RuntimeError("tried again")
        seen.setdefault(keys[given.origin.offset], []).append(given.origin.offset)
        settled.add(given.origin.offset)

    worker = make(settle)
    for offset, key in keys.items():
        worker.add(record(offset, key))

    def finished() -> bool:
        if worker.done is not None:
            assert {offset for offset in keys if offset < worker.done} <= settled
        return worker.done == max(keys) + 1

    await until(finished, deadline_s=20)
    assert seen == {key: [offset for offset in keys if keys[offset] == key] for key in set(keys.values())}


async def test_a_record_that_fails_stalls_its_own_key_and_is_named(make: Make) -> None:
    broken = True

    async def settle(given: RawRecord) -> None:
        if given.key == b"bad" and broken:
            raise RuntimeError("the store is away")
        good.append(given.origin.offset)

    good: list[int] = []
    worker = make(settle)
    for offset, key in enumerate(["bad", "shop", "bad", "shop"]):
        worker.add(record(offset, key))
    await until(lambda: worker.stall is not None and good == [1, 3])
    assert worker.stall is not None
    assert (worker.stall.offset, worker.done) == (0, None)
    broken = False
    await until(lambda: worker.done == 4)
    assert worker.stall is None


async def test_what_is_settled_behind_an_unsettled_record_is_bounded(make: Make) -> None:
    gate = Gate()
    release = gate.hold("dead")
    worker = make(gate)
    worker.add(record(0, "dead"))
    for offset in range(1, PAUSE_ABOVE):
        worker.add(record(offset, f"k{offset % 5}"))
    await until(lambda: len(gate.settled) == PAUSE_ABOVE - 1)
    assert worker.full
    release.set()
    await until(lambda: worker.done == PAUSE_ABOVE)
    assert worker.hungry


async def test_no_more_keys_are_in_hand_than_may_be(make: Make) -> None:
    gate = Gate()
    releases = [gate.hold(f"k{number}") for number in range(LANES * 2)]
    worker = make(gate)
    for number in range(LANES * 2):
        worker.add(record(number, f"k{number}"))
    await until(lambda: gate.at_once == LANES)
    for release in releases:
        release.set()
    await until(lambda: worker.done == LANES * 2)
    assert gate.most_at_once == LANES


async def test_stopping_ends_what_is_in_hand_and_begins_nothing_more(make: Make) -> None:
    gate = Gate()
    slow, stuck = gate.hold("slow"), gate.hold("stuck")
    worker = make(gate)
    for offset, key in enumerate(["slow", "stuck", "slow", "stuck"]):
        worker.add(record(offset, key))
    await until(lambda: gate.at_once == 2)
    stopping = asyncio.create_task(worker.stop(0.2))
    await asyncio.sleep(0)
    slow.set()
    await stopping
    assert gate.begun == [0, 1]
    assert (gate.settled, worker.done) == ([0], 1)
    assert not stuck.is_set()
    worker.add(record(4, "slow"))
    assert gate.begun == [0, 1]
