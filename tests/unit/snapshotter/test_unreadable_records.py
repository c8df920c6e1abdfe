"""A record that cannot be read costs what it is about, and nothing else: not the next backup, not the other clusters."""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from schemas import topics
from schemas.commands import BackupDelete
from schemas.envelope import Message
from schemas.events import BackupCompleted, BackupDeleted
from services.scheduler.handlers.log_removals import LogRemovals, Promise
from services.scheduler.handlers.memory import Memory
from services.scheduler.handlers.removals import RemovalKeeper
from services.scheduler.handlers.speaker import Speaker
from services.scheduler.handlers.survey import Survey
from services.snapshotter.handlers.delete import DeleteBackup
from services.snapshotter.handlers.run import RunBackup
from services.snapshotter.handlers.statuses import StatusKeeper
from tests.fakes import RecordingPublisher, SharedView
from tests.unit.snapshotter.bench import CLUSTER, Bench, sweeper
from tests.unit.test_lived import reach
from tidewind.domain import keys
from tidewind.domain.records import BackupOutcome, Pin, RegistryEntry, parse
from tidewind.ports.jobs import Accept, Incoming, Reject
from tidewind.ports.store import FormatNewer, ObjectDamaged
from tidewind.runtime.clock import SystemRandomness
from tidewind.runtime.log_archive import LogArchive
from tidewind.runtime.outbox import Composer
from tidewind.store.keyring import Keyring
from tidewind.store.sealed import SealedStore

RUN = "tidewind.backup.run.v1"
DELETE = "tidewind.backup.delete.v1"
DAY_S = 86_400

Harm = Callable[[Bench, str], Awaitable[None]]


async def _flip(bench: Bench, key: str) -> None:
    stored = bytearray(await bench.inner.get(key))
    stored[-1] ^= 1
    await _replace(bench, key, bytes(stored))


async def _other_key(bench: Bench, key: str) -> None:
    data = await bench.store.get(key)
    foreign = SealedStore(bench.inner, Keyring.generate("lost", SystemRandomness()), SystemRandomness())
    await bench.inner.delete([key])
    await foreign.put_if_absent(key, data)


async def _newer_format(bench: Bench, key: str) -> None:
    body = json.loads(await bench.store.get(key)) | {"format": 2, "cause": "of a later release"}
    await bench.store.delete([key])
    await bench.store.put_if_absent(key, json.dumps(body).encode())


async def _replace(bench: Bench, key: str, stored: bytes) -> None:
    await bench.inner.delete([key])
    await bench.inner.put_if_absent(key, stored)


HARMS = {"damaged": _flip, "of a missing key": _other_key, "of a newer format": _newer_format}
PROBLEMS = {"damaged": "backup-damaged", "of a missing key": "key-missing", "of a newer format": "store-newer-format"}
each_harm = pytest.mark.parametrize("harm", HARMS)


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
    assert isinstance(ending.body, BackupCompleted), ending.body
    return ending.body.backup_id


async def harmed(bench: Bench, harm: str) -> str:
    """A backup whose outcome cannot be read any more; its id."""
    backup = await take(bench, "old")
    await HARMS[harm](bench, keys.outcome(CLUSTER, backup))
    bench.tools.catalogue._outcomes.clear()
    return backup


async def decide(bench: Bench, backup: str, *, confirmed: bool) -> Accept | Reject:
    body = BackupDelete(cluster_id=CLUSTER, backup_id=backup, confirm_shorter_window=confirmed)
    message = Message(id="d", type=DELETE, source="/t", time=bench.clock.now(), key=CLUSTER, data={})
    cluster = await bench.tools.registry.newest(CLUSTER)
    job = "00000000-0000-0000-0000-000000000000"
    incoming = Incoming(message=message, command=body, job_id=job, cluster=cluster)
    return await DeleteBackup(bench.tools, bench.ledger).decide(incoming)


def keeper(bench: Bench, publisher: RecordingPublisher) -> StatusKeeper:
    view = SharedView(publisher)
    return StatusKeeper(
        bench.tools.registry,
        bench.tools.catalogue,
        publisher=publisher,
        composer=Composer("/tests", bench.clock, view),
        view=view,
        clock=bench.clock,
        owns=lambda _: True,
        every_s=1,
    )


@each_harm
async def test_an_unreadable_backup_costs_no_later_one(bench: Bench, harm: str) -> None:
    old = await harmed(bench, harm)
    new = await take(bench, "new")
    contents = await bench.tools.catalogue.contents(CLUSTER)
    assert [entry.backup_id for entry in contents.backups] == [new]
    assert [one.backup_id for one in contents.unreadable] == [old]


@each_harm
async def test_an_unreadable_captured_log_costs_no_backup(bench: Bench, harm: str) -> None:
    key = keys.history_claim(CLUSTER, 1)
    await bench.store.put_if_absent(key, reach(1, begins=1, position="", complete=1).history.to_bytes())
    before = await take(bench, "before")
    await HARMS[harm](bench, key)
    after = await take(bench, "after")
    stamped = [(await bench.tools.catalogue.backup(CLUSTER, one)).outcome.history for one in (before, after)]  # type: ignore[union-attr]
    assert stamped == ["hst_1", None]


