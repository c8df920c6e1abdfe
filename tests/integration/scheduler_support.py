"""A deployment of schedulers for tests: its own topics, its own directory store, and instances as real processes.

Time is real. What is due now is made so by the registry: a cluster enrolled earlier today, in a zone where it is about
noon, with a backup time a few minutes ago.
"""

import asyncio
import contextlib
import json
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from schemas import topics
from schemas.commands import BackupSetting, Endpoint
from schemas.envelope import Message, decode
from schemas.topics import COMMANDS, Topic
from services.scheduler.rules.emission import slot_work
from tests.integration.bus_support import CLOCK, connection
from tidewind.bus.admin import TopicAdmin
from tidewind.bus.connection import Connection
from tidewind.bus.publisher import KafkaPublisher
from tidewind.bus.reader import Reader
from tidewind.bus.records import Outgoing, RawRecord
from tidewind.bus.settings import BusSettings
from tidewind.domain import ids, keys
from tidewind.domain.records import Accepted, BackupOutcome, RegistryEntry
from tidewind.embedded.processes import ServerProcess
from tidewind.runtime.clock import SystemRandomness
from tidewind.runtime.ledger import Ledger
from tidewind.runtime.registry import Registry
from tidewind.store.factory import StoreSettings, open_store
from tidewind.store.repository import open_repository
from tidewind.store.sealed import SealedStore

PARTITIONS = 6
WATCHED = (topics.REPLIES, topics.EVENTS, topics.BACKUPS, topics.STATUS, topics.DEAD_LETTERS)


def zone_at_noon(now: datetime) -> str:
    """A zone where it is between 11:30 and 12:30, so that a few minutes or hours never reach another local day."""
    ahead = round(12 - (now.hour + now.minute / 60))
    return "Etc/GMT" if ahead == 0 else f"Etc/GMT{-ahead:+d}"


@dataclass
class Seen:
    """Everything published so far, by topic name."""

    records: dict[str, list[RawRecord]] = field(default_factory=dict)

    def raw(self, topic: Topic) -> list[RawRecord]:
        return self.records.get(topic.name, [])

    def messages(self, topic: Topic, kind: str | None = None, key: str | None = None) -> list[Message]:
        found = [decode(one.key, one.value, list(one.headers), one.origin) for one in self.raw(topic)]
        return [one for one in found if (kind is None or one.type == kind) and (key is None or one.key == key)]

    def replies_to(self, message: Message) -> list[Message]:
        return [one for one in self.messages(topics.REPLIES) if one.correlation_id == message.id]

    def status(self, key: str) -> dict[str, Any] | None:
        found = self.messages(topics.STATUS, key=key)
        return None if not found or found[-1].data is None else dict(found[-1].data)


def _security(settings: BusSettings) -> dict[str, str]:
    names = ("security_protocol", "sasl_mechanism", "sasl_username", "sasl_password", "ca")
    values = {name: getattr(settings, name) for name in names}
    return {f"TIDEWIND_KAFKA_{name.upper()}": value for name, value in values.items() if value is not None}


