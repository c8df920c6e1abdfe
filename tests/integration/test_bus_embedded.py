"""What the demo needs of the embedded broker, through the same adapter."""

import pytest

from schemas.topics import COMMANDS, DEAD_LETTERS, STATUS, TOPICS
from tests.integration.bus_support import CLOCK, Recorder, connection, eventually, message, read_all, running
from tidewind.bus.admin import TopicAdmin
from tidewind.bus.consumer import Consumer, ConsumerRules
from tidewind.bus.dead_letter_box import DeadLetterBox
from tidewind.bus.publisher import KafkaPublisher
from tidewind.bus.records import Outgoing
from tidewind.bus.status_view import KafkaStatusView
from tidewind.bus.waiter import CommandClient
from tidewind.embedded.broker import EmbeddedBroker
from tidewind.ports.bus import BusError


@pytest.fixture
def link():
    with EmbeddedBroker() as broker:
        made = connection(broker.start([]))
        for topic in TOPICS:
            broker.add_topic(made.name(topic))
        yield made


async def test_publishing_consuming_status_dead_letters_and_waiting_work(link):
    publisher = KafkaPublisher(link)
    await publisher.start()
    view = KafkaStatusView(link, CLOCK)
    await view.start()
    recorder = Recorder()
    consumer = Consumer(link, publisher, ConsumerRules(group="g"), {COMMANDS: recorder}, clock=CLOCK)
    async with running(consumer), running(view):
        client = CommandClient(link, CLOCK)
        await client.open("shop")
        await client.send(COMMANDS, message("shop", 1))
        await publisher.send(STATUS, message("job/shop/1", 1, revision=[1, 1]))
        await publisher.send_record(Outgoing(topic=COMMANDS, key=b"shop", value=b"{", headers=()))
        await eventually(lambda: recorder.numbers("shop") == [1])
        await eventually(lambda: consumer.dead_lettered == 1)
        assert await view.wait_until(lambda: view.caught_up() and view.get("job/shop/1") is not None, deadline_s=60)
        await eventually(lambda: view.silence_s("job/shop/1") > 1, within_s=60)
        assert (await client.wait(until_reply=True, deadline_s=0.5)).reply is None
        await client.close()
    assert len(await DeadLetterBox(link, publisher, CLOCK).letters()) == 1
    assert len(await read_all(link, DEAD_LETTERS)) == 1
    await publisher.close()


async def test_the_check_passes_and_says_what_it_could_not_see(link):
    admin = TopicAdmin(link)
    await admin.require()
    plan = await admin.plan()
    assert {change.action for change in plan} == {"advise"}
    assert all("does not tell" in change.text for change in plan)


async def test_topics_cannot_be_made_over_the_wire(link):
    elsewhere = connection(link.settings.bootstrap)
    with pytest.raises(BusError):
        await TopicAdmin(elsewhere).apply()
