"""A backup exists exactly if its outcome does, whatever was interrupted."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.events import BackupCompleted, BackupFailed
from services.snapshotter.handlers.run import RunBackup
from services.snapshotter.handlers.sweep import Sweeper
from tests.fakes import RecordingPublisher, SharedView, until
from tests.unit.snapshotter.bench import CLUSTER, Bench
from tidewind.domain import keys
from tidewind.domain.ids import backup_id
from tidewind.ports.engine import DatabaseError
from tidewind.ports.store import StoreFull, StoreUnavailable
from tidewind.runtime.outbox import Composer
from tidewind.store.sealed import SealedStore

RUN = "tidewind.backup.run.v1"


@pytest.fixture(autouse=True)
def _login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_LOGIN", "tidewind:secret")


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path / "store")
    await made.enroll()
    return made


async def test_a_backup_is_complete_once_its_outcome_stands(bench: Bench) -> None:
    context = bench.job(RUN, {"cause": "slot", "slot_date": "2026-11-23"})
    ending = await bench.work(RunBackup(bench.tools), context)
    assert ending.event == "tidewind.backup.completed.v1"
    body = ending.body
    assert isinstance(body, BackupCompleted)
    assert body.suspect == ("it holds no tables",)
    assert [status.state for status in context.statuses] == ["pending", "running", "completed"]
    entry = await bench.tools.catalogue.backup(CLUSTER, body.backup_id)
    assert entry is not None
    assert entry.restorable
    assert await bench.keys("timelines/") == [keys.timeline(CLUSTER, "main")]


async def test_a_successor_finds_the_outcome_and_takes_no_second_snapshot(bench: Bench) -> None:
    await bench.work(RunBackup(bench.tools), bench.job(RUN, {"cause": "manual"}))
    again = await bench.work(RunBackup(bench.tools), bench.job(RUN, {"cause": "manual"}, epoch=2))
    assert again.event == "tidewind.backup.completed.v1"
    assert bench.engine.calls == 1


async def test_a_passing_fault_is_tried_again_and_leaves_nothing(bench: Bench) -> None:
    async def spoilt() -> None:
        raise DatabaseError("snapshot-inconsistent", "shop.orders changed its definition while it was read")

    bench.engine.before = [spoilt, spoilt]
    ending = await bench.work(RunBackup(bench.tools), bench.job(RUN, {"cause": "manual"}))
    assert isinstance(ending.body, BackupCompleted)
    assert ending.body.attempt == 103
    assert {key.split("/")[3] for key in await bench.keys("snapshots/")} == {"a0103"}


async def test_a_lasting_fault_fails_at_once_with_its_problem(bench: Bench) -> None:
    async def full() -> None:
        raise StoreFull("put", "snapshots/x", "no space left")

    bench.engine.before = [full]
    ending = await bench.work(RunBackup(bench.tools), bench.job(RUN, {"cause": "manual"}))
    assert isinstance(ending.body, BackupFailed)
    assert ending.body.problem.type == "urn:tidewind:problem:store-full"
    assert bench.engine.calls == 1
    assert await bench.keys("snapshots/") == []


async def test_a_cancelled_backup_ends_as_failed_and_is_not_taken_up_again(bench: Bench) -> None:
    context = bench.job(RUN, {"cause": "slot"})

    async def until_ended() -> None:
        context.cancel_requested.set()
        await asyncio.Event().wait()

    bench.engine.before = [until_ended]
    ending = await bench.work(RunBackup(bench.tools), context)
    assert isinstance(ending.body, BackupFailed)
    assert ending.body.problem.type == "urn:tidewind:problem:cancelled"
    assert await bench.keys("snapshots/") == []


async def test_a_backup_waits_while_another_operation_holds_the_cluster(bench: Bench) -> None:
    context = bench.job(RUN, {"cause": "slot"})
    context.lock_free.clear()
    task = asyncio.ensure_future(RunBackup(bench.tools).work(context))
    await until(lambda: bool(context.statuses))
    assert bench.engine.calls == 0
    context.lock_free.set()
    assert (await task).event == "tidewind.backup.completed.v1"


async def test_sweeping_removes_only_attempts_that_no_outcome_names(bench: Bench) -> None:
    context = bench.job(RUN, {"cause": "manual"})
    backup = backup_id(context.job.job_id)
    abandoned = keys.chunk(keys.attempt(CLUSTER, backup, 7), 1)
    await bench.store.put(abandoned, b"left by a killed predecessor")
    running = keys.chunk(keys.attempt(CLUSTER, "bkp_0000000000", 101), 1)
    await bench.store.put(running, b"of a backup without an outcome")
    publisher = RecordingPublisher()
    composer = Composer("/tests", bench.clock, SharedView(publisher))
    sweeper = Sweeper(bench.tools, bench.ledger, publisher, composer, lambda _: True)
    assert await sweeper.sweep() == 0
    await bench.work(RunBackup(bench.tools), context)
    assert await sweeper.sweep() == 1
    left = await bench.keys("snapshots/")
    assert abandoned not in left
    assert running in left
    assert keys.manifest(keys.attempt(CLUSTER, backup, 101)) in left


async def test_nothing_is_swept_while_the_clocks_disagree(bench: Bench) -> None:
    context = bench.job(RUN, {"cause": "manual"})
    await bench.store.put(keys.chunk(keys.attempt(CLUSTER, backup_id(context.job.job_id), 7), 1), b"x")
    await bench.work(RunBackup(bench.tools), context)
    bench.clock.advance(301)
    publisher = RecordingPublisher()
    composer = Composer("/tests", bench.clock, SharedView(publisher))
    assert await Sweeper(bench.tools, bench.ledger, publisher, composer, lambda _: True).sweep() == 0


class LosesTheAnswer:
    """The store, but the first put of an outcome reaches it and its answer does not come back."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store
        self.lost = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def put_if_absent(self, key: str, data: bytes) -> bool:
        done = await self._store.put_if_absent(key, data)
        if key.startswith(keys.OUTCOMES) and self.lost == 0:
            self.lost += 1
            raise StoreUnavailable("put_if_absent", key, "the answer was lost")
        return done


