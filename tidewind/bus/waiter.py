"""A client's side of a command: publish it, then wait for its reply and its terminal event, watching the progress.

Without a group and without a service: the CLI and tests use it, and any program may. The places to read from are taken
before the command is published, so no answer can be missed; they are kept through lost connections.
"""

from collections.abc import Callable
from dataclasses import dataclass

from schemas.envelope import Message
from schemas.events import TERMINAL
from schemas.topics import EVENTS, PROGRESS, REPLIES, Topic
from tidewind.bus.admission import intake_record
from tidewind.bus.connection import Connection
from tidewind.bus.partitioner import partition_of
from tidewind.bus.publisher import KafkaPublisher
from tidewind.bus.reader import Reader
from tidewind.ports.clock import Clock

ACCEPTED = "tidewind.command.accepted.v1"
REJECTED = "tidewind.command.rejected.v1"

Listener = Callable[[Message], None]


@dataclass(frozen=True)
class Outcome:
    """What is known when the waiting ends. Both None: nothing came in time. `reply` alone: rejected, or accepted and
    still running."""

    reply: Message | None
    terminal: Message | None

    @property
    def rejected(self) -> bool:
        return self.reply is not None and self.reply.type == REJECTED

    @property
    def job_id(self) -> str | None:
        known = self.terminal or self.reply
        found = None if known is None or known.data is None else known.data.get("job_id")
        return found if isinstance(found, str) else None


def is_terminal(command: str | None, message: Message) -> bool:
    """Whether an event ends a command of that type; of any type where it is not known."""
    if command is not None:
        return message.type in TERMINAL.get(command, frozenset())
    return any(message.type in ends for ends in TERMINAL.values())


class CommandClient:
    """For one command or job at a time: `open`, then `send` or `follow`, `wait` as often as wanted, `close`."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._publisher = KafkaPublisher(connection)
        self._reader = Reader(connection, [REPLIES, EVENTS, PROGRESS])
        self._following = _Follower(command=None, job_id=None)

    async def open(self, cluster_id: str, *, since_ms: int | None = None, deadline_s: float = 10.0) -> None:
        """Take the places to read from: the ends, or the first record since a time (to resume by job id). Raises
        BusUnavailable within the deadline."""
        await self._publisher.start(deadline_s=deadline_s)
        number = partition_of(cluster_id, await self._publisher.partitions(REPLIES, deadline_s=deadline_s))
        places = {topic.name: [number] for topic in (REPLIES, EVENTS, PROGRESS)}
        await self._reader.open(partitions=places, at_end=True, deadline_s=deadline_s)
        if since_ms is not None:
            await self._reader.seek_to_time(since_ms)

    async def send(self, topic: Topic, command: Message, *, deadline_s: float = 10.0) -> None:
        """Publish. Raises BusUnavailable without an acknowledgement: repeat it with the same id or idempotency key."""
        self._following = _Follower(command=command, job_id=None)
        await self._publisher.send(topic, command, deadline_s=deadline_s)

    def follow(self, job_id: str) -> None:
        """Wait for a job that is known by its id: `open` with the time since when to look."""
        self._following = _Follower(command=None, job_id=job_id)

    async def wait(
        self,
        *,
        until_reply: bool = False,
        on_reply: Listener | None = None,
        on_event: Listener | None = None,
        on_progress: Listener | None = None,
        deadline_s: float | None = None,
    ) -> Outcome:
        """Wait for the end of what was sent or is followed; `until_reply` for the reply alone.

        Lost connections are waited out, under the deadline if there is one. Call it again to go on waiting.
        """
        until = None if deadline_s is None else self._clock.monotonic() + deadline_s
        following = self._following
        listeners = {REPLIES.name: on_reply, EVENTS.name: on_event, PROGRESS.name: on_progress}
        while not following.ended(until_reply=until_reply):
            if until is not None and self._clock.monotonic() >= until:
                break
            records = await self._reader.read()
            for record in records:
                message = intake_record(record.key, record.value, record.headers, record.origin)
                if isinstance(message, Message) and following.take(record.topic, message):
                    listener = listeners[record.topic.name]
                    if listener is not None:
                        listener(message)
        return Outcome(following.reply, following.terminal)

    async def close(self) -> None:
        await self._reader.close()
        await self._publisher.close(deadline_s=1.0)


class _Follower:
    """Which messages belong to the command or job, and whether it has ended. Without Kafka.

    A message belongs by its job's id once that is known from the reply. Until then by correlation with the command; the
    answers to a repeated command carry the first sending's correlation id, but its idempotency key.
    """

    def __init__(self, *, command: Message | None, job_id: str | None) -> None:
        self._command = command
        self._command_type = None if command is None else command.type
        self._job_id = job_id
        self.reply: Message | None = None
        self.terminal: Message | None = None

    def take(self, topic: Topic, message: Message) -> bool:
        """True if it belongs here and was not seen before."""
        return {
            REPLIES.name: self._take_reply,
            EVENTS.name: self._take_event,
            PROGRESS.name: self._belongs,
        }[topic.name](message)

    def ended(self, *, until_reply: bool) -> bool:
        if self.terminal is not None:
            return self.reply is not None or self._command is None
        return self.reply is not None and (until_reply or self.reply.type == REJECTED)

    def _take_reply(self, message: Message) -> bool:
        if message.type not in (ACCEPTED, REJECTED) or self.reply is not None or not self._belongs(message):
            return False
        data = message.data or {}
        if self._command is not None and data.get("command") not in (None, self._command.type):
            return False
        self.reply = message
        if isinstance(data.get("job_id"), str):
            self._job_id = str(data["job_id"])
        if self._command_type is None and isinstance(data.get("command"), str):
            self._command_type = str(data["command"])
        return True

    def _take_event(self, message: Message) -> bool:
        if not self._belongs(message) or self.terminal is not None:
            return False
        if is_terminal(self._command_type, message):
            self.terminal = message
        return True

    def _belongs(self, message: Message) -> bool:
        job = (message.data or {}).get("job_id")
        if self._job_id is not None and job is not None:
            return bool(job == self._job_id)
        command = self._command
        if command is None:
            return False
        if message.correlation_id == command.id:
            return True
        return (
            command.idempotency_key is not None
            and message.idempotency_key == command.idempotency_key
            and message.key == command.key
        )
