"""The publisher against a real Kafka: acknowledgement, order, size, and Kafka away at the start and in the middle."""

import asyncio
import time

import pytest

from schemas.topics import BACKUPS, EVENTS, PROGRESS, SCHEDULER_TICKS, STATUS
from tests.integration.bus_support import PARTITIONS, connection, eventually, make_topics, message, read_all
from tidewind.bus.partitioner import partition_of
from tidewind.bus.publisher import KafkaPublisher
from tidewind.ports.bus import BusUnavailable, MessageTooLarge


def numbers(records, key):
    return [
        int(record.value.split(b'"number":')[1].split(b"}")[0].split(b",")[0])
        for record in records
        if record.key == key
    ]


async def test_what_was_sent_is_stored_when_send_returns(link, publisher):
    await publisher.send(EVENTS, message("shop", 1))
    stored = await read_all(link, EVENTS)
    assert [record.origin.partition for record in stored] == [partition_of("shop", PARTITIONS)]


async def test_status_records_lie_in_their_cluster_s_partition_and_ticks_where_they_say(link, publisher):
    await publisher.send(STATUS, message("job/shop/1", 1))
    await publisher.send(SCHEDULER_TICKS, message("7", 1))
    assert [record.origin.partition for record in await read_all(link, STATUS)] == [partition_of("shop", PARTITIONS)]
    assert [record.origin.partition for record in await read_all(link, SCHEDULER_TICKS)] == [7]


async def test_a_megabyte_passes_and_more_is_refused_before_sending(link, publisher):
    await publisher.send(EVENTS, message("shop", 1, pad="x" * 990_000))
    with pytest.raises(MessageTooLarge, match="1000000 bytes"):
        await publisher.send(EVENTS, message("shop", 2, pad="x" * 1_000_001))
    with pytest.raises(MessageTooLarge):
        publisher.post(EVENTS, message("shop", 2, pad="x" * 1_000_001))
    assert numbers(await read_all(link, EVENTS), b"shop") == [1]


async def test_large_records_in_a_burst_do_not_make_a_batch_that_the_topic_refuses(link, publisher):
    for number in range(12):
        publisher.post(EVENTS, message("shop", number, pad="x" * 600_000))
    assert await publisher.flush(deadline_s=20)
    assert numbers(await read_all(link, EVENTS), b"shop") == list(range(12))


async def test_posted_records_keep_the_order_of_their_key(link, publisher):
    for number in range(500):
        for key in ("shop", "bank", "blog"):
            publisher.post(EVENTS, message(key, number))
    assert await publisher.flush(deadline_s=20)
    stored = await read_all(link, EVENTS)
    for key in (b"shop", b"bank", b"blog"):
        assert numbers(stored, key) == list(range(500))


async def test_kafka_down_at_the_start_is_an_error_that_names_the_address():
    publisher = KafkaPublisher(connection("127.0.0.1:9"))
    began = time.monotonic()
    with pytest.raises(
        BusUnavailable, match=r"Kafka at 127\.0\.0\.1:9 \(PLAINTEXT\) did not answer within .* s: Connection refused"
    ):
        await publisher.start(deadline_s=1)
    assert time.monotonic() - began < 30


async def test_what_was_posted_before_kafka_was_there_arrives_when_it_is(kafka_factory):
    server = await kafka_factory()
    link = connection(server.address)
    await make_topics(link)
    await server.stop()
    publisher = KafkaPublisher(link)
    await publisher.start(deadline_s=0.5, required=False)
    for number in range(5):
        publisher.post(EVENTS, message("shop", number))
        publisher.post(STATUS, message("job/shop/1", number))
    assert not await publisher.flush(deadline_s=0.5)
    with pytest.raises(BusUnavailable, match="was not sent"):
        await publisher.send(EVENTS, message("bank", 1), deadline_s=0.5)
    await server.start()
    assert await publisher.flush(deadline_s=60)
    assert await publisher.close()
    assert numbers(await read_all(link, EVENTS), b"shop") == [0, 1, 2, 3, 4]
    assert numbers(await read_all(link, EVENTS), b"bank") == [], "its sender was told that it was not sent"
    assert numbers(await read_all(link, STATUS), b"job/shop/1") == [4], "only the newest state matters"


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_the_queue_survives_a_broker_that_goes_away_and_returns(kafka_factory, how):
    server = await kafka_factory()
    link = connection(server.address)
    await make_topics(link)
    publisher = KafkaPublisher(link, patience_s=5)
    await publisher.start()
    await publisher.send(EVENTS, message("shop", 0))
    await getattr(server, how)()
    for number in range(1, 200):
        publisher.post(EVENTS, message("shop", number))
        publisher.post(PROGRESS, message("shop", number))
    with pytest.raises(BusUnavailable, match="within 1 s"):
        await publisher.send(EVENTS, message("shop", 999), deadline_s=1)
    await eventually(lambda: not publisher.connected or publisher.pending[0] > 0, within_s=20)
    await server.start()
    assert await publisher.flush(deadline_s=60)
    await publisher.close()
    stored = numbers(await read_all(link, EVENTS), b"shop")
    unrepeated = [number for number in dict.fromkeys(stored) if number != 999]
    assert unrepeated == list(range(200)), "complete and in order; repeats are allowed"


async def test_a_frozen_broker_is_waited_for_and_nothing_is_lost(kafka_factory):
    server = await kafka_factory()
    link = connection(server.address)
    await make_topics(link)
    publisher = KafkaPublisher(link, patience_s=2)
    await publisher.start()
    await publisher.send(EVENTS, message("shop", 0))
    server.pause()
    publisher.post(EVENTS, message("shop", 1))
    with pytest.raises(BusUnavailable, match=r"may or may not|was not sent"):
        await publisher.send(EVENTS, message("shop", 2), deadline_s=3)
    server.resume()
    assert await publisher.flush(deadline_s=60)
    await publisher.close()
    assert set(numbers(await read_all(link, EVENTS), b"shop")) >= {0, 1}


async def test_a_dead_producer_is_replaced_and_its_records_are_sent_again(link):
    publisher = KafkaPublisher(link, patience_s=2)
    await publisher.start()
    await publisher.send(EVENTS, message("shop", 0))
    publisher._producer._sender.sender_task.cancel()
    for number in range(1, 20):
        publisher.post(EVENTS, message("shop", number))
    assert await publisher.flush(deadline_s=30)
    await publisher.close()
    assert list(dict.fromkeys(numbers(await read_all(link, EVENTS), b"shop"))) == list(range(20))


async def test_a_topic_that_does_not_exist_holds_up_no_other(kafka):
    link = connection(kafka)
    await make_topics(link, only=[EVENTS])
    publisher = KafkaPublisher(link)
    await publisher.start()
    publisher.post(BACKUPS, message("shop", 1))
    await publisher.send(EVENTS, message("shop", 1), deadline_s=5)
    await make_topics(link, only=[BACKUPS])
    assert await publisher.flush(deadline_s=30)
    await publisher.close()
    assert numbers(await read_all(link, BACKUPS), b"shop") == [1]


async def test_close_says_what_was_not_acknowledged():
    publisher = KafkaPublisher(connection("127.0.0.1:9"))
    await publisher.start(deadline_s=0.2, required=False)
    publisher.post(EVENTS, message("shop", 1))
    began = asyncio.get_running_loop().time()
    assert not await publisher.close(deadline_s=0.5)
    assert asyncio.get_running_loop().time() - began < 30
