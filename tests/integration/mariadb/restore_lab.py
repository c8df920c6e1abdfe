"""A cluster, its store and its restorer without Kafka: the real engine, ledger and job context on a real server.

Only the bus is the test's own: a publisher that remembers, and a view of nothing.
"""

import asyncio
import functools
import os
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

from schemas.commands import COMMANDS
from schemas.envelope import Message
from schemas.topics import Topic
from services.restorer.bootstrap import mint_with
from services.restorer.handlers.cancel import CancelRestore
from services.restorer.handlers.expiry import Expiry
from services.restorer.handlers.request import RequestRestore
from services.restorer.handlers.tools import RestoreTools
from services.restorer.handlers.undo import UndoRestore
from services.restorer.settings import RestorerSettings
from tests import oracle
from tests.integration.mariadb.snapshot_support import Reports, address_of, client, run, sealed_store
from tidewind.domain import ids, keys
from tidewind.domain.manifest import Manifest
from tidewind.domain.problems import Refused
from tidewind.domain.records import (
    Accepted,
    BackupOutcome,
    CancelRequest,
    EpochClaim,
    RegistryEntry,
    Terminal,
    Timeline,
)
from tidewind.embedded.mariadb import PrivateMariaDB
from tidewind.engines.mariadb.grants import RESTORE_GRANTS, STATEMENT_GRANTS, pattern_of
from tidewind.engines.mariadb.log.summary import MariaDBLogDecoder
from tidewind.engines.mariadb.quoting import quote_name
from tidewind.engines.mariadb.restore.closing import OWN_PATTERN
from tidewind.engines.mariadb.restore.engine import MariaDBRestoreEngine
from tidewind.engines.mariadb.restore.names import WORK_SCHEMA
from tidewind.engines.mariadb.snapshot import MariaDBSnapshotEngine
from tidewind.ports.engine import DatabaseError, Login, SnapshotRequest
from tidewind.ports.jobs import Accept, Ending, Incoming, JobKind, Reject
from tidewind.ports.restore import RestoreEngine
from tidewind.ports.store import StoreError
from tidewind.runtime.catalogue import Catalogue
from tidewind.runtime.clock import SystemClock
from tidewind.runtime.failures import problem_of
from tidewind.runtime.ledger import Ledger
from tidewind.runtime.log_archive import LogArchive
from tidewind.runtime.operations import OperationLock
from tidewind.runtime.outbox import Composer, body_of
from tidewind.runtime.registry import Registry
from tidewind.runtime.work import Work
from tidewind.store.factory import StoreSettings, open_store
from tidewind.store.sealed import SealedStore

CLUSTER = "shop"
SERVICE_LOGIN = Login(user="tidewind_svc", password="svc-Passw0rd")
MINT = mint_with(b"the key of this test")


class Remembering:
    """A publisher that acknowledges everything and forgets nothing."""

    def __init__(self) -> None:
        self.sent: list[tuple[Topic, Message]] = []

    async def send(self, topic: Topic, message: Message, *, deadline_s: float = 10.0) -> None:
        self.sent.append((topic, message))

    def post(self, topic: Topic, message: Message) -> None:
        self.sent.append((topic, message))

    async def flush(self, *, deadline_s: float) -> bool:
        return True

    def data_of(self, kind: str) -> list[Mapping[str, Any]]:
        return [message.data or {} for _, message in self.sent if message.type == kind]


class Blank:
    """A status view that has seen nothing."""

    def caught_up(self) -> bool:
        return True

    def get(self, key: str) -> Mapping[str, object] | None:
        return None

    def keys(self, prefix: str) -> list[str]:
        return []

    def late(self) -> list[str]:
        return []

    def silence_s(self, key: str) -> float:
        return 0.0


