"""Sees to it that the cluster's present timeline, and the log captured now, have a base: a completed backup in them.

Opening a restore begins a new timeline, and a gap a new history, and neither orders anybody to back it up; that it has
no base is what makes one due. A slot that is due or running serves as the base, so that no cluster is read twice in a
row. A base that failed is tried again under a new id after a pause, until any backup of them completes. One that
completed and yet stands in another log, or in none (nothing is captured any more), is tried again a day later.
"""

from datetime import datetime

import structlog

from services.scheduler.handlers.memory import Memory
from services.scheduler.handlers.slots import COMPLETED
from services.scheduler.handlers.speaker import Speaker
from services.scheduler.handlers.survey import Survey
from services.scheduler.rules.emission import base_pause_s, base_work
from tidewind.domain.ids import ROOT_TIMELINE
from tidewind.domain.records import RegistryEntry
from tidewind.ports.store import UNREADABLE
from tidewind.runtime.catalogue import Catalogue
from tidewind.runtime.ledger import Ledger

log = structlog.get_logger()

_MOST_ATTEMPTS = 1000
_PAUSE_AFTER_COMPLETED_S = 86_400.0


class BaseKeeper:
    def __init__(self, ledger: Ledger, catalogue: Catalogue, survey: Survey, speaker: Speaker) -> None:
        self._ledger = ledger
        self._catalogue = catalogue
        self._survey = survey
        self._speaker = speaker

    async def keep(self, history: tuple[RegistryEntry, ...], memory: Memory, now: datetime) -> None:
        """One round for one cluster. Raises StoreError, BusUnavailable."""
        entry = history[-1]
        cluster = entry.cluster_id
        timeline = await self._survey.newest_timeline(cluster)
        try:
            captured = await self._survey.histories(cluster)
        except UNREADABLE as error:
            log.warning("no base is ordered", action="base-skipped", cluster=cluster, error=str(error))
            return
        newest = captured[-1].history if captured else None
        if (timeline is None and newest is None) or entry.state == "retired":
            return
        wanted = (timeline.timeline if timeline else ROOT_TIMELINE, newest)
        if wanted in memory.based or self._survey.restoring(cluster) or memory.open_days:
            return
        if memory.slot is not None and memory.slot.state in ("due", "deferred"):
            return
        for backup in await self._catalogue.backups(cluster):
            outcome = backup.outcome
            if outcome.result == "completed" and outcome.timeline == wanted[0] and newest in (None, outcome.history):
                memory.based.add(wanted)
                return
        await self._order(cluster, wanted, memory, now)

    async def _order(self, cluster: str, wanted: tuple[str, str | None], memory: Memory, now: datetime) -> None:
        for attempt in range(1, _MOST_ATTEMPTS):
            work = base_work(cluster, *wanted, attempt)
            standing = await self._ledger.accepted(cluster, work.job_id)
            if standing is None:
                await self._speaker.order(work, memory, now)
                return
            pause = base_pause_s(attempt)
            if standing.rejected is not None:
                ended = standing.accepted_at
            else:
                terminal = await self._ledger.terminal(cluster, work.job_id)
                if terminal is None:
                    return
                ended = terminal.at
                if terminal.event == COMPLETED:
                    pause = _PAUSE_AFTER_COMPLETED_S
            if (now - ended).total_seconds() < pause:
                return
