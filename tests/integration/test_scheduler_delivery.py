"""Delivery on real Kafka: nothing is lost, nothing stalls, whatever lies on the topic and whoever dies."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from schemas import topics
from schemas.envelope import Message, encode
from services.scheduler.rules.emission import slot_work
from tests.integration.bus_support import CLOCK
from tests.integration.scheduler_support import PARTITIONS, Deployment, deployment
from tidewind.bus.partitioner import partition_of


@pytest.fixture
async def world(kafka: str, tmp_path: Path) -> AsyncIterator[Deployment]:
    async with deployment(kafka, tmp_path) as made:
        yield made


def envelope(number: int) -> list[tuple[str, bytes]]:
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", f"poison-{number}".encode()),
        ("ce_type", b"tidewind.backup-setting.set.v1"),
        ("ce_source", b"/tests"),
    ]


def poison(number: int, chance: random.Random) -> tuple[bytes | None, list[tuple[str, bytes]]]:
    """A record nobody can handle, of a kind that follows from the number."""
    body = json.dumps({"cluster_id": "x"}).encode()
    kinds: list[tuple[bytes | None, list[tuple[str, bytes]]]] = [
        (chance.randbytes(200), envelope(number)),
        (b"", envelope(number)),
        (None, envelope(number)),
        (None, []),
        (body, []),
        (b"[" * 50_000, envelope(number)),
        (b'{"cluster_id": NaN}', envelope(number)),
        (b'{"cluster_id": "x", "cluster_id": "y"}', envelope(number)),
        (b'"text"', envelope(number)),
        (body, [("ce_specversion", b"0.3"), *envelope(number)[1:]]),
        (body, [*envelope(number)[:2], ("ce_type", b"tidewind.unknown.v1"), ("ce_source", b"/tests")]),
        (body, [*envelope(number), ("actor", b"\xff\xfe")]),
        (body, [*envelope(number), ("ce_time", b"yesterday")]),
        (body, [*envelope(number), ("idempotency-key", b"slot:2026-11-24")]),
        (json.dumps({"cluster_id": "other"}).encode(), envelope(number)),
        (b'{"n": ' + b"9" * 5000 + b"}", envelope(number)),
    ]
    return kinds[number % len(kinds)]


async def test_poison_goes_to_the_dead_letters_and_the_next_good_one_is_handled_at_once(
    world: Deployment,
) -> None:
    await world.enrolled("good")
    await world.scheduler()
    await world.until(lambda: world.seen.status("cluster/good"), what="the scheduler at work")
    chance = random.Random(7)
    sent = []
    for number in range(112):
        value, headers = poison(number, chance)
        await world.raw(value, headers=headers, partition=partition_of("good", PARTITIONS))
        sent.append(value)
    good = await world.command("backup-setting.set", {"cluster_id": "good", "retention_days": 8})
    await world.until(lambda: len(world.seen.raw(topics.DEAD_LETTERS)) >= len(sent), what="all dead letters")
    took = await world.until(lambda: world.seen.replies_to(good), what="the answer after the poison")
    other = await world.command("backup-setting.set", {"cluster_id": "good", "retention_days": 9})
    usual = await world.until(lambda: world.seen.replies_to(other), what="an answer without poison")
    assert took < 1 + 5 * usual, f"the good command took {took:.2f} s after the last dead letter, another {usual:.2f} s"
    letters = world.seen.raw(topics.DEAD_LETTERS)
    assert Counter(letter.value for letter in letters) == Counter(sent)
    reasons = {dict(letter.headers)["dlt-reason"] for letter in letters}
    assert {b"bad-json", b"not-a-cloudevent", b"unknown-command", b"key-mismatch", b"reserved-key"} <= reasons
    answered = {one.correlation_id for one in world.seen.messages(topics.REPLIES, "tidewind.command.rejected.v1")}
    assert "poison-13" in answered, "whose id could be read is told"
    slot = slot_work("x", date(2026, 11, 24))
    assert await world.ledger.accepted("x", slot.job_id) is None, "a user's key took a slot's place"


async def test_no_command_is_lost_while_instances_come_stop_and_are_killed(world: Deployment) -> None:
    clusters = [f"c{number}" for number in range(24)]
    for cluster in clusters:
        await world.enrolled(cluster)
    steady = await world.scheduler()
    await world.until(lambda: world.logged("assigned"), what="the first assignment")
    sent: list[Message] = []
    ended = asyncio.Event()

    async def publish() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            body = {"cluster_id": clusters[number % len(clusters)], "retention_days": 7 + number % 80}
            sent.append(await world.command("backup-setting.set", body))
            await asyncio.sleep(0.03)

    publishing = asyncio.create_task(publish())
    for round_number in range(3):
        assigned = len(world.logged("assigned"))
        other = await world.scheduler()
        await world.until(lambda known=assigned: len(world.logged("assigned")) >= known + 2, what="a rebalance")
        answers = len(world.seen.raw(topics.REPLIES))
        await world.until(lambda known=answers: len(world.seen.raw(topics.REPLIES)) >= known + 40, what="answers")
        if round_number % 2 == 0:
            await world.kill(other)
        else:
            world.killed.add(other.name)
            await other.stop()
    ended.set()
    await publishing
    await world.until(
        lambda: all(world.seen.replies_to(message) for message in sent), within_s=60, what="an answer to each"
    )
    for message in sent:
        assert len({reply.id for reply in world.seen.replies_to(message)}) == 1
    assert len(sent) > 150
    assert steady.running
    for cluster in clusters:
        history = await world.registry.history(cluster)
        jobs = [entry.job_id for entry in history]
        assert len(jobs) == len(set(jobs))


async def test_a_command_of_an_aborted_transaction_has_no_effect(world: Deployment) -> None:
    await world.enrolled("sure")
    await world.scheduler()
    producer = AIOKafkaProducer(
        bootstrap_servers=world.link.settings.bootstrap, transactional_id=f"{world.link.settings.prefix}test"
    )
    await producer.start()

    def record(retention: int, number: str) -> dict[str, Any]:
        key, value, headers = encode(
            Message(
                id=number,
                type="tidewind.backup-setting.set.v1",
                source="/tests",
                time=CLOCK.now(),
                key="sure",
                data={"cluster_id": "sure", "retention_days": retention},
            )
        )
        where = partition_of("sure", PARTITIONS)
        return {
            "topic": world.link.name(topics.COMMANDS),
            "key": key,
            "value": value,
            "headers": headers,
            "partition": where,
        }

    try:
        await producer.begin_transaction()
        await producer.send_and_wait(**record(90, "aborted"))
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait(**record(60, "committed"))
    finally:
        await producer.stop()
    after = await world.command("backup-setting.set", {"cluster_id": "sure", "retention_days": 61})
    await world.until(lambda: world.seen.replies_to(after), what="the answer after the transactions")
    answered = [one.correlation_id for one in world.seen.messages(topics.REPLIES)]
    assert answered == ["committed", after.id]


async def test_a_misplaced_command_is_sent_to_its_partition(world: Deployment) -> None:
    await world.enrolled("astray")
    await world.scheduler()
    wrong = (partition_of("astray", PARTITIONS) + 1) % PARTITIONS
    body = json.dumps({"cluster_id": "astray", "retention_days": 9}).encode()
    await world.raw(body, key=b"astray", headers=envelope(1), partition=wrong)
    await world.until(
        lambda: [one.correlation_id for one in world.seen.messages(topics.REPLIES)] == ["poison-1"],
        what="the answer",
    )
