"""The operator's side of the dead letters: list, show, replay, drop. See `dead_letters` for how they are kept."""

from dataclasses import replace

from schemas.topics import DEAD_LETTERS, RESTORES, TOPICS
from tidewind.bus.connection import Connection
from tidewind.bus.dead_letters import DeadLetter, fold, note, replay_of
from tidewind.bus.publisher import KafkaPublisher
from tidewind.bus.reader import Reader
from tidewind.bus.records import RawRecord
from tidewind.ports.bus import BusError, BusUnavailable
from tidewind.ports.clock import Clock


class DeadLetterError(BusError):
    """What was asked cannot be done with this dead letter; the text says why and what can be done."""


class DeadLetterBox:
    """Reads the whole topic at each call: it is small, or the operator has other worries."""

    def __init__(self, connection: Connection, publisher: KafkaPublisher, clock: Clock) -> None:
        self._connection = connection
        self._publisher = publisher
        self._clock = clock

    async def letters(self, *, settled: bool = False, deadline_s: float = 60.0) -> tuple[DeadLetter, ...]:
        """Those that wait, newest first; with `settled` also the replayed and dropped. Raises BusUnavailable."""
        letters = fold(await self._read_all(deadline_s)).values()
        chosen = [letter for letter in letters if settled or letter.fate == "waiting"]
        return tuple(sorted(chosen, key=lambda letter: letter.died_at, reverse=True))

    async def show(self, letter_id: str, *, deadline_s: float = 60.0) -> DeadLetter:
        """One by its id, settled or not; the newest if a topic was made anew. Raises DeadLetterError."""
        found = [letter for letter in await self.letters(settled=True, deadline_s=deadline_s) if letter.id == letter_id]
        if not found:
            raise DeadLetterError(f"There is no dead letter {letter_id}; list them with:  tidewind dlt list --all")
        return found[0]

    async def replay(self, letter_id: str, *, actor: str | None, why: str | None = None) -> DeadLetter:
        """Publish the original once more, byte for byte, to its topic and partition. Raises DeadLetterError."""
        letter = await self._waiting(letter_id)
        topic = next((topic for topic in TOPICS if self._connection.name(topic) == letter.original.topic), None)
        if topic is None:
            raise DeadLetterError(f"{letter.original.topic} is not a topic of this deployment (see the prefix setting)")
        if topic.name == RESTORES.name:
            raise DeadLetterError(
                "A restore is never replayed: it would destroy data long after somebody wanted it. "
                "Send a new one:  tidewind restore run --cluster CLUSTER --backup BACKUP"
            )
        if not letter.whole:
            raise DeadLetterError(
                "Only the beginning of this message was kept, it was too large; its sender must resend it"
            )
        if letter.key is None and letter.value is None:
            raise DeadLetterError("This message has neither key nor body; there is nothing to replay. Drop it")
        await self._publisher.send_record(replay_of(letter, topic))
        await self._publisher.send_record(note(letter, "replayed", actor=actor, why=why))
        return replace(letter, fate="replayed", fate_by=actor, fate_why=why, fate_at=self._clock.now())

    async def drop(self, letter_id: str, *, actor: str | None, why: str | None = None) -> DeadLetter:
        """Note that nothing more is to be done about it. The bytes stay until the topic's retention removes them."""
        letter = await self._waiting(letter_id)
        await self._publisher.send_record(note(letter, "dropped", actor=actor, why=why))
        return replace(letter, fate="dropped", fate_by=actor, fate_why=why, fate_at=self._clock.now())

    async def _waiting(self, letter_id: str) -> DeadLetter:
        letter = await self.show(letter_id)
        if letter.fate != "waiting":
            by = f" by {letter.fate_by}" if letter.fate_by else ""
            raise DeadLetterError(f"{letter_id} was already {letter.fate}{by}")
        return letter

    async def _read_all(self, deadline_s: float) -> list[RawRecord]:
        until = self._clock.monotonic() + deadline_s
        reader = Reader(self._connection, [DEAD_LETTERS])
        try:
            await reader.open(deadline_s=deadline_s)
            ends = await reader.ends()
            records: list[RawRecord] = []
            while any(reader.position[place] < end for place, end in ends.items()):
                if self._clock.monotonic() > until:
                    raise BusUnavailable(f"The dead letters could not be read within {deadline_s:g} s")
                records += await reader.read()
            return records
        finally:
            await reader.close()
