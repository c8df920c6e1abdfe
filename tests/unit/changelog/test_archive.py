"""The archive on a real store: sealed blocks become segments that are read back, rolled up, and survive restarts."""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas.envelope import Poison
from services.changelog.handlers import archive
from services.changelog.handlers.archive import Archive, ClaimLost
from services.changelog.handlers.rollups import RollUps
from services.changelog.rules import assembly
from services.changelog.settings import ChangelogSettings
from tests.fakes import ManualClock
from tests.unit.changelog.logs import MadeUpLog
from tidewind.domain import keys
from tidewind.domain.blocks import block_name, pack_block
from tidewind.domain.log_stream import Block
from tidewind.domain.records import Accepted, Pin, PinnedLog
from tidewind.ports.bus import BinaryRecord
from tidewind.ports.store import ObjectInfo
from tidewind.runtime.catalogue import Catalogue
from tidewind.runtime.clock import SystemRandomness
from tidewind.runtime.ledger import Ledger
from tidewind.runtime.log_archive import LogArchive, LogDamaged, LogObject
from tidewind.store.directory import DirectoryStore
from tidewind.store.keyring import Keyring
from tidewind.store.sealed import SealedStore

HISTORY = MadeUpLog([]).history


class Bench:
    def __init__(self, folder: Path) -> None:
        randomness = SystemRandomness()
        inner = DirectoryStore(folder)
        self.inner = inner
        self.store = SealedStore(inner, Keyring.generate("test", randomness), randomness)
        self.clock = ManualClock()
        self.commits = 0
        self.kafka: list[BinaryRecord] = []
        self.begin()

    def begin(self) -> None:
        self.archived = LogArchive(self.store)
        self.archive = Archive(
            self.store,
            self.store,
            self.archived,
            clock=self.clock,
            settings=ChangelogSettings(),
            commit_soon=self._commit,
        )

    def _commit(self) -> None:
        self.commits += 1

    async def send(self, blocks: list[Block]) -> None:
        for block in blocks:
            name = f"{block.session}/{block.sequence}"
            sealed = await self.store.seal(
                block_name(block.cluster_id, block.session, block.sequence), pack_block(block)
            )
            record = BinaryRecord(key=block.cluster_id, name=name, value=sealed, partition=0, offset=len(self.kafka))
            self.kafka.append(record)
            await self.archive.take(record)

    async def seal(self) -> None:
        self.clock.advance(6)
        for known in self.archive.logs.values():
            await self.archive._seal_due(known)

    async def read(self) -> list[tuple[str, bytes]]:
        """Every transaction with its bytes, as a reader of the store finds them."""
        found, session, base, data = [], None, 0, bytearray()
        async for ref in self.archived.segments("shop", HISTORY):
            if ref.head.session != session:
                session, base, data = ref.head.session, ref.head.start, bytearray()
            for index in range(len(ref.head.frames)):
                data += await self.archived.frame(ref, index)
            for one in await self.archived.transactions(ref):
                found.append((one.gtid, bytes(data[one.start - base : one.end - base])))
        return found


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    await made.inner.open()
    return made


def first_session(log: MadeUpLog, name: str, after: int, upto: int, *, begins: bool = False) -> list[Block]:
    return log.session(name, after, upto, random.Random(upto), cause="first" if begins else None)


async def test_blocks_become_segments_that_read_back_equal(bench: Bench) -> None:
    log = MadeUpLog([10, 2000, 3, 5, 700])
    await bench.send(first_session(log, "01", 0, 3, begins=True))
    await bench.seal()
    await bench.send(first_session(log, "02", 2, 5))
    await bench.archive.flush()
    assert await bench.read() == [(f"0-1-{number}", log.body(number)) for number in range(1, 6)]
    (history,) = await bench.archived.histories("shop")
    assert (history.history, history.number, history.cause) == (HISTORY, 1, "first")
    reach = await bench.archived.reach(history)
    assert reach.position == "0-1-5"
    assert bench.commits > 0


