"""The consumer against a real Kafka: order, commits, rebalances, poison, failing and slow handlers, a dead client."""

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import replace

import pytest

from schemas.envelope import Message, Poison, encode
from schemas.topics import BACKUPS, DEAD_LETTERS, RESTORES
from tests.integration.bus_support import (
    CLOCK,
    PARTITIONS,
    Recorder,
    clusters_in_different_partitions,
    connection,
    eventually,
    make_topics,
    message,
    read_all,
    running,
)
from tidewind.bus.consumer import Consumer, ConsumerRules
from tidewind.bus.partitioner import partition_of
from tidewind.bus.publisher import KafkaPublisher
from tidewind.bus.records import Outgoing
from tidewind.ports.bus import BusError, BusUnavailable


def consumer_of(link, publisher, handler, *, group="g", topic=BACKUPS, callbacks=None, **rules):
    return Consumer(
        link, publisher, ConsumerRules(group=group, **rules), {topic: handler}, clock=CLOCK, **(callbacks or {})
    )


async def test_records_of_a_cluster_are_handled_in_order_and_a_successor_goes_on_behind_them(link, publisher):
    recorder = Recorder()
    async with running(consumer_of(link, publisher, recorder)):
        for number in range(100):
            for cluster in ("shop", "bank", "blog"):
                publisher.post(BACKUPS, message(cluster, number))
        await eventually(lambda: len(recorder.messages) == 300)
    for cluster in ("shop", "bank", "blog"):
        assert recorder.numbers(cluster) == list(range(100))
    successor = Recorder()
    async with running(consumer_of(link, publisher, successor)):
        await publisher.send(BACKUPS, message("shop", 100))
        await eventually(lambda: len(successor.messages) > 0)
    assert [given.data["number"] for given in successor.messages] == [100]


async def test_records_published_before_the_group_existed_are_handled(link, publisher):
    await publisher.send(BACKUPS, message("early", 1))
    recorder = Recorder()
    async with running(consumer_of(link, publisher, recorder)):
        await eventually(lambda: recorder.numbers("early") == [1])


async def test_the_origin_tells_whose_clock_stamped_the_record(link, publisher):
    recorder = Recorder()
    async with running(consumer_of(link, publisher, recorder, topic=RESTORES)):
        stale = message("shop", 1, kind="tidewind.restore.request.v1")
        key, value, headers = encode(stale)
        await publisher.send_record(
            Outgoing(topic=RESTORES, key=key, value=value, headers=tuple(headers), timestamp_ms=1_000)
        )
        await eventually(lambda: len(recorder.messages) == 1)
    origin = recorder.messages[0].origin
    assert origin.broker_time
    assert abs(origin.timestamp_ms / 1000 - time.time()) < 60, "the broker's time of arrival, not the sender's"


async def test_a_slow_handler_keeps_its_assignment_and_stalls_no_other_partition(link, publisher):
    slow, quick = clusters_in_different_partitions(2)
    seen: list[str] = []
    handled: list[Message] = []
    others_done = asyncio.Event()

    async def handler(given: Message) -> None:
        seen.append(given.key)
        if given.key == slow:
            await asyncio.gather(asyncio.sleep(9), others_done.wait())
        handled.append(given)

    # The session's timeout is 6 s: a member that stopped its heartbeats for the handler would lose the partition.
    async with running(consumer_of(link, publisher, handler)):
        await publisher.send(BACKUPS, message(slow, 1))
        await eventually(lambda: slow in seen)
        for number in range(20):
            await publisher.send(BACKUPS, message(quick, number))
        await eventually(lambda: seen.count(quick) == 20)  # while the slow one is in hand
        assert slow not in [given.key for given in handled]
        others_done.set()
        await eventually(lambda: any(given.key == slow for given in handled))
    assert seen.count(slow) == 1, "handled once, not delivered again"


