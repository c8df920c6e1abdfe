"""Poison against a real Kafka: everything to the dead letters, the next good record within a second; and what an
operator does with dead letters."""

import asyncio
import hashlib
import time
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from schemas.envelope import Poison, encode
from schemas.topics import BACKUPS, COMMANDS, DEAD_LETTERS, MAX_DEAD_LETTER_BYTES, RESTORES
from tests.integration.bus_support import (
    CLOCK,
    PARTITIONS,
    Recorder,
    connection,
    eventually,
    make_topics,
    message,
    read_all,
    running,
)
from tests.poison_corpus import CORPUS
from tidewind.bus.consumer import Consumer, ConsumerRules
from tidewind.bus.dead_letter_box import DeadLetterBox, DeadLetterError
from tidewind.bus.partitioner import partition_of
from tidewind.bus.publisher import KafkaPublisher
from tidewind.bus.records import Outgoing


def consumer_of(link, publisher, handler, *, topic=COMMANDS, on_poison=None):
    rules = ConsumerRules(group="g")
    return Consumer(link, publisher, rules, {topic: handler}, clock=CLOCK, on_poison=on_poison)


async def test_the_whole_corpus_goes_to_the_dead_letters_and_the_next_good_command_is_handled_at_once(link, publisher):
    place = partition_of("shop", PARTITIONS)
    recorder, answered = Recorder(), []

    async def on_poison(poison, key):
        answered.append(poison.message_id)

    sent = []
    for key, value, headers in CORPUS.values():
        wire_key = b"" if key is None and value is None else key
        record = Outgoing(topic=COMMANDS, key=wire_key, value=value, headers=tuple(headers), partition=place)
        if record.size <= COMMANDS.record_limit:
            sent.append(record)
    assert len(sent) >= 100

    async def handled_in(number):
        began = time.monotonic()
        await publisher.send(COMMANDS, message("shop", number))
        await eventually(lambda: number in recorder.numbers("shop"))
        return time.monotonic() - began

    consumer = consumer_of(link, publisher, recorder, on_poison=on_poison)
    async with running(consumer):
        await eventually(lambda: consumer.ownership is not None)
        await asyncio.gather(*(publisher.send_record(record) for record in sent))
        await publisher.send(COMMANDS, message("shop", 1))
        await eventually(lambda: recorder.numbers("shop") == [1])
        # One poison in front of one good record: the time that a stall would cost, beside one without.
        usual = await handled_in(2)
        await publisher.send_record(sent[-1])
        assert await handled_in(3) < 1 + 5 * usual
        assert consumer.dead_lettered == len(sent) + 1
    letters = await DeadLetterBox(link, publisher, CLOCK).letters()
    assert len(letters) == len(sent) + 1
    assert sorted((letter.key or b"", letter.value or b"", letter.headers) for letter in letters) == sorted(
        (record.key or b"", record.value or b"", record.headers) for record in [*sent, sent[-1]]
    ), "byte for byte"
    assert answered.count("c-1") > 50


async def test_a_record_whose_framing_cannot_be_read_is_stepped_over(link, publisher):
    """A header name that is not UTF-8 makes the client itself raise; without care it would do so for ever."""

    class BadName(str):
        __slots__ = ()

        def encode(self, *_args, **_more):
            return b"\xff\xfe"

    place = partition_of("shop", PARTITIONS)
    other = next(name for name in ("bank", "blog", "mail") if partition_of(name, PARTITIONS) != place)
    builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, -1, 1_000_000)
    builder.append(0, int(time.time() * 1000), b"shop", b"{}", [(BadName("x"), b"1")])
    recorder = Recorder()
    consumer = consumer_of(link, publisher, recorder)
    await publisher.send(COMMANDS, message("shop", 1))
    await _send_batch(publisher, link.name(COMMANDS), place, bytes(builder.build()))
    for number in range(2, 5):
        await publisher.send(COMMANDS, message("shop", number))
        await publisher.send(COMMANDS, message(other, number))
    async with running(consumer):
        await eventually(lambda: recorder.numbers("shop") == [1, 2, 3, 4], within_s=30)
        await eventually(lambda: recorder.numbers(other) == [2, 3, 4])
    letters = await DeadLetterBox(link, publisher, CLOCK).letters()
    assert [(letter.reason, letter.original.offset) for letter in letters] == [("unreadable-record", 1)]