@dataclass
class Lab:
    server: PrivateMariaDB
    settings: StoreSettings
    store: SealedStore
    tools: RestoreTools
    publisher: Remembering
    composer: Composer
    kinds: dict[str, JobKind] = field(default_factory=dict)

    async def content(self) -> oracle.Content:
        """What the server holds, as the independent reader sees it."""
        connection = await self.server.connect()
        try:
            return await oracle.content(connection, spared_accounts=(SERVICE_LOGIN.user,))
        finally:
            connection.close()

    async def enroll(self, *, replicas: str = "none") -> RegistryEntry:
        control_facts = await self.tools.engines["mariadb"].survey(address_of(self.server), SERVICE_LOGIN)
        entry = RegistryEntry.model_validate(
            {
                "cluster_id": CLUSTER,
                "revision": 1,
                "engine": "mariadb",
                "engine_version": control_facts.facts.version,
                "server_identity": control_facts.facts.identity,
                "region": "eu-central-1",
                "zone": "Europe/Berlin",
                "endpoints": [{"host": self.server.host, "port": self.server.port}],
                "credentials": "env:TIDEWIND_TEST_SERVICE",
                "replicas": replicas,
                "setting": {"backup_time": "02:00", "retention_days": 7},
                "created_at": datetime.now(UTC),
                "changed_at": datetime.now(UTC),
                "job_id": str(uuid.uuid4()),
                "first_slot_date": "2026-11-23",
            }
        )
        assert await self.tools.registry.put(entry)
        return entry

    async def backup(self) -> str:
        """Take a backup as the snapshotter does."""
        job = str(uuid.uuid4())
        backup = ids.backup_id(job)
        prefix = keys.attempt(CLUSTER, backup, 1)
        timelines = await self.tools.catalogue.timelines(CLUSTER)
        request = SnapshotRequest(
            cluster_id=CLUSTER,
            backup_id=backup,
            attempt=1,
            prefix=prefix,
            workers=2,
            chunk_bytes=1 << 20,
            excluded_schemas=(),
            open_store=self.tools.open_store,
        )
        content = await MariaDBSnapshotEngine().take(address_of(self.server), SERVICE_LOGIN, request, Reports())
        if not timelines:
            root = Timeline(
                cluster_id=CLUSTER,
                timeline="main",
                parent=None,
                cut=None,
                parent_end=None,
                history=None,
                start=content.position,
                started_at=datetime.now(UTC),
            )
            await self.store.put_if_absent(keys.timeline(CLUSTER, "main"), root.to_bytes())
        manifest = Manifest.model_validate(
            {
                "cluster_id": CLUSTER,
                "backup_id": backup,
                "attempt": 1,
                "engine": "mariadb",
                "engine_version": content.facts.version,
                "server_identity": content.facts.identity,
                "timeline": timelines[-1].timeline if timelines else "main",
                "snapshot_time": content.snapshot_time,
                "position": content.position,
                "schemas": content.schemas,
                "tables": content.tables,
                "objects": content.objects,
                "system_tables": content.system_tables,
                "variables": dict(content.variables),
                "chunks": content.chunks,
            }
        )
        stored = await self.store.put(keys.manifest(prefix), manifest.to_bytes())
        outcome = BackupOutcome.model_validate(
            {
                "cluster_id": CLUSTER,
                "backup_id": backup,
                "job_id": job,
                "result": "completed",
                "attempt": 1,
                "cause": "manual",
                "started_at": datetime.now(UTC),
                "ended_at": datetime.now(UTC),
                "manifest_key": stored.key,
                "manifest_sha256": stored.sha256,
                "manifest_size": stored.size,
                "snapshot_time": content.snapshot_time,
                "engine": "mariadb",
                "engine_version": content.facts.version,
            }
        )
        assert await self.store.put_if_absent(keys.outcome(CLUSTER, backup), outcome.to_bytes())
        return backup

    async def accept(self, command: str, **body: Any) -> Accepted:
        """Send a command; AssertionError with the problem if it is rejected."""
        answer = await self.decide(command, **body)
        assert isinstance(answer, Accepted), answer
        return answer

    async def decide(self, command: str, **body: Any) -> Accepted | Reject:
        body = {"cluster_id": CLUSTER, **body}
        message = Message(
            id=str(uuid.uuid4()), type=command, source="/test", time=datetime.now(UTC), key=CLUSTER, data=body
        )
        job_id = ids.job_id(CLUSTER, command, idempotency_key=None, source="/test", message_id=message.id)
        incoming = Incoming(
            message=message,
            command=COMMANDS[command].model_validate(body),
            job_id=job_id,
            cluster=await self.tools.registry.newest(CLUSTER),
        )
        try:
            decision = await self.kinds[command].decide(incoming)
        except (Refused, DatabaseError, StoreError) as error:
            decision = Reject(problem=problem_of(error))
        if not isinstance(decision, Accept):
            assert isinstance(decision, Reject)
            return decision
        return await self.tools.ledger.accept(
            Accepted(
                job_id=job_id,
                service="restorer",
                cluster_id=CLUSTER,
                command=command,
                body=body,
                body_sha256="0" * 64,
                message_id=message.id,
                source="/test",
                accepted_at=datetime.now(UTC),
                answer=dict(decision.answer),
            )
        )

    async def claim(self, job: Accepted) -> Work:
        """The next epoch of a job, as an instance that takes it over has it."""
        epoch = await self.tools.ledger.newest_epoch(CLUSTER, job.job_id) + 1
        claim = EpochClaim(job_id=job.job_id, epoch=epoch, holder=f"holder-{epoch}", claimed_at=datetime.now(UTC))
        assert await self.tools.ledger.claim(claim, CLUSTER)
        return Work(
            job,
            epoch,
            holder=claim.holder,
            ledger=self.tools.ledger,
            operations=self.tools.operations,
            composer=self.composer,
            publisher=self.publisher,
            clock=self.tools.clock,
        )

    async def carry_out(self, job: Accepted, work: Work | None = None) -> Ending:
        """Work on a job to its end, and record the end as the runner does."""
        work = work or await self.claim(job)
        watch = asyncio.create_task(work.watch_for_cancel(0.05))
        try:
            ending = await self.kinds[job.command].work(work)
        finally:
            watch.cancel()
        await self.end(work, ending)
        return ending

    async def end(self, work: Work, ending: Ending) -> None:
        terminal = Terminal(
            job_id=work.job.job_id,
            event=ending.event,
            data=body_of(ending.body),
            at=datetime.now(UTC),
            epoch=work.epoch,
        )
        await self.tools.ledger.finish(CLUSTER, terminal)
        await self.tools.ledger.close("restorer", CLUSTER, work.job.job_id)

    async def restore(self, backup: str, **more: Any) -> Ending:
        job = await self.accept("tidewind.restore.request.v1", mode="snapshot", backup_id=backup, **more)
        return await self.carry_out(job)

    async def undo(self, restore_id: str, **more: Any) -> Ending:
        job = await self.accept("tidewind.restore.undo.v1", restore_id=restore_id, **more)
        return await self.carry_out(job)

    async def ask_to_cancel(self, job: Accepted) -> None:
        await self.tools.ledger.request_cancel(
            CLUSTER,
            CancelRequest(job_id=job.job_id, requested_by=str(uuid.uuid4()), requested_at=datetime.now(UTC)),
        )

    def expiry(self) -> Expiry:
        return Expiry(self.tools, publisher=self.publisher, composer=self.composer, owns=lambda _: True)

    def sql(self, *statements: str) -> None:
        """As root, in a connection of its own."""
        connection = client(self.server)
        run(connection, *statements)
        connection.close()