async def test_a_backup_whose_outcome_got_through_keeps_its_objects(bench: Bench) -> None:
    store = LosesTheAnswer(bench.store)
    tools = replace(bench.tools, store=store)  # type: ignore[arg-type]
    ending = await bench.work(RunBackup(tools), bench.job(RUN, {"cause": "manual"}))
    assert isinstance(ending.body, BackupCompleted)
    assert store.lost == 1
    assert bench.engine.calls == 1
    assert ending.body.attempt == 101
    assert keys.manifest(keys.attempt(CLUSTER, ending.body.backup_id, 101)) in await bench.keys("snapshots/")


class PutsSlowly:
    """The store, but the first put of an outcome takes until the test lets it through."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def put_if_absent(self, key: str, data: bytes) -> bool:
        if key.startswith(keys.OUTCOMES):
            self.begun.set()
            await self.go_on.wait()
        return await self._store.put_if_absent(key, data)


async def test_a_cancel_while_the_outcome_is_put_sweeps_nothing_of_it(bench: Bench) -> None:
    store = PutsSlowly(bench.store)
    tools = replace(bench.tools, store=store)  # type: ignore[arg-type]
    context = bench.job(RUN, {"cause": "slot"})
    working = asyncio.ensure_future(RunBackup(tools).work(context))
    await asyncio.wait_for(store.begun.wait(), 5)
    context.cancel_requested.set()
    for _ in range(50):
        await asyncio.sleep(0)
    store.go_on.set()
    ending = await asyncio.wait_for(working, 5)
    assert isinstance(ending.body, BackupCompleted)
    assert keys.manifest(keys.attempt(CLUSTER, ending.body.backup_id, 101)) in await bench.keys("snapshots/")
