"""The public state of every backup, from the store alone; published again where the status topic says something else.

The topic is an image of the catalogue. It can be lost, it can lag behind a crash between an outcome and its status, and
a changed retention changes when each backup expires: so after every assignment, and now and then, each backup's status
is computed anew and published if it differs.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import structlog

from schemas import topics
from schemas.status import BackupStatus
from tidewind.domain.catalogue import CatalogueEntry, UnreadableBackup, expires_at, newest_first
from tidewind.domain.records import BackupOutcome, RegistryEntry, Tombstone
from tidewind.ports.bus import Publisher, StatusView
from tidewind.ports.clock import Clock
from tidewind.ports.store import StoreError, StoreUnavailable
from tidewind.runtime import metrics
from tidewind.runtime.catalogue import Catalogue
from tidewind.runtime.outbox import Composer, body_of
from tidewind.runtime.registry import Registry

log = structlog.get_logger()

_NOT_STATE = frozenset({"revision", "at"})


def backup_status(outcome: BackupOutcome, retention_days: int, now: datetime, **changes: Any) -> BackupStatus:
    """The public state of a backup that has an outcome."""
    facts = {
        "cluster_id": outcome.cluster_id,
        "at": now,
        "backup_id": outcome.backup_id,
        "cause": outcome.cause,
        "slot_date": outcome.slot_date,
        "state": outcome.result,
        "listed": outcome.listed,
        "attempt": outcome.attempt,
        "started_at": outcome.started_at,
        "snapshot_time": outcome.snapshot_time,
        "position": outcome.position,
        "timeline": outcome.timeline,
        "tables": outcome.tables,
        "rows": outcome.rows,
        "stored_bytes": outcome.stored_bytes,
        "row_bytes": outcome.row_bytes,
        "expires_at": expires_at(outcome, retention_days),
        "suspect": outcome.suspect,
        "problem": outcome.problem,
    }
    return BackupStatus.model_validate(facts | changes)


def status_of(entry: CatalogueEntry, retention_days: int, now: datetime) -> BackupStatus:
    """The state of a backup that has an outcome, with what its newest verification found."""
    changes: dict[str, Any] = {}
    if entry.verification is not None:
        changes = {"verified_at": entry.verification.verified_at, "damaged": entry.damaged}
    if entry.tombstone is not None:
        changes["state"] = "deleting"
    return backup_status(entry.outcome, retention_days, now, **changes)


def status_of_deleted(mark: Tombstone, retention_days: int, now: datetime) -> BackupStatus | None:
    """The state of a backup that is gone; None if the tombstone does not know what it was."""
    if mark.outcome is None:
        return None
    state = "expired" if mark.cause == "retention" else "deleted"
    return backup_status(mark.outcome, retention_days, now, state=state)


def status_of_unreadable(backup: UnreadableBackup, now: datetime, *, state: str = "damaged") -> BackupStatus:
    """The state of a backup of which nothing but its id can be read."""
    facts = {
        "cluster_id": backup.cluster_id,
        "at": now,
        "backup_id": backup.backup_id,
        "cause": "unknown",
        "state": state,
        "problem": backup.problem,
    }
    return BackupStatus.model_validate(facts)


class StatusKeeper:
    """`owns` tells whether this instance takes in a cluster's commands."""

    def __init__(
        self,
        registry: Registry,
        catalogue: Catalogue,
        *,
        publisher: Publisher,
        composer: Composer,
        view: StatusView,
        clock: Clock,
        owns: Callable[[str], bool],
        every_s: float,
    ) -> None:
        self._registry = registry
        self._catalogue = catalogue
        self._publisher = publisher
        self._composer = composer
        self._view = view
        self._clock = clock
        self._owns = owns
        self._every_s = every_s

    async def run(self) -> None:
        """Compare and publish until cancelled."""
        while True:
            if self._view.caught_up():
                try:
                    await self.publish_differences()
                except StoreError as error:
                    log.warning("statuses could not be compared", action="statuses-failed", error=str(error))
            await self._clock.sleep(self._every_s)

    async def publish_differences(self) -> int:
        """How many statuses were published. Raises StoreError where the store fails; trouble with one cluster's records
        keeps no other from being spoken for."""
        published = 0
        async for cluster in self._registry.clusters():
            if not self._owns(cluster.cluster_id):
                continue
            try:
                published += await self._publish_of(cluster)
            except StoreUnavailable:
                raise
            except Exception:
                log.exception("a cluster cannot be compared", action="statuses-failed", cluster=cluster.cluster_id)
        return published

    async def _publish_of(self, cluster: RegistryEntry) -> int:
        retention, now = cluster.setting.retention_days, self._clock.now()
        contents = await self._catalogue.contents(cluster.cluster_id)
        _measure(cluster.cluster_id, contents.backups)
        statuses = [status_of(entry, retention, now) for entry in contents.backups]
        statuses += [status_of_unreadable(backup, now) for backup in contents.unreadable]
        present = {status.backup_id for status in statuses}
        for backup, mark in (await self._catalogue.tombstones(cluster.cluster_id)).items():
            gone = status_of_deleted(mark, retention, now) if backup not in present else None
            if gone is not None:
                statuses.append(gone)
        return sum(self._publish(status) for status in statuses)

    def _publish(self, status: BackupStatus) -> bool:
        known = self._view.get(f"backup/{status.cluster_id}/{status.backup_id}")
        if known is not None and _state(known) == _state(body_of(status)):
            return False
        self._publisher.post(topics.STATUS, self._composer.status("backup", status, entity=status.backup_id))
        return True


def _measure(cluster: str, entries: list[CatalogueEntry]) -> None:
    newest = next((entry.outcome for entry in newest_first(entries) if entry.restorable and not entry.damaged), None)
    if newest is not None and newest.snapshot_time is not None:
        metrics.LAST_SUCCESS.labels(cluster).set(newest.snapshot_time.timestamp())
        metrics.STORED_BYTES.labels(cluster).set(newest.stored_bytes)


def _state(body: Any) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in _NOT_STATE}
