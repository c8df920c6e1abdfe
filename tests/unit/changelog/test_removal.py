"""Segments that retention lets go: whole, from the oldest on, and no interruption harms what stays."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from schemas.events import LogRemoved
from services.changelog.handlers.removal import DeleteSegments
from tests.fakes import ManualClock
from tests.unit.changelog.logs import MadeUpLog
from tests.unit.changelog.test_archive import HISTORY, Bench, first_session, rolled
from tests.unit.restorer.bench import entry
from tests.unit.snapshotter.bench import JobInHand
from tidewind.domain import keys
from tidewind.domain.gtids import covers
from tidewind.domain.problems import Refused
from tidewind.domain.records import Accepted, BackupOutcome
from tidewind.ports.store import StoreUnavailable
from tidewind.runtime.catalogue import Catalogue
from tidewind.runtime.ledger import Ledger
from tidewind.runtime.log_archive import LogArchive
from tidewind.runtime.registry import Registry


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


async def remove(
    bench: Bench, through: int, *, window_days: float = 90, clock: ManualClock | None = None
) -> LogRemoved:
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
    kind = DeleteSegments(
        bench.store,
        LogArchive(bench.store),
        Catalogue(bench.store),
        Registry(bench.store),
        ledger,
        clock=clock or ManualClock(datetime.now(UTC)),
        window=timedelta(days=window_days),
    )
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


async def backup(bench: Bench, position: str) -> None:
    at = datetime.now(UTC)
    outcome = BackupOutcome(
        cluster_id="shop",
        backup_id="bkp_0000000001",
        job_id="00000000-0000-5000-8000-000000000001",
        result="completed",
        attempt=1,
        cause="slot",
        started_at=at,
        ended_at=at,
        position=position,
        history=HISTORY,
        engine="mariadb",
        engine_version="10.11.19",
    )
    await bench.store.put(keys.outcome("shop", outcome.backup_id), outcome.to_bytes())


async def test_what_a_backup_needs_that_came_since_the_order_stays(bench: Bench) -> None:
    await singles(bench)
    whole = await numbers(bench)
    await backup(bench, "0-1-4")
    removed = (await remove(bench, 10_000)).segments
    assert 0 < removed < len(whole) - 1
    first = await LogArchive(bench.store).first_where("shop", HISTORY, lambda head: True)
    assert first is not None
    assert first.number == removed + 1
    assert covers("0-1-4", first.head.from_position)


async def test_what_is_younger_than_the_window_and_the_last_segment_stay(bench: Bench) -> None:
    await singles(bench)
    whole = await numbers(bench)
    assert (await remove(bench, 10_000, window_days=40_000)).segments == 0
    assert (await remove(bench, 10_000)).segments == len(whole) - 1


async def test_of_a_retired_cluster_all_goes(bench: Bench) -> None:
    await singles(bench)
    whole = await numbers(bench)
    retired = entry(state="retired")
    await bench.store.put(keys.registry("shop", retired.revision), retired.to_bytes())
    assert (await remove(bench, 10_000, window_days=40_000)).segments == 0
    assert (await remove(bench, 10_000)).segments == len(whole)
    assert await left(bench) == [f"trimmed-{whole[-1]:016d}"]


async def test_nothing_goes_while_a_backup_cannot_be_read_or_clocks_differ(bench: Bench) -> None:
    await singles(bench)
    whole = await numbers(bench)
    with pytest.raises(Refused, match="clock"):
        await remove(bench, 5, clock=ManualClock(datetime.now(UTC) + timedelta(minutes=6)))
    await bench.store.put(keys.outcome("shop", "bkp_0000000001"), b'{"format": 2}')
    with pytest.raises(Refused, match="format"):
        await remove(bench, 5)
    assert await numbers(bench) == whole
