"""Who holds a job, who takes it over, and that it ends once."""

import asyncio
from pathlib import Path

import pytest

from schemas import topics
from tests.fakes import RecordingPublisher, until
from tests.unit.runtime.bench import CLUSTER, RUN, Instance, ScriptedKind, command, done
from tidewind.domain import keys
from tidewind.domain.problems import problem, refused
from tidewind.domain.records import Accepted, CancelRequest, EpochClaim, Terminal
from tidewind.ports.jobs import Ending, JobContext
from tidewind.ports.store import StoreRefused


async def never(_: JobContext) -> Ending:
    await asyncio.Event().wait()
    raise AssertionError


async def test_a_refusal_in_work_is_the_terminal_event(tmp_path: Path) -> None:
    async def refuse(_: JobContext) -> Ending:
        raise refused("database-unreachable", "db-1:3306 does not answer")

    service = Instance(tmp_path, ScriptedKind(refuse))
    await service.intake.handle(command())
    await until(lambda: bool(service.publisher.of(topics.EVENTS)))
    event = service.publisher.of(topics.EVENTS)[0]
    assert event.type == "tidewind.backup.failed.v1"
    assert event.data is not None
    assert event.data["problem"]["type"] == "urn:tidewind:problem:database-unreachable"


async def test_an_unexpected_error_says_no_secret_and_ends_the_job(tmp_path: Path) -> None:
    async def explode(_: JobContext) -> Ending:
        raise ZeroDivisionError("hunter2")

    service = Instance(tmp_path, ScriptedKind(explode))
    await service.intake.handle(command())
    await until(lambda: bool(service.publisher.of(topics.EVENTS)))
    assert "hunter2" not in str(service.publisher.messages)


async def test_a_silent_holders_job_is_taken_over_under_the_next_epoch(tmp_path: Path) -> None:
    hanging = ScriptedKind(never)
    first = Instance(tmp_path, hanging)
    await first.intake.handle(command())
    await until(lambda: hanging.worked == [1])
    job = next(iter(first.runner.running()))
    finishing = ScriptedKind(done)
    second = Instance(tmp_path, finishing, publisher=first.publisher, clock=first.clock, holder="two")
    second.view.silence[f"job/{CLUSTER}/{job}"] = 29
    await second.look()
    assert finishing.worked == []
    second.view.silence[f"job/{CLUSTER}/{job}"] = 31
    await second.look()
    await until(lambda: not second.runner.running())
    assert finishing.worked == [2]
    first.clock.advance(6)
    await until(lambda: not first.runner.running())
    ends = [event for event in first.publisher.of(topics.EVENTS) if event.type.startswith("tidewind.backup.")]
    assert len({event.id for event in ends}) == 1


async def test_a_holder_not_heard_yet_has_a_whole_lease_from_when_its_claim_is_seen(tmp_path: Path) -> None:
    """An instance that has long been up gets the partition of a job that another took in a moment ago."""
    hanging = ScriptedKind(never)
    first = Instance(tmp_path, hanging)
    await first.intake.handle(command())
    await until(lambda: hanging.worked == [1])
    job = next(iter(first.runner.running()))
    finishing = ScriptedKind(done)
    second = Instance(tmp_path, finishing, clock=first.clock, holder="two")
    key = f"job/{CLUSTER}/{job}"
    assert second.view.get(key) is None, "its view has not seen the first heartbeat yet"
    for silence in (3600.0, 3629.0):
        second.view.silence[key] = silence
        await second.look()
        assert second.runner.running() == frozenset()
    second.view.silence[key] = 3630.0
    await second.look()
    await until(lambda: finishing.worked == [2])
    await first.runner.stop(5)


async def test_a_successor_not_heard_yet_is_not_judged_by_its_predecessors_silence(tmp_path: Path) -> None:
    first = Instance(tmp_path, ScriptedKind(never))
    await first.intake.handle(command())
    await until(lambda: bool(first.publisher.of(topics.STATUS)))
    job = next(iter(first.runner.running()))
    claim = EpochClaim(job_id=job, epoch=2, holder="two", claimed_at=first.clock.now())
    assert await first.ledger.claim(claim, CLUSTER)
    third = Instance(tmp_path, ScriptedKind(done), publisher=first.publisher, clock=first.clock, holder="three")
    third.view.silence[f"job/{CLUSTER}/{job}"] = 45.0
    await third.look()
    assert third.runner.running() == frozenset()
    assert await third.ledger.newest_epoch(CLUSTER, job) == 2
    await first.runner.stop(5)


