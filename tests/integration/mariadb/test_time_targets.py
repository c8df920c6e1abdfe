"""A time means the longest prefix of the log that was committed by then, on the database's clock: a thousand instants.

A real log, captured and archived by the services' own code while several sessions write it; they note between which two
looks at the database's clock each of their transactions was committed. Clients set their timestamps as they like, the
server's clock is stepped, and for a while nobody captures. Then instants are planned as a restore plans them.
"""

import asyncio
import os
import random
import struct
import subprocess
from bisect import bisect_right
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from schemas.commands import RestoreRequest
from schemas.topics import Topic
from services.changelog.handlers.archive import Archive
from services.changelog.handlers.capture import Capture
from services.changelog.handlers.notices import CaptureNotices
from services.changelog.handlers.room import Room
from services.changelog.handlers.sending import CaptureTools
from services.changelog.rules import assembly
from services.changelog.settings import MIB, ChangelogSettings
from services.restorer.handlers.points import by_time, read_lived
from tests.fakes import RecordingPublisher
from tests.point_bench import BASE, PointBench
from tests.unit.restorer.bench import entry
from tidewind.domain.blocks import block_name, unpack_block
from tidewind.domain.gtids import Gtid, GtidList
from tidewind.domain.lived import Lived, instant, microseconds
from tidewind.domain.log_stream import Transaction
from tidewind.engines.mariadb.capture import MariaDBCaptureEngine
from tidewind.ports.bus import BinaryRecord
from tidewind.ports.store import Seal
from tidewind.runtime.clock import SystemClock
from tidewind.runtime.log_archive import LogArchive
from tidewind.runtime.outbox import Composer

CLUSTER = "shop"
SEED = int(os.environ.get("TIDEWIND_SEED", "0")) or int.from_bytes(os.urandom(3), "big")
INSTANTS = 1_000
WRITERS = 4
SECOND = 1_000_000
SLACK_US = 5_000
"""By how much the database's clock, as capture knows it, may be off."""
SHIM = Path(__file__).parents[2] / "servers" / "stepping_clock.c"


@dataclass(frozen=True)
class Commit:
    """Committed after `before_us` and before `after_us`, in the burst of that number."""

    number: int
    before_us: int
    after_us: int
    burst: int


@dataclass
class Recorded:
    """`settled`: for each burst an instant at which all of it had been received, or None where nobody captured;
    `begun`: an instant before its first transaction."""

    commits: list[Commit] = field(default_factory=list)
    begun: list[int] = field(default_factory=list)
    settled: list[int | None] = field(default_factory=list)


