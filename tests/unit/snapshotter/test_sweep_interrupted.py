"""What jobs left half done, from every state they can have been interrupted in: no object of a complete or running
backup goes, and everything else does."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from schemas.events import BackupCompleted, BackupFailed
from services.snapshotter.handlers.delete import REMOVING_NOTE, DeleteBackup
from services.snapshotter.handlers.run import RunBackup
from services.snapshotter.rules.leftovers import GRACE, Unfinished, may_finish_delete, may_settle, may_withdraw
from tests.unit.snapshotter.bench import CLUSTER, NOW, Bench, JobInHand, sweeper
from tidewind.domain import keys
from tidewind.domain.ids import backup_id
from tidewind.domain.problems import problem
from tidewind.domain.records import EpochClaim, Pin, Terminal, Tombstone
from tidewind.ports.jobs import LeaseLost
from tidewind.ports.store import StoreRefused

RUN = "tidewind.backup.run.v1"
DELETE = "tidewind.backup.delete.v1"
LONG_AGO = 2 * GRACE
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_LOGIN", "tidewind:secret")


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path / "store")
    await made.enroll()
    return made


async def ended(bench: Bench, context: JobInHand, *, ago: timedelta = LONG_AGO, epoch: int = 1) -> None:
    """The job ended as failed, without an outcome."""
    why = problem("store-refused", "put outcomes/…: denied")
    data = {"problem": why.model_dump(mode="json")}
    at = bench.clock.now() - ago
    event = "tidewind.backup.failed.v1"
    await bench.ledger.finish(CLUSTER, Terminal(job_id=context.job.job_id, event=event, data=data, at=at, epoch=epoch))


async def left_objects(bench: Bench) -> tuple[JobInHand, str]:
    """A job that wrote an attempt's objects and no outcome."""
    context = bench.job(RUN, {"cause": "slot", "slot_date": "2026-11-23"})
    await bench.ledger.accept(context.job)
    claim = EpochClaim(job_id=context.job.job_id, epoch=1, holder="one", claimed_at=bench.clock.now())
    assert await bench.ledger.claim(claim, CLUSTER)
    backup = backup_id(context.job.job_id)
    prefix = keys.attempt(CLUSTER, backup, 101)
    for key in (keys.chunk(prefix, 1), keys.manifest(prefix)):
        await bench.store.put(key, b"rows")
    return context, backup


async def test_objects_of_a_job_that_ended_without_an_outcome_are_swept(bench: Bench) -> None:
    context, backup = await left_objects(bench)
    await ended(bench, context)
    assert await sweeper(bench).sweep() == 2
    assert await bench.keys("snapshots/") == []
    entry = await bench.tools.catalogue.backup(CLUSTER, backup)
    assert entry is not None
    assert (entry.outcome.result, entry.outcome.slot_date) == ("failed", "2026-11-23")
    assert entry.outcome.problem is not None
    assert entry.outcome.problem.type.endswith("store-refused")
    assert await sweeper(bench).sweep() == 0


async def test_objects_of_a_job_that_has_not_ended_are_left_alone(bench: Bench) -> None:
    await left_objects(bench)
    assert await sweeper(bench).sweep() == 0
    assert len(await bench.keys("snapshots/")) == 2
    assert await bench.keys("outcomes/") == []


async def test_a_job_that_has_just_ended_is_left_its_grace(bench: Bench) -> None:
    context, _ = await left_objects(bench)
    await ended(bench, context, ago=GRACE / 2)
    assert await sweeper(bench).sweep() == 0
    assert await bench.keys("outcomes/") == []


async def test_a_holder_whose_predecessor_ended_the_job_goes_on_undisturbed(bench: Bench) -> None:
    context, _ = await left_objects(bench)
    claim = EpochClaim(job_id=context.job.job_id, epoch=2, holder="two", claimed_at=bench.clock.now())
    assert await bench.ledger.claim(claim, CLUSTER)
    await ended(bench, context, epoch=1)
    assert await sweeper(bench).sweep() == 0
    assert len(await bench.keys("snapshots/")) == 2


