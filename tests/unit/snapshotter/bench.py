"""The snapshotter's kinds over a sealed directory store, with a scripted engine."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from schemas.base import Fact
from schemas.status import Status
from services.snapshotter.handlers.sweep import Sweeper
from services.snapshotter.handlers.tools import SnapshotTools
from services.snapshotter.settings import SnapshotterSettings
from tests.fakes import ManualClock, RecordingPublisher, SharedView, until
from tidewind.domain import keys
from tidewind.domain.ids import job_id
from tidewind.domain.manifest import Chunk
from tidewind.domain.records import Accepted, RegistryEntry, Terminal
from tidewind.ports.engine import (
    Address,
    Login,
    Preflight,
    Report,
    ServerFacts,
    SnapshotContent,
    SnapshotRequest,
)
from tidewind.ports.jobs import Ending, JobKind, OperationKind
from tidewind.runtime.catalogue import Catalogue
from tidewind.runtime.clock import SystemRandomness
from tidewind.runtime.ledger import Ledger
from tidewind.runtime.outbox import Composer
from tidewind.runtime.registry import Registry
from tidewind.store.directory import DirectoryStore
from tidewind.store.keyring import Keyring
from tidewind.store.sealed import SealedStore

CLUSTER = "shop"
NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
FACTS = ServerFacts(engine="mariadb", version="10.11.19", identity="srv-1", zone="UTC", position="0-1-10", now=NOW)
JOB_OF_ENROLMENT = "00000000-0000-0000-0000-00000000e001"


class ScriptedEngine:
    """Takes a snapshot of one chunk; `before` may raise or wait, per call."""

    def __init__(self) -> None:
        self.before: list[Callable[[], Awaitable[None]]] = []
        self.calls = 0
        self.row_bytes = 1000

    async def preflight(self, address: Address, login: Login, restore_login: Login | None) -> Preflight:
        return Preflight(facts=FACTS, findings=())

    async def take(self, address: Address, login: Login, request: SnapshotRequest, report: Report) -> SnapshotContent:
        self.calls += 1
        async with request.open_store() as store:
            stored = await store.put_stream(keys.chunk(request.prefix, 1), _pieces(b"rows " * 200))
            if self.before:
                await self.before.pop(0)()
        chunk = Chunk(
            number=1, key=stored.key, size=stored.size, sha256=stored.sha256, rows=10, row_bytes=self.row_bytes
        )
        return SnapshotContent(
            facts=FACTS,
            snapshot_time=NOW + timedelta(minutes=self.calls),
            position="0-1-10",
            log_hint=None,
            schemas=(),
            tables=(),
            objects=(),
            system_tables=(),
            variables={},
            variable_defaults={},
            prepared_xa=(),
            chunks=(chunk,),
            settings={},
            writer_stall_ms=1.0,
        )


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data


@dataclass
class JobInHand:
    """A JobContext over the real ledger."""

    job: Accepted
    epoch: int
    ledger: Ledger
    clock: ManualClock
    cancel_requested: asyncio.Event = field(default_factory=asyncio.Event)
    events: list[tuple[str, Fact]] = field(default_factory=list)
    statuses: list[Any] = field(default_factory=list)
    lock_free: asyncio.Event = field(default_factory=asyncio.Event)

    def report(self, step: str, done: float, total: float | None = None, unit: str = "", detail: str = "") -> None:
        pass

    async def note(self, name: str, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        return (await self.ledger.note(self.job.cluster_id, self.job.job_id, name, self.epoch, facts)).facts

    async def notes(self) -> Mapping[str, Mapping[str, Any]]:
        return await self.ledger.notes(self.job.cluster_id, self.job.job_id)

    async def check_lease(self) -> None:
        pass

    def event(self, event: str, body: Fact, *, step: str = "") -> None:
        self.events.append((event, body))

    def status(self, kind: str, status: Status, *, entity: str | None = None) -> None:
        self.statuses.append(status)

    async def status_acknowledged(self, kind: str, status: Status, *, entity: str | None = None) -> None:
        self.statuses.append(status)

    async def take_operation(self, kind: OperationKind, *, cancel_backup: bool = False) -> None:
        await self.lock_free.wait()


class Bench:
    def __init__(self, root: Path) -> None:
        root.mkdir(exist_ok=True)
        self.inner = DirectoryStore(root)
        randomness = SystemRandomness()
        self.store = SealedStore(self.inner, Keyring.generate("k1", randomness), randomness)
        self.clock = ManualClock(datetime.now(UTC))
        self.engine = ScriptedEngine()
        self.ledger = Ledger(self.store)
        self.tools = SnapshotTools(
            engines={"mariadb": self.engine},
            store=self.store,
            open_store=self._open_store,
            registry=Registry(self.store),
            catalogue=Catalogue(self.store),
            clock=self.clock,
            settings=SnapshotterSettings(delete_grace_s=1, allow_manual_backups=True),
            key_id="k1",
        )

    @asynccontextmanager
    async def _open_store(self) -> AsyncIterator[SealedStore]:
        yield self.store

    async def enroll(self, cluster: str = CLUSTER) -> None:
        entry = RegistryEntry.model_validate(
            {
                "cluster_id": cluster,
                "revision": 1,
                "engine": "mariadb",
                "engine_version": "10.11.19",
                "server_identity": "srv-1",
                "region": "eu-central-1",
                "zone": "Europe/Berlin",
                "endpoints": [{"host": "db-1", "port": 3306}],
                "credentials": "env:TEST_LOGIN",
                "setting": {},
                "created_at": NOW,
                "changed_at": NOW,
                "job_id": JOB_OF_ENROLMENT,
                "first_slot_date": "2026-11-24",
            }
        )
        assert await self.tools.registry.put(entry)

    def job(self, command: str, body: Mapping[str, Any], *, key: str = "1", epoch: int = 1) -> JobInHand:
        whole = {"cluster_id": CLUSTER, **body}
        in_hand = JobInHand(
            job=Accepted(
                job_id=job_id(CLUSTER, command, idempotency_key=key, source="/tests", message_id=key),
                service="snapshotter",
                cluster_id=CLUSTER,
                command=command,
                body=whole,
                body_sha256="",
                message_id=key,
                source="/tests",
                accepted_at=self.clock.now(),
            ),
            epoch=epoch,
            ledger=self.ledger,
            clock=self.clock,
        )
        in_hand.lock_free.set()
        return in_hand

    async def work(self, kind: JobKind, context: JobInHand) -> Ending:
        """Work while time passes, whenever somebody waits for it: not while a slow machine works."""
        task = asyncio.ensure_future(kind.work(context))

        def ended() -> bool:
            if self.clock.awaited:
                self.clock.advance_to_next()
            return task.done()

        await until(ended, deadline_s=30)
        return task.result()

    async def end(self, context: JobInHand, event: str = "tidewind.backup.completed.v1") -> None:
        await self.ledger.finish(
            CLUSTER,
            Terminal(job_id=context.job.job_id, event=event, data={}, at=self.clock.now(), epoch=context.epoch),
        )

    async def keys(self, prefix: str = "") -> list[str]:
        return [found.key async for found in self.store.list(prefix)]


def sweeper(bench: Bench) -> Sweeper:
    """Of all clusters, with a bus of its own."""
    publisher = RecordingPublisher()
    composer = Composer("/tests", bench.clock, SharedView(publisher))
    return Sweeper(bench.tools, bench.ledger, publisher, composer, lambda _: True)