async def _send_batch(publisher, topic, partition, raw):
    client = publisher._producer.client
    node = client.cluster.leader_for_partition(TopicPartition(topic, partition))
    request = ProduceRequest(None, -1, 10_000, [(topic, [(partition, raw)])])
    response = await client.send(node, request)
    assert response.topics[0][1][0][1] == 0, response


async def test_a_letter_is_listed_shown_replayed_once_and_gone_from_the_list(link, publisher):
    place = partition_of("shop", PARTITIONS)
    key, value, headers = encode(message("shop", 1))
    original = Outgoing(
        topic=COMMANDS,
        key=key,
        value=value,
        headers=(*headers, ("dlt-reason", b"forged"), ("x", b"\xff")),
        partition=place,
    )
    refused = [True]
    recorder = Recorder()

    async def handler(given):
        if refused[0]:
            raise Poison("unknown-command", "an older release does not know it")
        await recorder(given)

    box = DeadLetterBox(link, publisher, CLOCK)
    async with running(consumer_of(link, publisher, handler)) as consumer:
        await publisher.send_record(original)
        await eventually(lambda: consumer.dead_lettered == 1)
        (letter,) = await box.letters()
        assert letter.id == f"{link.name(COMMANDS)}/{place}/0"
        assert (letter.reason, letter.groups, letter.header("ce_type")) == (
            "unknown-command",
            ("g",),
            "tidewind.backup.run.v1",
        )
        assert (letter.key, letter.value, letter.headers, letter.whole) == (key, value, original.headers, True)
        refused[0] = False
        await box.replay(letter.id, actor="anna", why="upgraded")
        await eventually(lambda: recorder.numbers("shop") == [1])
        assert await box.letters() == ()
        (settled,) = await box.letters(settled=True)
        assert (settled.fate, settled.fate_by, settled.fate_why) == ("replayed", "anna", "upgraded")
        with pytest.raises(DeadLetterError, match="already replayed by anna"):
            await box.replay(letter.id, actor="ben")
    replayed = [record for record in await read_all(link, COMMANDS) if record.origin.offset == 1]
    assert [(record.key, record.value, record.headers) for record in replayed] == [(key, value, original.headers)]


async def test_a_letter_is_dropped_with_a_note(link, publisher):
    box = DeadLetterBox(link, publisher, CLOCK)
    async with running(consumer_of(link, publisher, Recorder())) as consumer:
        await publisher.send_record(Outgoing(topic=COMMANDS, key=b"shop", value=b"{", headers=()))
        await eventually(lambda: consumer.dead_lettered == 1)
    (letter,) = await box.letters()
    await box.drop(letter.id, actor="anna", why="a test of somebody's")
    assert await box.letters() == ()
    assert (await box.show(letter.id)).fate == "dropped"
    with pytest.raises(DeadLetterError, match="already dropped"):
        await box.replay(letter.id, actor="anna")
    with pytest.raises(DeadLetterError, match="tidewind dlt list"):
        await box.show("nothing/1/2")


async def test_a_restore_is_never_replayed(link, publisher):
    box = DeadLetterBox(link, publisher, CLOCK)
    async with running(consumer_of(link, publisher, Recorder(), topic=RESTORES)) as consumer:
        await publisher.send_record(Outgoing(topic=RESTORES, key=b"shop", value=b"{", headers=()))
        await eventually(lambda: consumer.dead_lettered == 1)
    (letter,) = await box.letters()
    with pytest.raises(DeadLetterError, match="restore is never replayed"):
        await box.replay(letter.id, actor="anna")