async def test_objects_without_any_job_are_left_alone(bench: Bench) -> None:
    await bench.store.put(keys.chunk(keys.attempt(CLUSTER, "bkp_0000000000", 101), 1), b"rows")
    assert await sweeper(bench).sweep() == 0


async def test_a_holder_that_wakes_after_the_sweep_completes_nothing(bench: Bench) -> None:
    """Paused before it put its outcome; its job was ended and swept meanwhile."""
    context, _ = await left_objects(bench)

    async def meanwhile() -> None:
        await ended(bench, context)
        await sweeper(bench).sweep()

    bench.engine.before = [meanwhile]
    ending = await bench.work(RunBackup(bench.tools), context)
    assert isinstance(ending.body, BackupFailed)
    await sweeper(bench).sweep()
    assert await bench.keys("snapshots/") == []


class BetweenLookAndPut:
    """The store; what is given happens just before the sweep's own outcome is put."""

    def __init__(self, store: object, happens: Callable[[], Awaitable[object]]) -> None:
        self._store = store
        self._happens: list[Callable[[], Awaitable[object]]] = [happens]

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def put_if_absent(self, key: str, data: bytes) -> bool:
        if key.startswith(keys.OUTCOMES) and self._happens:
            await self._happens.pop()()
        return bool(await self._store.put_if_absent(key, data))  # type: ignore[attr-defined]


async def test_a_holder_that_completes_its_backup_before_the_sweep_decides_keeps_all_of_it(bench: Bench) -> None:
    context, backup = await left_objects(bench)
    stray = keys.chunk(keys.attempt(CLUSTER, backup, 7), 1)
    await bench.store.put(stray, b"of an earlier try")
    await ended(bench, context)
    plain = bench.store

    async def completes() -> None:
        assert isinstance((await bench.work(RunBackup(bench.tools), context)).body, BackupCompleted)

    late = sweeper(bench)
    late._tools = type(bench.tools)(**{**vars(bench.tools), "store": BetweenLookAndPut(plain, completes)})
    assert await late.sweep() == 1
    left = await bench.keys("snapshots/")
    assert stray not in left
    assert keys.manifest(keys.attempt(CLUSTER, backup, 101)) in left


async def test_a_sweep_that_died_after_its_outcome_is_continued(bench: Bench) -> None:
    context, _ = await left_objects(bench)
    await ended(bench, context)

    class DiesDeleting:
        def __getattr__(self, name: str) -> object:
            return getattr(bench.store, name)

        async def delete(self, _: object) -> None:
            raise StoreRefused("delete", "snapshots/", "denied")

    first = sweeper(bench)
    first._tools = type(bench.tools)(**{**vars(bench.tools), "store": DiesDeleting()})
    assert await first.sweep() == 0
    assert len(await bench.keys("snapshots/")) == 2
    assert await sweeper(bench).sweep() == 2


async def half_deleted(bench: Bench, *, begun: bool, marked: timedelta = LONG_AGO) -> tuple[JobInHand, str]:
    """A backup whose delete put its tombstone and, if begun, removed its first object."""
    taken = bench.job(RUN, {"cause": "manual"}, key="b")
    ending = await bench.work(RunBackup(bench.tools), taken)
    assert isinstance(ending.body, BackupCompleted)
    backup = ending.body.backup_id
    entry = await bench.tools.catalogue.backup(CLUSTER, backup)
    assert entry is not None
    context = bench.job(DELETE, {"backup_id": backup}, key="d")
    await bench.ledger.accept(context.job)
    mark = Tombstone(
        backup_id=backup,
        job_id=context.job.job_id,
        cause="manual",
        marked_at=bench.clock.now() - marked,
        outcome=entry.outcome,
    )
    await bench.store.put_if_absent(keys.tombstone(CLUSTER, backup), mark.to_bytes())
    if begun:
        await context.note(REMOVING_NOTE, {"backup_id": backup})
        await bench.store.delete([(await bench.keys("snapshots/"))[0]])
    return context, backup


