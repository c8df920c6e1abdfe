"""A client's side of a command against a real Kafka, with a service played by the test."""

import asyncio
import time
from dataclasses import replace

import pytest

from schemas.envelope import Message
from schemas.topics import COMMANDS, EVENTS, PROGRESS, REPLIES
from tests.integration.bus_support import CLOCK, connection, make_topics, message
from tidewind.bus.publisher import KafkaPublisher
from tidewind.bus.waiter import ACCEPTED, REJECTED, CommandClient
from tidewind.ports.bus import BusUnavailable

BACKUP = "tidewind.backup.run.v1"
JOB = "0f0e7f5a-4a55-5d0a-9c53-3ad6cb3b5a10"


def answer(command: Message, kind: str, **data: object) -> Message:
    made = message(command.key, kind=kind, job_id=JOB, command=command.type, **data)
    return replace(made, correlation_id=command.id, idempotency_key=command.idempotency_key)


@pytest.fixture
async def service(link):
    made = KafkaPublisher(link)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def client(link):
    made = CommandClient(link, CLOCK)
    await made.open("shop")
    yield made
    await made.close()


async def test_a_command_is_followed_to_its_end_with_progress_and_other_jobs_ignored(client, service):
    command = message("shop", kind=BACKUP)
    await client.send(COMMANDS, command)
    other = message("shop", kind=BACKUP)
    for one, job in ((other, "another"), (command, JOB)):
        await service.send(REPLIES, replace(answer(one, ACCEPTED), data={"job_id": job, "command": BACKUP}))
        await service.send(
            PROGRESS, replace(answer(one, "tidewind.job.progressed.v1"), data={"job_id": job, "done": 1})
        )
        await service.send(EVENTS, replace(answer(one, "tidewind.backup.started.v1"), data={"job_id": job}))
        await service.send(EVENTS, replace(answer(one, "tidewind.backup.completed.v1"), data={"job_id": job}))
    events, progress = [], []
    outcome = await client.wait(on_event=events.append, on_progress=progress.append, deadline_s=15)
    assert (outcome.rejected, outcome.job_id) == (False, JOB)
    assert outcome.terminal.type == "tidewind.backup.completed.v1"
    assert {one.data["job_id"] for one in events} == {JOB}
    assert len(progress) <= 1


async def test_a_rejection_ends_the_wait(client, service):
    command = message("shop", kind=BACKUP)
    await client.send(COMMANDS, command)
    await service.send(REPLIES, replace(answer(command, REJECTED), data={"command": BACKUP, "problem": {}}))
    outcome = await client.wait(deadline_s=15)
    assert outcome.rejected
    assert outcome.terminal is None


async def test_the_reply_first_and_the_end_later(client, service):
    command = message("shop", kind=BACKUP)
    await client.send(COMMANDS, command)
    await service.send(REPLIES, answer(command, ACCEPTED))
    assert (await client.wait(until_reply=True, deadline_s=15)).job_id == JOB
    unfinished = await client.wait(deadline_s=0.5)
    assert unfinished.terminal is None
    await service.send(EVENTS, answer(command, "tidewind.backup.failed.v1"))
    assert (await client.wait(deadline_s=15)).terminal.type == "tidewind.backup.failed.v1"


async def test_a_repeated_command_finds_the_first_one_s_answer_by_its_key(client, service):
    first = replace(message("shop", kind=BACKUP), idempotency_key="nightly")
    again = replace(message("shop", kind=BACKUP), idempotency_key="nightly")
    await client.send(COMMANDS, again)
    await service.send(REPLIES, answer(first, ACCEPTED))
    await service.send(EVENTS, answer(first, "tidewind.backup.completed.v1"))
    assert (await client.wait(deadline_s=15)).terminal is not None


async def test_another_command_under_the_same_key_is_not_taken_for_the_answer(client, service):
    verify = replace(message("shop", kind="tidewind.backup.verify.v1"), idempotency_key="k")
    mine = replace(message("shop", kind=BACKUP), idempotency_key="k")
    await client.send(COMMANDS, mine)
    await service.send(REPLIES, answer(verify, ACCEPTED))
    assert (await client.wait(deadline_s=1)).reply is None
    await service.send(REPLIES, answer(mine, REJECTED))
    assert (await client.wait(deadline_s=15)).rejected


async def test_a_job_is_resumed_by_its_id_and_a_time(link, service):
    before_ms = int(time.time() * 1000) - 1000
    command = message("shop", kind=BACKUP)
    await service.send(REPLIES, answer(command, ACCEPTED))
    await service.send(EVENTS, answer(command, "tidewind.backup.completed.v1"))
    client = CommandClient(link, CLOCK)
    await client.open("shop", since_ms=before_ms)
    client.follow(JOB)
    outcome = await client.wait(deadline_s=15)
    await client.close()
    assert outcome.terminal.type == "tidewind.backup.completed.v1"


async def test_waiting_survives_a_broker_that_goes_away(kafka_factory):
    server = await kafka_factory()
    link = connection(server.address)
    await make_topics(link)
    client = CommandClient(link, CLOCK)
    await client.open("shop")
    command = message("shop", kind=BACKUP)
    await client.send(COMMANDS, command)
    waiting = asyncio.create_task(client.wait(deadline_s=90))
    await server.stop()
    await server.start()
    service = KafkaPublisher(link)
    await service.start()
    await service.send(REPLIES, answer(command, ACCEPTED), deadline_s=30)
    await service.send(EVENTS, answer(command, "tidewind.backup.completed.v1"), deadline_s=30)
    assert (await waiting).terminal is not None
    await service.close()
    await client.close()


async def test_without_kafka_it_ends_within_its_deadline():
    client = CommandClient(connection("127.0.0.1:9"), CLOCK)
    began = time.monotonic()
    with pytest.raises(BusUnavailable, match=r"127\.0\.0\.1:9"):
        await client.open("shop", deadline_s=1)
    assert time.monotonic() - began < 30
