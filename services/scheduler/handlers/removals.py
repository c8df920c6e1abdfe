"""Orders the removal of what retention lets go: backups by the snapshotter, segments of the log by the archive.

Invariants: each order follows from a catalogue read for it, never from a remembered one, and from a trusted clock. A
backup that cannot be read has no age: it stays until a command removes it. It has no position either: while there is
one no log goes. A backup being deleted may still be kept, so what it needs of the log stays until it is gone.

Trouble with a cluster's log costs the removal of its log, and where the log's beginnings cannot be read, of its
backups: which of them are bases is unknown. Nothing else of the cluster waits for it.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import structlog

from services.scheduler.handlers.log_removals import LogRemovals, Promise
from services.scheduler.handlers.memory import Memory
from services.scheduler.handlers.speaker import Speaker
from services.scheduler.handlers.survey import Survey
from services.scheduler.rules.emission import removal_work
from tidewind.domain.histories import History
from tidewind.domain.lived import Base, bases_of, ends_of
from tidewind.domain.records import RegistryEntry, Timeline
from tidewind.domain.retention import PointInTime, RetentionSettings, from_catalogue, plan_retention
from tidewind.ports.store import UNREADABLE, StoreError, StoreUnavailable
from tidewind.runtime.catalogue import Catalogue, pins_in_force
from tidewind.runtime.ledger import Ledger

log = structlog.get_logger()


class RemovalKeeper:
    def __init__(
        self,
        ledger: Ledger,
        catalogue: Catalogue,
        survey: Survey,
        speaker: Speaker,
        log_removals: LogRemovals,
    ) -> None:
        self._ledger = ledger
        self._catalogue = catalogue
        self._survey = survey
        self._speaker = speaker
        self._log = log_removals

    async def keep(
        self, history: tuple[RegistryEntry, ...], memory: Memory, now: datetime, clock_doubt: str | None
    ) -> int:
        """One round for one cluster; returns how many backups remain. Raises StoreError, BusUnavailable."""
        entry = history[-1]
        cluster = entry.cluster_id
        contents = await self._catalogue.contents(cluster)
        entries = contents.backups
        pins = await pins_in_force(self._catalogue, self._ledger, cluster)
        remaining = len(entries) + len(contents.unreadable)
        try:
            captured = await self._survey.histories(cluster)
        except UNREADABLE as error:
            log.warning("nothing is removed", action="removal-skipped", cluster=cluster, error=str(error))
            return remaining
        verdicts = plan_retention(
            from_catalogue(entries),
            retention_settings(
                entry,
                clock_doubt=clock_doubt,
                point_in_time=point_in_time(
                    self._log.promise, await self._survey.timelines(cluster), captured, bases_of(entries)
                ),
            ),
            now,
            in_use=frozenset(backup for pin in pins for backup in pin.backups),
        )
        for verdict in verdicts:
            if not verdict.keep:
                work = removal_work(cluster, verdict.backup_id, now, retired=entry.state == "retired")
                await self._speaker.order(work, memory, now)
        if captured and clock_doubt is None and not contents.unreadable:
            kept = {verdict.backup_id for verdict in verdicts if verdict.keep}
            kept |= {one.backup_id for one in entries if one.tombstone is not None}
            try:
                staying = [one for one in entries if one.backup_id in kept]
                await self._log.keep(captured, staying, memory, now, retired=entry.state == "retired")
            except StoreUnavailable:
                raise
            except StoreError as error:
                log.warning("no log is removed", action="log-removal-skipped", cluster=cluster, error=str(error))
        return remaining


def point_in_time(
    promise: Promise, timelines: Sequence[Timeline], captured: Sequence[History], bases: Sequence[Base]
) -> PointInTime | None:
    """What retention must keep for the log; None where none is captured."""
    if not captured:
        return None
    return PointInTime(
        window=promise.window,
        max_replay=promise.max_replay,
        timeline_ends=ends_of(timelines, bases),
        history_ends={earlier.history: later.started_at for earlier, later in pairwise(captured)},
        timelines=timelines,
    )


def retention_settings(
    entry: RegistryEntry,
    *,
    retention_days: int | None = None,
    clock_doubt: str | None = None,
    point_in_time: PointInTime | None = None,
) -> RetentionSettings:
    """What a registry entry means for retention; `retention_days` in place of its own, to see what would change."""
    days = entry.setting.retention_days if retention_days is None else retention_days
    return RetentionSettings(
        retention=timedelta(days=days),
        retired=entry.state == "retired",
        point_in_time=point_in_time,
        clock_doubt=clock_doubt,
    )
