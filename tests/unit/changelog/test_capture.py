"""Capture from session to session: what a break, a lost connection and a lost block make of histories."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from schemas.envelope import Message
from schemas.status import WindowStatus
from schemas.topics import EVENTS, STATUS, Topic
from services.changelog.handlers.capture import Capture
from services.changelog.handlers.notices import CaptureNotices
from services.changelog.handlers.room import Room
from services.changelog.handlers.sending import CaptureTools
from services.changelog.settings import ChangelogSettings
from tests.fakes import ManualClock, RecordingPublisher, SharedView, until
from tests.unit.changelog.logs import PREAMBLE, SECOND
from tidewind.domain import keys
from tidewind.domain.blocks import block_name, unpack_block
from tidewind.domain.histories import History
from tidewind.domain.log_stream import Block, Mark, SessionStart, State, StateKind, Transaction
from tidewind.domain.records import RegistryEntry
from tidewind.ports.capture import LogBroken, LogUnsuitable, Piece, Resume
from tidewind.ports.engine import Address, DatabaseError, Finding, Login
from tidewind.runtime.clock import SystemRandomness
from tidewind.runtime.log_archive import LogArchive
from tidewind.runtime.outbox import Composer
from tidewind.store.directory import DirectoryStore
from tidewind.store.keyring import Keyring
from tidewind.store.sealed import SealedStore

DROPPED = DatabaseError("database-unreachable", "the connection was lost")


class Reading:
    """One transaction, then nothing until `ends` says how the session ends."""

    preamble = PREAMBLE
    server_identity = "1-abc"
    server_version = "10.11.19"

    def __init__(self, resume: Resume, headroom: Callable[[], float | None]) -> None:
        self.resume = resume
        self._headroom = headroom
        self.position = resume.position
        self.opened_us = 5 * SECOND
        self.ends: asyncio.Future[DatabaseError] = asyncio.get_running_loop().create_future()
        self._number = int(resume.position.rpartition("-")[2] or 0) + 1

    async def pieces(self) -> AsyncIterator[Piece]:
        yield Piece(data=PREAMBLE)
        end = len(PREAMBLE) + 10
        whole = Transaction(f"0-1-{self._number}", len(PREAMBLE), end, 6 * SECOND, 0, self._number)
        yield Piece(data=bytes(10), transactions=(whole,))
        raise await self.ends

    async def mark(self) -> Mark:
        return Mark(position=f"0-1-{self._number}", before_us=7 * SECOND, after_us=8 * SECOND)

    async def state(self, kind: StateKind) -> State | None:
        return None

    async def headroom_s(self, position: str) -> float | None:
        return self._headroom()


class Engine:
    """`log_end` is 0-1-100; `refuses` is raised instead of the next session that resumes, behind `on_refusal`."""

    state_kinds: tuple[StateKind, ...] = ()

    def __init__(self) -> None:
        self.readings: list[Reading] = []
        self.refuses: DatabaseError | None = None
        self.on_refusal: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0)
        self.headroom: float | None = None

    async def examine(self, address: Address, login: Login) -> tuple[Finding, ...]:
        return ()

    async def log_end(self, address: Address, login: Login) -> str:
        return "0-1-100"

    @asynccontextmanager
    async def read(self, address: Address, login: Login, resume: Resume, *, server_id: int) -> AsyncIterator[Reading]:
        if self.refuses is not None:
            refused, self.refuses = self.refuses, None
            await self.on_refusal()
            raise refused
        self.readings.append(Reading(resume, lambda: self.headroom))
        yield self.readings[-1]


class Kafka(RecordingPublisher):
    """Acknowledges blocks unless it `holds` them."""

    def __init__(self, store: SealedStore) -> None:
        super().__init__()
        self._store = store
        self.blocks: list[Block] = []
        self.holds = False

    async def send_binary(
        self, topic: Topic, key: str, name: str, value: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        if self.holds:
            await asyncio.Event().wait()
        session, _, sequence = name.rpartition("/")
        self.blocks.append(unpack_block(await self._store.unseal(block_name(key, session, int(sequence)), value)))

    @property
    def begun(self) -> list[SessionStart]:
        return [block.begins for block in self.blocks if block.begins is not None]


class Bench:
    running: asyncio.Task[None]

    def __init__(self, folder: Path) -> None:
        randomness = SystemRandomness()
        self.inner = DirectoryStore(folder)
        self.store = store = SealedStore(self.inner, Keyring.generate("test", randomness), randomness)
        self.clock = ManualClock()
        self.kafka = Kafka(store)
        self.view = SharedView(self.kafka)
        self.engine = Engine()
        self.room = Room(1 << 20)
        composer = Composer("/tidewind/changelog/test", self.clock, self.view)
        tools = CaptureTools(
            store=store,
            seal=store,
            archived=LogArchive(store),
            publisher=self.kafka,
            view=self.view,
            clock=self.clock,
            settings=ChangelogSettings(),
            room=self.room,
            notices=partial(CaptureNotices, publisher=self.kafka, composer=composer, view=self.view, clock=self.clock),
        )
        self.composer = composer
        self.capture = Capture(entry(), self.engine, tools)

    async def archived(self, history: History) -> None:
        await self.store.put(keys.history_claim("shop", history.number), history.to_bytes())

    async def until(self, condition: Callable[[], bool]) -> None:
        """Time passes until it holds, whenever somebody waits for it."""

        def holds() -> bool:
            if condition():
                return True
            if self.clock.awaited:
                self.clock.advance_to_next()
            return False

        await until(holds, deadline_s=10)

    def said(self) -> list[Message]:
        return [one for one in self.kafka.of(STATUS) if one.type == "tidewind.status.capture.v1"]


def history(name: str, number: int) -> History:
    return History(
        cluster_id="shop",
        history=name,
        number=number,
        position="0-1-100",
        begin_us=0,
        cause="reset",
        server_identity="1-abc",
        server_version="10.11.19",
        started_at=datetime(2026, 11, 23, 10, 0, tzinfo=UTC),
    )


def entry() -> RegistryEntry:
    now = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
    return RegistryEntry.model_construct(
        cluster_id="shop",
        engine="mariadb",
        endpoints=(),
        credentials="env:CAPTURE_LOGIN",
        tls=None,
        created_at=now,
    )


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setenv("CAPTURE_LOGIN", "tidewind:secret")
    made = Bench(tmp_path)
    await made.inner.open()
    made.running = asyncio.create_task(made.capture.run())
    yield made
    made.running.cancel()
    with suppress(asyncio.CancelledError):
        await made.running


async def test_a_break_begins_one_history_and_later_sessions_go_on_with_it(bench: Bench) -> None:
    kafka, engine = bench.kafka, bench.engine
    await bench.until(lambda: len(kafka.begun) == 1)
    engine.refuses = LogBroken("purged", "the log was purged")
    engine.readings[0].ends.set_result(DROPPED)
    await bench.until(lambda: len(kafka.begun) == 2)
    first, second = kafka.begun
    assert (second.cause, second.after_history) == ("purged", first.history)
    for drops in (1, 2):
        reached = len(kafka.begun)
        await bench.until(lambda: kafka.blocks[-1].begins is None or bool(kafka.blocks[-1].transactions))
        engine.readings[drops].ends.set_result(DROPPED)
        await bench.until(lambda reached=reached: len(kafka.begun) == reached + 1)
        assert (kafka.begun[-1].cause, kafka.begun[-1].history) == (None, second.history)
        assert kafka.begun[-1].position == f"0-1-{100 + drops}"


async def test_a_break_stays_until_the_new_history_is_held(bench: Bench) -> None:
    kafka, engine = bench.kafka, bench.engine
    await bench.until(lambda: len(kafka.begun) == 1)
    kafka.holds = True
    engine.readings[0].ends.set_result(LogBroken("reset", "the log was reset"))
    await bench.until(lambda: len(engine.readings) == 2)
    engine.readings[1].ends.set_result(DROPPED)
    await bench.until(lambda: len(engine.readings) == 3)
    kafka.holds = False
    engine.readings[2].ends.set_result(DROPPED)
    await bench.until(lambda: len(kafka.begun) >= 2)
    assert (kafka.begun[1].cause, kafka.begun[1].after_history) == ("reset", kafka.begun[0].history)


async def test_a_history_is_not_said_before_kafka_holds_its_first_block(bench: Bench) -> None:
    kafka, engine = bench.kafka, bench.engine
    kafka.holds = True
    await bench.until(lambda: len(engine.readings) == 1)
    for _ in range(30):
        bench.clock.advance(1)
        await asyncio.sleep(0.01)
    assert bench.said() == []
    engine.readings[0].ends.set_result(DROPPED)
    await bench.until(lambda: len(engine.readings) == 2)
    kafka.holds = False
    engine.readings[1].ends.set_result(DROPPED)
    await bench.until(lambda: len(kafka.begun) == 1)
    assert kafka.begun[0].cause == "first"
    await bench.until(lambda: any(one.data["history"] == kafka.begun[0].history for one in bench.said()))


async def test_what_kafka_lost_before_the_archive_saw_it_begins_anew(bench: Bench) -> None:
    """The archive has no history and says so: capture does not insist on the one the status names."""
    kafka = bench.kafka
    await bench.until(lambda: len(kafka.begun) == 1 and bool(bench.said()))
    body = WindowStatus(
        cluster_id="shop", at=bench.clock.now() + timedelta(seconds=1), intervals=(), reread="the beginning"
    )
    kafka.post(STATUS, bench.composer.status("window", body))
    await bench.until(lambda: len(kafka.begun) == 2)
    again = kafka.begun[1]
    assert (again.cause, again.after_history) == ("first", None)


async def test_a_history_that_kafka_held_before_its_sender_knew_is_gone_on_with(bench: Bench) -> None:
    """Killed between the first block of a new history and its acknowledgement: the archive has it by the time its
    successor has found the log broken once more."""
    kafka, engine = bench.kafka, bench.engine
    await bench.until(lambda: len(kafka.begun) == 1)
    engine.refuses = LogBroken("reset", "the log was reset")
    old, new = history(kafka.begun[0].history, 1), history("hst_BBBBBBBBBB", 2)
    await bench.archived(old)
    bench.engine.on_refusal = lambda: bench.archived(new)
    engine.readings[0].ends.set_result(DROPPED)
    await bench.until(lambda: len(kafka.begun) == 2)
    again = kafka.begun[1]
    assert (again.history, again.cause, again.position) == (new.history, None, "0-1-100")


def events(bench: Bench, kind: str) -> list[Mapping[str, object]]:
    return [one.data or {} for one in bench.kafka.of(EVENTS) if one.type == f"tidewind.capture.{kind}.v1"]


@pytest.mark.parametrize(
    ("error", "state", "name"),
    [
        (
            LogUnsuitable("binlog_format is MIXED: rows cannot be captured", "SET GLOBAL binlog_format = ROW;"),
            "unsuitable",
            "log-unsuitable",
        ),
        (
            DatabaseError(
                "database-rights-missing", "the account lacks REPLICATION SLAVE", "GRANT REPLICATION SLAVE ON *.* TO t;"
            ),
            "waiting",
            "database-rights-missing",
        ),
        (
            DatabaseError(
                "database-unsuitable", "another replica reads the log as server 9 (replica.example)", "Give it another"
            ),
            "waiting",
            "database-unsuitable",
        ),
    ],
)
async def test_what_stops_capture_is_said_with_its_fix_once_and_in_the_status_each_time(
    bench: Bench, error: DatabaseError, state: str, name: str
) -> None:
    """Until it is mended; then capture goes on by itself."""
    engine = bench.engine
    await bench.until(lambda: len(engine.readings) == 1)
    for drops in range(2):
        engine.refuses = error
        if not drops:
            engine.readings[0].ends.set_result(DROPPED)
        await bench.until(lambda: engine.refuses is None)
    await bench.until(lambda: len(engine.readings) == 2)
    said = [one.data or {} for one in bench.said()]
    stopped = [one for one in said if one["state"] == state and one["problem"] and "lost" not in str(one["problem"])]
    assert stopped
    problem = stopped[-1]["problem"]
    assert isinstance(problem, dict)
    assert problem["type"] == f"urn:tidewind:problem:{name}"
    assert (problem["detail"], problem["next_step"]) == (error.detail, error.next_step)
    told = [one for one in events(bench, "stopped") if one["problem"] == problem]
    assert len(told) == 1
    await bench.until(lambda: (bench.said()[-1].data or {})["state"] == "capturing")


async def test_a_purge_that_comes_near_is_an_event_at_most_once_an_hour(bench: Bench) -> None:
    bench.engine.headroom = 9 * 3600.0
    await bench.until(lambda: any((one.data or {})["headroom_s"] == 9 * 3600.0 for one in bench.said()))
    assert events(bench, "headroom-low") == []
    bench.engine.headroom = 5 * 3600.0
    await bench.until(lambda: bool(events(bench, "headroom-low")))
    (low,) = events(bench, "headroom-low")
    assert low["headroom_s"] == 5 * 3600.0
    assert "purges what follows 0-1-101 in 5.0 h; raise binlog_expire_logs_seconds" in str(low["detail"])
    warned = bench.clock.monotonic()
    while bench.clock.monotonic() - warned < 3400:
        bench.clock.advance(60)
        await bench.until(lambda: bench.clock.awaited)
    assert len(events(bench, "headroom-low")) == 1
    bench.clock.advance(300)
    await bench.until(lambda: len(events(bench, "headroom-low")) == 2)


async def test_what_all_captures_hold_together_makes_each_wait(bench: Bench) -> None:
    """The first piece fills the room: no second is read while Kafka takes nothing, and an end gives everything back."""
    await bench.until(lambda: any(block.transactions for block in bench.kafka.blocks) and not bench.room.held)
    bench.kafka.holds, bench.room.limit = True, len(PREAMBLE)
    bench.engine.readings[0].ends.set_result(DROPPED)
    await bench.until(lambda: len(bench.engine.readings) == 2 and bench.room.held > 0)
    most = 0
    for _ in range(50):
        bench.clock.advance(1)
        await asyncio.sleep(0)
        most = max(most, bench.room.held)
    assert most == len(PREAMBLE)
    bench.running.cancel()
    await asyncio.wait([bench.running])
    assert bench.room.held == 0
