"""The status view against a real Kafka, stopped and started."""

import asyncio
from dataclasses import replace

from schemas.topics import STATUS
from tests.integration.bus_support import CLOCK, connection, eventually, make_topics, message, running
from tidewind.bus.publisher import KafkaPublisher
from tidewind.bus.records import Outgoing
from tidewind.bus.status_view import KafkaStatusView


def job(number: int, revision: list[int], *, cluster: str = "shop"):
    return message(f"job/{cluster}/1", number, revision=revision)


async def opened(link):
    view = KafkaStatusView(link, CLOCK)
    await view.start()
    return view


async def test_a_late_reader_sees_the_present_of_every_key(link, publisher):
    for number in range(30):
        publisher.post(STATUS, job(number, [1, number], cluster=f"c{number % 3}"))
    await publisher.send(STATUS, message("backup/c1/b", 1, revision=[1, 1]))
    assert await publisher.flush(deadline_s=60)
    view = await opened(link)
    async with running(view):
        assert not view.caught_up()
        assert await view.wait_until(view.caught_up, deadline_s=60)
        assert view.keys("job/") == ["job/c0/1", "job/c1/1", "job/c2/1"]
        assert view.get("job/c2/1")["number"] == 29
        assert view.keys("backup/c1/") == ["backup/c1/b"]
        assert view.get("job/none/1") is None


async def test_lower_revisions_are_ignored_and_tombstones_remove(link, publisher):
    view = await opened(link)
    async with running(view):
        for number, revision in enumerate([[1, 5], [2, 1], [1, 6], [2, 0]]):
            await publisher.send(STATUS, job(number, revision))
        await publisher.send(STATUS, message("cluster/last", 0, revision=[1, 1]))
        assert await view.wait_until(lambda: view.get("cluster/last") is not None, deadline_s=60)
        assert view.get("job/shop/1")["revision"] == [2, 1]
        await publisher.send(STATUS, replace(job(9, [3, 0]), data=None))
        assert await view.wait_until(lambda: view.get("job/shop/1") is None, deadline_s=60)


async def test_silence_counts_while_connected_and_stops_while_kafka_is_away(kafka_factory):
    server = await kafka_factory()
    link = connection(server.address)
    await make_topics(link)
    publisher = KafkaPublisher(link)
    await publisher.start()
    view = await opened(link)
    async with running(view):
        await publisher.send(STATUS, job(1, [1, 1]))
        assert await view.wait_until(lambda: view.caught_up() and view.get("job/shop/1") is not None, deadline_s=60)
        await eventually(lambda: view.silence_s("job/shop/1") > 1.5, within_s=60)
        await publisher.send(STATUS, job(2, [1, 2]))
        assert await view.wait_until(lambda: view.silence_s("job/shop/1") < 1, deadline_s=60)
        await server.stop()
        await eventually(lambda: not view.caught_up(), within_s=60)
        frozen = view.silence_s("job/shop/1")
        await asyncio.sleep(4)
        assert view.silence_s("job/shop/1") == frozen, "time without Kafka is nobody's silence"
        await server.start()
        assert await view.wait_until(view.caught_up, deadline_s=60)
        await eventually(lambda: view.silence_s("job/shop/1") > frozen + 1, within_s=60)
        await publisher.send(STATUS, job(3, [1, 3]), deadline_s=30)
        assert await view.wait_until(lambda: view.get("job/shop/1")["number"] == 3, deadline_s=60)
    await publisher.close()


async def test_a_frozen_broker_is_not_silence_of_a_holder(kafka_factory):
    server = await kafka_factory()
    link = connection(server.address)
    await make_topics(link)
    view = await opened(link)
    async with running(view):
        assert await view.wait_until(view.caught_up, deadline_s=60)
        server.pause()
        await eventually(lambda: not view.caught_up(), within_s=60)
        frozen = view.silence_s("job/shop/1")
        await asyncio.sleep(3)
        assert view.silence_s("job/shop/1") == frozen
        server.resume()
        assert await view.wait_until(view.caught_up, deadline_s=60)


async def test_unreadable_status_records_do_not_stop_the_view(link, publisher):
    await publisher.send_record(Outgoing(topic=STATUS, key=b"job/shop/1", value=b"{", headers=()))
    await publisher.send(STATUS, job(1, [1, 1]))
    view = await opened(link)
    async with running(view):
        assert await view.wait_until(lambda: view.get("job/shop/1") is not None, deadline_s=60)


async def test_listeners_are_told_of_changes_only(link, publisher):
    told = []
    view = await opened(link)
    view.listen(told.append)
    async with running(view):
        for number, revision in enumerate([[1, 1], [1, 2], [1, 1]]):
            await publisher.send(STATUS, job(number, revision))
        await publisher.send(STATUS, message("cluster/last", 7, revision=[1, 1]))
        assert await view.wait_until(lambda: view.get("cluster/last") is not None, deadline_s=60)
    assert [one.data["number"] for one in told if one.key == "job/shop/1"] == [0, 1]