async def test_a_full_partition_is_held_back_and_still_complete(link, publisher):
    gate = asyncio.Event()
    recorder = Recorder()

    async def handler(given: Message) -> None:
        await gate.wait()
        await recorder(given)

    async with running(consumer_of(link, publisher, handler)):
        for number in range(1500):
            publisher.post(BACKUPS, message("shop", number, pad="x" * 2000))
        assert await publisher.flush(deadline_s=20)
        gate.set()
        await eventually(lambda: len(recorder.messages) == 1500)
    assert recorder.numbers("shop") == list(range(1500))


async def test_a_failing_handler_is_tried_again_in_order_while_others_go_on(link, publisher):
    failing, healthy = clusters_in_different_partitions(2)
    recorder = Recorder()
    attempts = Counter()
    broken = True

    async def handler(given: Message) -> None:
        attempts[given.key] += 1
        if given.key == failing and broken:
            raise RuntimeError("the store is away")
        await recorder(given)

    consumer = consumer_of(link, publisher, handler)
    async with running(consumer):
        for number in range(3):
            await publisher.send(BACKUPS, message(failing, number))
            await publisher.send(BACKUPS, message(healthy, number))
        await eventually(lambda: recorder.numbers(healthy) == [0, 1, 2])
        await eventually(lambda: attempts[failing] >= 3)
        stalls = consumer.stalls()
        assert [(stall.partition, stall.cause) for stall in stalls] == [
            (partition_of(failing, PARTITIONS), "the store is away")
        ]
        broken = False
        await eventually(lambda: recorder.numbers(failing) == [0, 1, 2])
        assert consumer.stalls() == ()
    assert await read_all(link, DEAD_LETTERS) == []


async def test_a_record_in_hand_when_the_service_stops_is_finished_and_committed(link, publisher):
    started, finished = asyncio.Event(), []

    async def handler(given: Message) -> None:
        started.set()
        await asyncio.sleep(1)
        finished.append(given.data["number"])

    consumer = consumer_of(link, publisher, handler)
    async with running(consumer):
        await publisher.send(BACKUPS, message("shop", 1))
        await started.wait()
    assert finished == [1]
    successor = Recorder()
    async with running(consumer_of(link, publisher, successor)):
        await publisher.send(BACKUPS, message("shop", 2))
        await eventually(lambda: len(successor.messages) > 0)
    assert successor.numbers("shop") == [2]


async def test_a_record_cut_off_by_the_stop_is_delivered_to_the_successor(link, publisher):
    started = asyncio.Event()

    async def handler(given: Message) -> None:
        started.set()
        await asyncio.sleep(60)

    async with running(consumer_of(link, publisher, handler, grace_s=0.3)):
        await publisher.send(BACKUPS, message("shop", 1))
        await started.wait()
    successor = Recorder()
    async with running(consumer_of(link, publisher, successor)):
        await eventually(lambda: successor.numbers("shop") == [1])


async def test_a_handler_above_its_limit_is_cancelled_and_tried_again(link, publisher):
    tries = []

    async def handler(given: Message) -> None:
        tries.append(given)
        if len(tries) == 1:
            await asyncio.sleep(60)

    async with running(consumer_of(link, publisher, handler, handler_limit_s=0.5)):
        await publisher.send(BACKUPS, message("shop", 1))
        await eventually(lambda: len(tries) == 2)


async def test_instances_share_the_partitions_and_nothing_is_lost_or_reordered_when_they_come_and_go(link, publisher):
    """Three instances, joining and leaving under load: every record is handled, in order but for repeats."""
    recorder = Recorder()
    owned: dict[str, frozenset[int]] = {}

    def member(name: str):
        async def assigned(partitions: frozenset[int]) -> None:
            owned[name] = partitions

        async def revoked(partitions: frozenset[int]) -> None:
            owned[name] = frozenset()

        return consumer_of(link, publisher, recorder, callbacks={"on_assigned": assigned, "on_revoked": revoked})

    clusters = clusters_in_different_partitions(PARTITIONS)
    total = 120

    async def load() -> None:
        for number in range(total):
            for cluster in clusters:
                publisher.post(BACKUPS, message(cluster, number))
            await asyncio.sleep(0.1)

    async with contextlib.AsyncExitStack() as stack:
        loading = asyncio.create_task(load())
        await stack.enter_async_context(running(member("a")))
        await eventually(lambda: len(owned.get("a", ())) == PARTITIONS)
        await stack.enter_async_context(running(member("b")))
        async with running(member("c")):
            await eventually(lambda: sorted(len(owned.get(name, ())) for name in "abc") == [4, 4, 4])
            assert frozenset().union(*owned.values()) == frozenset(range(PARTITIONS))
        await eventually(lambda: sorted(len(owned.get(name, ())) for name in "ab") == [6, 6])
        await loading
        await eventually(lambda: all(set(recorder.numbers(one)) == set(range(total)) for one in clusters))
    for cluster in clusters:
        numbers = recorder.numbers(cluster)
        first_seen = list(dict.fromkeys(numbers))
        assert first_seen == list(range(total)), "in order"


