"""The changelog in a world that can kill and stop it at every call to the outside, and take it up again.

What outlives a process is here: the database's log, Kafka (blocks, statuses, the committed offset), the store. An
`Instance` is one process of the changelog: capture, archive, window and consumer over these, the real code, every call
of which passes a `Turnstile`. At a chosen call, before it takes effect or after, the process dies (whatever it had in
memory is gone, nothing of it takes effect any more) or stands still until it is woken, a zombie then.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

from schemas.envelope import Message
from schemas.topics import STATUS, Topic
from services.changelog.handlers.archive import Archive, ClaimLost
from services.changelog.handlers.capture import Capture
from services.changelog.handlers.notices import CaptureNotices
from services.changelog.handlers.room import Room
from services.changelog.handlers.sending import CaptureTools
from services.changelog.handlers.windows import Windows
from services.changelog.settings import MIB, ChangelogSettings
from tests.fakes import ManualClock
from tests.faults.database_log import TICK_S, DatabaseLog, Engine, number_of
from tests.faults.memory_store import Guarded, Memory
from tests.faults.turnstile import Clock, Strike, Turnstile
from tests.unit.restorer.bench import entry
from tidewind.bus.status_view import StatusFold
from tidewind.domain.blocks import block_name, unpack_block
from tidewind.ports.bus import BinaryRecord
from tidewind.runtime.catalogue import Catalogue
from tidewind.runtime.clock import SystemRandomness
from tidewind.runtime.log_archive import LogArchive
from tidewind.runtime.outbox import Composer
from tidewind.store.keyring import Keyring
from tidewind.store.sealed import SealedStore

CLUSTER = "shop"


class View:
    """The status topic as it is now."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._fold = StatusFold()
        self._read = 0

    def _folded(self) -> StatusFold:
        for message in self._world.statuses[self._read :]:
            self._fold.apply(message)
        self._read = len(self._world.statuses)
        return self._fold

    def caught_up(self) -> bool:
        return True

    def get(self, key: str) -> Mapping[str, object] | None:
        return self._folded().get(key)

    def keys(self, prefix: str) -> list[str]:
        return self._folded().keys(prefix)

    def late(self) -> list[str]:
        return []

    def silence_s(self, key: str) -> float:
        return 0.0