class Deployment:
    def __init__(self, link: Connection, store: SealedStore, publisher: KafkaPublisher, folder: Path) -> None:
        self.link = link
        self.store = store
        self.publisher = publisher
        self.folder = folder
        self.registry = Registry(store)
        self.ledger = Ledger(store)
        self.seen = Seen()
        self._processes: list[ServerProcess] = []
        self.killed: set[str] = set()

    async def scheduler(self, **settings: str) -> ServerProcess:
        """Start an instance; it is not waited for."""
        number = len(self._processes) + 1
        bus = self.link.settings
        process = ServerProcess(
            f"scheduler-{number}",
            [sys.executable, "-m", "services.scheduler"],
            log=self.folder / f"scheduler-{number}.log",
            env={
                "TIDEWIND_KAFKA_BOOTSTRAP": bus.bootstrap,
                "TIDEWIND_KAFKA_PREFIX": bus.prefix,
                "TIDEWIND_KAFKA_SESSION_TIMEOUT_S": "6",
                **_security(bus),
                "TIDEWIND_STORE_URL": f"file://{self.folder / 'store'}",
                "TIDEWIND_STORE_ENCRYPTION": "false",
                "TIDEWIND_INSTANCE": f"test-{number}",
                "TIDEWIND_TICK_S": "0.5",
                "TIDEWIND_HEARTBEAT_S": "0.5",
                "TIDEWIND_LEASE_S": "3",
                "PYTHONPATH": str(Path.cwd()),
                **settings,
            },
            cwd=Path.cwd(),
        )
        process.start()
        self._processes.append(process)
        return process

    async def enrolled(self, cluster: str, **fields: Any) -> RegistryEntry:
        """Put a cluster's first revision, as the snapshotter does after its preflight."""
        now = datetime.now(UTC)
        zone = fields.pop("zone", zone_at_noon(now))
        entry = RegistryEntry(
            cluster_id=cluster,
            revision=1,
            engine="mariadb",
            engine_version="10.11.0",
            server_identity="test",
            region=fields.pop("region", "test"),
            zone=zone,
            endpoints=(Endpoint(host="127.0.0.1", port=3306),),
            credentials="env:NONE",
            setting=fields.pop("setting", BackupSetting(backup_time="23:00")),
            created_at=fields.pop("created_at", now - timedelta(hours=6)),
            changed_at=fields.pop("changed_at", now - timedelta(hours=6)),
            job_id=str(uuid.uuid4()),
            first_slot_date=fields.pop("first_slot_date", now.astimezone(ZoneInfo(zone)).date().isoformat()),
            **fields,
        )
        assert await self.registry.put(entry)
        return entry

    def due(self, minutes_ago: int) -> BackupSetting:
        """A setting under which today's backup fell due so many minutes ago, in the zone of `enrolled`."""
        now = datetime.now(UTC)
        moment = now.astimezone(ZoneInfo(zone_at_noon(now))) - timedelta(minutes=minutes_ago)
        return BackupSetting(backup_time=f"{moment:%H:%M}")

    def today(self) -> date:
        now = datetime.now(UTC)
        return now.astimezone(ZoneInfo(zone_at_noon(now))).date()

    async def command(self, kind: str, body: dict[str, Any], **fields: Any) -> Message:
        """Publish a command; returns it."""
        message = Message(
            id=fields.pop("id", str(uuid.uuid4())),
            type=f"tidewind.{kind}.v1",
            source=fields.pop("source", "/tests"),
            time=datetime.now(UTC),
            key=fields.pop("key", str(body.get("cluster_id", ""))),
            data=body,
            **fields,
        )
        await self.publisher.send(COMMANDS, message)
        return message

    async def raw(
        self, value: bytes | None, *, key: bytes | None = b"x", headers: Any = (), partition: int = 0
    ) -> None:
        await self.publisher.send_record(
            Outgoing(topic=COMMANDS, key=key, value=value, headers=tuple(headers), partition=partition)
        )

    async def until(self, reached: Callable[[], object], *, within_s: float = 90.0, what: str = "it") -> float:
        """Wait until the condition holds; fail with the ends of the logs after the deadline."""
        began = time.monotonic()
        while not reached():
            died = [process.name for process in self._processes if not process.running]
            if time.monotonic() - began > within_s or set(died) - self.killed:
                raise AssertionError(f"{what} did not happen within {within_s} s; ended: {died}\n{self.logs()}")
            await asyncio.sleep(0.02)
        return time.monotonic() - began

    async def reply(self, message: Message, *, within_s: float = 90.0) -> Message:
        await self.until(lambda: self.seen.replies_to(message), within_s=within_s, what=f"a reply to {message.type}")
        return self.seen.replies_to(message)[0]

    async def terminal(self, job: str, *, within_s: float = 90.0) -> Message:
        def found() -> list[Message]:
            return [one for one in self.seen.messages(topics.EVENTS) if (one.data or {}).get("job_id") == job]

        await self.until(found, within_s=within_s, what=f"an event of job {job}")
        return found()[0]

    async def take_in(self, cluster: str, day: date) -> Accepted:
        """Do what the snapshotter does first with a slot's command."""
        work = slot_work(cluster, day)
        return await self.ledger.accept(
            Accepted(
                job_id=work.job_id,
                service="snapshotter",
                cluster_id=cluster,
                command=work.command,
                body=dict(work.body),
                body_sha256="",
                message_id=work.message_id,
                source="/tidewind/scheduler",
                accepted_at=datetime.now(UTC),
                answer={},
            )
        )

    async def backed_up(self, cluster: str, age_days: float) -> BackupOutcome:
        """Put the outcome of a completed backup that is so old."""
        job = str(uuid.uuid4())
        taken = datetime.now(UTC) - timedelta(days=age_days)
        made = BackupOutcome(
            cluster_id=cluster,
            backup_id=ids.backup_id(job),
            job_id=job,
            result="completed",
            attempt=1,
            cause="slot",
            started_at=taken,
            ended_at=taken,
            snapshot_time=taken,
            timeline="main",
            engine="mariadb",
            engine_version="10.11.0",
        )
        await self.store.put(keys.outcome(cluster, made.backup_id), made.to_bytes())
        return made

    async def kill(self, process: ServerProcess) -> None:
        """SIGKILL, on purpose."""
        self.killed.add(process.name)
        await process.kill()

    def logs(self) -> str:
        parts = []
        for path in sorted(self.folder.glob("scheduler-*.log")):
            lines = path.read_text(errors="replace").splitlines()[-25:]
            parts.append(f"--- {path.name}\n" + "\n".join(lines))
        return "\n".join(parts)

    def logged(self, action: str) -> list[dict[str, Any]]:
        """Log records of all instances with that action."""
        found = []
        for path in sorted(self.folder.glob("scheduler-*.log")):
            for line in path.read_text(errors="replace").splitlines():
                with contextlib.suppress(json.JSONDecodeError):
                    record = json.loads(line)
                    if isinstance(record, dict) and record.get("action") == action:
                        found.append(record)
        return found

    async def watch(self) -> None:
        """Collect what is published, until cancelled."""
        reader = Reader(self.link, WATCHED)
        await reader.open(deadline_s=20)
        try:
            while True:
                for record in await reader.read(timeout_s=0.1):
                    self.seen.records.setdefault(record.topic.name, []).append(record)
        finally:
            await reader.close()

    async def stop(self) -> None:
        for process in self._processes:
            await process.kill()


@contextlib.asynccontextmanager
async def deployment(address: str, folder: Path, *, link: Connection | None = None) -> AsyncIterator[Deployment]:
    (folder / "store").mkdir(exist_ok=True)
    link = link or connection(address)
    await TopicAdmin(link, partitions=PARTITIONS).apply()
    settings = StoreSettings(url=f"file://{folder / 'store'}", encryption=False)
    async with open_store(settings) as store:
        await open_repository(
            store.inner,
            keyring=None,
            partitions=PARTITIONS,
            deployment=None,
            now=CLOCK.now(),
            randomness=SystemRandomness(),
        )
        publisher = KafkaPublisher(link)
        await publisher.start()
        made = Deployment(link, store, publisher, folder)
        watching = asyncio.create_task(made.watch())
        try:
            yield made
            if watching.done():
                watching.result()
        finally:
            await made.stop()
            watching.cancel()
            await asyncio.wait({watching}, timeout=10)
            await publisher.close()
