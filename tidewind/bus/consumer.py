"""Consumes the topics of a service in a group, partition by partition, and never loses or skips a record.

Invariant: an offset is committed only when every record before it is settled (see `worker`). A record that cannot be
understood goes to the dead letters and stalls nothing; a record whose handler fails is handled again until it succeeds,
while the records of its cluster wait and the others go on, in its partition too. Handlers run outside the poll loop, so
however long one takes, this member keeps its assignment; long work must nevertheless not be done in a handler, because
a rebalance takes the partition away from it.

A rebalance takes all partitions from all members for a moment (aiokafka has the eager protocol only): records in hand
get a grace to end, the rest is delivered again to the next owner.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import structlog
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError, TopicAuthorizationFailedError

from schemas.envelope import MAX_ATTRIBUTE, Message, Poison
from schemas.topics import Topic
from tidewind.bus.admission import Reroute, admit
from tidewind.bus.connection import Connection
from tidewind.bus.dead_letters import dead_letter
from tidewind.bus.publisher import KafkaPublisher
from tidewind.bus.records import NAME_HEADER, RawRecord
from tidewind.bus.session import FetcherDied, Session
from tidewind.bus.worker import Stall
from tidewind.ports.bus import (
    BinaryHandler,
    BinaryRecord,
    BusError,
    HeldBack,
    MessageTooLarge,
    Ownership,
    PartitionsHandler,
    RecordHandler,
)
from tidewind.ports.clock import Clock

log = structlog.get_logger()

PoisonHandler = Callable[[Poison, str], Awaitable[None]]
"""Told of a record that could not be decoded but whose id could be read, and of its key as text: so that its sender
can be answered before the record goes to the dead letters."""

_RESTART_S = (0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class ConsumerRules:
    """`max_age_s`, by topic name: records older than that are not rerouted, so that their handler can refuse them.
    `others`: names of topics that another service reads too and answers for: what cannot be decoded, and what lies in
    the wrong partition, is left to it, so that it is buried or sent on once. `grace_s`: for the record in hand when a
    partition is taken away. `handler_limit_s`: for one attempt at a record."""

    group: str
    max_age_s: Mapping[str, float] | None = None
    others: frozenset[str] = frozenset()
    grace_s: float = 5.0
    handler_limit_s: float = 120.0
    silence_limit_s: float = 120.0


class Consumer:
    """`run` as a part of the service until cancelled. One handler per topic; all topics must have equally many
    partitions, because one assignment decides them all. `binary` handlers take records that are no messages."""

    def __init__(
        self,
        connection: Connection,
        publisher: KafkaPublisher,
        rules: ConsumerRules,
        handlers: Mapping[Topic, RecordHandler],
        *,
        clock: Clock,
        binary: Mapping[Topic, BinaryHandler] | None = None,
        held_back: Mapping[Topic, HeldBack] | None = None,
        on_assigned: PartitionsHandler | None = None,
        on_revoked: PartitionsHandler | None = None,
        on_poison: PoisonHandler | None = None,
    ) -> None:
        self._connection = connection
        self._publisher = publisher
        self._rules = rules
        self._handlers = dict(handlers)
        self._binary = dict(binary or {})
        self._held_back = dict(held_back or {})
        self._clock = clock
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._on_poison = on_poison
        self._session: Session | None = None
        self.dead_lettered = 0
        self.rerouted = 0
        self.restarts = 0

    @property
    def ownership(self) -> Ownership | None:
        """Which partitions this instance has now; None while it is joining."""
        return None if self._session is None else self._session.ownership

    def stalls(self) -> tuple[Stall, ...]:
        """Records that fail again and again, oldest first: worth an alarm."""
        return () if self._session is None else self._session.stalls()

    async def run(self) -> None:
        """Consume until cancelled; then let the records in hand end, commit and leave the group.

        Raises BusUnavailable if Kafka cannot be reached at first within the settings' deadline, BusError if the topics
        are wrong or refused, and whatever `on_assigned` or `on_revoked` raises. Later losses of Kafka are waited out.
        """
        deadline_s: float | None = self._connection.settings.start_deadline_s
        failures = 0
        while True:
            self._session = Session(
                self._connection,
                group=self._rules.group,
                topics=[*self._handlers, *self._binary],
                settle=self._settle,
                held_back=self._held_back,
                clock=self._clock,
                on_assigned=self._on_assigned,
                on_revoked=self._on_revoked,
                grace_s=self._rules.grace_s,
                handler_limit_s=self._rules.handler_limit_s,
                silence_limit_s=self._rules.silence_limit_s,
            )
            began = self._clock.monotonic()
            try:
                await self._session.run(deadline_s)
            except (GroupAuthorizationFailedError, TopicAuthorizationFailedError) as error:
                raise BusError(f"Kafka refuses the group {self._rules.group}: {error}; grant READ on it") from error
            except (KafkaError, FetcherDied, OSError):
                failures = 0 if self._clock.monotonic() - began > 60 else failures + 1
                self.restarts += 1
                log.exception("The consumer failed and is started again", action="consumer-restart")
                await asyncio.sleep(_RESTART_S[min(failures, len(_RESTART_S) - 1)])
            deadline_s = None

    async def _settle(self, record: RawRecord) -> None:
        """All that one record needs. Raises if it must be tried again."""
        session = self._session
        assert session is not None
        if record.topic in self._binary:
            await self._settle_binary(record)
            return
        limits = self._rules.max_age_s or {}
        decision = admit(
            record,
            partitions=session.total,
            now_ms=round(self._clock.now().timestamp() * 1000),
            max_age_s=limits.get(record.topic.name),
        )
        if record.topic.name in self._rules.others and not isinstance(decision, Message):
            return
        if isinstance(decision, Poison):
            await self._answer_poison(record, decision)
            await self._bury(record, decision)
        elif isinstance(decision, Reroute):
            await self._publisher.send_record(decision.record)
            self.rerouted += 1
            log.info(
                "A record lay in another cluster's partition and was sent to its own",
                action="record-rerouted",
                source=decision.message.source,
                key=decision.message.key,
                to=decision.record.partition,
            )
        else:
            try:
                await self._handlers[record.topic](decision)
            except Poison as poison:
                await self._bury(record, poison)
            except MessageTooLarge as error:
                # Trying again would end the same way for ever and stall the partition.
                await self._bury(record, Poison("answer-too-large", str(error), decision.id))

    async def _settle_binary(self, record: RawRecord) -> None:
        try:
            if record.fault is not None or record.key is None or record.value is None:
                raise record.fault or Poison("no-body", "a block needs a key and a value; this record lacks one")
            await self._binary[record.topic](
                BinaryRecord(
                    key=record.key.decode("utf-8", "replace"),
                    name=dict(record.headers).get(NAME_HEADER, b"").decode("utf-8", "replace"),
                    value=record.value,
                    partition=record.origin.partition,
                    offset=record.origin.offset,
                )
            )
        except Poison as poison:
            await self._bury(record, poison)

    def commit_soon(self) -> None:
        """Something is held back no longer."""
        if self._session is not None:
            self._session.commit_soon()

    async def _answer_poison(self, record: RawRecord, poison: Poison) -> None:
        if self._on_poison is not None and poison.message_id is not None:
            key = record.key or b""
            await self._on_poison(poison, key.decode("utf-8", "replace") if len(key) <= MAX_ATTRIBUTE else "")

    async def _bury(self, record: RawRecord, poison: Poison) -> None:
        await self._publisher.send_record(dead_letter(record, poison, group=self._rules.group))
        self.dead_lettered += 1
        log.warning(
            "A record went to the dead letters",
            action="dead-letter",
            topic=record.origin.topic,
            partition=record.origin.partition,
            offset=record.origin.offset,
            reason=poison.reason,
            detail=poison.detail[:300],
        )