@each_harm
async def test_it_is_said_to_be_damaged_and_why(bench: Bench, harm: str) -> None:
    backup = await harmed(bench, harm)
    publisher = RecordingPublisher()
    assert await keeper(bench, publisher).publish_differences() == 1
    status = publisher.of(topics.STATUS)[0].data
    assert status is not None
    assert (status["backup_id"], status["state"]) == (backup, "damaged")
    assert status["problem"]["type"] == f"urn:tidewind:problem:{PROBLEMS[harm]}"


@each_harm
async def test_retention_keeps_it_and_lets_the_readable_expired_go(bench: Bench, harm: str) -> None:
    lost = await harmed(bench, harm)
    expired, newest = await take(bench, "expired"), await take(bench, "newest")
    bench.clock.advance(100 * DAY_S)
    publisher = RecordingPublisher()
    speaker = Speaker(publisher, "/tests")
    survey = Survey(bench.tools.store, bench.clock, max_age_s=0)
    await survey.refresh()
    log = LogRemovals(
        LogArchive(bench.tools.store), speaker, Promise(window=timedelta(days=90), max_replay=timedelta(days=7))
    )
    removals = RemovalKeeper(bench.ledger, bench.tools.catalogue, survey, speaker, log)
    registered = await bench.tools.registry.newest(CLUSTER)
    assert registered is not None
    assert await removals.keep((registered,), Memory(), bench.clock.now(), None) == 3
    assert [(order.data or {})["backup_id"] for order in publisher.of(topics.BACKUPS)] == [expired]
    assert newest != lost


@each_harm
async def test_it_can_be_deleted_by_its_id_once_that_is_confirmed(bench: Bench, harm: str) -> None:
    backup = await harmed(bench, harm)
    refused = await decide(bench, backup, confirmed=False)
    assert isinstance(refused, Reject)
    assert refused.problem.type.endswith(PROBLEMS[harm])
    assert "confirm_shorter_window" in (refused.problem.next_step or "")
    assert isinstance(await decide(bench, backup, confirmed=True), Accept)
    context = bench.job(DELETE, {"backup_id": backup, "confirm_shorter_window": True})
    ending = await bench.work(DeleteBackup(bench.tools, bench.ledger), context)
    assert isinstance(ending.body, BackupDeleted)
    assert ending.body.freed_bytes > 0
    assert await bench.keys(keys.SNAPSHOTS) == await bench.keys(keys.OUTCOMES) == []
    assert context.statuses[-1].state == "deleted"


async def test_a_restore_that_reads_it_keeps_it_from_being_deleted(bench: Bench) -> None:
    backup = await harmed(bench, "of a missing key")
    reader = bench.job("tidewind.restore.request.v1", {})
    await bench.ledger.accept(reader.job)
    pin = Pin(job_id=reader.job.job_id, backups=(backup,), pinned_at=bench.clock.now())
    await bench.store.put_if_absent(keys.pin(CLUSTER, reader.job.job_id), pin.to_bytes())
    refused = await decide(bench, backup, confirmed=True)
    assert isinstance(refused, Reject)
    assert refused.problem.type.endswith("backup-in-use")


async def test_the_sweep_leaves_it_alone_and_goes_on_behind_it(bench: Bench) -> None:
    await harmed(bench, "damaged")
    later = await take(bench, "new")
    stray = f"{keys.attempt(CLUSTER, later, 7)}000001.tsv.zst"
    await bench.store.put(stray, b"of an attempt that nothing names")
    before = await bench.keys(keys.SNAPSHOTS)
    assert await sweeper(bench).sweep() == 1
    assert await bench.keys(keys.SNAPSHOTS) == [key for key in before if key != stray]


async def test_an_unreadable_mark_or_verification_is_no_obstacle_to_the_rest(bench: Bench) -> None:
    marked, checked, fine = await take(bench, "1"), await take(bench, "2"), await take(bench, "3")
    await bench.store.put_if_absent(keys.tombstone(CLUSTER, marked), b'{"format": 2}')
    await bench.store.put_if_absent(keys.verification(CLUSTER, checked, "x"), b"{}")
    contents = await bench.tools.catalogue.contents(CLUSTER)
    assert {entry.backup_id for entry in contents.backups} == {checked, fine}
    assert [one.backup_id for one in contents.unreadable] == [marked], "a backup being deleted must not be restored"


@pytest.mark.parametrize("where", ["registry", "mark", "outcome"])
async def test_one_cluster_s_bad_record_silences_no_other(bench: Bench, where: str) -> None:
    """`blue` comes before `shop`. A mark of a later release once ended the service, and its next start."""
    await bench.enroll("blue")
    backup = await take(bench, "1")
    bad = {
        "registry": keys.registry("blue", 2),
        "mark": keys.tombstone("blue", backup),
        "outcome": keys.outcome("blue", backup),
    }[where]
    await bench.store.put_if_absent(bad, b'{"format": 2, "cause": "of a later release"}')
    publisher = RecordingPublisher()
    await keeper(bench, publisher).publish_differences()
    assert f"backup/{CLUSTER}/{backup}" in [status.key for status in publisher.of(topics.STATUS)]


def test_a_record_says_why_it_cannot_be_read() -> None:
    with pytest.raises(FormatNewer, match=r"outcomes/x.*format 2.*up to 1"):
        parse(BackupOutcome, b'{"format": 2, "result": "of a later release"}', "outcomes/x")
    with pytest.raises(ObjectDamaged, match=r"outcomes/x.*not a BackupOutcome.*cluster_id"):
        parse(BackupOutcome, b"{}", "outcomes/x")
    with pytest.raises(ObjectDamaged, match="text"):
        parse(RegistryEntry, b"\xff{")
