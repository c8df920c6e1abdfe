"""One session of a capture: pieces become blocks, blocks go to Kafka, acknowledgements move the status on."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from schemas.topics import CHANGES
from services.changelog.handlers.notices import CaptureNotices
from services.changelog.handlers.room import Room
from services.changelog.rules.cutting import Acknowledged, Cutter
from services.changelog.rules.places import Held
from services.changelog.settings import MIB, ChangelogSettings
from tidewind.domain.blocks import BLOCK_TYPE, CONTENT_TYPE, block_name, pack_block
from tidewind.domain.gtids import GtidList
from tidewind.domain.log_stream import BLOCK_AGE_MS, Block, SessionStart, State, StateKind
from tidewind.ports.bus import BusError, Publisher, StatusView
from tidewind.ports.capture import LogReading
from tidewind.ports.clock import Clock
from tidewind.ports.engine import DatabaseError
from tidewind.ports.store import Seal, Store
from tidewind.runtime.log_archive import LogArchive

_HEARD_EVERY_S = 1.0
_HEARD_PER_SPOKEN = 5
_FLUSH_S = BLOCK_AGE_MS / 1000 / 4


class Reread(Exception):
    """The archive misses something of this session: begin again at what the store holds."""


@dataclass(frozen=True, kw_only=True)
class CaptureTools:
    """What every capture is given. `notices` makes those of a cluster; `room` is that of all."""

    store: Store
    seal: Seal
    archived: LogArchive
    publisher: Publisher
    view: StatusView
    clock: Clock
    settings: ChangelogSettings
    room: Room
    notices: Callable[[str], CaptureNotices]


class Sending:
    """One session: pieces become blocks, blocks are sealed and sent, acknowledgements move the status on.
    `on_acknowledged` is told what Kafka holds after each block."""

    def __init__(
        self,
        tools: CaptureTools,
        notices: CaptureNotices,
        reading: LogReading,
        begins: SessionStart,
        *,
        cluster: str,
        session: str,
        held: Held | None,
        kinds: tuple[StateKind, ...],
        on_acknowledged: Callable[[Held], None],
    ) -> None:
        self._tools = tools
        self._notices = notices
        self._cluster = cluster
        self._kinds = kinds
        self._on_acknowledged = on_acknowledged
        self._reading = reading
        self._begins = begins
        self._session = session
        self._cutter = Cutter(self._cluster, session, begins)
        self._wake = asyncio.Event()
        self._begun = asyncio.Event()
        self._room = asyncio.Condition()
        self._in_flight: deque[tuple[Block, asyncio.Task[None]]] = deque()
        self._in_flight_bytes = 0
        self._held = 0
        position = GtidList.parse(held.position if held else begins.position)
        self._acknowledged = Acknowledged(position, held.last if held else None, begins.opened_us)
        self._newest_us = begins.opened_us
        self._newest_at = tools.clock.monotonic()
        self._headroom: float | None = None

    async def run(self) -> None:
        """Until something fails: the first failure ends all parts."""
        parts = [
            self._read(),
            self._cut(),
            self._acknowledge(),
            self._mark(),
            self._look(),
            self._watch_headroom(),
            self._speak(),
        ]
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (*tasks, *(task for _, task in self._in_flight)):
                task.cancel()
            try:
                await asyncio.gather(*tasks, return_exceptions=True)
            finally:
                await self._tools.room.give_back(self._held)

    async def _read(self) -> None:
        limit = self._tools.settings.capture_buffer_mib * MIB
        async for piece in self._reading.pieces():
            self._cutter.add(piece)
            self._held += len(piece.data)
            self._tools.room.take(len(piece.data))
            self._wake.set()
            if self._cutter.waiting_bytes + self._in_flight_bytes > limit:
                async with self._room:
                    await self._room.wait_for(lambda: self._cutter.waiting_bytes + self._in_flight_bytes <= limit // 2)
            await self._tools.room.free()
        raise DatabaseError("database-unreachable", "the server ended the stream of its log")

    async def _cut(self) -> None:
        """Full blocks at once, the rest when it has waited a moment: a moment, because more usually follows."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            for block in self._cutter.cut(full_only=True):
                await self._send(block)
            if not self._cutter.empty:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_FLUSH_S):
                        await self._until_full()
                for block in self._cutter.cut():
                    await self._send(block)

    async def _until_full(self) -> None:
        while not self._cutter.full:
            await self._wake.wait()
            self._wake.clear()

    async def _send(self, block: Block) -> None:
        """Seal it and queue it; blocks leave in order because this is awaited for each."""
        packed = await asyncio.to_thread(pack_block, block)
        sealed = await self._tools.seal.seal(block_name(self._cluster, self._session, block.sequence), packed)
        now = self._tools.clock.now()
        headers = {
            "ce_specversion": "1.0",
            "ce_id": f"{self._cluster}/{self._session}/{block.sequence}",
            "ce_type": BLOCK_TYPE,
            "ce_source": self._notices.source,
            "ce_time": now.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "content-type": CONTENT_TYPE,
        }
        name = f"{self._session}/{block.sequence}"
        sending = asyncio.create_task(self._tools.publisher.send_binary(CHANGES, self._cluster, name, sealed, headers))
        await asyncio.sleep(0)  # lets the task queue the record, so that the next one is queued behind it
        self._in_flight.append((block, sending))
        self._in_flight_bytes += len(block.data)
        async with self._room:
            self._room.notify_all()

    async def _acknowledge(self) -> None:
        while True:
            while not self._in_flight:
                async with self._room:
                    await self._room.wait_for(lambda: bool(self._in_flight))
            block, sending = self._in_flight[0]
            try:
                await asyncio.shield(sending)
            except BusError as error:
                raise DatabaseError("internal-error", f"a block of the log could not be sent: {error}") from error
            self._in_flight.popleft()
            self._in_flight_bytes -= len(block.data)
            self._held -= len(block.data)
            await self._tools.room.give_back(len(block.data))
            self._acknowledged.block(block)
            self._begun.set()
            known = self._acknowledged
            self._on_acknowledged(Held(history=self._begins.history, position=str(known.position), last=known.last))
            async with self._room:
                self._room.notify_all()

    async def _mark(self) -> None:
        while True:
            mark = await self._reading.mark()
            self._newest_us, self._newest_at = mark.after_us, self._tools.clock.monotonic()
            self._cutter.mark(mark)
            self._wake.set()
            await self._tools.clock.sleep(self._tools.settings.capture_mark_s)

    async def _look(self) -> None:
        """What the log does not carry, whenever it has changed since it was last sent in this session."""
        sent: dict[str, dict[str, object]] = {}
        while True:
            for kind in self._kinds:
                found: State | None = await self._reading.state(kind)
                if found is not None and sent.get(kind) != found.content:
                    sent[kind] = found.content
                    self._cutter.state(found)
                    self._wake.set()
            await self._tools.clock.sleep(self._tools.settings.capture_state_s)

    async def _watch_headroom(self) -> None:
        while True:
            self._headroom = await self._reading.headroom_s(str(self._acknowledged.position))
            if self._headroom is not None and self._headroom < self._tools.settings.headroom_warning_s:
                self._notices.headroom_low(self._headroom, str(self._acknowledged.position))
            await self._tools.clock.sleep(self._tools.settings.headroom_every_s)

    async def _speak(self) -> None:
        """The status, and whether the archive asks for something again. A new history is not said before Kafka holds
        its first block: a successor goes on with what is said, and nobody would ever tell the archive that it began."""
        began = self._tools.clock.now()
        if self._begins.cause is not None:
            await self._begun.wait()
        while True:
            known = self._acknowledged
            since_mark = self._tools.clock.monotonic() - self._newest_at
            self._notices.capturing(
                self._begins.history,
                known,
                lag_s=max(0.0, (self._newest_us - known.complete_us) / 1e6 + since_mark),
                headroom_s=self._headroom,
            )
            for _ in range(_HEARD_PER_SPOKEN):
                if self._asked_again(began):
                    raise Reread
                await self._tools.clock.sleep(_HEARD_EVERY_S)

    def _asked_again(self, began: datetime) -> bool:
        window = self._tools.view.get(f"window/{self._cluster}")
        if window is None or window.get("reread") is None:
            return False
        return datetime.fromisoformat(str(window["at"])) > began
