"""Sees to it that the cluster's present timeline has a base: a completed backup taken on it.

Opening a restore begins a new timeline and orders nobody to back it up; that it has no base is what makes one due. A
slot that is due or running serves as the base, so that no cluster is read twice in a row. A base that failed is tried
again under a new id after a pause, until any backup of the timeline completes.
"""

from datetime import datetime

from services.scheduler.handlers.memory import Memory
from services.scheduler.handlers.speaker import Speaker
from services.scheduler.handlers.survey import Survey
from services.scheduler.rules.emission import base_pause_s, base_work
from tidewind.domain.records import RegistryEntry
from tidewind.runtime.catalogue import Catalogue
from tidewind.runtime.ledger import Ledger

_MOST_ATTEMPTS = 1000


class BaseKeeper:
    def __init__(self, ledger: Ledger, catalogue: Catalogue, survey: Survey, speaker: Speaker) -> None:
        self._ledger = ledger
        self._catalogue = catalogue
        self._survey = survey
        self._speaker = speaker

    async def keep(self, history: tuple[RegistryEntry, ...], memory: Memory, now: datetime) -> None:
        """One round for one cluster. Raises StoreError, BusUnavailable."""
        entry = history[-1]
        timeline = await self._survey.newest_timeline(entry.cluster_id)
        if timeline is None or timeline.timeline in memory.based or entry.state == "retired":
            return
        if self._survey.restoring(entry.cluster_id) or memory.open_days:
            return
        if memory.slot is not None and memory.slot.state in ("due", "deferred"):
            return
        for backup in await self._catalogue.backups(entry.cluster_id):
            if backup.outcome.result == "completed" and backup.outcome.timeline == timeline.timeline:
                memory.based.add(timeline.timeline)
                return
        await self._order(entry.cluster_id, timeline.timeline, memory, now)

    async def _order(self, cluster: str, timeline: str, memory: Memory, now: datetime) -> None:
        for attempt in range(1, _MOST_ATTEMPTS):
            work = base_work(cluster, timeline, attempt)
            standing = await self._ledger.accepted(cluster, work.job_id)
            if standing is None:
                await self._speaker.order(work, memory, now)
                return
            if standing.rejected is not None:
                ended = standing.accepted_at
            else:
                terminal = await self._ledger.terminal(cluster, work.job_id)
                if terminal is None:
                    return
                ended = terminal.at
            if (now - ended).total_seconds() < base_pause_s(attempt):
                return