async def pinned(bench: Bench, backup: str) -> JobInHand:
    reader = bench.job("tidewind.restore.request.v1", {})
    await bench.ledger.accept(reader.job)
    pin = Pin(job_id=reader.job.job_id, backups=(backup,), pinned_at=bench.clock.now())
    await bench.store.put_if_absent(keys.pin(CLUSTER, reader.job.job_id), pin.to_bytes())
    return reader


@pytest.mark.parametrize("begun", [True, False])
async def test_a_delete_whose_job_failed_is_finished(bench: Bench, begun: bool) -> None:
    context, backup = await half_deleted(bench, begun=begun)
    await sweeper(bench).sweep()
    assert await bench.keys("outcomes/"), "its job has not ended: it comes back to it"
    await ended(bench, context)
    await sweeper(bench).sweep()
    assert await bench.keys("snapshots/") == []
    assert await bench.keys("outcomes/") == []
    assert await bench.tools.catalogue.tombstone(CLUSTER, backup) is not None, "the id answers deleted for a week"


@pytest.mark.parametrize("next_delete", [False, True])
async def test_a_delete_that_is_refused_while_the_sweep_looks_on_deletes_nothing(
    bench: Bench, next_delete: bool
) -> None:
    """Its tombstone was listed; then it is withdrawn, the job ends, and perhaps another delete begins."""
    context, backup = await half_deleted(bench, begun=False)
    entry = await bench.tools.catalogue.backup(CLUSTER, backup)
    assert entry is not None
    assert entry.tombstone is not None

    class RefusedMeanwhile:
        async def tombstones(self, cluster: str) -> dict[str, Tombstone]:
            listed = await bench.tools.catalogue.tombstones(cluster)
            if listed and await bench.ledger.terminal(CLUSTER, context.job.job_id) is None:
                await bench.store.delete([keys.tombstone(CLUSTER, backup)])
                await ended(bench, context, ago=timedelta(0))
                if next_delete:
                    other = bench.job(DELETE, {"backup_id": backup}, key="e")
                    await bench.ledger.accept(other.job)
                    mark = listed[backup].model_copy(update={"job_id": other.job.job_id})
                    await bench.store.put_if_absent(keys.tombstone(CLUSTER, backup), mark.to_bytes())
            return listed

        def __getattr__(self, name: str) -> object:
            return getattr(bench.tools.catalogue, name)

    late = sweeper(bench)
    late._tools = type(bench.tools)(**{**vars(bench.tools), "catalogue": RefusedMeanwhile()})
    await late.sweep()
    assert await bench.ledger.terminal(CLUSTER, context.job.job_id) is not None
    assert len(await bench.keys("snapshots/")) == 2
    assert len(await bench.keys("outcomes/")) == 1


async def test_a_failed_delete_waits_for_a_reader_unless_objects_may_be_gone(bench: Bench) -> None:
    context, backup = await half_deleted(bench, begun=False)
    await ended(bench, context)
    reader = await pinned(bench, backup)
    await sweeper(bench).sweep()
    assert len(await bench.keys("snapshots/")) == 2
    await bench.end(reader)
    await sweeper(bench).sweep()
    assert await bench.keys("snapshots/") == []


async def test_a_delete_that_its_successor_refused_is_never_finished(bench: Bench) -> None:
    """Its first holder was paused before the tombstone and put it after everybody had been told that the backup stays."""
    context, backup = await half_deleted(bench, begun=False)
    why = problem("backup-in-use", f"The restore of job x reads {backup}")
    data = {"problem": why.model_dump(mode="json")}
    at = bench.clock.now() - LONG_AGO
    terminal = Terminal(job_id=context.job.job_id, event="tidewind.command.failed.v1", data=data, at=at, epoch=2)
    await bench.ledger.finish(CLUSTER, terminal)
    await sweeper(bench).sweep()
    assert len(await bench.keys("snapshots/")) == 2
    assert len(await bench.keys("outcomes/")) == 1
    assert await bench.tools.catalogue.tombstone(CLUSTER, backup) is None, "it can be restored, and deleted again"