async def test_a_killed_member_s_partitions_are_taken_over_by_the_survivor(link, publisher):
    recorder = Recorder()
    survivor = consumer_of(link, publisher, recorder)
    victim = consumer_of(link, publisher, recorder)
    async with running(survivor), running(victim):
        await eventually(
            lambda: all(one.ownership and len(one.ownership.partitions) == 6 for one in (survivor, victim))
        )
        # No goodbye: its heartbeats stop and its sockets stay silent, as with a frozen process.
        client = victim._session._consumer
        client._coordinator._heartbeat_task.cancel()
        client._fetcher._fetch_task.cancel()
        await eventually(
            lambda: survivor.ownership is not None and len(survivor.ownership.partitions) >= 6, within_s=30
        )
        for cluster in clusters_in_different_partitions(PARTITIONS):
            await publisher.send(BACKUPS, message(cluster, 1))
        await eventually(lambda: len({given.key for given in recorder.messages}) == PARTITIONS, within_s=30)


async def test_a_dead_fetcher_is_noticed_and_the_consumer_started_again(link, publisher):
    recorder = Recorder()
    consumer = consumer_of(link, publisher, recorder)
    async with running(consumer):
        await eventually(lambda: consumer.ownership is not None)
        consumer._session._consumer._fetcher._fetch_task.cancel()
        await eventually(lambda: consumer.restarts == 1)
        await publisher.send(BACKUPS, message("shop", 1))
        await eventually(lambda: recorder.numbers("shop") == [1])


async def test_an_error_in_the_assignment_callback_stops_the_service_loudly(link, publisher):
    async def assigned(partitions: frozenset[int]) -> None:
        raise RuntimeError("the open jobs cannot be listed")

    consumer = consumer_of(link, publisher, Recorder(), callbacks={"on_assigned": assigned})
    with pytest.raises(RuntimeError, match="open jobs"):
        await asyncio.wait_for(consumer.run(), 20)


async def test_topics_with_unequal_partitions_are_refused(kafka, publisher):
    link = connection(kafka)
    await make_topics(link, partitions=3, only=[BACKUPS])
    await make_topics(link, partitions=4, only=[RESTORES])
    handlers = {BACKUPS: Recorder(), RESTORES: Recorder()}
    consumer = Consumer(link, publisher, ConsumerRules(group="g"), handlers, clock=CLOCK)
    with pytest.raises(BusError, match="different numbers of partitions"):
        await asyncio.wait_for(consumer.run(), 30)


async def test_a_missing_topic_is_refused_by_name(kafka, publisher):
    link = connection(kafka)
    with pytest.raises(BusError, match=r"no topic t\w+\.backups\.v1.*tidewind topics apply"):
        await asyncio.wait_for(consumer_of(link, publisher, Recorder()).run(), 40)


async def test_kafka_down_at_the_start_is_an_error_with_the_address_after_the_deadline(publisher):
    link = connection("127.0.0.1:9", start_deadline_s=1)
    with pytest.raises(BusUnavailable, match=r"127\.0\.0\.1:9"):
        await asyncio.wait_for(consumer_of(link, publisher, Recorder()).run(), 20)


