"""What becomes of a consumed record: handled here, sent to its right partition, or a dead letter. Pure.

Every consumer uses these decisions, also the scheduler's agents, which do not consume through this package.

Misplaced records: foreign clients may use another partitioner, so a record can lie in a partition whose owner is not
the owner of its cluster. It is published once more where it belongs, marked `rerouted`; a record that is already marked
is handled where it lies, so that none ever circles. A record too old to take effect is not rerouted either: the new
partition would stamp it with a new time of arrival and make it young again. For the same reason a rerouted record
carries where it came from and when it had come there, and is judged by that time.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from schemas.envelope import Message, Origin, Poison, decode
from schemas.topics import BACKUPS, COMMANDS, RESTORES, Topic
from tidewind.bus.partitioner import partition_of_bytes, routing_part
from tidewind.bus.records import Outgoing, RawRecord

REROUTED = "rerouted"
REROUTED_FROM = "rerouted-from"
_CAME_FROM = re.compile(rb"[^/]+/\d{1,10}/\d{1,20}/(\d{1,16})", re.ASCII)
_COMMAND_TOPICS = frozenset({COMMANDS.name, RESTORES.name, BACKUPS.name})


@dataclass(frozen=True)
class Reroute:
    """The record belongs to another partition: publish this, then count the record as done."""

    record: Outgoing
    message: Message


Decision = Message | Reroute | Poison


def intake_record(
    key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] | None, origin: Origin
) -> Message | Poison:
    """The decoded message, or why there is none. Never raises, whatever the bytes."""
    try:
        return decode(key, value, list(headers or ()), origin)
    except Poison as poison:
        return poison


def admit(record: RawRecord, *, partitions: int, now_ms: int, max_age_s: float | None = None) -> Decision:
    """Decide about one record. `partitions` is the topic's number of partitions; `now_ms` the wall clock."""
    if record.fault is not None:
        return record.fault
    message = intake_record(record.key, record.value, record.headers, _first_seen(record))
    if isinstance(message, Poison):
        return message
    if record.topic.name in _COMMAND_TOPICS:
        fault = _command_fault(message)
        if fault is not None:
            return fault
    if message.rerouted or record.key is None or not _keyed_by_cluster(record.topic):
        return message
    if max_age_s is not None and now_ms - record.origin.timestamp_ms > max_age_s * 1000:
        return message
    right = partition_of_bytes(routing_part(record.topic, record.key), partitions)
    return message if right == record.origin.partition else Reroute(_rerouted(record, right), message)


def _first_seen(record: RawRecord) -> Origin:
    """The origin, with the time the record had before it was rerouted where its header tells one."""
    told = [text for name, text in record.headers if name == REROUTED_FROM]
    found = _CAME_FROM.fullmatch(told[-1]) if told else None
    return record.origin if found is None else replace(record.origin, first_ms=int(found[1]))


def _keyed_by_cluster(topic: Topic) -> bool:
    return "cluster" in topic.key


def _command_fault(message: Message) -> Poison | None:
    """A command's key and body must name the same cluster: the key decides who answers and in which order."""
    if message.data is None:
        return Poison("no-body", "a command needs a JSON object as its body; this record has none", message.id)
    named = message.data.get("cluster_id")
    if message.key == "":
        return Poison("no-key", "a command's record key must be its cluster_id; this one has no key", message.id)
    if isinstance(named, str) and named != message.key:
        return Poison(
            "key-mismatch",
            f"the record's key is {message.key[:80]!r}, but the body's cluster_id is {named[:80]!r}; "
            "send both the same",
            message.id,
        )
    return None


def _rerouted(record: RawRecord, partition: int) -> Outgoing:
    origin = record.origin
    came_from = f"{origin.topic}/{origin.partition}/{origin.offset}/{origin.timestamp_ms}"
    return Outgoing(
        topic=record.topic,
        key=record.key,
        value=record.value,
        headers=(*record.headers, (REROUTED, b"true"), (REROUTED_FROM, came_from.encode())),
        partition=partition,
        timestamp_ms=origin.timestamp_ms,
    )