async def test_a_record_too_large_to_be_kept_whole_is_kept_by_its_digest(kafka):
    link = connection(kafka)
    await make_topics(link)
    publisher = KafkaPublisher(link)
    await publisher.start()
    huge = b"x" * (MAX_DEAD_LETTER_BYTES + 500_000)
    # Well compressed, a record passes the broker's limit that it exceeds when it is unpacked.
    foreign = AIOKafkaProducer(bootstrap_servers=kafka, compression_type="gzip", max_request_size=8_000_000)
    await foreign.start()
    await foreign.send_and_wait(
        link.name(COMMANDS), value=huge, key=b"shop", partition=partition_of("shop", PARTITIONS)
    )
    await foreign.stop()
    async with running(consumer_of(link, publisher, Recorder())) as consumer:
        await eventually(lambda: consumer.dead_lettered == 1)
    box = DeadLetterBox(link, publisher, CLOCK)
    (letter,) = await box.letters()
    assert not letter.whole
    assert letter.sha256 == hashlib.sha256(huge).hexdigest()
    assert letter.size >= len(huge)
    assert letter.value == huge[: 64 * 1024]
    with pytest.raises(DeadLetterError, match="sender must resend"):
        await box.replay(letter.id, actor="anna")
    await publisher.close()


async def test_what_two_services_read_is_settled_by_the_one_that_answers_for_it(link, publisher):
    """Undecodable and misplaced records: one dead letter, one that is sent on, and both handle that one."""
    answering, other = Recorder(), Recorder()
    rules = ConsumerRules(group="other", others=frozenset({BACKUPS.name}))
    beside = Consumer(link, publisher, rules, {BACKUPS: other}, clock=CLOCK)
    key, value, headers = encode(message("shop", 1))
    wrong = (partition_of("shop", PARTITIONS) + 1) % PARTITIONS
    misplaced = Outgoing(topic=BACKUPS, key=key, value=value, headers=tuple(headers), partition=wrong)
    async with (
        running(consumer_of(link, publisher, answering, topic=BACKUPS)) as consumer,
        running(beside),
    ):
        await publisher.send_record(replace(misplaced, value=b"{"))
        await publisher.send_record(misplaced)
        await publisher.send_record(replace(misplaced, headers=(), partition=None))
        await publisher.send(BACKUPS, message("shop", 2))
        await eventually(lambda: answering.numbers("shop") == [1, 2] or answering.numbers("shop") == [2, 1])
        await eventually(lambda: len(other.messages) == 2)
        await eventually(lambda: consumer.dead_lettered == 2)
    assert sorted(other.numbers("shop")) == [1, 2]
    assert (consumer.rerouted, beside.rerouted, beside.dead_lettered) == (1, 0, 0)


async def test_a_command_under_the_wrong_key_is_refused(link, publisher):
    answered = []

    async def on_poison(poison, key):
        answered.append((poison.reason, poison.message_id, key))

    wrong = replace(message("shop", 1), key="bank", id="c-9")
    async with running(consumer_of(link, publisher, Recorder(), on_poison=on_poison)) as consumer:
        await publisher.send(COMMANDS, wrong)
        await eventually(lambda: consumer.dead_lettered == 1)
    assert answered == [("key-mismatch", "c-9", "bank")]


async def test_dead_letters_wait_for_kafka_and_are_not_skipped(kafka_factory):
    server = await kafka_factory()
    link = connection(server.address)
    await make_topics(link)
    publisher = KafkaPublisher(link, patience_s=3)
    await publisher.start()
    stopped = asyncio.Event()

    async def handler(given):
        if not stopped.is_set():  # it may be given the record again
            await server.stop()
            stopped.set()
        raise Poison("unknown-command", "found just before Kafka went away")

    async with running(consumer_of(link, publisher, handler, topic=BACKUPS)) as consumer:
        await publisher.send(BACKUPS, message("shop", 1))
        await stopped.wait()
        await server.start()
        await eventually(lambda: consumer.dead_lettered >= 1, within_s=90)
    await publisher.close()
    assert len(await read_all(link, DEAD_LETTERS)) >= 1
