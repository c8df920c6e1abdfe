"""Segments that retention lets go: whole, from the oldest on, and no interruption harms what stays."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from schemas.events import LogRemoved
from services.changelog.handlers.removal import DeleteSegments
from tests.unit.changelog.logs import MadeUpLog
from tests.unit.changelog.test_archive import HISTORY, Bench, first_session, rolled
from tests.unit.snapshotter.bench import JobInHand
from tidewind.domain import keys
from tidewind.domain.records import Accepted
from tidewind.ports.store import StoreUnavailable
from tidewind.runtime.catalogue import Catalogue
from tidewind.runtime.ledger import Ledger
from tidewind.runtime.log_archive import LogArchive


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    await made.inner.open()
    return made


async def singles(bench: Bench) -> None:
    for block in first_session(MadeUpLog([40] * 20), "01", 0, 20, begins=True):
        await bench.send([block])
        await bench.seal()
    await bench.archive.flush()


async def remove(bench: Bench, through: int) -> LogRemoved:
    ledger = Ledger(bench.store)
    job = Accepted(
        job_id="3f0e8a52-7c1b-5a3e-9d55-0f6f3c1f8e21",
        service="changelog",
        cluster_id="shop",
        command=DeleteSegments.command,
        body={"cluster_id": "shop", "history": HISTORY, "through": through},
        body_sha256="",
        message_id="m",
        source="/t",
        accepted_at=bench.clock.now(),
    )
    kind = DeleteSegments(bench.store, LogArchive(bench.store), Catalogue(bench.store), ledger)
    ending = await kind.work(JobInHand(job=job, epoch=1, ledger=ledger, clock=bench.clock))
    assert isinstance(ending.body, LogRemoved)
    return ending.body


async def left(bench: Bench) -> list[str]:
    prefix = keys.history("shop", HISTORY)
    return [entry.key.removeprefix(prefix) async for entry in bench.store.list(prefix)]


async def numbers(bench: Bench) -> list[int]:
    objects = await LogArchive(bench.store).objects("shop", HISTORY)
    return [number for one in objects for number in range(one.first, one.last + 1)]


def breaks_off(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next delete removes every other object, as S3 may, and fails."""
    delete = bench.store.delete

    async def some(names: Sequence[str]) -> None:
        monkeypatch.undo()
        await delete(names[1::2])
        raise StoreUnavailable("delete", names[0], "slow down", "wait")

    monkeypatch.setattr(bench.store, "delete", some)


async def test_a_removal_that_broke_off_leaves_no_hole_and_is_done_again_whole(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await singles(bench)
    last = (await numbers(bench))[-1]
    breaks_off(bench, monkeypatch)
    with pytest.raises(StoreUnavailable):
        await remove(bench, 5)
    assert await numbers(bench) == list(range(6, last + 1))
    ref = await LogArchive(bench.store).last("shop", HISTORY)
    assert ref is not None
    assert ref.number == last
    assert (await remove(bench, 5)).segments == 3
    assert [name for name in await left(bench) if name < f"{6:016d}"] == []


async def test_only_the_newest_announcement_stays(bench: Bench) -> None:
    await singles(bench)
    assert (await remove(bench, 2)).segments == 2
    assert (await remove(bench, 6)).segments == 4
    assert [name for name in await left(bench) if "trimmed" in name] == [f"trimmed-{6:016d}"]
    assert (await numbers(bench))[0] == 7


async def test_singles_beside_their_roll_up_go_with_it(bench: Bench) -> None:
    roll_ups = await rolled(bench)
    first = await bench.store.get(keys.segment("shop", HISTORY, 1))
    await roll_ups.roll_up("shop", HISTORY)
    await bench.store.put(keys.segment("shop", HISTORY, 1), first)
    objects = await LogArchive(bench.store).objects("shop", HISTORY)
    assert objects[0].rolled
    removed = await remove(bench, objects[0].last)
    assert removed.segments == objects[0].last
    assert await numbers(bench) == list(range(objects[0].last + 1, objects[-1].last + 1))
    assert keys.segment("shop", HISTORY, 1).rpartition("/")[2] not in await left(bench)
