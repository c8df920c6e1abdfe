"""Kafka as the handlers see it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from schemas.envelope import Message
from schemas.topics import Topic


class BusError(Exception):
    """A message could not be published. `hint` says what to do, where the text itself does not."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


class BusUnavailable(BusError):
    """No acknowledgement within the deadline. Whether the message was stored is unknown; ids make repeats harmless."""


class MessageTooLarge(BusError):
    """Refused here, before sending: the topic's limit is exceeded."""


def fewer_replicas(brokers: int) -> str:
    """What to do where Kafka has too few brokers for the replicas wanted."""
    return f"export TIDEWIND_KAFKA_REPLICATION_FACTOR={brokers}, if this Kafka is to stay as small as it is"


class Publisher(Protocol):
    async def send(self, topic: Topic, message: Message, *, deadline_s: float = 10.0) -> None:
        """Publish; returns once all in-sync replicas have acknowledged. Raises BusUnavailable, MessageTooLarge."""

    def post(self, topic: Topic, message: Message) -> None:
        """Queue for publication and return at once: Kafka may be down for hours. Order within one message key is kept.
        The queue is bounded and holds only the newest status per key; progress may be dropped, nothing else is."""

    async def send_binary(self, topic: Topic, key: str, name: str, value: bytes, headers: Mapping[str, str]) -> None:
        """Publish bytes as they are, under a name. Queued in the order of the calls; returns, however late, once all
        in-sync replicas have acknowledged. Cancelling it before may leave it unsent. Raises MessageTooLarge, BusError.
        """

    async def flush(self, *, deadline_s: float) -> bool:
        """Wait until everything posted is acknowledged; False if the deadline passed first."""


class StatusView(Protocol):
    """The compacted status topic, folded: the newest record per key by revision."""

    def caught_up(self) -> bool:
        """Connected, and at the end of every partition as of its last fetch."""

    def get(self, key: str) -> Mapping[str, object] | None:
        """The newest state of a key, or None if never seen or removed."""

    def keys(self, prefix: str) -> list[str]:
        """Keys beginning with `prefix`."""

    def late(self) -> list[str]:
        """Keys whose last record is a late one of a predecessor, lower than the newest: a reader that comes after
        compaction would take it for the present."""

    def silence_s(self, key: str) -> float:
        """Seconds, of this process's monotonic clock, for which the view has been caught up without seeing a newer
        record for `key`. Time without connection does not count."""


RecordHandler = Callable[[Message], Awaitable[None]]
"""Handles one decoded message. Raising `schemas.envelope.Poison` sends it to dead letters; raising anything else
leaves it uncommitted, and it is handled again after a pause."""


@dataclass(frozen=True, kw_only=True)
class BinaryRecord:
    """A record that is not JSON, as it was consumed: a sealed block of a log. `name` is the header `tw-name`."""

    key: str
    name: str
    value: bytes
    partition: int
    offset: int


BinaryHandler = Callable[[BinaryRecord], Awaitable[None]]
"""Takes in one such record. Errors are as of `RecordHandler`. That it returns does not mean that the record may be
forgotten: what must be delivered again after a crash is held back (`HeldBack`)."""

HeldBack = Callable[[int], int | None]
"""The lowest offset of a partition that must be delivered again after a crash; None if nothing is held back."""

PartitionsHandler = Callable[[frozenset[int]], Awaitable[None]]
"""Told which partitions this instance now owns, after every assignment."""


@dataclass(frozen=True)
class Ownership:
    """Which clusters this instance takes in: those whose partition it owns."""

    partitions: frozenset[int]
    total: int
