"""Which clusters' logs are read, and what is said of the others."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from schemas.topics import STATUS
from services.changelog.handlers.captures import Captures
from services.changelog.handlers.notices import CaptureNotices
from services.changelog.handlers.room import Room
from services.changelog.handlers.sending import CaptureTools
from services.changelog.settings import ChangelogSettings
from tests.fakes import ManualClock, SharedView
from tests.unit.changelog.test_capture import Engine, Kafka
from tests.unit.restorer.bench import entry
from tidewind.domain import keys
from tidewind.domain.records import RegistryEntry
from tidewind.ports.capture import CaptureEngine
from tidewind.runtime.clock import SystemRandomness
from tidewind.runtime.log_archive import LogArchive
from tidewind.runtime.outbox import Composer
from tidewind.runtime.registry import Registry
from tidewind.store.directory import DirectoryStore
from tidewind.store.keyring import Keyring
from tidewind.store.sealed import SealedStore


class View(SharedView):
    """Behind, until it is `read`."""

    read = True

    def caught_up(self) -> bool:
        return self.read


class House:
    def __init__(self, folder: Path) -> None:
        randomness = SystemRandomness()
        self.inner = DirectoryStore(folder)
        self.store = SealedStore(self.inner, Keyring.generate("test", randomness), randomness)
        self.clock = ManualClock()
        self.kafka = Kafka(self.store)
        self.view = View(self.kafka)
        composer = Composer("/tidewind/changelog/test", self.clock, self.view)
        self.tools = CaptureTools(
            store=self.store,
            seal=self.store,
            archived=LogArchive(self.store),
            publisher=self.kafka,
            view=self.view,
            clock=self.clock,
            settings=ChangelogSettings(),
            room=Room(1 << 20),
            notices=partial(CaptureNotices, publisher=self.kafka, composer=composer, view=self.view, clock=self.clock),
        )

    async def put(self, revision: int, **more: object) -> RegistryEntry:
        made: RegistryEntry = entry(revision=revision, credentials="env:CAPTURE_LOGIN", **more)
        await self.store.put(keys.registry(made.cluster_id, revision), made.to_bytes())
        return made

    @asynccontextmanager
    async def running(
        self, engines: Mapping[str, CaptureEngine], owns: Callable[[str], bool] = lambda _: True
    ) -> AsyncIterator[None]:
        captures = Captures(Registry(self.store), engines, self.tools, owns)
        task = asyncio.create_task(captures.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def pass_by(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)
            await asyncio.sleep(0.01)

    async def until_said(self, state: str) -> Mapping[str, object]:
        async with asyncio.timeout(10):
            while (self.view.get("capture/shop") or {}).get("state") != state:
                await self.pass_by(1)
        return self.view.get("capture/shop") or {}

    def times_said(self, state: str) -> int:
        return sum((one.data or {}).get("state") == state for one in self.kafka.of(STATUS))


async def test_of_a_retired_cluster_it_is_said_that_its_log_is_not_read(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CAPTURE_LOGIN", "tidewind:secret")
    house = House(tmp_path)
    await house.inner.open()
    await house.put(1)
    async with house.running({"mariadb": Engine()}):
        before = await house.until_said("capturing")
        await house.put(2, state="retired")
        said = await house.until_said("off")
        assert (said["history"], said["problem"]) == (before["history"], None)
        await house.pass_by(30)
    assert house.times_said("off") == 1
    assert house.view.get("capture/shop") == said


async def test_where_capture_is_off_it_is_said_and_what_kafka_holds_stays_said(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CAPTURE_LOGIN", "tidewind:secret")
    house = House(tmp_path)
    await house.inner.open()
    await house.put(1)
    async with house.running({}):
        assert (await house.until_said("off"))["history"] is None
    async with house.running({"mariadb": Engine()}):
        await house.until_said("capturing")
        await house.pass_by(10)
    before = house.view.get("capture/shop") or {}
    assert before["last_gtid"] is not None
    house.view.read = False
    async with house.running({}):
        await house.pass_by(30)
        assert house.view.get("capture/shop") == before
        house.view.read = True
        after = await house.until_said("off")
    kept = ("history", "position", "last_gtid", "last_checksum")
    assert [after[name] for name in kept] == [before[name] for name in kept]


async def test_nothing_is_said_of_clusters_of_others_nor_of_retired_ones_that_were_never_read(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.inner.open()
    await house.put(1)
    async with house.running({}, lambda _: False):
        await house.pass_by(30)
    await house.put(2, state="retired")
    async with house.running({}):
        await house.pass_by(30)
    assert house.kafka.of(STATUS) == []
