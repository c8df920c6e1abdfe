"""Takes one backup.

Order: operation lock → attempt (chunks, then manifest) → `outcome` put if absent → status and event. The outcome is
the commit point: without it there is no backup, whatever lies in the snapshot's folder; with it the backup is
complete, also if this process dies before anybody hears of it. Each try writes into a folder of its own (epoch and try
are in its name), so a predecessor that wakes can spoil nothing, and the sweep removes folders that the outcome does not
name.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

import structlog

from schemas.commands import BackupRun
from schemas.events import BackupCompleted, BackupFailed, BackupStarted
from schemas.replies import Problem
from schemas.status import BackupStatus
from services.snapshotter.handlers.connection import connection
from services.snapshotter.handlers.histories import newest_history
from services.snapshotter.handlers.manifests import manifest_of, write_manifest
from services.snapshotter.handlers.outcomes import completed_outcome, failed_outcome
from services.snapshotter.handlers.statuses import backup_status
from services.snapshotter.handlers.tools import SnapshotTools
from services.snapshotter.rules.attempts import Again, after_failure, attempt_number
from services.snapshotter.rules.histories import standing_in
from services.snapshotter.rules.sanity import suspicions
from tidewind.domain import ids, keys, timelines
from tidewind.domain.catalogue import expires_at, newest_first
from tidewind.domain.problems import Refused, kind_of, problem, refused
from tidewind.domain.records import BackupOutcome, RegistryEntry, Timeline, parse
from tidewind.ports.engine import DatabaseError, SnapshotContent, SnapshotRequest
from tidewind.ports.jobs import Accept, Ending, Incoming, JobContext, Reject
from tidewind.ports.store import ObjectMissing, StoreError, StoreUnavailable
from tidewind.runtime.failures import problem_of
from tidewind.runtime.intake import command_of
from tidewind.runtime.log_archive import LogArchive

log = structlog.get_logger()
_STORE_PAUSE_S = 5.0
Result = TypeVar("Result")


class RunBackup:
    """`tidewind.backup.run.v1`."""

    command = "tidewind.backup.run.v1"

    def __init__(self, tools: SnapshotTools) -> None:
        self._tools = tools

    async def decide(self, incoming: Incoming) -> Accept | Reject:
        command = incoming.command
        assert isinstance(command, BackupRun)
        if incoming.cluster is None:
            return Reject(problem=problem("unknown-cluster", f"No cluster {command.cluster_id} is enrolled"))
        if incoming.cluster.state == "retired":
            return Reject(problem=problem("cluster-retired", f"{command.cluster_id} is retired"))
        if command.cause == "manual" and not self._tools.settings.allow_manual_backups:
            return Reject(
                problem=problem(
                    "manual-backup-unsupported",
                    "This deployment takes daily backups only; TIDEWIND_ALLOW_MANUAL_BACKUPS=true would allow others",
                )
            )
        return Accept(answer={"backup_id": ids.backup_id(incoming.job_id)})

    async def work(self, context: JobContext) -> Ending:
        return await _BackupJob(self._tools, context).run()

    def failed(self, context: JobContext, problem: Problem) -> Ending:
        command = command_of(context.job, BackupRun)
        return _failed_ending(context, command, 0, problem)


class _BackupJob:
    """One job in hand; holds what all its tries share."""

    def __init__(self, tools: SnapshotTools, context: JobContext) -> None:
        self._tools = tools
        self._context = context
        self._command = command_of(context.job, BackupRun)
        self._cluster = context.job.cluster_id
        self._backup = ids.backup_id(context.job.job_id)
        self._started = context.job.accepted_at
        self._putting: asyncio.Future[bool] | None = None

    async def run(self) -> Ending:
        standing = await self._outcome()
        if standing is None:
            self._publish_state("pending", attempt=0)
            await self._take_lock()
            standing = await self._outcome()
        if standing is None:
            self._started = self._tools.clock.now()
            standing = await self._try_until_done()
        return await self._announce(standing)

    async def _take_lock(self) -> None:
        taking = asyncio.ensure_future(self._context.take_operation("backup"))
        await self._or_cancelled(taking)

    async def _try_until_done(self) -> BackupOutcome:
        tried = 0
        while True:
            tried += 1
            attempt = attempt_number(self._context.epoch, tried)
            try:
                return await self._or_cancelled(asyncio.ensure_future(self._attempt(attempt)))
            except (Refused, DatabaseError, StoreError) as error:
                why = problem_of(error)
                again = self._again(why, tried)
                log.warning(
                    "a backup attempt failed",
                    action="attempt-failed",
                    backup=self._backup,
                    attempt=attempt,
                    why=why.detail,
                    next=why.next_step,
                    then=again.why,
                )
                standing = await self._outcome_for_certain()
                if standing is not None:
                    return standing
                await self._sweep_attempt(attempt)
                if again.pause_s is None:
                    return await self._decide_failed(attempt, why)
                next_try_at = self._tools.clock.now() + timedelta(seconds=again.pause_s)
                self._publish_state("pending", attempt=attempt, problem=why, next_try_at=next_try_at)
                try:
                    await self._or_cancelled(asyncio.ensure_future(self._tools.clock.sleep(again.pause_s)))
                except Refused as cancelled:
                    return await self._decide_failed(attempt, cancelled.problem)

    def _again(self, why: Problem, tried: int) -> Again:
        """A day's backup may be tried for as long as it might have begun late; counted from when it was taken in, so
        that a successor does not begin anew."""
        waited = self._tools.clock.now() - self._context.job.accepted_at
        window_s = self._tools.settings.grace_h * 3600 if self._command.cause == "slot" else 0.0
        return after_failure(kind_of(why).name, tried, waited_s=waited.total_seconds(), window_s=window_s)

    async def _attempt(self, attempt: int) -> BackupOutcome:
        tools, context = self._tools, self._context
        entry = await tools.registry.newest(self._cluster)
        if entry is None:
            raise refused("unknown-cluster", f"No cluster {self._cluster} is enrolled")
        self._publish_state("running", attempt=attempt)
        context.event(
            "tidewind.backup.started.v1",
            BackupStarted(**self._facts(), attempt=attempt),
            step=str(attempt),
        )
        captured = LogArchive(tools.store)
        begun = await newest_history(captured, self._cluster)
        content = await self._take(entry, attempt)
        timeline = await self._timeline(entry, content)
        newest = await newest_history(captured, self._cluster)
        history = standing_in(begun, newest, content.position, content.open_xa_position)
        manifest = manifest_of(entry, self._backup, attempt, timeline, content, history=history)
        prefix = keys.attempt(self._cluster, self._backup, attempt)
        stored = await write_manifest(tools.store, keys.manifest(prefix), manifest)
        await context.check_lease()
        outcome = completed_outcome(self._frame(attempt), manifest, content, stored, key_id=tools.key_id)
        earlier = await self._backup_before()
        suspect = suspicions(
            tables=outcome.tables,
            rows=outcome.rows,
            row_bytes=outcome.row_bytes,
            earlier=earlier,
            left_out=content.unsupported,
        )
        return await self._put_outcome(outcome.model_copy(update={"suspect": suspect}))

    async def _backup_before(self) -> BackupOutcome | None:
        """What the new backup is compared with. That nothing can be compared must not cost the backup."""
        try:
            others = newest_first(await self._tools.catalogue.backups(self._cluster))
        except StoreError as error:
            log.warning("no earlier backup to compare with", action="compare-failed", error=str(error))
            return None
        return next((other.outcome for other in others if other.restorable and other.backup_id != self._backup), None)

    async def _take(self, entry: RegistryEntry, attempt: int) -> SnapshotContent:
        tools = self._tools
        engine = tools.engines.get(entry.engine)
        if engine is None:
            raise refused("unsupported-engine", f"engine {entry.engine!r} is not supported by this release")
        where = connection(entry.cluster_id, entry.endpoints, entry.credentials, entry.restore_credentials, entry.tls)
        request = SnapshotRequest(
            cluster_id=self._cluster,
            backup_id=self._backup,
            attempt=attempt,
            prefix=keys.attempt(self._cluster, self._backup, attempt),
            workers=tools.settings.workers,
            chunk_bytes=tools.settings.chunk_bytes,
            excluded_schemas=(),
            open_store=tools.open_store,
        )
        limit_s = tools.settings.snapshot_timeout_h * 3600
        try:
            async with asyncio.timeout(limit_s):
                return await engine.take(where.address, where.login, request, self._report)
        except TimeoutError:
            raise refused(
                "time-limit", f"The snapshot took more than {tools.settings.snapshot_timeout_h:g} h"
            ) from None

    def _report(self, step: str, done: float, total: float | None, unit: str) -> None:
        self._context.report(step, done, total, unit)

    async def _timeline(self, entry: RegistryEntry, content: SnapshotContent) -> str:
        """The timeline this snapshot belongs to; the first snapshot of a cluster puts the root."""
        lived = await self._tools.catalogue.timelines(self._cluster)
        if lived:
            return timelines.present(lived)
        root = Timeline(
            cluster_id=self._cluster,
            timeline=ids.ROOT_TIMELINE,
            parent=None,
            cut=None,
            parent_end=None,
            history=None,
            start=content.position,
            started_at=entry.created_at,
            job_id=self._context.job.job_id,
        )
        await self._tools.store.put_if_absent(keys.timeline(self._cluster, ids.ROOT_TIMELINE), root.to_bytes())
        return ids.ROOT_TIMELINE

    async def _decide_failed(self, attempt: int, why: Problem) -> BackupOutcome:
        await self._context.check_lease()
        return await self._put_outcome(failed_outcome(self._frame(attempt), await self._registered(), why))

    def _frame(self, attempt: int) -> dict[str, Any]:
        """What every outcome of this job says."""
        return {
            "cluster_id": self._cluster,
            "backup_id": self._backup,
            "job_id": self._context.job.job_id,
            "attempt": attempt,
            "cause": self._command.cause,
            "slot_date": self._command.slot_date,
            "started_at": self._started,
            "ended_at": self._tools.clock.now(),
        }

    async def _registered(self) -> RegistryEntry | None:
        """The cluster's entry: an end must not contradict the outcome because the store was away for a moment."""
        return await self._for_certain(lambda: self._tools.registry.newest(self._cluster))

    async def _put_outcome(self, outcome: BackupOutcome) -> BackupOutcome:
        key = keys.outcome(self._cluster, self._backup)
        # Shielded: cancelled in the middle, nobody would know whether the backup exists.
        self._putting = asyncio.ensure_future(self._tools.store.put_if_absent(key, outcome.to_bytes()))
        if await asyncio.shield(self._putting):
            return outcome
        return parse(BackupOutcome, await self._tools.store.get(key), key)

    async def _outcome_for_certain(self) -> BackupOutcome | None:
        """The outcome, once no put of ours is under way: one whose answer was lost, or whose caller was cancelled, may
        have made the backup complete, and its objects must not be swept then."""
        if self._putting is not None:
            await asyncio.wait([self._putting])
        return await self._for_certain(self._outcome)

    async def _for_certain(self, ask: Callable[[], Awaitable[Result]]) -> Result:
        """Ask until the store answers."""
        while True:
            try:
                return await ask()
            except StoreUnavailable as error:
                log.warning("waiting for the store", action="store-awaited", backup=self._backup, error=str(error))
                await self._tools.clock.sleep(_STORE_PAUSE_S)

    async def _outcome(self) -> BackupOutcome | None:
        key = keys.outcome(self._cluster, self._backup)
        try:
            return parse(BackupOutcome, await self._tools.store.get(key), key)
        except ObjectMissing:
            return None

    async def _sweep_attempt(self, attempt: int) -> None:
        prefix = keys.attempt(self._cluster, self._backup, attempt)
        try:
            leftovers = [found.key async for found in self._tools.store.list(prefix)]
            await self._tools.store.delete(leftovers)
        except StoreError as error:
            log.warning("a failed attempt is swept later", action="sweep-delayed", prefix=prefix, error=str(error))

    async def _or_cancelled(self, task: "asyncio.Future[Result]") -> Result:
        """Wait for the task, or end it when a cancel was requested."""
        asked = asyncio.ensure_future(self._context.cancel_requested.wait())
        try:
            first: list[asyncio.Future[Any]] = [task, asked]
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        finally:
            asked.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
        raise refused(
            "cancelled", f"The backup {self._backup} was cancelled because something more urgent needs the cluster"
        )

    async def _announce(self, outcome: BackupOutcome) -> Ending:
        entry = await self._registered()
        retention = entry.setting.retention_days if entry else 7
        self._context.status("backup", backup_status(outcome, retention, self._tools.clock.now()), entity=self._backup)
        if outcome.result == "failed":
            why = outcome.problem or problem("internal-error", "the backup failed without a reason")
            return _failed_ending(self._context, self._command, outcome.attempt, why)
        assert outcome.snapshot_time is not None
        return Ending(
            event="tidewind.backup.completed.v1",
            body=BackupCompleted(
                **self._facts(),
                attempt=outcome.attempt,
                snapshot_time=outcome.snapshot_time,
                position=outcome.position,
                timeline=outcome.timeline or ids.ROOT_TIMELINE,
                tables=outcome.tables,
                rows=outcome.rows,
                stored_bytes=outcome.stored_bytes,
                row_bytes=outcome.row_bytes,
                duration_ms=outcome.duration_ms,
                writer_stall_ms=outcome.writer_stall_ms,
                expires_at=expires_at(outcome, retention),
                suspect=outcome.suspect,
            ),
        )

    def _facts(self) -> dict[str, Any]:
        return _facts(self._context, self._command)

    def _publish_state(self, state: str, *, attempt: int, **more: Any) -> None:
        self._context.status(
            "backup",
            BackupStatus.model_validate(
                {
                    "cluster_id": self._cluster,
                    "at": self._tools.clock.now(),
                    "backup_id": self._backup,
                    "cause": self._command.cause,
                    "slot_date": self._command.slot_date,
                    "state": state,
                    "attempt": attempt,
                    "started_at": self._started,
                    **more,
                }
            ),
            entity=self._backup,
        )


def _facts(context: JobContext, command: BackupRun) -> dict[str, Any]:
    return {
        "cluster_id": context.job.cluster_id,
        "job_id": context.job.job_id,
        "actor": context.job.actor,
        "reason": command.reason,
        "backup_id": ids.backup_id(context.job.job_id),
        "cause": command.cause,
        "slot_date": command.slot_date,
    }


def _failed_ending(context: JobContext, command: BackupRun, attempt: int, why: Problem) -> Ending:
    return Ending(
        event="tidewind.backup.failed.v1",
        body=BackupFailed(**_facts(context, command), attempt=attempt, problem=why),
    )