class Wire(RecordingPublisher):
    """Kafka between capture and archive; counts the looks at the clock that it carried."""

    def __init__(self, seal: Seal) -> None:
        super().__init__()
        self.archive: Archive | None = None
        self.marks = 0
        self._seal = seal
        self._offset = 0

    async def send_binary(
        self, topic: Topic, key: str, name: str, value: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        assert self.archive is not None
        session, _, sequence = name.rpartition("/")
        block = unpack_block(await self._seal.unseal(block_name(key, session, int(sequence)), value))
        self.marks += len(block.marks)
        self._offset += 1
        await self.archive.take(BinaryRecord(key=key, name=name, value=value, partition=0, offset=self._offset))


class Clocks:
    """The server's wall clock, `by` microseconds ahead of the system's."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.library = folder / "stepping_clock.so"
        self.by = 0
        self.step(0)
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(self.library), str(SHIM)], check=True)

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library), "TIDEWIND_TEST_CLOCK": str(self._file)}

    def step(self, by: int) -> None:
        self.by += by
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("<q", self.by))


class Deployment:
    """Capture, archive and the restorer's planning over one store."""

    def __init__(self, folder: Path, server: Any) -> None:
        self.bench = PointBench(folder)
        self.wire = self.bench.publisher = Wire(self.bench.store)  # type: ignore[assignment]
        self.server = server
        clock = SystemClock()
        self.bench.clock = clock  # type: ignore[assignment]
        self.bench.forget()
        view, store = self.bench.tools.view, self.bench.store
        settings = ChangelogSettings(capture_mark_s=0.2, capture_retry_s=0.1, archive_every_s=0.1)
        archived = LogArchive(store)
        self.archive = self.wire.archive = Archive(
            store, store, archived, clock=clock, settings=settings, commit_soon=lambda: None
        )
        composer = Composer("/tidewind/changelog/test", clock, view)
        self._tools = CaptureTools(
            store=store,
            seal=store,
            archived=archived,
            publisher=self.wire,
            view=view,
            clock=clock,
            settings=settings,
            room=Room(64 * MIB),
            notices=partial(CaptureNotices, publisher=self.wire, composer=composer, view=view, clock=clock),
        )
        self._capture: asyncio.Task[None] | None = None
        self._sealing = asyncio.create_task(self.archive.run())

    def capture(self) -> None:
        place = entry(endpoints=[{"host": self.server.host, "port": self.server.port}], credentials="env:TIMED_LOGIN")
        self._capture = asyncio.create_task(Capture(place, MariaDBCaptureEngine(), self._tools).run())

    async def stop_capture(self) -> None:
        await _ended(self._capture)
        self._capture = None

    @property
    def capturing(self) -> bool:
        return self._capture is not None

    async def holds(self, position: str) -> None:
        """Everything up to a position has been received and taken."""
        wanted = GtidList.parse(position)
        async with asyncio.timeout(60):
            while (
                (known := self.archive.logs.get(CLUSTER)) is None
                or known.assembly.place is None
                or not (GtidList.parse(known.assembly.position).covers(wanted))
            ):
                await asyncio.sleep(0.005)

    async def close(self) -> None:
        await _ended(self._capture)
        await self.archive.flush()
        await _ended(self._sealing)


async def _ended(task: "asyncio.Task[None] | None") -> None:
    if task is not None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Writer:
    """One session. Its transactions bear whatever timestamps it likes."""

    def __init__(self, connection: Any, seed: int) -> None:
        self._connection = connection
        self._choose = random.Random(seed)

    async def burst(self, count: int, number: int) -> list[Commit]:
        found = []
        async with self._connection.cursor() as cursor:
            for _ in range(count):
                stamp = self._choose.choice(
                    ("DEFAULT", "1", "86400.5", "2147483000", "UNIX_TIMESTAMP(SYSDATE()) + 3600")
                )
                await cursor.execute(f"SET timestamp = {stamp}")
                await cursor.execute("BEGIN")
                await cursor.execute("INSERT INTO timed.t (v) VALUES (RAND())")
                await cursor.execute("SELECT SYSDATE(6)")
                ((before,),) = await cursor.fetchall()
                await cursor.execute("COMMIT")
                await cursor.execute("SELECT SYSDATE(6), @@last_gtid")
                ((after, gtid),) = await cursor.fetchall()
                found.append(Commit(int(gtid.rpartition("-")[2]), _us(before), _us(after), number))
        return found


def _us(clock: datetime) -> int:
    return microseconds(clock.replace(tzinfo=UTC))


@pytest.fixture
async def server(mariadb_factory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    clocks = Clocks(tmp_path)
    with pytest.MonkeyPatch.context() as preloaded:
        for name, value in clocks.environment.items():
            preloaded.setenv(name, value)
        made = await mariadb_factory()
    made.clocks = clocks
    monkeypatch.setenv("TIMED_LOGIN", f"root:{made.password}")
    monkeypatch.setattr(assembly, "SEGMENT_AGE_S", 0.8)
    return made


class Story:
    """Bursts of writing with quiet between them."""

    def __init__(self, deployment: Deployment, control: Any, writers: list[Writer], rng: random.Random) -> None:
        self.recorded = Recorded()
        self._deployment = deployment
        self._control = control
        self._writers = writers
        self._rng = rng

    async def ask(self, query: str) -> Any:
        async with self._control.cursor() as cursor:
            await cursor.execute(query)
            ((found,),) = await cursor.fetchall()
            return found

    async def bursts(self, count: int) -> None:
        for _ in range(count):
            number = len(self.recorded.begun)
            self.recorded.begun.append(_us(await self.ask("SELECT SYSDATE(6)")))
            size = self._rng.randint(3, 12)
            for made in await asyncio.gather(*(writer.burst(size, number) for writer in self._writers)):
                self.recorded.commits += made
            settled = None
            if self._deployment.capturing:
                await self._deployment.holds(await self.ask("SELECT @@global.gtid_binlog_pos"))
                settled = _us(await self.ask("SELECT SYSDATE(6)"))
            self.recorded.settled.append(settled)
            await asyncio.sleep(self._rng.uniform(0.02, 0.08))  # the quiet of which instants are asked

    async def step(self, by: int) -> None:
        """Set the server's clock, and wait until capture has looked at it again."""
        self._deployment.server.clocks.step(by)
        seen = self._deployment.wire.marks
        async with asyncio.timeout(30):
            while self._deployment.wire.marks < seen + 3:
                await asyncio.sleep(0.01)

    async def end(self) -> str:
        return str(await self.ask("SELECT @@global.gtid_binlog_pos"))


def quiet(recorded: Recorded) -> dict[int, tuple[int, int]]:
    """Of each burst that is followed by quiet: between which instants all of it had been received and nothing of the
    next one begun. By the database's clock as nobody stepped it back: what lies before such a step is asked only
    behind all that the clock had shown before it."""
    found = {}
    for number, settled in enumerate(recorded.settled[:-1]):
        if settled is None or recorded.settled[number + 1] is None:
            continue
        begin = max(one for one in recorded.settled[: number + 1] if one is not None) + SLACK_US
        end = min(recorded.begun[number + 1 :]) - SLACK_US
        if begin < end:
            found[number] = (begin, end)
    return found


@pytest.mark.timeout(180)
async def test_a_thousand_instants_choose_exactly_the_prefix_that_was_committed_by_then(
    server: Any, tmp_path: Path
) -> None:
    rng = random.Random(SEED)
    (tmp_path / "store").mkdir()
    deployment = Deployment(tmp_path / "store", server)
    await deployment.bench.inner.open()
    control = await server.connect()
    async with control.cursor() as cursor:
        await cursor.execute("SET time_zone = '+00:00'")
        await cursor.execute("CREATE DATABASE timed")
        await cursor.execute("CREATE TABLE timed.t (id BIGINT AUTO_INCREMENT PRIMARY KEY, v DOUBLE) ENGINE=InnoDB")
    writers, connections = [], [control]
    for number in range(WRITERS):
        connection = await server.connect()
        connections.append(connection)
        async with connection.cursor() as cursor:
            await cursor.execute("SET time_zone = '+00:00'")
        writers.append(Writer(connection, SEED + number))
    story = Story(deployment, control, writers, rng)
    try:
        deployment.capture()
        begin = await story.end()
        await deployment.holds(begin)
        taken = instant(_us(await story.ask("SELECT SYSDATE(6)")))
        await story.bursts(8)
        await story.step(3 * SECOND)
        await story.bursts(5)
        await story.step(-2 * SECOND)
        await story.bursts(5)
        await story.step(5 * SECOND)
        await story.bursts(4)
        await deployment.stop_capture()
        await story.bursts(4)
        deployment.capture()
        await deployment.holds(await story.end())
        await story.bursts(4)
    finally:
        await deployment.close()
        for connection in connections:
            connection.close()
    recorded = story.recorded
    commits = sorted(recorded.commits, key=lambda one: one.number)
    archived = await the_log(deployment.bench)
    assert [one.gtid.rpartition("-")[2] for one in archived][-len(commits) :] == [str(one.number) for one in commits]
    times = [one.time_us for one in archived]
    assert times == sorted(times)
    assert len(set(times)) < len(times), "several that were committed at the same moment"

    plans = Plans(deployment.bench)
    await plans.begin(taken, begin)
    sharp = quiet(recorded)
    assert len(sharp) >= 12, f"TIDEWIND_SEED={SEED}"
    last_of = dict(zip((one.burst for one in commits), (one.number for one in commits), strict=True))
    asked: list[tuple[int, int | None]] = []
    while len(asked) < INSTANTS * 6 // 10:
        number = rng.choice(list(sharp))
        moment = rng.randint(*sharp[number])
        if moment <= plans.upto:
            asked.append((moment, last_of[number]))
    newest = min(times[-1], plans.upto)
    lowest = microseconds(taken) + SECOND // 1000
    while len(asked) < INSTANTS:
        near = rng.choice(times) + rng.choice((-1, 0, 1, 1000))
        anywhere = rng.choice((rng.randint(lowest, newest), near, near // SECOND * SECOND))
        if lowest <= anywhere < newest:
            asked.append((anywhere, None))
    wrong = []
    planned = await plans.all([moment for moment, _ in asked])
    for (moment, number), (kept, precision) in zip(asked, planned, strict=True):
        index = bisect_right(times, moment) - 1
        assert kept == (archived[index].gtid if index >= 0 else None), f"TIDEWIND_SEED={SEED}: {instant(moment)}"
        if number is not None and str(kept).rpartition("-")[2] != str(number):
            wrong.append((instant(moment), kept, number))
        if number is not None:
            assert precision == "clock", f"TIDEWIND_SEED={SEED}: {instant(moment)}"
    assert wrong == [], f"TIDEWIND_SEED={SEED}"
    unseen = [one.after_us for one in commits if recorded.settled[one.burst] is None]
    for kept, precision in await plans.all(unseen[:: len(unseen) // 10]):
        assert (precision, kept is not None) == ("stamps", True), "written while nobody captured"


async def the_log(bench: PointBench) -> list[Transaction]:
    """All that is archived, read from the first segment to the last."""
    archived = LogArchive(bench.store)
    (history,) = await archived.histories(CLUSTER)
    found: list[Transaction] = []
    async for ref in archived.segments(CLUSTER, history.history):
        found += await archived.transactions(ref)
    return found


class Plans:
    """The restorer's planning over what is archived."""

    def __init__(self, bench: PointBench) -> None:
        self._bench = bench
        self._lived: Lived | None = None
        self.upto = 0

    async def begin(self, taken: datetime, position: str) -> None:
        """A base at the log's beginning."""
        self._bench.forget()
        (history,) = await self._bench.tools.archived.histories(CLUSTER)
        self._bench.after = [position]
        await self._bench.base(BASE, 0, snapshot_time=taken, history=history.history)
        await self._bench.timeline("main", started_at=taken - timedelta(seconds=1))
        self._lived = await read_lived(self._bench.tools, CLUSTER)
        self.upto = self._lived.reaches[-1].complete_us

    async def all(self, moments: list[int]) -> list[tuple[str | None, str]]:
        """Several at a time."""
        found: list[tuple[str | None, str]] = []
        for first in range(0, len(moments), 20):
            found += await asyncio.gather(*(self.at(one) for one in moments[first : first + 20]))
        return found

    async def at(self, moment: int) -> tuple[str | None, str]:
        """(the last transaction that is kept, how precise that is)"""
        assert self._lived is not None
        command = RestoreRequest(cluster_id=CLUSTER, mode="point_in_time", target_time=instant(moment))
        found = await by_time(self._bench.tools, self._lived, command)
        last = found.cut.last_kept
        assert last is None or GtidList.parse(found.cut.position).holds(Gtid.parse(last.gtid))
        return None if last is None else last.gtid, found.cut.precision
