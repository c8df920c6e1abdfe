"""Removes what restores set aside, once undo is over.

Invariant: the mark that what was set aside has expired is put before anything is dropped, and an undo looks for it
after it holds the cluster; so an undo either began before the mark, and is waited for, or is refused.
"""

from collections.abc import Callable
from datetime import datetime

import structlog

from schemas import topics
from schemas.events import SafeguardExpired
from services.restorer.handlers.connection import target_of
from services.restorer.handlers.sources import EXPIRED_NOTE, OPENED_NOTE
from services.restorer.handlers.tools import RestoreTools
from tidewind.domain.problems import Refused
from tidewind.domain.records import RegistryEntry, Timeline
from tidewind.ports.bus import Publisher
from tidewind.ports.engine import DatabaseError
from tidewind.ports.store import StoreError, StoreUnavailable
from tidewind.runtime.outbox import Composer

log = structlog.get_logger()

REMOVED_NOTE = "safeguard-removed"


class Expiry:
    """`owns` tells whether this instance takes in a cluster's commands."""

    def __init__(
        self, tools: RestoreTools, *, publisher: Publisher, composer: Composer, owns: Callable[[str], bool]
    ) -> None:
        self._tools = tools
        self._publisher = publisher
        self._composer = composer
        self._owns = owns

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                await self.sweep()
            except StoreError as error:
                log.warning(str(error), action="expiry-failed")
            await self._tools.clock.sleep(self._tools.settings.expire_every_s)

    async def sweep(self) -> list[str]:
        """One pass over the owned clusters; the restores whose safeguard was removed."""
        removed = []
        async for entry in self._tools.registry.clusters():
            if not self._owns(entry.cluster_id):
                continue
            try:
                removed += await self._sweep_cluster(entry)
            except StoreUnavailable:
                raise
            except Exception:
                # One damaged record must not keep the safeguards of other clusters from expiring.
                log.exception("a cluster is skipped", action="expiry-failed", cluster=entry.cluster_id)
        return removed

    async def _sweep_cluster(self, entry: RegistryEntry) -> list[str]:
        removed = []
        for timeline in await self._tools.catalogue.timelines(entry.cluster_id):
            try:
                if await self._expire(entry, timeline):
                    removed.append(str(timeline.restore_id))
            except (DatabaseError, Refused) as error:
                log.warning(str(error), action="expiry-failed", cluster=entry.cluster_id)
        return removed

    async def _expire(self, entry: RegistryEntry, timeline: Timeline) -> bool:
        if timeline.restore_id is None or timeline.job_id is None:
            return False
        cluster, job_id = entry.cluster_id, timeline.job_id
        notes = await self._tools.ledger.notes(cluster, job_id)
        opened = notes.get(OPENED_NOTE)
        if opened is None or REMOVED_NOTE in notes:
            return False
        now = self._tools.clock.now()
        if now < datetime.fromisoformat(str(opened["undo_until"])):
            return False
        epoch = await self._tools.ledger.newest_epoch(cluster, job_id)
        await self._tools.ledger.note(cluster, job_id, EXPIRED_NOTE, epoch, {"at": now.isoformat()})
        holder = await self._tools.operations.holder(cluster)
        if holder is not None and holder.kind != "backup":
            return False
        target = target_of(entry)
        engine = self._tools.engines[entry.engine]
        tables = await engine.expire(target.address, target.login, timeline.restore_id, replicas=entry.replicas)
        await self._announce(cluster, job_id, timeline.restore_id, tables)
        await self._tools.ledger.note(
            cluster, job_id, REMOVED_NOTE, epoch, {"at": self._tools.clock.now().isoformat(), "tables": tables}
        )
        return True

    async def _announce(self, cluster: str, job_id: str, restore_id: str, tables: int) -> None:
        job = await self._tools.ledger.accepted(cluster, job_id)
        if job is not None:
            body = SafeguardExpired(cluster_id=cluster, restore_id=restore_id, freed_tables=tables)
            message = self._composer.event(job, "tidewind.safeguard.expired.v1", body, "expired")
            self._publisher.post(topics.EVENTS, message)