async def test_a_killed_archive_begins_again_at_what_was_held_back(bench: Bench) -> None:
    log = MadeUpLog([50] * 20)
    blocks = first_session(log, "01", 0, 20, begins=True)
    await bench.send(blocks[: len(blocks) // 2])
    await bench.seal()
    held = bench.archive.held_back(0)
    committed = len(bench.kafka) if held is None else held
    await bench.send(blocks[len(blocks) // 2 : len(blocks) // 2 + 3])
    bench.begin()
    for record in bench.kafka[committed:]:
        await bench.archive.take(record)
    await bench.send(blocks[len(blocks) // 2 + 3 :])
    await bench.archive.flush()
    assert [gtid for gtid, _ in await bench.read()] == [f"0-1-{number}" for number in range(1, 21)]
    assert bench.archive.held_back(0) is None


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    """Limits as they stand to each other, in bytes instead of megabytes: 2560 may wait, 2000 may be trimmed."""
    monkeypatch.setattr(assembly, "SEGMENT_BYTES", 1000)
    monkeypatch.setattr(assembly, "UNMARKED_BYTES", 1800)
    monkeypatch.setattr(assembly, "TRIM_BYTES", 2000)
    monkeypatch.setattr(archive, "MIB", 40)
    monkeypatch.setattr(bench.clock, "sleep", lambda _: asyncio.sleep(0))


@pytest.mark.usefixtures("small")
async def test_what_was_trimmed_in_vain_leaves_room_for_the_session_that_reads_it_again(bench: Bench) -> None:
    log = MadeUpLog([10, 5000, 5000, 10])
    rng = random.Random(4)
    await bench.send(log.session("01", 0, 2, rng, cause="first"))
    await bench.archive.flush()
    await bench.send(log.session("02", 1, 3, rng, most=200))
    (known,) = bench.archive.logs.values()
    assert known.assembly.hole is not None
    assert known.buffered == 0
    async with asyncio.timeout(10):
        await bench.send(log.session("03", 2, 4, rng, most=200))
    await bench.archive.flush()
    assert await bench.read() == [(f"0-1-{number}", log.body(number)) for number in range(1, 5)]
    assert bench.archive.held_back(0) is None


async def test_all_clusters_together_hold_no_more_than_there_is_room_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is due by its age or size; those that hold most are sealed early, and of the others nothing."""
    monkeypatch.setattr(archive, "MIB", 50)
    limit = ChangelogSettings().archive_total_mib * 50
    sizes = {"big": [900] * 3, "small": [40] * 3, "other": [1000] * 3}
    for cluster, own in sizes.items():
        log = MadeUpLog(own, history=f"h_{cluster}", cluster=cluster)
        for block in log.session("01", 0, 3, random.Random(3), cause="first", most=200):
            await bench.send([block])
            assert sum(one.buffered for one in bench.archive.logs.values()) <= limit
    segments = {name: len(await bench.archived.objects(name, f"h_{name}")) for name in sizes}
    assert segments["big"] == 1
    assert segments["small"] == 0
    await bench.archive.flush()
    for name in sizes:
        assert (await bench.archived.reaches(name))[0].position == "0-1-3"


@pytest.mark.usefixtures("small")
async def test_what_is_held_already_takes_no_room(bench: Bench) -> None:
    log = MadeUpLog([100] * 50)
    rng = random.Random(4)
    await bench.send(log.session("01", 0, 40, rng, cause="first", most=200))
    await bench.archive.flush()
    async with asyncio.timeout(10):
        await bench.send(log.session("02", 0, 50, rng, most=200))
    await bench.archive.flush()
    assert await bench.read() == [(f"0-1-{number}", log.body(number)) for number in range(1, 51)]
    assert bench.archive.held_back(0) is None


@pytest.mark.usefixtures("small")
async def test_a_transaction_looked_for_may_be_larger_than_what_may_wait(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be sealed while it is looked for: waiting for room would be for ever."""
    monkeypatch.setattr(archive, "MIB", 20)
    log = MadeUpLog([10, 1800, 10, 10])
    rng = random.Random(4)
    await bench.send(log.session("01", 0, 2, rng, cause="first"))
    await bench.archive.flush()
    async with asyncio.timeout(10):
        await bench.send(log.session("02", 1, 4, rng, most=200))
    await bench.archive.flush()
    assert await bench.read() == [(f"0-1-{number}", log.body(number)) for number in range(1, 5)]


async def test_two_archives_never_put_the_same_segment(bench: Bench) -> None:
    log = MadeUpLog([50] * 8)
    blocks = first_session(log, "01", 0, 8, begins=True)
    await bench.send(blocks)
    zombie = bench.archive
    bench.begin()
    for record in bench.kafka:
        await bench.archive.take(record)
    await bench.archive.flush()
    with pytest.raises(ClaimLost):
        await zombie.flush()
    assert len(await bench.read()) == 8


async def test_a_history_that_another_archive_began_is_found_when_the_block_comes_again(bench: Bench) -> None:
    log, other = MadeUpLog([50] * 3), MadeUpLog([50] * 3, history="hst_BBBBBBBBBB")
    await bench.send(first_session(other, "01", 0, 3)[:1])
    ours = bench.archive
    bench.begin()
    await bench.send(first_session(log, "02", 0, 3, begins=True))
    await bench.archive.flush()
    bench.archive = ours
    late = first_session(other, "03", 0, 3, begins=True)[:1]
    with pytest.raises(ClaimLost):
        await bench.send(late)
    await bench.send(late)
    (known,) = ours.logs.values()
    assert known.assembly.place is not None
    assert known.assembly.place.history == log.history


async def test_a_block_that_was_changed_or_swapped_is_poison(bench: Bench) -> None:
    log = MadeUpLog([50] * 3)
    await bench.send(first_session(log, "01", 0, 3, begins=True))
    good = bench.kafka[1]
    flipped = bytes((good.value[0] ^ 1,)) + good.value[1:]
    for wrong in (replace(good, value=flipped), replace(good, name="01/7"), replace(good, name="x")):
        with pytest.raises(Poison):
            await bench.archive.take(wrong)


async def rolled(bench: Bench) -> RollUps:
    log = MadeUpLog([40] * 30)
    blocks = first_session(log, "01", 0, 30, begins=True)
    for block in blocks:
        await bench.send([block])
        await bench.seal()
        bench.clock.advance(300)
    await bench.archive.flush()
    bench.clock.advance(4 * 3600)
    return RollUps(
        bench.archive,
        bench.archived,
        bench.store,
        Catalogue(bench.store),
        Ledger(bench.store),
        clock=bench.clock,
        settings=ChangelogSettings(),
    )


async def test_hours_are_rolled_up_and_read_the_same(bench: Bench) -> None:
    roll_ups = await rolled(bench)
    before, objects = await bench.read(), len(await bench.archived.objects("shop", HISTORY))
    assert await roll_ups.roll_up("shop", HISTORY) > 0
    bench.archived = LogArchive(bench.store)
    assert await bench.read() == before
    assert len(await bench.archived.objects("shop", HISTORY)) < objects / 2
    _, singles = await bench.archived.listing("shop", HISTORY)
    assert len(singles) < 3


class Overtaken(LogArchive):
    """A reader whose first listing is out of date before it reads anything: everything was rolled up meanwhile."""

    def __init__(self, bench: Bench, roll_ups: RollUps) -> None:
        super().__init__(bench.store)
        self._roll_ups: RollUps | None = roll_ups

    async def _found(self, cluster: str, history: str) -> tuple[list[LogObject], list[LogObject], list[int]]:
        found = await super()._found(cluster, history)
        if self._roll_ups is not None:
            roll_ups, self._roll_ups = self._roll_ups, None
            assert await roll_ups.roll_up(cluster, history) > 0
        return found


async def test_readers_that_a_roll_up_overtakes_read_on(bench: Bench) -> None:
    roll_ups = await rolled(bench)
    before, newest = await bench.read(), await bench.archived.last("shop", HISTORY)
    assert newest is not None
    bench.archived = Overtaken(bench, roll_ups)
    assert await bench.read() == before
    again = await bench.archived.last("shop", HISTORY)
    assert again is not None
    assert again.head == newest.head


async def test_what_was_found_before_a_roll_up_is_read_after_it(bench: Bench) -> None:
    roll_ups = await rolled(bench)
    refs = [ref async for ref in bench.archived.segments("shop", HISTORY)]
    read = [(await bench.archived.transactions(ref), await bench.archived.frame(ref, 0)) for ref in refs]
    assert await roll_ups.roll_up("shop", HISTORY) > 0
    other = LogArchive(bench.store)
    assert [(await other.transactions(ref), await other.frame(ref, 0)) for ref in refs] == read


async def test_a_search_that_a_roll_up_overtakes_finds_the_same(bench: Bench) -> None:
    found = await Overtaken(bench, await rolled(bench)).first_where("shop", HISTORY, lambda head: head.number >= 7)
    assert found is not None
    assert found.number == 7


async def test_a_listing_with_a_hole_is_made_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory may be listed while files come and go: the roll-up is not seen yet, its singles no longer."""
    log = MadeUpLog([40] * 12)
    for block in first_session(log, "01", 0, 12, begins=True):
        await bench.send([block])
        await bench.seal()
    await bench.archive.flush()
    before, listed = await bench.read(), DirectoryStore._walk

    def holed(*arguments: Any) -> Iterator[ObjectInfo]:
        monkeypatch.undo()
        return (one for one in listed(*arguments) if not one.key.endswith(("01.seg", "03.seg")))

    monkeypatch.setattr(DirectoryStore, "_walk", holed)
    assert await bench.read() == before


async def test_a_log_that_lost_a_segment_is_archived_on(bench: Bench) -> None:
    log = MadeUpLog([40] * 20)
    for block in first_session(log, "01", 0, 12, begins=True):
        await bench.send([block])
        await bench.seal()
    await bench.archive.flush()
    await bench.store.delete([keys.segment("shop", HISTORY, number) for number in (1, 3)])
    bench.begin()
    await bench.send(first_session(log, "02", 12, 20))
    await bench.archive.flush()
    (history,) = await bench.archived.histories("shop")
    assert (await bench.archived.reach(history)).position == "0-1-20"
    last = await bench.archived.last_transaction("shop", HISTORY)
    assert last is not None
    assert last.gtid == "0-1-20"
    with pytest.raises(LogDamaged):
        await bench.archived.objects("shop", HISTORY)


async def test_singles_that_a_restore_reads_stay(bench: Bench) -> None:
    roll_ups = await rolled(bench)
    pin = Pin(
        job_id="3f0e8a52-7c1b-5a3e-9d55-0f6f3c1f8e21",
        backups=(),
        log=(PinnedLog(history=HISTORY, first=2, last=4),),
        pinned_at=bench.clock.now(),
    )
    await bench.store.put(keys.pin("shop", pin.job_id), pin.to_bytes())
    running = Accepted(
        job_id=pin.job_id,
        service="restorer",
        cluster_id="shop",
        command="tidewind.restore.request.v1",
        body={},
        body_sha256="",
        message_id="m",
        source="/t",
        accepted_at=bench.clock.now(),
    )
    await Ledger(bench.store).accept(running)
    await roll_ups.roll_up("shop", HISTORY)
    _, singles = await bench.archived.listing("shop", HISTORY)
    assert {2, 3, 4} <= {one.first for one in singles}
    assert 1 not in {one.first for one in singles}


@pytest.mark.parametrize("missing", [1, 3])
async def test_a_missing_segment_is_named_and_never_skipped(bench: Bench, missing: int) -> None:
    log = MadeUpLog([40] * 12)
    for block in first_session(log, "01", 0, 12, begins=True):
        await bench.send([block])
        await bench.seal()
    await bench.archive.flush()
    await bench.store.delete([keys.segment("shop", HISTORY, missing)])
    with pytest.raises(LogDamaged, match=f"{missing:016d}|segment {missing}"):
        await bench.read()


async def test_a_foreign_or_swapped_segment_is_refused(bench: Bench) -> None:
    log = MadeUpLog([40] * 12)
    for block in first_session(log, "01", 0, 12, begins=True):
        await bench.send([block])
        await bench.seal()
    await bench.archive.flush()
    two, three = (keys.segment("shop", HISTORY, number) for number in (2, 3))
    content = await bench.store.get(two)
    await bench.store.delete([three])
    await bench.store.put(three, content)
    with pytest.raises(LogDamaged, match="says it is segment 2"):
        await bench.read()
