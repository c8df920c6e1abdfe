"""Housekeeping over several clusters, and of what is remembered for long."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from schemas.envelope import Message
from schemas.topics import Topic
from services.snapshotter.handlers.sweep import REMEMBER_DELETED, REMEMBER_JOBS, Sweeper
from tests.fakes import RecordingPublisher
from tests.unit.snapshotter.bench import CLUSTER, Bench, sweeper
from tidewind.domain import keys
from tidewind.domain.problems import problem
from tidewind.domain.records import Tombstone
from tidewind.ports.store import ObjectInfo, StoreRefused
from tidewind.runtime.operations import OperationLock
from tidewind.store.sealed import SealedStore

DELETE = "tidewind.backup.delete.v1"
DAY = timedelta(days=1)


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path / "store")
    await made.enroll()
    return made


async def deleted_long_ago(bench: Bench, cluster: str) -> str:
    """The tombstone of a delete that is to be forgotten; its key."""
    job = f"00000000-0000-5000-8000-{cluster.encode().hex():0>12}"
    mark = Tombstone(
        backup_id="bkp_0000000000",
        job_id=job,
        cause="manual",
        marked_at=bench.clock.now() - REMEMBER_DELETED - DAY,
    )
    key = keys.tombstone(cluster, mark.backup_id)
    assert await bench.store.put_if_absent(key, mark.to_bytes())
    return key


@pytest.mark.parametrize("stuck_by", ["refusal", "damaged mark", "damaged registry", "kafka"])
async def test_a_cluster_that_is_stuck_does_not_keep_the_next_from_being_swept(bench: Bench, stuck_by: str) -> None:
    """`blue` comes before `shop`."""
    await bench.enroll("blue")
    stuck = await deleted_long_ago(bench, "blue")
    await deleted_long_ago(bench, CLUSTER)

    class Refuses:
        def __getattr__(self, name: str) -> object:
            return getattr(bench.store, name)

        async def delete(self, wanted: Sequence[str]) -> None:
            if stuck in wanted:
                raise StoreRefused("delete", stuck, "denied")
            await bench.store.delete(wanted)

    class TakesNothing(RecordingPublisher):
        async def send(self, topic: Topic, message: Message, *, deadline_s: float = 10.0) -> None:
            self.down = "/blue/" in message.key
            await super().send(topic, message, deadline_s=deadline_s)

    sweeping = sweeper(bench)
    if stuck_by == "refusal":
        sweeping._tools = type(bench.tools)(**{**vars(bench.tools), "store": Refuses()})
    elif stuck_by == "kafka":
        sweeping._publisher = TakesNothing()
    else:
        damaged = stuck if stuck_by == "damaged mark" else keys.registry("blue", 1)
        await bench.store.delete([damaged])
        await bench.store.put_if_absent(damaged, b"{}")
    assert await sweeping.sweep() == 1
    assert await bench.keys(keys.TOMBSTONES) == [stuck]


async def test_a_sweep_that_is_cancelled_ends(bench: Bench) -> None:
    await deleted_long_ago(bench, CLUSTER)

    class Stops(RecordingPublisher):
        async def send(self, topic: Topic, message: Message, *, deadline_s: float = 10.0) -> None:
            raise asyncio.CancelledError

    sweeping = sweeper(bench)
    sweeping._publisher = Stops()
    with pytest.raises(asyncio.CancelledError):
        await sweeping.sweep()


class LongAgo:
    """A store in which all was written before jobs' memory reaches back."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def list(self, prefix: str, **more: Any) -> AsyncIterator[ObjectInfo]:
        async for found in self._store.list(prefix, **more):
            yield replace(found, modified=found.modified - REMEMBER_JOBS - DAY)


def long_after(bench: Bench) -> Sweeper:
    late = sweeper(bench)
    late._tools = type(bench.tools)(**{**vars(bench.tools), "store": LongAgo(bench.store)})
    return late


async def refused(bench: Bench, cluster: str) -> str:
    """A command for a cluster that nobody enrolled; its job."""
    given = bench.job(DELETE, {"backup_id": "bkp_0000000000"}, key=cluster).job
    job = given.model_copy(update={"cluster_id": cluster, "rejected": problem("unknown-cluster", "no such cluster")})
    await bench.ledger.accept(job)
    return job.job_id


async def test_what_was_refused_of_clusters_nobody_enrolled_is_forgotten_too(bench: Bench) -> None:
    """Names around that of an enrolled cluster, in every order that keys can have."""
    strangers = ["a", "a-b", "ab", "shop-1", "shop", "zebra"]
    jobs = {cluster: await refused(bench, cluster) for cluster in strangers}
    assert await sweeper(bench).sweep() == 0, "an answer is remembered for 90 days"
    assert await long_after(bench).sweep() == len(strangers)
    assert [await bench.ledger.accepted(cluster, job) for cluster, job in jobs.items()] == [None] * len(strangers)


async def test_an_open_job_of_a_cluster_nobody_enrolled_stays(bench: Bench) -> None:
    """An enrolment that has not ended yet looks like that."""
    given = bench.job("tidewind.cluster.enroll.v1", {}).job.model_copy(update={"cluster_id": "new"})
    await bench.ledger.accept(given)
    assert await long_after(bench).sweep() == 0
    assert await bench.ledger.accepted("new", given.job_id) is not None


async def test_jobs_that_the_operation_lock_names_are_not_forgotten(bench: Bench) -> None:
    """A cluster may have been left closed for longer than jobs are remembered."""
    lock = OperationLock(bench.store, bench.ledger)
    restore = bench.job("tidewind.restore.request.v1", {}, key="r")
    other = bench.job(DELETE, {"backup_id": "bkp_0000000000"}, key="o")
    for context in (restore, other):
        await bench.ledger.accept(context.job)
    assert await lock.try_take(CLUSTER, restore.job.job_id, "restore") is None
    for context in (restore, other):
        await bench.end(context, "tidewind.restore.failed.v1")

    late = long_after(bench)
    assert await late.sweep() == 2
    assert await bench.ledger.terminal(CLUSTER, restore.job.job_id) is not None
    assert await bench.ledger.accepted(CLUSTER, other.job.job_id) is None
