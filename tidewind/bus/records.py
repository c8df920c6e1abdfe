"""Records as bytes: what was consumed, and what is to be published."""

from dataclasses import dataclass
from typing import Any

from schemas.envelope import Message, Origin, Poison, encode
from schemas.topics import Topic

NAME_HEADER = "tw-name"
"""What a binary record is, for whoever opens it: its seal is bound to it."""

_LOG_APPEND_TIME = 1

Headers = tuple[tuple[str, bytes], ...]


def size_of(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Bytes a record takes, but for the few of its framing."""
    named = sum(len(name.encode("utf-8", "replace")) + len(text) + 2 for name, text in headers)
    return len(key or b"") + len(value or b"") + named


@dataclass(frozen=True, kw_only=True)
class RawRecord:
    """One consumed record, byte for byte. `topic` is the declared topic, without the deployment's prefix.

    `fault` is set where even Kafka's own framing of the record could not be read: only its origin is known then.
    """

    topic: Topic
    key: bytes | None
    value: bytes | None
    headers: Headers
    origin: Origin
    fault: Poison | None = None

    @property
    def size(self) -> int:
        return size_of(self.key, self.value, self.headers)


def consumed(topic: Topic, record: Any) -> RawRecord:
    """What aiokafka gave of a topic."""
    return RawRecord(
        topic=topic,
        key=record.key,
        value=record.value,
        headers=tuple((name, text if text is not None else b"") for name, text in record.headers),
        origin=Origin(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            timestamp_ms=record.timestamp,
            broker_time=record.timestamp_type == _LOG_APPEND_TIME,
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """One record to publish. `partition` None: where its key belongs. `timestamp_ms` None: now."""

    topic: Topic
    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int | None = None
    timestamp_ms: int | None = None

    @property
    def size(self) -> int:
        return size_of(self.key, self.value, self.headers)


def outgoing(topic: Topic, message: Message) -> Outgoing:
    """The record of a message. Ticks go to the partition their key numbers."""
    key, value, headers = encode(message)
    partition = int(message.key) if topic.key.startswith("partition number") else None
    return Outgoing(topic=topic, key=key, value=value, headers=tuple(headers), partition=partition)