EVERYTHING = (f"{', '.join(sorted(RESTORE_GRANTS))} ON *.*",)


def without_mysql(*schemas: str) -> tuple[str, ...]:
    """What an account is granted that has no rights on the tables of `mysql`."""
    patterns = (WORK_SCHEMA, OWN_PATTERN, *(pattern_of(schema) for schema in schemas))
    return (
        f"{', '.join(sorted(STATEMENT_GRANTS - {'GRANT OPTION'}))} ON *.*",
        *(f"ALL PRIVILEGES ON {quote_name(pattern)}.*" for pattern in patterns),
    )


def _make_account(server: PrivateMariaDB, granted: Sequence[str]) -> None:
    connection = client(server)
    user = f"'{SERVICE_LOGIN.user}'@'%'"
    option = "" if granted == EVERYTHING else " WITH GRANT OPTION"
    run(
        connection,
        f"CREATE USER IF NOT EXISTS {user} IDENTIFIED BY '{SERVICE_LOGIN.password}'",
        *(f"GRANT {one} TO {user}{option}" for one in granted),
    )
    connection.close()


def tools_on(
    store: SealedStore, store_settings: StoreSettings, *, engine: RestoreEngine | None = None, **settings: Any
) -> RestoreTools:
    """What the restorer's handlers act with, on a store."""
    ledger = Ledger(store)
    return RestoreTools(
        engines={"mariadb": engine or MariaDBRestoreEngine()},
        store=store,
        open_store=functools.partial(open_store, store_settings),
        ledger=ledger,
        operations=OperationLock(store, ledger),
        registry=Registry(store),
        catalogue=Catalogue(store),
        archived=LogArchive(store),
        decoders={"mariadb": MariaDBLogDecoder()},
        view=Blank(),
        clock=SystemClock(),
        mint=MINT,
        settings=RestorerSettings(**{"retry_pause_s": 0.1, **settings}),
    )


@asynccontextmanager
async def lab_on(
    server: PrivateMariaDB,
    folder: Path,
    *,
    engine: Callable[[], RestoreEngine] = MariaDBRestoreEngine,
    prepare: bool = True,
    granted: Sequence[str] = EVERYTHING,
    **settings: Any,
) -> AsyncIterator[Lab]:
    """A lab on a server. `TIDEWIND_TEST_SERVICE` must hold the service's login; `prepare` makes that account,
    with what is `granted`."""
    if prepare:
        _make_account(server, granted)
    store_settings = sealed_store(folder)
    publisher = Remembering()
    async with open_store(store_settings) as store:
        tools = tools_on(store, store_settings, engine=engine(), **settings)
        composer = Composer("/tidewind/restorer/test", tools.clock, tools.view)
        lab = Lab(server, store_settings, store, tools, publisher, composer)
        kinds: tuple[JobKind, ...] = (RequestRestore(tools), UndoRestore(tools), CancelRestore(tools))
        lab.kinds = {kind.command: kind for kind in kinds}
        yield lab


@asynccontextmanager
async def enrolled_lab(server: PrivateMariaDB, folder: Path, **settings: Any) -> AsyncIterator[Lab]:
    """A lab whose cluster is enrolled, with the service's login where its reference looks."""
    login = {"TIDEWIND_TEST_SERVICE": f"{SERVICE_LOGIN.user}:{SERVICE_LOGIN.password}"}
    with patch.dict(os.environ, login):
        async with lab_on(server, folder / "deployment", **settings) as lab:
            await lab.enroll()
            yield lab