async def test_a_predecessor_cannot_end_a_job_it_has_lost(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def slow(context: JobContext) -> Ending:
        await gate.wait()
        return await done(context)

    service = Instance(tmp_path, ScriptedKind(slow))
    await service.intake.handle(command())
    await until(lambda: bool(service.runner.running()))
    job = next(iter(service.runner.running()))
    claim = EpochClaim(job_id=job, epoch=2, holder="two", claimed_at=service.clock.now())
    assert await service.ledger.claim(claim, CLUSTER)
    gate.set()
    await until(lambda: not service.runner.running())
    assert await service.ledger.terminal(CLUSTER, job) is None
    assert service.publisher.of(topics.EVENTS) == []


async def test_a_job_whose_records_the_store_refuses_is_taken_up_when_it_takes_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Instance(tmp_path, ScriptedKind(never))
    await first.intake.handle(command())
    await until(lambda: bool(first.runner.running()) and bool(first.publisher.of(topics.STATUS)))

    def refuse(*_: object, **__: object) -> None:
        raise StoreRefused("list", "jobs/", "ExpiredToken (400)", "renew the credentials")

    def ended_by_now() -> bool:
        first.clock.advance(5)  # the heartbeat may only now begin its pause
        return not first.runner.running()

    monkeypatch.setattr(first.store, "list", refuse)
    await until(ended_by_now)
    finishing = ScriptedKind(done)
    second = Instance(tmp_path, finishing, publisher=first.publisher, clock=first.clock, holder="two")
    for key in second.view.keys("job/"):
        second.view.silence[key] = 31
    await second.look()
    await until(lambda: finishing.worked == [2])


async def test_a_stopped_instance_releases_its_job_for_the_next(tmp_path: Path) -> None:
    first = Instance(tmp_path, ScriptedKind(never))
    await first.intake.handle(command())
    await until(lambda: bool(first.runner.running()) and bool(first.publisher.of(topics.STATUS)))
    await first.runner.stop(5)
    finishing = ScriptedKind(done)
    second = Instance(tmp_path, finishing, publisher=first.publisher, clock=first.clock, holder="two")
    await second.look()
    await until(lambda: finishing.worked == [2])


async def test_a_terminal_record_without_event_is_published_by_whoever_finds_it(tmp_path: Path) -> None:
    publisher = RecordingPublisher()
    first = Instance(tmp_path, ScriptedKind(done), publisher=publisher)

    async def down_after_end(context: JobContext) -> Ending:
        publisher.down = True
        return await done(context)

    first = Instance(tmp_path, ScriptedKind(down_after_end), publisher=publisher)
    await first.intake.handle(command())
    await until(
        lambda: any(message.data and message.data.get("state") == "ended" for message in publisher.of(topics.STATUS))
    )
    assert publisher.of(topics.EVENTS) == []
    await first.runner.stop(5)
    publisher.down = False
    second = Instance(tmp_path, ScriptedKind(never), publisher=publisher, holder="two")
    await second.look()
    await until(lambda: not second.runner.running())
    assert [event.type for event in publisher.of(topics.EVENTS)] == ["tidewind.backup.completed.v1"]
    assert await second.ledger.open_jobs("test") == []


async def test_a_cancel_request_is_seen(tmp_path: Path) -> None:
    async def until_cancelled(context: JobContext) -> Ending:
        await context.cancel_requested.wait()
        raise refused("cancelled", "as asked")

    service = Instance(tmp_path, ScriptedKind(until_cancelled))
    await service.intake.handle(command())
    await until(lambda: bool(service.runner.running()))
    job = next(iter(service.runner.running()))
    request = CancelRequest(job_id=job, requested_by=job, requested_at=service.clock.now())
    await service.ledger.request_cancel(CLUSTER, request)

    def ended() -> bool:
        service.clock.advance(2)
        return bool(service.publisher.of(topics.EVENTS))

    await until(ended)


async def test_the_operation_lock_is_free_only_when_its_job_has_ended(tmp_path: Path) -> None:
    service = Instance(tmp_path, ScriptedKind(done))
    lock = service.operations
    jobs = [f"{number:08d}-0000-0000-0000-000000000000" for number in range(22)]
    for job in jobs:
        await service.ledger.accept(accepted(service, job))
    one, two, *many = jobs
    assert await lock.try_take(CLUSTER, one, "backup") is None
    assert await lock.try_take(CLUSTER, one, "backup") is None
    holder = await lock.try_take(CLUSTER, two, "restore")
    assert holder is not None
    assert (holder.job_id, holder.kind) == (one, "backup")
    end = Terminal(job_id=one, event="tidewind.backup.failed.v1", data={}, at=service.clock.now(), epoch=1)
    await service.ledger.finish(CLUSTER, end)
    assert await lock.holder(CLUSTER) is None
    takers = await asyncio.gather(*(lock.try_take(CLUSTER, job, "restore") for job in many))
    assert takers.count(None) == 1


async def test_the_newest_restore_stays_in_the_lock_however_many_backups_follow(tmp_path: Path) -> None:
    service = Instance(tmp_path, ScriptedKind(done))
    jobs = [f"{number:08d}-0000-0000-0000-000000000000" for number in range(40)]
    for number, job in enumerate(jobs):
        await service.ledger.accept(accepted(service, job))
        assert await service.operations.try_take(CLUSTER, job, "restore" if number in (1, 2) else "backup") is None
        end = Terminal(job_id=job, event="tidewind.backup.failed.v1", data={}, at=service.clock.now(), epoch=1)
        await service.ledger.finish(CLUSTER, end)
    entries = [found.key async for found in service.store.list(f"{keys.OPERATIONS}{CLUSTER}/")]
    assert entries == [keys.operation(CLUSTER, number) for number in (3, *range(25, 41))]


async def test_the_lock_of_a_job_forgotten_long_ago_is_free(tmp_path: Path) -> None:
    service = Instance(tmp_path, ScriptedKind(done))
    forgotten, later = (f"{number:08d}-0000-0000-0000-000000000000" for number in (1, 2))
    await service.ledger.accept(accepted(service, later))
    assert await service.operations.try_take(CLUSTER, forgotten, "backup") is None
    assert await service.operations.try_take(CLUSTER, later, "backup") is None


async def test_a_command_rejected_after_a_half_recorded_delivery_is_not_worked(tmp_path: Path) -> None:
    kind = ScriptedKind(done)
    service = Instance(tmp_path, kind)
    job = "00000000-0000-0000-0000-000000000001"
    await service.store.put_if_absent(keys.job_open("test", CLUSTER, job), b"{}")
    rejected = accepted(service, job).model_copy(update={"rejected": problem("command-expired", "too late by then")})
    await service.ledger.accept(rejected)
    await service.look()
    service.runner.start(rejected)
    await until(lambda: not service.runner.running())
    assert kind.worked == []
    assert await service.ledger.open_jobs("test") == []


async def test_a_damaged_record_keeps_no_other_job_from_being_taken_over(tmp_path: Path) -> None:
    kind = ScriptedKind(done)
    service = Instance(tmp_path, kind)
    damaged, good = (f"{number:08d}-0000-0000-0000-000000000000" for number in (1, 2))
    for job in (damaged, good):
        await service.ledger.accept(accepted(service, job))
    (tmp_path / keys.job(CLUSTER, damaged, "accepted.json")).write_bytes(b"{")
    await service.look()
    await until(lambda: kind.worked == [1])


def accepted(service: Instance, job: str) -> Accepted:
    return Accepted(
        job_id=job,
        service="test",
        cluster_id=CLUSTER,
        command=RUN,
        body={"cluster_id": CLUSTER},
        body_sha256="",
        message_id=job,
        source="/tests",
        accepted_at=service.clock.now(),
    )
