"""Housekeeping: removes what no outcome names, finishes deletes that were left, and forgets what was deleted long ago.

Invariant: an attempt's folder is removed only when the backup's outcome exists and names another attempt, or none. A
backup whose job ended without an outcome gets one first, `failed`, put by the same conditional put that makes a backup
complete: of the sweep and a holder that wakes, the first decides for both. While its job has not ended a backup is left
alone. Nothing is removed while our clock and the store's disagree.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from schemas import topics
from schemas.replies import Problem
from services.snapshotter.handlers.delete import REMOVING_NOTE
from services.snapshotter.handlers.removal import remove_backup
from services.snapshotter.handlers.tools import SnapshotTools
from services.snapshotter.rules.attempts import superfluous
from services.snapshotter.rules.deletes import clocks_agree
from services.snapshotter.rules.leftovers import REFUSALS, Unfinished, may_finish_delete, may_settle, may_withdraw
from tidewind.domain import ids, keys
from tidewind.domain.problems import kind_of
from tidewind.domain.records import Accepted, BackupOutcome, RegistryEntry, Tombstone, parse
from tidewind.ports.bus import BusError, Publisher
from tidewind.ports.store import UNREADABLE, ObjectMissing, StoreError
from tidewind.runtime.catalogue import pins_in_force
from tidewind.runtime.ledger import Ledger
from tidewind.runtime.operations import operations_of
from tidewind.runtime.outbox import Composer

log = structlog.get_logger()

REMEMBER_DELETED = timedelta(days=7)
REMEMBER_JOBS = timedelta(days=90)


class Sweeper:
    """`owns` tells whether this instance takes in a cluster's commands."""

    def __init__(
        self,
        tools: SnapshotTools,
        ledger: Ledger,
        publisher: Publisher,
        composer: Composer,
        owns: Callable[[str], bool],
    ) -> None:
        self._tools = tools
        self._ledger = ledger
        self._publisher = publisher
        self._composer = composer
        self._owns = owns

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await self._tools.clock.sleep(self._tools.settings.sweep_every_s)
            try:
                await self.sweep()
            except StoreError as error:
                log.warning("the sweep was cut short", action="sweep-failed", error=str(error))

    async def sweep(self) -> int:
        """One pass over the owned clusters; the number of objects removed. Raises StoreError if the clusters cannot be
        listed."""
        tools = self._tools
        skew = clocks_agree(tools.clock.now(), await tools.store.now())
        if skew is not None:
            log.warning(skew.detail, action="sweep-skipped")
            return 0
        found = [one.key.removeprefix(keys.REGISTRY).split("/")[0] async for one in tools.store.list(keys.REGISTRY)]
        found += await self._clusters_with_jobs()
        removed = 0
        for cluster in dict.fromkeys(found):
            if not self._owns(cluster):
                continue
            try:
                removed += await self._sweep_cluster(cluster)
            except (StoreError, BusError) as error:
                log.warning("a cluster's sweep was cut short", action="sweep-failed", cluster=cluster, error=str(error))
            except Exception:
                # One damaged record must not keep the clusters after it from being swept.
                log.exception("a cluster cannot be swept", action="sweep-failed", cluster=cluster)
        return removed

    async def _clusters_with_jobs(self) -> list[str]:
        """Also those that were never enrolled: what was refused of them is kept as long as any answer."""
        found: list[str] = []
        after = ""
        while (cluster := await self._next_below(keys.JOBS, after)) is not None:
            found.append(cluster)
            after = f"{keys.JOBS}{cluster}/~"
        return found

    async def _sweep_cluster(self, cluster: str) -> int:
        registered = await self._tools.registry.newest(cluster)
        if registered is None:
            return await self._forget_jobs(cluster)
        removed = await self._sweep_attempts(registered)
        removed += await self._finish_deletes(cluster)
        removed += await self._forget_deleted(cluster)
        return removed + await self._forget_jobs(cluster)

    async def _sweep_attempts(self, registered: RegistryEntry) -> int:
        cluster = registered.cluster_id
        removed = 0
        after = ""
        while True:
            backup = await self._next_below(f"{keys.SNAPSHOTS}{cluster}/", after)
            if backup is None:
                return removed
            removed += await self._sweep_backup(registered, backup)
            after = keys.snapshot(cluster, backup) + "~"

    async def _next_below(self, prefix: str, after: str) -> str | None:
        """The first folder below the prefix that holds a key after `after`: a step costs one page, however full the
        folders are."""
        async for found in self._tools.store.list(prefix, after=after):
            return found.key.removeprefix(prefix).split("/")[0]
        return None

    async def _sweep_backup(self, registered: RegistryEntry, backup: str) -> int:
        cluster = registered.cluster_id
        try:
            entry = await self._tools.catalogue.backup(cluster, backup)
        except UNREADABLE:
            return 0  # what its outcome names is not known, so nothing of it is superfluous
        outcome = await self._settled(registered, backup) if entry is None else entry.outcome
        if outcome is None:
            return 0
        if entry is not None and entry.tombstone is not None:
            return 0  # it goes as a whole: see _finish_deletes
        prefix = keys.snapshot(cluster, backup)
        found = [one.key async for one in self._tools.store.list(prefix)]
        leftovers = superfluous(found, prefix=prefix, keep_attempt=_kept_attempt(outcome))
        await self._tools.store.delete(leftovers)
        if leftovers:
            log.info("swept leftovers", action="swept", cluster=cluster, backup=backup, objects=len(leftovers))
        return len(leftovers)

    async def _settled(self, registered: RegistryEntry, backup: str) -> BackupOutcome | None:
        """The outcome of a backup that has none: `failed`, if its job ended without one; what stands, if somebody was
        faster; None while the job may still bring one."""
        cluster, ledger, store = registered.cluster_id, self._ledger, self._tools.store
        written = [one.modified async for one in store.list(keys.snapshot(cluster, backup))]
        # After the objects: a job is in the ledger before it writes any.
        job = await self._job_of(cluster, backup)
        if job is None or not written:
            return None
        terminal = await ledger.terminal(cluster, job.job_id)
        now = self._tools.clock.now()
        unfinished = Unfinished(
            ended_at=None if terminal is None else terminal.at,
            ended_by=0 if terminal is None else terminal.epoch,
            newest_epoch=await ledger.newest_epoch(cluster, job.job_id),
            newest_object=max(written),
        )
        leave = may_settle(unfinished, now, timedelta(hours=self._tools.settings.snapshot_timeout_h))
        if not leave.now or terminal is None:
            return None
        wanted = _failed_outcome(registered, job, terminal.at, terminal.data.get("problem"))
        key = keys.outcome(cluster, backup)
        log.info("a backup without an outcome is settled", action="settled", backup=backup, reason=leave.why)
        if await store.put_if_absent(key, wanted.to_bytes()):
            return wanted
        return parse(BackupOutcome, await store.get(key), key)

    async def _job_of(self, cluster: str, backup: str) -> Accepted | None:
        seen = ""
        prefix = f"{keys.JOBS}{cluster}/"
        async for found in self._tools.store.list(prefix):
            job = found.key.removeprefix(prefix).split("/")[0]
            if job != seen and ids.backup_id(job) == backup:
                return await self._ledger.accepted(cluster, job)
            seen = job
        return None

    async def _finish_deletes(self, cluster: str) -> int:
        """Deletes whose job ended as failed in the middle: nobody else comes back to them, and their tombstone hides
        what is left."""
        finished = 0
        for backup, mark in (await self._tools.catalogue.tombstones(cluster)).items():
            if not await self._exists(keys.outcome(cluster, backup)) or await self._withdrawn(cluster, backup, mark):
                continue
            if await self._may_finish(cluster, backup, mark):
                freed = await remove_backup(self._tools.store, cluster, backup, lambda _: None)
                log.info("finished a delete", action="delete-finished", cluster=cluster, backup=backup, bytes=freed)
                finished += 1
        return finished

    async def _withdrawn(self, cluster: str, backup: str, mark: Tombstone) -> bool:
        """Take back the tombstone of a delete that was refused: the backup is whole, and was said to stay."""
        terminal = await self._ledger.terminal(cluster, mark.job_id)
        why = Problem.model_validate(terminal.data["problem"]) if terminal and terminal.data.get("problem") else None
        leave = may_withdraw(
            refused=why is not None and kind_of(why).name in REFUSALS,
            begun=REMOVING_NOTE in await self._ledger.notes(cluster, mark.job_id),
            marked_at=mark.marked_at,
            now=self._tools.clock.now(),
        )
        if leave.now:
            log.info("a tombstone is withdrawn", action="tombstone-withdrawn", backup=backup, reason=leave.why)
            await self._tools.store.delete([keys.tombstone(cluster, backup)])
        return leave.now

    async def _may_finish(self, cluster: str, backup: str, mark: Tombstone) -> bool:
        ended = await self._ledger.ended(cluster, mark.job_id)
        # After the job's end: a delete that was refused withdrew its tombstone before it ended.
        standing = await self._tools.catalogue.tombstone(cluster, backup)
        if standing is None or standing.job_id != mark.job_id:
            return False
        # After the tombstone: a restore whose pin comes later finds it.
        pins = await pins_in_force(self._tools.catalogue, self._ledger, cluster)
        leave = may_finish_delete(
            ended=ended,
            begun=REMOVING_NOTE in await self._ledger.notes(cluster, mark.job_id),
            pinned=any(backup in pin.backups for pin in pins),
            marked_at=mark.marked_at,
            now=self._tools.clock.now(),
        )
        return leave.now

    async def _forget_deleted(self, cluster: str) -> int:
        """A week after its deletion a backup's status key and its tombstone go."""
        forgotten = 0
        horizon = self._tools.clock.now() - REMEMBER_DELETED
        for backup, mark in (await self._tools.catalogue.tombstones(cluster)).items():
            if mark.marked_at >= horizon or await self._exists(keys.outcome(cluster, backup)):
                continue
            await self._publisher.send(topics.STATUS, self._composer.tombstone("backup", cluster, entity=backup))
            await self._tools.store.delete([keys.tombstone(cluster, backup)])
            forgotten += 1
        return forgotten

    async def _forget_jobs(self, cluster: str) -> int:
        """Folders of jobs that ended 90 days ago: until then a late duplicate still gets its old answer. Those that the
        operation lock names stay: the last restore's tells whether the cluster was left closed."""
        horizon = self._tools.clock.now() - REMEMBER_JOBS
        old: dict[str, list[str]] = {}
        young: set[str] = set()
        prefix = f"{keys.JOBS}{cluster}/"
        async for found in self._tools.store.list(prefix):
            job = found.key.removeprefix(prefix).split("/")[0]
            if found.modified >= horizon:
                young.add(job)
            old.setdefault(job, []).append(found.key)
        for job in young:
            del old[job]
        named = {operation.job_id async for operation in operations_of(self._tools.store, cluster)} if old else set()
        removed = 0
        for job, entries in old.items():
            accepted = await self._ledger.accepted(cluster, job)
            ended = await self._ledger.terminal(cluster, job) is not None
            if ended:
                await self._tools.store.delete([keys.pin(cluster, job)])
            if job in named:
                continue
            if ended or (accepted is not None and accepted.rejected is not None):
                await self._tools.store.delete(entries)
                await self._publisher.send(topics.STATUS, self._composer.tombstone("job", cluster, entity=job))
                removed += len(entries)
        return removed

    async def _exists(self, key: str) -> bool:
        try:
            return await self._tools.store.info(key) is not None
        except ObjectMissing:
            return False


def _failed_outcome(registered: RegistryEntry, job: Accepted, ended: datetime, problem: object) -> BackupOutcome:
    return BackupOutcome.model_validate(
        {
            "cluster_id": job.cluster_id,
            "backup_id": ids.backup_id(job.job_id),
            "job_id": job.job_id,
            "result": "failed",
            "attempt": 0,
            "cause": job.body.get("cause", "manual"),
            "slot_date": job.body.get("slot_date"),
            "started_at": job.accepted_at,
            "ended_at": ended,
            "engine": registered.engine,
            "engine_version": registered.engine_version,
            "problem": problem,
        }
    )


def _kept_attempt(outcome: BackupOutcome) -> str | None:
    if outcome.result != "completed":
        return None
    return keys.attempt(outcome.cluster_id, outcome.backup_id, outcome.attempt)
