"""Deleting gives way to readers and can be finished by anybody; verifying finds every changed byte."""

from pathlib import Path

import pytest

from schemas.commands import BackupDelete
from schemas.envelope import Message
from schemas.events import BackupCompleted, BackupDamaged, BackupDeleted, BackupVerified
from services.snapshotter.handlers.delete import DeleteBackup
from services.snapshotter.handlers.run import RunBackup
from services.snapshotter.handlers.verify import VerifyBackup
from tests.unit.snapshotter.bench import CLUSTER, Bench
from tidewind.domain import keys
from tidewind.domain.problems import Refused
from tidewind.domain.records import Pin
from tidewind.ports.jobs import Accept, Incoming, Reject

RUN = "tidewind.backup.run.v1"
DELETE = "tidewind.backup.delete.v1"
VERIFY = "tidewind.backup.verify.v1"


@pytest.fixture(autouse=True)
def _login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_LOGIN", "tidewind:secret")


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path / "store")
    await made.enroll()
    return made


async def take(bench: Bench, key: str) -> str:
    ending = await bench.work(RunBackup(bench.tools), bench.job(RUN, {"cause": "manual"}, key=key))
    assert isinstance(ending.body, BackupCompleted)
    return ending.body.backup_id


async def decide(bench: Bench, body: BackupDelete) -> Accept | Reject:
    message = Message(id="d", type=DELETE, source="/t", time=bench.clock.now(), key=CLUSTER, data={})
    cluster = await bench.tools.registry.newest(CLUSTER)
    incoming = Incoming(message=message, command=body, job_id="0" * 8 + "-0000-0000-0000-" + "0" * 12, cluster=cluster)
    return await DeleteBackup(bench.tools, bench.ledger).decide(incoming)


def problem_of(decision: Accept | Reject) -> str:
    assert isinstance(decision, Reject)
    return decision.problem.type.rsplit(":", 1)[1]


async def test_the_newest_good_backup_needs_a_confirmation(bench: Bench) -> None:
    old, new = await take(bench, "1"), await take(bench, "2")
    assert isinstance(await decide(bench, BackupDelete(cluster_id=CLUSTER, backup_id=old)), Accept)
    refused = await decide(bench, BackupDelete(cluster_id=CLUSTER, backup_id=new))
    assert problem_of(refused) == "last-backup"
    confirmed = BackupDelete(cluster_id=CLUSTER, backup_id=new, confirm_shorter_window=True)
    accepted = await decide(bench, confirmed)
    assert isinstance(accepted, Accept)
    assert accepted.answer["window"]["shorter"]
    assert len(accepted.answer["window"]["after"]) == 1


async def test_unknown_deleted_and_read_backups_are_told_apart(bench: Bench) -> None:
    backup, _ = await take(bench, "1"), await take(bench, "2")
    unknown = await decide(bench, BackupDelete(cluster_id=CLUSTER, backup_id="bkp_ZZZZZZZZZZ"))
    assert problem_of(unknown) == "unknown-backup"
    reader = bench.job("tidewind.restore.request.v1", {})
    await bench.ledger.accept(reader.job)
    pin = Pin(job_id=reader.job.job_id, backups=(backup,), pinned_at=bench.clock.now())
    await bench.store.put_if_absent(keys.pin(CLUSTER, reader.job.job_id), pin.to_bytes())
    delete = BackupDelete(cluster_id=CLUSTER, backup_id=backup)
    assert problem_of(await decide(bench, delete)) == "backup-in-use"
    await bench.end(reader)
    assert isinstance(await decide(bench, delete), Accept)
    await bench.work(DeleteBackup(bench.tools, bench.ledger), bench.job(DELETE, {"backup_id": backup}))
    assert problem_of(await decide(bench, delete)) == "backup-deleted"


async def test_a_reader_that_came_after_the_answer_makes_the_deleter_give_way(bench: Bench) -> None:
    backup = await take(bench, "1")
    reader = bench.job("tidewind.restore.request.v1", {})
    await bench.ledger.accept(reader.job)
    pin = Pin(job_id=reader.job.job_id, backups=(backup,), pinned_at=bench.clock.now())
    await bench.store.put_if_absent(keys.pin(CLUSTER, reader.job.job_id), pin.to_bytes())
    with pytest.raises(Refused, match="reads"):
        await bench.work(DeleteBackup(bench.tools, bench.ledger), bench.job(DELETE, {"backup_id": backup}))
    entry = await bench.tools.catalogue.backup(CLUSTER, backup)
    assert entry is not None
    assert entry.restorable


async def test_a_delete_that_died_half_way_is_finished_by_a_successor(bench: Bench) -> None:
    backup = await take(bench, "1")
    context = bench.job(DELETE, {"backup_id": backup})
    manifest = [key for key in await bench.keys("snapshots/") if key.endswith("manifest.json")]
    outcome = await bench.store.get(keys.outcome(CLUSTER, backup))
    ending = await bench.work(DeleteBackup(bench.tools, bench.ledger), context)
    assert isinstance(ending.body, BackupDeleted)
    assert ending.body.freed_bytes > 0
    await bench.store.put(manifest[0], b"as if the predecessor had died before it removed this")
    await bench.store.put(keys.outcome(CLUSTER, backup), outcome)
    again = await bench.work(DeleteBackup(bench.tools, bench.ledger), bench.job(DELETE, {"backup_id": backup}, epoch=2))
    assert isinstance(again.body, BackupDeleted)
    assert await bench.keys("snapshots/") == []
    assert await bench.keys("outcomes/") == []


async def test_verify_reads_every_byte_and_names_what_changed(bench: Bench, tmp_path: Path) -> None:
    backup = await take(bench, "1")
    kind = VerifyBackup(bench.tools, bench.store)
    good = await bench.work(kind, bench.job(VERIFY, {"backup_id": backup}, key="v0"))
    assert isinstance(good.body, BackupVerified)
    assert good.body.objects == 2
    for number, key in enumerate(await bench.keys("snapshots/")):
        path = tmp_path / "store" / key
        stored = path.read_bytes()
        for position in (0, len(stored) // 2, len(stored) - 1):
            damaged = bytearray(stored)
            damaged[position] ^= 1
            path.write_bytes(damaged)
            ending = await bench.work(kind, bench.job(VERIFY, {"backup_id": backup}, key=f"v{number}-{position}"))
            assert isinstance(ending.body, BackupDamaged), (key, position)
            assert [entry["object"] for entry in ending.body.damaged] == [key]
        path.write_bytes(stored)
    entry = await bench.tools.catalogue.backup(CLUSTER, backup)
    assert entry is not None
    assert entry.damaged


async def test_a_delete_that_has_begun_goes_forward_whatever_came_since(bench: Bench) -> None:
    """A holder died after removing chunks: the successor must not call the rest a whole backup again."""
    backup = await take(bench, "1")
    context = bench.job(DELETE, {"backup_id": backup})
    await context.note("removing", {"backup_id": backup})
    reader = bench.job("tidewind.restore.request.v1", {})
    await bench.ledger.accept(reader.job)
    pin = Pin(job_id=reader.job.job_id, backups=(backup,), pinned_at=bench.clock.now())
    await bench.store.put_if_absent(keys.pin(CLUSTER, reader.job.job_id), pin.to_bytes())
    bench.clock.advance(3600)
    ending = await bench.work(DeleteBackup(bench.tools, bench.ledger), context)
    assert isinstance(ending.body, BackupDeleted)
    assert await bench.tools.catalogue.backup(CLUSTER, backup) is None
