"""One command, one answer, one effect: whatever is repeated, and wherever it was interrupted."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from schemas import topics
from schemas.envelope import Poison
from tests.fakes import until
from tests.unit.runtime.bench import CLUSTER, Instance, ScriptedKind, command, done
from tidewind.domain import keys
from tidewind.domain.problems import problem
from tidewind.ports.bus import BusUnavailable
from tidewind.ports.jobs import Reject


@pytest.fixture
def kind() -> ScriptedKind:
    return ScriptedKind(done)


async def test_accepted_command_is_answered_worked_and_ended_once(tmp_path: Path, kind: ScriptedKind) -> None:
    service = Instance(tmp_path, kind)
    for _ in range(100):
        await service.intake.handle(command())
    await until(lambda: len(service.publisher.of(topics.EVENTS)) > 0 and not service.runner.running())
    replies = service.publisher.of(topics.REPLIES)
    assert len(replies) == 100
    assert len({reply.id for reply in replies}) == 1
    assert {reply.type for reply in replies} == {"tidewind.command.accepted.v1"}
    assert replies[0].data is not None
    assert replies[0].data["answer"] == {"fine": True}
    assert replies[0].correlation_id == "m-1"
    assert kind.worked == [1]
    assert len({event.id for event in service.publisher.of(topics.EVENTS)}) == 1
    assert await service.ledger.open_jobs("test") == []


async def test_same_command_after_restart_gets_the_same_answer_and_no_work(tmp_path: Path, kind: ScriptedKind) -> None:
    first = Instance(tmp_path, kind)
    await first.intake.handle(command())
    await until(lambda: not first.runner.running())
    second = Instance(tmp_path, kind)
    await second.intake.handle(command())
    assert second.publisher.of(topics.REPLIES)[0].id == first.publisher.of(topics.REPLIES)[0].id
    assert second.publisher.of(topics.EVENTS)[0].id == first.publisher.of(topics.EVENTS)[0].id
    assert kind.worked == [1]


async def test_rejection_that_depended_on_the_moment_stays_the_answer(tmp_path: Path) -> None:
    answers = [Reject(problem=problem("unknown-cluster", "not yet"))]
    kind = ScriptedKind(done, decide=lambda _: answers.pop(0))
    service = Instance(tmp_path, kind)
    await service.intake.handle(command())
    await service.intake.handle(command())
    first, second = service.publisher.of(topics.REPLIES)
    assert first.id == second.id
    assert first.data == second.data
    assert kind.worked == []


async def test_same_key_with_another_body_is_refused(tmp_path: Path, kind: ScriptedKind) -> None:
    service = Instance(tmp_path, kind)
    await service.intake.handle(command(key="k"))
    await service.intake.handle(command("m-2", key="k", body={"cluster_id": CLUSTER, "reason": "another"}))
    last = service.publisher.of(topics.REPLIES)[-1].data
    assert last is not None
    assert last["problem"]["type"] == "urn:tidewind:problem:idempotency-key-reused"
    await until(lambda: not service.runner.running())
    assert kind.worked == [1]


async def test_every_wrong_field_is_named(tmp_path: Path, kind: ScriptedKind) -> None:
    service = Instance(tmp_path, kind)
    await service.intake.handle(command(body={"cluster_id": "Shop!", "slot_date": "soon", "resaon": "typo"}))
    reply = service.publisher.of(topics.REPLIES)[0].data
    assert reply is not None
    assert {error["field"] for error in reply["problem"]["errors"]} == {"cluster_id", "slot_date", "resaon"}


async def test_unknown_command_is_answered_and_then_poison(tmp_path: Path, kind: ScriptedKind) -> None:
    service = Instance(tmp_path, kind)
    with pytest.raises(Poison, match="not a command"):
        await service.intake.handle(command(kind="tidewind.backup.eat.v1"))
    assert service.publisher.of(topics.REPLIES)[0].type == "tidewind.command.rejected.v1"


async def test_old_command_is_refused_unless_it_was_answered_before(tmp_path: Path, kind: ScriptedKind) -> None:
    service = Instance(tmp_path, kind, max_age_s=900)
    await service.intake.handle(command("old", age_s=901))
    reply = service.publisher.of(topics.REPLIES)[0].data
    assert reply is not None
    assert reply["problem"]["type"] == "urn:tidewind:problem:command-expired"
    await service.intake.handle(command("young", age_s=10))
    await service.intake.handle(command("young", age_s=901))
    assert [message.type for message in service.publisher.of(topics.REPLIES)][1:] == [
        "tidewind.command.accepted.v1"
    ] * 2


async def test_a_rerouted_command_is_as_old_as_it_was_before(tmp_path: Path, kind: ScriptedKind) -> None:
    service = Instance(tmp_path, kind, max_age_s=900)
    young = command("rerouted", age_s=1)
    assert young.origin is not None
    first = replace(young.origin, first_ms=young.origin.timestamp_ms - 901_000)
    await service.intake.handle(replace(young, origin=first))
    reply = service.publisher.of(topics.REPLIES)[0].data
    assert reply is not None
    assert reply["problem"]["type"] == "urn:tidewind:problem:command-expired"


async def test_reply_that_kafka_never_got_is_sent_when_the_command_comes_again(
    tmp_path: Path, kind: ScriptedKind
) -> None:
    service = Instance(tmp_path, kind)
    service.publisher.down = True
    with pytest.raises(BusUnavailable):
        await service.intake.handle(command())
    assert kind.worked == []
    service.publisher.down = False
    await service.intake.handle(command())
    await until(lambda: kind.worked == [1])
    assert len(service.publisher.of(topics.REPLIES)) == 1


async def test_two_instances_given_the_same_command_work_it_once(tmp_path: Path, kind: ScriptedKind) -> None:
    one = Instance(tmp_path, kind, holder="one")
    two = Instance(tmp_path, kind, publisher=one.publisher, clock=one.clock, holder="two")
    await asyncio.gather(one.intake.handle(command()), two.intake.handle(command()))
    await until(lambda: not one.runner.running() and not two.runner.running())
    assert kind.worked == [1]
    assert len({reply.id for reply in one.publisher.of(topics.REPLIES)}) == 1


async def test_a_command_with_a_thousand_wrong_fields_gets_a_short_answer(tmp_path: Path, kind: ScriptedKind) -> None:
    service = Instance(tmp_path, kind)
    body = {"cluster_id": CLUSTER} | {f"field-{number}" + "x" * 500: number for number in range(1000)}
    await service.intake.handle(command(body=body))
    reply = service.publisher.of(topics.REPLIES)[0].data
    assert reply is not None
    assert len(reply["problem"]["errors"]) == 20
    assert len(str(reply)) < 20_000


async def test_an_error_of_ours_is_answered_and_the_command_kept_for_replay(tmp_path: Path) -> None:
    def explode(_: object) -> Reject:
        raise ZeroDivisionError("hunter2")

    service = Instance(tmp_path, ScriptedKind(done, decide=explode))
    with pytest.raises(Poison, match="while deciding"):
        await service.intake.handle(command())
    reply = service.publisher.of(topics.REPLIES)[0].data
    assert reply is not None
    assert reply["problem"]["type"] == "urn:tidewind:problem:internal-error"
    assert "hunter2" not in str(service.publisher.messages)


async def test_a_record_that_cannot_be_read_is_answered_and_holds_up_no_partition(
    tmp_path: Path, kind: ScriptedKind
) -> None:
    service = Instance(tmp_path, kind)
    await service.store.put_if_absent(keys.registry(CLUSTER, 1), b'{"format": 2}')
    with pytest.raises(Poison, match="format 2"):
        await service.intake.handle(command())
    reply = service.publisher.of(topics.REPLIES)[0].data
    assert reply is not None
    assert reply["problem"]["type"] == "urn:tidewind:problem:store-newer-format"
