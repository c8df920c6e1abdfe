"""The pure decisions of the bus: admission, dead letters, the fold of states, the plan of topics, settings."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from schemas.envelope import Message, Origin, Poison, encode
from schemas.topics import (
    BACKUPS,
    COMMANDS,
    DEAD_LETTERS,
    MAX_DEAD_LETTER_BYTES,
    RESTORES,
    SCHEDULER_TICKS,
    STATUS,
    TOPICS,
)
from tidewind.bus.admission import Reroute, admit, intake_record
from tidewind.bus.dead_letters import dead_letter, fold, note, replay_of
from tidewind.bus.partitioner import partition_of
from tidewind.bus.records import Outgoing, RawRecord, outgoing
from tidewind.bus.settings import BusSettings
from tidewind.bus.status_view import StatusFold
from tidewind.bus.topic_plan import TopicState, Wanted, partitions_of, plan, settings_for
from tidewind.domain.revisions import revision_of

N = 12
NOW_MS = 1_795_413_600_000


def message(key="shop", **changed):
    made = Message(
        id="c-1",
        type="tidewind.backup.run.v1",
        source="/tests",
        time=datetime(2026, 11, 23, 2, tzinfo=UTC),
        key=key,
        data={"cluster_id": "shop"},
    )
    return replace(made, **changed)


def raw(given, *, topic=COMMANDS, partition=None, timestamp_ms=NOW_MS, extra=()):
    key, value, headers = encode(given)
    place = partition_of("shop", N) if partition is None else partition
    origin = Origin(topic=topic.full_name(), partition=place, offset=7, timestamp_ms=timestamp_ms, broker_time=False)
    return RawRecord(topic=topic, key=key, value=value, headers=(*headers, *extra), origin=origin)


def consumed(record: Outgoing, *, offset=0, partition=None, timestamp_ms=NOW_MS) -> RawRecord:
    place = record.partition if partition is None else partition
    origin = Origin(
        topic=record.topic.full_name(),
        partition=place or 0,
        offset=offset,
        timestamp_ms=timestamp_ms,
        broker_time=False,
    )
    return RawRecord(topic=record.topic, key=record.key, value=record.value, headers=record.headers, origin=origin)


WRONG = (partition_of("shop", N) + 1) % N


def test_a_record_in_its_place_is_handled():
    decision = admit(raw(message()), partitions=N, now_ms=NOW_MS)
    assert decision == message()
    assert decision.origin.offset == 7


def test_a_misplaced_record_is_rerouted_once_with_its_bytes_headers_and_time():
    record = raw(message(), partition=WRONG, timestamp_ms=123, extra=(("x", b"\xff"),))
    decision = admit(record, partitions=N, now_ms=NOW_MS)
    assert isinstance(decision, Reroute)
    sent = decision.record
    assert (sent.partition, sent.timestamp_ms, sent.key, sent.value) == (
        partition_of("shop", N),
        123,
        record.key,
        record.value,
    )
    assert sent.headers[: len(record.headers)] == record.headers
    again = admit(consumed(sent, partition=WRONG), partitions=N, now_ms=NOW_MS)
    assert isinstance(again, Message)
    assert again.rerouted


def test_a_misplaced_restore_is_rerouted_while_young_and_handled_in_place_when_old():
    record = raw(message(), topic=RESTORES, partition=WRONG, timestamp_ms=NOW_MS - 900_000)
    assert isinstance(admit(record, partitions=N, now_ms=NOW_MS, max_age_s=900), Reroute)
    assert isinstance(admit(record, partitions=N, now_ms=NOW_MS + 1, max_age_s=900), Message)


def test_a_rerouted_restore_keeps_the_age_it_had_where_it_first_lay():
    arrived = NOW_MS - 800_000
    sent = admit(raw(message(), topic=RESTORES, partition=WRONG, timestamp_ms=arrived), partitions=N, now_ms=NOW_MS)
    again = admit(consumed(sent.record, timestamp_ms=NOW_MS), partitions=N, now_ms=NOW_MS)
    assert again.origin.timestamp_ms == NOW_MS
    assert again.origin.arrived_ms == arrived


@pytest.mark.parametrize("forged", [b"", b"t/0/0/", b"t/0/0/-5", b"t/0/0/9" + b"9" * 400, b"\xff", b"t/0/0/\xc2\xb2"])
def test_a_forged_origin_of_a_rerouted_record_is_ignored(forged):
    given = raw(message(), topic=RESTORES, extra=(("rerouted", b"true"), ("rerouted-from", forged)))
    assert admit(given, partitions=N, now_ms=NOW_MS).origin.arrived_ms == NOW_MS


def test_a_rerouted_record_cannot_claim_to_come_from_the_future():
    later = f"t/0/0/{NOW_MS + 1}".encode()
    given = raw(message(), topic=RESTORES, extra=(("rerouted", b"true"), ("rerouted-from", later)))
    assert admit(given, partitions=N, now_ms=NOW_MS).origin.arrived_ms == NOW_MS


def test_status_records_are_judged_by_the_cluster_in_their_key_and_ticks_not_at_all():
    state = message(key="job/shop/1")
    assert isinstance(admit(raw(state, topic=STATUS), partitions=N, now_ms=NOW_MS), Message)
    assert isinstance(admit(raw(state, topic=STATUS, partition=WRONG), partitions=N, now_ms=NOW_MS), Reroute)
    tick = raw(message(key="3"), topic=SCHEDULER_TICKS, partition=3)
    assert isinstance(admit(tick, partitions=N, now_ms=NOW_MS), Message)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (message(key=""), "no-key"),
        (message(key="bank"), "key-mismatch"),
        (message(data=None), "no-body"),
    ],
)
@pytest.mark.parametrize("topic", [COMMANDS, RESTORES, BACKUPS])
def test_a_command_whose_key_cannot_be_trusted_is_refused(given, reason, topic):
    decision = admit(raw(given, topic=topic), partitions=N, now_ms=NOW_MS)
    assert isinstance(decision, Poison)
    assert (decision.reason, decision.message_id) == (reason, "c-1")


def test_a_command_whose_cluster_id_has_the_wrong_shape_is_left_to_validation():
    for data in ({}, {"cluster_id": 7}, {"cluster_id": None}):
        assert isinstance(admit(raw(message(data=data)), partitions=N, now_ms=NOW_MS), Message)


def test_intake_record_returns_what_decode_raises():
    origin = Origin(topic="t", partition=0, offset=0, timestamp_ms=0, broker_time=False)
    assert isinstance(intake_record(b"shop", b"{", None, origin), Poison)
    assert isinstance(intake_record(*encode(message()), origin), Message)


def test_an_unreadable_record_is_poison():
    record = replace(raw(message()), key=None, value=None, headers=(), fault=Poison("unreadable-record", "bytes"))
    assert admit(record, partitions=N, now_ms=NOW_MS).reason == "unreadable-record"


POISON = Poison("bad-json", "it is not JSON", "c-1")


def test_a_dead_letter_holds_the_original_and_nothing_in_it_can_forge_ours():
    forged = (("dlt-topic", b"tidewind.commands.v1"), ("dlt-headers", b"0"), ("dlt-note", b"dropped"))
    record = raw(message(), topic=RESTORES, extra=forged)
    (letter,) = fold([consumed(dead_letter(record, POISON, group="restorer"))]).values()
    assert letter.original.topic == "tidewind.restores.v1"
    assert (letter.fate, letter.whole, letter.reason) == ("waiting", True, "bad-json")
    assert (letter.key, letter.value, letter.headers) == (record.key, record.value, record.headers)
    again = replay_of(letter, RESTORES)
    assert (again.key, again.value, again.headers) == (record.key, record.value, record.headers)


@pytest.mark.parametrize(("key", "value"), [(None, b"{"), (b"", b"{"), (b"shop", None), (None, None), (b"", b"")])
def test_null_and_empty_are_told_apart(key, value):
    record = replace(raw(message()), key=key, value=value)
    sent = dead_letter(record, POISON, group="g")
    assert sent.key is not None or sent.value is not None, "Kafka's client takes no record without both"
    (letter,) = fold([consumed(sent)]).values()
    assert (letter.key, letter.value) == (key, value)


@pytest.mark.parametrize("over", [0, 1])
def test_the_limit_of_what_is_kept_whole(over):
    empty = replace(raw(message()), value=b"", headers=())
    fits = MAX_DEAD_LETTER_BYTES - 4096 - empty.size
    sent = dead_letter(replace(empty, value=b"x" * (fits + over)), POISON, group="g")
    assert sent.size <= DEAD_LETTERS.record_limit
    (letter,) = fold([consumed(sent)]).values()
    assert letter.whole == (over == 0)


@pytest.mark.parametrize("part", ["key", "value", "headers"])
def test_whatever_part_is_huge_the_dead_letter_can_be_sent(part):
    huge = {"key": b"k" * 30_000_000, "value": b"v" * 30_000_000, "headers": (("h" * 100, b"x" * 30_000_000),)}[part]
    sent = dead_letter(replace(raw(message()), **{part: huge}), Poison("r", "d" * 100_000), group="g")
    assert sent.size <= DEAD_LETTERS.record_limit
    (letter,) = fold([consumed(sent)]).values()
    assert not letter.whole


def test_two_groups_that_buried_one_record_are_one_letter():
    record = raw(message())
    letters = fold([consumed(dead_letter(record, POISON, group=group), offset=n) for n, group in enumerate("ab")])
    assert [letter.groups for letter in letters.values()] == [("a", "b")]


def test_a_note_settles_its_letter_whatever_order_they_are_read_in():
    record = raw(message())
    sent = consumed(dead_letter(record, POISON, group="g"))
    (letter,) = fold([sent]).values()
    dropped = consumed(note(letter, "dropped", actor="anna", why="a test"), offset=1)
    for order in ([sent, dropped], [dropped, sent]):
        (found,) = fold(order).values()
        assert (found.fate, found.fate_by, found.fate_why) == ("dropped", "anna", "a test")


def test_records_that_are_no_dead_letters_are_passed_over():
    assert fold([consumed(outgoing(DEAD_LETTERS, message()), partition=0)]) == {}


def state(number, revision, key="job/shop/1"):
    return message(key=key, data={"n": number, "revision": revision})


def test_states_fold_by_revision():
    folded = StatusFold()
    for number, revision in enumerate([[1, 1], [1, 3], [1, 2], [2, 1], [1, 9]]):
        folded.apply(state(number, revision))
    assert folded.get("job/shop/1")["n"] == 3
    folded.apply(message(key="job/shop/1", data=None))
    assert folded.get("job/shop/1") is None
    folded.apply(state(9, [1, 1]))
    assert folded.keys("job/") == ["job/shop/1"]


def test_a_key_is_late_while_its_last_record_is_a_lower_one():
    folded = StatusFold()

    def said(*revision):
        return folded.apply(message(key="job/shop/1", data={"revision": list(revision)}))

    for revision, late in (((2, 1), False), ((1, 9), True), ((2, 1), False), ((1, 9), True), ((2, 2), False)):
        said(*revision)
        assert folded.late() == (["job/shop/1"] if late else []), revision
    said(1, 9)
    folded.apply(message(key="job/shop/1", data=None))
    assert folded.late() == []


def test_only_a_higher_revision_breaks_the_silence():
    folded = StatusFold()
    folded.watched_s = 10.0
    assert folded.silence_s("job/shop/1") == 10.0, "never seen: silent since watching began"
    folded.apply(state(1, [1, 1]))
    folded.watched_s = 15.0
    folded.apply(state(1, [1, 1]))
    folded.apply(state(1, [0, 9]))
    assert folded.silence_s("job/shop/1") == 5.0
    folded.apply(state(2, [1, 2]))
    assert folded.silence_s("job/shop/1") == 0.0


@pytest.mark.parametrize("odd", [None, 7, "1,2", [1], [1, 2, 3], [1, "2"], [True, 1], {}])
def test_odd_revisions_count_as_the_lowest(odd):
    assert revision_of({"revision": odd}) == (0, 0)


WANTED = Wanted(prefix="tidewind.", partitions=12, replicas=3)


def as_declared(topic, **changed):
    config = settings_for(topic, 3)
    state = TopicState(partitions=12, replicas=3, config=config, overrides=config)
    return replace(state, **changed)


def test_with_three_replicas_two_must_acknowledge():
    assert settings_for(COMMANDS, 3)["min.insync.replicas"] == "2"
    assert settings_for(COMMANDS, 1)["min.insync.replicas"] == "1"


def test_nothing_is_planned_when_nothing_differs():
    assert plan({topic.full_name(): as_declared(topic) for topic in TOPICS}, WANTED) == ()


@pytest.mark.parametrize(
    ("changed", "actions"),
    [
        ({"partitions": 4}, ["refuse"]),
        ({"partitions": 24}, ["refuse"]),
        ({"replicas": 1}, ["advise"]),
        ({"config": None}, ["advise"]),
        ({"config": settings_for(COMMANDS, 3) | {"retention.ms": "1000"}}, ["configure"]),
        ({"config": settings_for(COMMANDS, 3) | {"retention.ms": "-1"}}, []),
        ({"config": settings_for(COMMANDS, 3) | {"retention.ms": "99999999999"}}, []),
        ({"config": settings_for(COMMANDS, 3) | {"min.insync.replicas": "1"}}, ["configure"]),
        ({"config": settings_for(COMMANDS, 3) | {"unclean.leader.election.enable": "true"}}, ["configure"]),
        ({"config": settings_for(COMMANDS, 3) | {"cleanup.policy": "compact"}}, ["configure"]),
        ({"config": settings_for(COMMANDS, 3) | {"max.message.bytes": "1000"}}, ["configure"]),
        ({"config": {}}, ["configure"]),
    ],
)
def test_what_is_planned_for_a_difference(changed, actions):
    existing = {COMMANDS.full_name(): as_declared(COMMANDS, **changed)}
    assert [change.action for change in plan(existing, WANTED, [COMMANDS])] == actions


@pytest.mark.parametrize(
    ("asked", "counts", "partitions"),
    [
        (None, [], 12),
        (None, [1], 12),
        (None, [24] * len(TOPICS), 24),
        (None, [24] * (len(TOPICS) // 2 + 1) + [1], 24),
        (None, [24] * (len(TOPICS) // 2), 12),
        (6, [24] * len(TOPICS), 6),
    ],
)
def test_the_topics_that_are_there_say_how_many_partitions_there_are(asked, counts, partitions):
    existing = {
        topic.full_name(): as_declared(topic, partitions=count) for topic, count in zip(TOPICS, counts, strict=False)
    }
    assert partitions_of(existing, asked) == partitions


def test_settings_that_drifted_keep_the_operator_s_own_overrides():
    state = as_declared(COMMANDS, overrides={"segment.bytes": "1"}, config={"cleanup.policy": "delete"})
    (change,) = plan({COMMANDS.full_name(): state}, WANTED, [COMMANDS])
    assert change.settings["segment.bytes"] == "1"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"bootstrap": "kafka"}, "host:port"),
        ({"bootstrap": "kafka:99999"}, "host:port"),
        ({"bootstrap": "a:1,,b:2"}, "host:port"),
        ({"security_protocol": "SASL_SSL"}, "sasl_username and sasl_password"),
        ({"security_protocol": "TLS"}, "security_protocol"),
        ({"sasl_password": "hunter2"}, "sasl_password"),
        ({"certificate": "file:/c.pem"}, "certificate and key belong together"),
        ({"prefix": "Über."}, "prefix"),
        ({"bootstrp": "a:1"}, "bootstrp"),
    ],
)
def test_wrong_settings_are_named(values, words):
    with pytest.raises(ValidationError, match=words):
        BusSettings.model_validate(values)


def test_addresses_are_read_with_spaces_and_as_ipv6():
    assert BusSettings(bootstrap="a:1, [::1]:2").bootstrap == "a:1,[::1]:2"