class Publisher:
    def __init__(self, world: "World", gate: Turnstile) -> None:
        self._world, self._gate = world, gate

    async def send(self, topic: Topic, message: Message, *, deadline_s: float = 10.0) -> None:
        self.post(topic, message)

    def post(self, topic: Topic, message: Message) -> None:
        if topic is STATUS:
            self._gate.post(f"say {message.key}", lambda: self._world.statuses.append(message))
        else:
            self._gate.post(f"event {message.type}", lambda: self._world.events.append(message))

    async def flush(self, *, deadline_s: float) -> bool:
        return True

    async def send_binary(
        self, topic: Topic, key: str, name: str, value: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        async def produced() -> None:
            self._world.blocks.append((key, name, value))

        await self._gate.call(f"produce {name}", produced)


class Instance:
    """One process. `run` until it is killed or ended."""

    def __init__(self, world: "World", number: int, strike: Strike | None) -> None:
        self.world = world
        self.gate = gate = Turnstile(strike)
        clock = Clock(world.clock, gate)
        store = SealedStore(Guarded(world.store, gate), world.keyring, world.randomness)
        publisher, view = Publisher(world, gate), View(world)
        composer = Composer(f"/tidewind/changelog/{number}", clock, view)
        settings = world.settings
        archived = LogArchive(store)
        tools = CaptureTools(
            store=store,
            seal=store,
            archived=archived,
            publisher=publisher,
            view=view,
            clock=clock,
            settings=settings,
            room=Room(64 * MIB),
            notices=partial(CaptureNotices, publisher=publisher, composer=composer, view=view, clock=clock),
        )
        self.archive = Archive(store, store, archived, clock=clock, settings=settings, commit_soon=lambda: None)
        windows = Windows(
            self.archive,
            archived,
            Catalogue(store),
            publisher=publisher,
            composer=composer,
            view=view,
            clock=clock,
            settings=settings,
        )
        self._clock = clock
        registered = entry(credentials="env:CAPTURE_LOGIN")
        capture = Capture(registered, Engine(world.log, gate, clock), tools)
        parts = (capture.run(), self.archive.run(), windows.run(), self._consume())
        self._tasks = [asyncio.ensure_future(part) for part in parts]

    async def _consume(self) -> None:
        """What the consumer does: a record whose handler fails is given again, and committed is what nothing holds
        back. A group commits for its member alone: a zombie's is refused."""
        world, at = self.world, self.world.committed
        while True:
            if at == len(world.blocks):
                await self._clock.sleep(TICK_S)
            else:
                key, name, value = world.blocks[at]
                try:
                    await self.archive.take(BinaryRecord(key=key, name=name, value=value, partition=0, offset=at))
                except ClaimLost:
                    await self._clock.sleep(TICK_S)
                    continue
                at += 1
            await self.gate.call("commit", partial(self._commit, at))

    async def _commit(self, consumed: int) -> None:
        held_back = self.archive.held_back(0)
        if self.world.owner is self:
            self.world.committed = consumed if held_back is None else held_back

    async def end(self) -> None:
        """Nothing of it takes effect any more."""
        self.gate.dead = True
        self.gate.wake()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def failure(self) -> BaseException | None:
        for task in self._tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                return task.exception()
        return None


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = Memory(self.clock)
        self.randomness = SystemRandomness()
        self.keyring = Keyring.generate("test", self.randomness)
        self.log = DatabaseLog(self.clock)
        self.blocks: list[tuple[str, str, bytes]] = []
        self.statuses: list[Message] = []
        self.events: list[Message] = []
        self.committed = 0
        self.owner: Instance | None = None
        self.settings = ChangelogSettings(window_every_s=1.0, archive_every_s=TICK_S, capture_mark_s=1.0)
        self.zombies: list[Instance] = []
        self.struck: list[str] = []
        self.calls_before = 0
        self.produced = 0
        """The last transaction that Kafka held of the log before the newest."""
        self._started = 0

    def start(self, strike: Strike | None = None) -> Instance:
        self._started += 1
        self.owner = Instance(self, self._started, strike)
        return self.owner

    async def begin_anew(self) -> None:
        """RESET MASTER."""
        self.log.reset()
        self.calls_before = len(self.owner.gate.calls) if self.owner is not None else 0
        seal, newest = SealedStore(self.store, self.keyring, self.randomness), ""
        for key, name, value in self.blocks:
            session, _, sequence = name.partition("/")
            if session < newest:
                continue  # of one that stood still: its successor reads the same, if the log still holds it
            newest = session
            block = unpack_block(await seal.unseal(block_name(key, session, int(sequence)), value))
            self.produced = max([self.produced, *(number_of(one.gtid) for one in block.transactions)])

    async def tick(self, count: int = 1) -> None:
        """Time passes, and everybody does what there is to do; who is struck is followed by another."""
        for _ in range(count):
            self.clock.advance(TICK_S)
            for _ in range(12):
                await asyncio.sleep(0)

    async def wake(self, ticks: int) -> None:
        """Who stood still goes on for a while before it finds out that others have its work."""
        for zombie in self.zombies:
            zombie.gate.wake()
        await self.tick(ticks)
        for zombie in self.zombies:
            await zombie.end()
        self.zombies.clear()

    async def succeed(self, strike: Strike | None = None) -> bool:
        """If the owner was struck, another takes over; whether it was."""
        owner = self.owner
        assert owner is not None
        failed = owner.failure()
        assert failed is None or owner.gate.dead, repr(failed)
        if owner.gate.struck is None:
            return False
        self.struck.append(owner.gate.struck)
        if owner.gate.dead:
            await owner.end()
        else:
            self.zombies.append(owner)
        self.start(strike)
        return True

    def archived(self) -> LogArchive:
        return LogArchive(SealedStore(self.store, self.keyring, self.randomness))

    async def settled(self) -> bool:
        """Whether the store holds all that the log holds, and nothing is held back."""
        archived = self.archived()
        histories = await archived.histories(CLUSTER)
        if not histories or self.owner is None:
            return False
        reach = await archived.reach(histories[-1])
        known = self.owner.archive.logs.get(CLUSTER)
        return (
            len(histories) == len(self.log.lives)
            and number_of(reach.position) == self.log.end
            and known is not None
            and known.assembly.hole is None
            and self.owner.archive.held_back(0) is None
            and self.committed == len(self.blocks)
        )

    async def close(self) -> None:
        with suppress(asyncio.CancelledError):
            for instance in (*self.zombies, self.owner):
                if instance is not None:
                    await instance.end()

    async def read(self, history: str) -> list[tuple[str, bytes]]:
        """Every transaction of a history with its bytes, as a reader finds them; each segment begins where the one
        before it ends."""
        archived, found = self.archived(), []
        session, base, data, position = None, 0, bytearray(), None
        async for ref in archived.segments(CLUSTER, history):
            assert position is None or ref.head.from_position == position
            position = ref.head.to_position
            if ref.head.session != session:
                session, base, data = ref.head.session, ref.head.start, bytearray()
            assert ref.head.start == base + len(data), "a session runs on from segment to segment"
            for index in range(len(ref.head.frames)):
                data += await archived.frame(ref, index)
            found += [
                (one.gtid, bytes(data[one.start - base : one.end - base])) for one in await archived.transactions(ref)
            ]
        return found
