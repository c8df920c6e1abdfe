"""Reads every stored byte of a backup and compares it with the manifest."""

import asyncio
from dataclasses import dataclass

from schemas.commands import BackupVerify
from schemas.events import BackupDamaged, BackupVerified
from schemas.replies import Problem
from services.snapshotter.handlers.enroll import command_failed
from services.snapshotter.handlers.statuses import backup_status
from services.snapshotter.handlers.tools import SnapshotTools
from tidewind.domain import keys
from tidewind.domain.manifest import Manifest
from tidewind.domain.problems import problem, refused
from tidewind.domain.records import BackupOutcome, Verification, parse
from tidewind.ports.jobs import Accept, Ending, Incoming, JobContext, Reject
from tidewind.ports.store import FormatNewer, KeyMissing, ObjectDamaged, ObjectMissing, StoredObject, VerifiableStore
from tidewind.runtime.intake import command_of

_PARALLEL = 4
_NAMED = 100
"""Damaged objects that the event names; the record in the store names all."""


@dataclass(frozen=True)
class _Found:
    objects: int
    stored_bytes: int
    damaged: tuple[dict[str, str], ...]


class VerifyBackup:
    """`tidewind.backup.verify.v1`. Needs no key for the chunks, but for the manifest that names them."""

    command = "tidewind.backup.verify.v1"

    def __init__(self, tools: SnapshotTools, store: VerifiableStore) -> None:
        self._tools = tools
        self._store = store

    async def decide(self, incoming: Incoming) -> Accept | Reject:
        command = incoming.command
        assert isinstance(command, BackupVerify)
        if incoming.cluster is None:
            return Reject(problem=problem("unknown-cluster", f"No cluster {command.cluster_id} is enrolled"))
        await self._completed(command)
        return Accept(answer={"backup_id": command.backup_id})

    async def work(self, context: JobContext) -> Ending:
        tools = self._tools
        command = command_of(context.job, BackupVerify)
        outcome = await self._completed(command)
        started = tools.clock.monotonic()
        found = await self._read_everything(context, outcome)
        record = Verification(
            backup_id=outcome.backup_id,
            job_id=context.job.job_id,
            verified_at=tools.clock.now(),
            objects=found.objects,
            stored_bytes=found.stored_bytes,
            damaged=found.damaged,
        )
        key = keys.verification(outcome.cluster_id, outcome.backup_id, context.job.job_id)
        await tools.store.put_if_absent(key, record.to_bytes())
        entry = await tools.registry.newest(outcome.cluster_id)
        retention = entry.setting.retention_days if entry else 7
        context.status(
            "backup",
            backup_status(
                outcome, retention, tools.clock.now(), verified_at=record.verified_at, damaged=bool(found.damaged)
            ),
            entity=outcome.backup_id,
        )
        return self._ending(context, outcome, found, round((tools.clock.monotonic() - started) * 1000))

    def failed(self, context: JobContext, problem: Problem) -> Ending:
        return command_failed(context, problem)

    async def _completed(self, command: BackupVerify) -> BackupOutcome:
        entry = await self._tools.catalogue.backup(command.cluster_id, command.backup_id)
        if entry is None:
            raise refused("unknown-backup", f"{command.cluster_id} has no backup {command.backup_id}")
        if entry.tombstone is not None:
            raise refused("backup-deleted", f"{command.backup_id} is deleted or being deleted")
        if entry.outcome.result != "completed":
            raise refused("backup-incomplete", f"{command.backup_id} failed; there is nothing to verify")
        return entry.outcome

    async def _read_everything(self, context: JobContext, outcome: BackupOutcome) -> _Found:
        manifest_key = outcome.manifest_key or ""
        try:
            manifest = await self._manifest(outcome)
        except (ObjectDamaged, ObjectMissing) as error:
            return _Found(1, 0, ({"object": manifest_key, "problem": error.cause},))
        objects = [StoredObject(key=chunk.key, size=chunk.size, sha256=chunk.sha256) for chunk in manifest.chunks]
        total = float(sum(one.size for one in objects))
        damaged: list[dict[str, str]] = []
        done = 0
        slots = asyncio.Semaphore(_PARALLEL)

        async def read(one: StoredObject) -> None:
            nonlocal done
            async with slots:
                try:
                    await self._store.verify_object(one.key, size=one.size, sha256=one.sha256)
                except (ObjectDamaged, ObjectMissing) as error:
                    damaged.append({"object": one.key, "problem": error.cause})
            done += one.size
            context.report("verifying", done, total, "bytes")

        async with asyncio.TaskGroup() as group:
            for one in objects:
                group.create_task(read(one))
        return _Found(len(objects) + 1, int(total), tuple(sorted(damaged, key=lambda entry: entry["object"])))

    async def _manifest(self, outcome: BackupOutcome) -> Manifest:
        key = outcome.manifest_key or ""
        await self._store.verify_object(key, size=outcome.manifest_size, sha256=outcome.manifest_sha256 or "")
        try:
            return parse(Manifest, await self._tools.store.get(key), key)
        except KeyMissing as error:
            raise refused("key-missing", str(error)) from error
        except FormatNewer as error:
            raise refused("backup-newer-format", str(error)) from error

    def _ending(self, context: JobContext, outcome: BackupOutcome, found: _Found, duration_ms: int) -> Ending:
        job = context.job
        if not found.damaged:
            return Ending(
                event="tidewind.backup.verified.v1",
                body=BackupVerified(
                    cluster_id=job.cluster_id,
                    job_id=job.job_id,
                    actor=job.actor,
                    backup_id=outcome.backup_id,
                    objects=found.objects,
                    stored_bytes=found.stored_bytes,
                    duration_ms=duration_ms,
                ),
            )
        first = found.damaged[0]
        return Ending(
            event="tidewind.backup.damaged.v1",
            body=BackupDamaged(
                cluster_id=job.cluster_id,
                job_id=job.job_id,
                actor=job.actor,
                backup_id=outcome.backup_id,
                damaged=found.damaged[:_NAMED],
                problem=problem(
                    "backup-damaged",
                    f"{len(found.damaged)} of {found.objects} objects of {outcome.backup_id} are damaged; "
                    f"first {first['object']}: {first['problem']}",
                ),
            ),
        )