async def test_a_holder_that_was_succeeded_puts_no_tombstone(bench: Bench) -> None:
    taken = bench.job(RUN, {"cause": "manual"}, key="b")
    body = (await bench.work(RunBackup(bench.tools), taken)).body
    assert isinstance(body, BackupCompleted)
    context = bench.job(DELETE, {"backup_id": body.backup_id}, key="d")
    await bench.ledger.accept(context.job)

    async def lost() -> None:
        raise LeaseLost("succeeded")

    context.check_lease = lost  # type: ignore[method-assign]
    with pytest.raises(LeaseLost):
        await bench.work(DeleteBackup(bench.tools, bench.ledger), context)
    assert await bench.tools.catalogue.tombstone(CLUSTER, body.backup_id) is None


async def test_a_delete_that_a_refusing_store_ended_is_finished_when_the_store_obeys_again(bench: Bench) -> None:
    taken = bench.job(RUN, {"cause": "manual"}, key="b")
    body = (await bench.work(RunBackup(bench.tools), taken)).body
    assert isinstance(body, BackupCompleted)
    context = bench.job(DELETE, {"backup_id": body.backup_id}, key="d")
    await bench.ledger.accept(context.job)

    class Refuses:
        def __getattr__(self, name: str) -> object:
            return getattr(bench.store, name)

        async def delete(self, _: object) -> None:
            raise StoreRefused("delete", "snapshots/", "denied")

    tools = type(bench.tools)(**{**vars(bench.tools), "store": Refuses()})
    with pytest.raises(StoreRefused):
        await bench.work(DeleteBackup(tools, bench.ledger), context)
    await ended(bench, context)
    mark = await bench.tools.catalogue.tombstone(CLUSTER, body.backup_id)
    assert mark is not None
    old = mark.model_copy(update={"marked_at": bench.clock.now() - LONG_AGO})
    await bench.store.delete([keys.tombstone(CLUSTER, body.backup_id)])
    await bench.store.put_if_absent(keys.tombstone(CLUSTER, body.backup_id), old.to_bytes())
    await sweeper(bench).sweep()
    assert await bench.keys("snapshots/") == []
    assert await bench.keys("outcomes/") == []


def test_the_rules_say_why() -> None:
    def unfinished(hours: float | None, *, by: int = 1, newest: int = 1, written: float = 0) -> Unfinished:
        return Unfinished(
            ended_at=None if hours is None else NOW - timedelta(hours=hours),
            ended_by=by,
            newest_epoch=newest,
            newest_object=NOW - timedelta(hours=written),
        )

    assert "not ended" in may_settle(unfinished(None), NOW, DAY).why
    assert "just ended" in may_settle(unfinished(0.5), NOW, DAY).why
    assert "still be writing" in may_settle(unfinished(30, newest=2, written=24), NOW, DAY).why
    assert may_settle(unfinished(30, newest=2, written=25), NOW, DAY).now
    assert may_settle(unfinished(1), NOW, DAY).now
    late: dict[str, Any] = {"ended": True, "begun": False, "pinned": False, "marked_at": NOW - GRACE, "now": NOW}
    assert may_finish_delete(**late).now
    assert may_finish_delete(**late | {"begun": True, "pinned": True}).now
    refused: dict[str, Any] = {"refused": True, "begun": False, "marked_at": NOW - GRACE, "now": NOW}
    assert may_withdraw(**refused).now
    for change in ({"refused": False}, {"begun": True}, {"marked_at": NOW}):
        assert not may_withdraw(**refused | change).now
    for change in ({"ended": False}, {"pinned": True}, {"marked_at": NOW}):
        assert not may_finish_delete(**late | change).now
