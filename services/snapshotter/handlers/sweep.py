"""Housekeeping: removes what no outcome names, and forgets what was deleted long ago.

Invariant: an attempt's folder is removed only when the backup's outcome exists and names another attempt, or none; a
backup without an outcome is left alone, because its job may still be taken over. Nothing is removed while our clock and
the store's disagree.
"""

from collections.abc import Callable
from datetime import timedelta

import structlog

from schemas import topics
from services.snapshotter.handlers.run import SnapshotTools
from services.snapshotter.rules.attempts import superfluous
from services.snapshotter.rules.deletes import clocks_agree
from tidewind.domain import keys
from tidewind.domain.records import BackupOutcome
from tidewind.ports.bus import Publisher
from tidewind.ports.store import ObjectMissing, StoreError
from tidewind.runtime.ledger import Ledger
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
        """One pass over the owned clusters; the number of objects removed."""
        tools = self._tools
        skew = clocks_agree(tools.clock.now(), await tools.store.now())
        if skew is not None:
            log.warning(skew.detail, action="sweep-skipped")
            return 0
        removed = 0
        async for entry in tools.registry.clusters():
            if self._owns(entry.cluster_id):
                removed += await self._sweep_attempts(entry.cluster_id)
                removed += await self._forget_deleted(entry.cluster_id)
                removed += await self._forget_jobs(entry.cluster_id)
        return removed

    async def _sweep_attempts(self, cluster: str) -> int:
        removed = 0
        after = ""
        while True:
            backup = await self._next_snapshot(cluster, after)
            if backup is None:
                return removed
            removed += await self._sweep_backup(cluster, backup)
            after = keys.snapshot(cluster, backup) + "~"

    async def _next_snapshot(self, cluster: str, after: str) -> str | None:
        prefix = f"{keys.SNAPSHOTS}{cluster}/"
        async for found in self._tools.store.list(prefix, after=after):
            return found.key.removeprefix(prefix).split("/")[0]
        return None

    async def _sweep_backup(self, cluster: str, backup: str) -> int:
        entry = await self._tools.catalogue.backup(cluster, backup)
        if entry is None:
            return 0
        if entry.tombstone is not None:
            return 0  # its delete is at work, or comes back to it
        prefix = keys.snapshot(cluster, backup)
        found = [one.key async for one in self._tools.store.list(prefix)]
        leftovers = superfluous(found, prefix=prefix, keep_attempt=_kept_attempt(entry.outcome))
        await self._tools.store.delete(leftovers)
        if leftovers:
            log.info("swept leftovers", action="swept", cluster=cluster, backup=backup, objects=len(leftovers))
        return len(leftovers)

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
        """Folders of jobs that ended 90 days ago: until then a late duplicate still gets its old answer."""
        horizon = self._tools.clock.now() - REMEMBER_JOBS
        old: dict[str, list[str]] = {}
        young: set[str] = set()
        prefix = f"{keys.JOBS}{cluster}/"
        async for found in self._tools.store.list(prefix):
            job = found.key.removeprefix(prefix).split("/")[0]
            if found.modified >= horizon:
                young.add(job)
            old.setdefault(job, []).append(found.key)
        removed = 0
        for job, entries in old.items():
            if job in young:
                continue
            accepted = await self._ledger.accepted(cluster, job)
            ended = await self._ledger.terminal(cluster, job) is not None
            if ended:
                await self._tools.store.delete([keys.pin(cluster, job)])
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


def _kept_attempt(outcome: BackupOutcome) -> str | None:
    if outcome.result != "completed":
        return None
    return keys.attempt(outcome.cluster_id, outcome.backup_id, outcome.attempt)