async def test_a_misplaced_record_is_sent_to_its_partition_once_and_a_marked_one_handled_where_it_lies(link, publisher):
    recorder = Recorder()
    right = partition_of("shop", PARTITIONS)
    wrong = (right + 1) % PARTITIONS
    stray, marked = message("shop", 1), replace(message("shop", 2), rerouted=True)
    sent_at_ms = 1_700_000_000_000
    for one in (stray, marked):
        key, value, headers = encode(one)
        extra = (("x-mine", b"\xff\x00"),) if one is stray else ()
        await publisher.send_record(
            Outgoing(
                topic=BACKUPS,
                key=key,
                value=value,
                headers=(*headers, *extra),
                partition=wrong,
                timestamp_ms=sent_at_ms,
            )
        )
    async with running(consumer_of(link, publisher, recorder)) as consumer:
        await eventually(lambda: len(recorder.messages) == 2)
        assert consumer.rerouted == 1
    by_number = {given.data["number"]: given for given in recorder.messages}
    assert by_number[1].origin.partition == right
    assert by_number[1].rerouted
    assert by_number[1].origin.timestamp_ms == sent_at_ms
    assert by_number[2].origin.partition == wrong
    stored = [record for record in await read_all(link, BACKUPS) if record.origin.partition == right]
    assert [(name, text) for name, text in stored[0].headers if name == "x-mine"] == [("x-mine", b"\xff\x00")]


async def test_a_misplaced_record_above_the_age_limit_is_not_made_young_by_rerouting(link, publisher):
    recorder = Recorder()
    wrong = (partition_of("shop", PARTITIONS) + 1) % PARTITIONS
    key, value, headers = encode(message("shop", 1, kind="tidewind.restore.request.v1"))
    old = Outgoing(topic=RESTORES, key=key, value=value, headers=tuple(headers), partition=wrong)
    await publisher.send_record(old)
    await asyncio.sleep(1.1)
    consumer = consumer_of(link, publisher, recorder, topic=RESTORES, max_age_s={RESTORES.name: 1.0})
    async with running(consumer):
        await eventually(lambda: len(recorder.messages) == 1)
    assert recorder.messages[0].origin.partition == wrong
    assert consumer.rerouted == 0


async def test_poison_found_by_the_handler_goes_to_the_dead_letters(link, publisher):
    async def handler(given: Message) -> None:
        raise Poison("unknown-command", "nobody knows this type", given.id)

    answered = []

    async def on_poison(poison: Poison, key: str) -> None:
        answered.append(poison)

    async with running(consumer_of(link, publisher, handler, callbacks={"on_poison": on_poison})) as consumer:
        await publisher.send(BACKUPS, message("shop", 1))
        await eventually(lambda: consumer.dead_lettered == 1)
    letters = await read_all(link, DEAD_LETTERS)
    assert [dict(letter.headers)["dlt-reason"] for letter in letters] == [b"unknown-command"]
    assert answered == [], "the handler has answered already"


async def test_a_broker_that_is_killed_and_returns_costs_no_record(kafka_factory):
    server = await kafka_factory()
    link = connection(server.address)
    await make_topics(link)
    publisher = KafkaPublisher(link, patience_s=5)
    await publisher.start()
    recorder = Recorder()
    async with running(consumer_of(link, publisher, recorder)):
        for number in range(50):
            publisher.post(BACKUPS, message("shop", number))
        await eventually(lambda: len(recorder.messages) >= 10)
        await server.kill()
        for number in range(50, 100):
            publisher.post(BACKUPS, message("shop", number))
        await server.start()
        await eventually(lambda: set(recorder.numbers("shop")) == set(range(100)), within_s=60)
        assert list(dict.fromkeys(recorder.numbers("shop"))) == list(range(100)), "in order"
    successor = Recorder()
    async with running(consumer_of(link, publisher, successor)):
        await publisher.send(BACKUPS, message("shop", 100), deadline_s=30)
        await eventually(lambda: 100 in successor.numbers("shop"), within_s=60)
    handled = {(given.origin.partition, given.origin.offset) for given in recorder.messages}
    again = [given for given in successor.messages if (given.origin.partition, given.origin.offset) in handled]
    assert again == [], "what was settled is committed; the publisher's own repeats are other records"
    await publisher.close()
