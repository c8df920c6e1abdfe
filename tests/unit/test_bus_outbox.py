"""What waits for Kafka: order, what is replaced, what is dropped, and what never is."""

import asyncio

import pytest

from schemas.topics import EVENTS, PROGRESS, STATUS
from tidewind.bus.outbox import Outbox, OutboxFull, lane_of
from tidewind.bus.records import Outgoing


def record(topic, key, number, size=10):
    return Outgoing(topic=topic, key=key.encode(), value=str(number).encode().ljust(size), headers=())


def outbox(**more):
    return Outbox(**({"max_records": 100, "max_bytes": 10_000, "max_progress": 5} | more))


def values(box, topic, key):
    wanted = key.encode()
    return [int(one.record.value) for one in box.entries() if one.record.topic is topic and one.record.key == wanted]


def test_a_key_s_records_share_a_lane_in_order():
    box = outbox()
    for number in range(10):
        box.add(record(EVENTS, "shop", number))
        box.add(record(EVENTS, "bank", number))
    assert values(box, EVENTS, "shop") == list(range(10))
    lane = lane_of(record(EVENTS, "shop", 0))
    taken = box.take(lane, max_records=4, max_bytes=10_000)
    assert [int(one.record.value) for one in taken if one.record.key == b"shop"] == list(range(len(taken)))[:4]
    assert box.records == 20, "taken is not gone"
    box.remove(taken)
    assert box.records == 20 - len(taken)


def test_only_the_newest_unsent_state_of_a_key_is_kept():
    box = outbox()
    for number in range(50):
        box.add(record(STATUS, "job/shop/1", number))
        box.add(record(STATUS, "job/shop/2", number))
    assert values(box, STATUS, "job/shop/1") == [49]
    assert box.records == 2
    assert box.bytes == sum(one.record.size for one in box.entries())


async def test_a_state_that_is_being_sent_or_waited_for_is_not_replaced():
    box = outbox()
    waited = box.add(record(STATUS, "availability/shop", 1), asyncio.get_running_loop().create_future())
    box.add(record(STATUS, "availability/shop", 2))
    box.add(record(STATUS, "availability/shop", 3))
    assert values(box, STATUS, "availability/shop") == [1, 3]
    box.take(waited.lane, max_records=10, max_bytes=10_000)
    box.add(record(STATUS, "availability/shop", 4))
    assert values(box, STATUS, "availability/shop") == [1, 3, 4]


def test_progress_has_a_bound_of_its_own_and_loses_its_oldest():
    box = outbox()
    for number in range(20):
        box.add(record(PROGRESS, "shop", number))
    assert values(box, PROGRESS, "shop") == [15, 16, 17, 18, 19]
    assert box.dropped_progress == 15


def test_progress_makes_room_for_what_matters_and_nothing_else_is_dropped():
    box = outbox(max_records=6)
    for number in range(3):
        box.add(record(PROGRESS, "shop", number))
    for number in range(6):
        box.add(record(EVENTS, "shop", number))
    assert values(box, PROGRESS, "shop") == []
    with pytest.raises(OutboxFull, match="6 records"):
        box.add(record(EVENTS, "shop", 6))
    assert values(box, EVENTS, "shop") == list(range(6))
    with pytest.raises(OutboxFull):
        box.add(record(PROGRESS, "shop", 9))


def test_bytes_are_bounded_too():
    box = outbox(max_bytes=1_000)
    box.add(record(EVENTS, "shop", 1, size=900))
    with pytest.raises(OutboxFull):
        box.add(record(EVENTS, "shop", 2, size=200))


def test_a_batch_is_bounded_by_bytes_but_never_empty():
    box = outbox()
    for number in range(3):
        box.add(record(EVENTS, "shop", number, size=500))
    lane = lane_of(record(EVENTS, "shop", 0))
    assert len(box.take(lane, max_records=10, max_bytes=600)) == 1
    assert len(box.take(lane, max_records=10, max_bytes=1_100)) == 2
    assert len(box.take(lane, max_records=10, max_bytes=1)) == 1
