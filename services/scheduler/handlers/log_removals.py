"""Orders the removal of segments that no kept backup needs. The rule is tidewind.domain.log_retention.

The archive, which carries it out, applies it once more to what it finds then, and looks for the pins of restores.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.scheduler.handlers.memory import Memory
from services.scheduler.handlers.speaker import Speaker
from services.scheduler.rules.emission import log_removal_work
from tidewind.domain.catalogue import CatalogueEntry
from tidewind.domain.histories import History
from tidewind.domain.log_retention import Needed, removable, routes_begin
from tidewind.domain.segments import SegmentHead
from tidewind.runtime.log_archive import LogArchive


@dataclass(frozen=True, kw_only=True)
class Promise:
    """How far back any instant of a captured log can be restored, with a replay of at most `max_replay`."""

    window: timedelta
    max_replay: timedelta


class LogRemovals:
    def __init__(self, archived: LogArchive, speaker: Speaker, promise: Promise) -> None:
        self._archived = archived
        self._speaker = speaker
        self.promise = promise

    async def keep(
        self,
        captured: Sequence[History],
        kept: Sequence[CatalogueEntry],
        memory: Memory,
        now: datetime,
        *,
        retired: bool,
    ) -> None:
        """One round for the histories of one cluster, oldest first. `kept` are the backups that stay, or are not gone
        yet; of a retired cluster no history is written any more. Raises StoreError, BusUnavailable."""
        for history in captured:
            written = history is captured[-1] and not retired
            through = await self._removable_through(history, kept, now, written=written)
            if through is not None:
                work = log_removal_work(history.cluster_id, history.history, through, now)
                await self._speaker.order(work, memory, now)

    async def _removable_through(
        self, history: History, kept: Sequence[CatalogueEntry], now: datetime, *, written: bool
    ) -> int | None:
        cluster, name = history.cluster_id, history.history
        objects = await self._archived.objects(cluster, name)
        if not objects:
            return None
        needed = Needed(positions=routes_begin(kept, name), last_kept=objects[-1].last if written else None)

        def stays(head: SegmentHead) -> bool:
            return not removable(head, needed, now, self.promise.window)

        first = await self._archived.first_where(cluster, name, stays)
        through = objects[-1].last if first is None else first.number - 1
        return through if through >= objects[0].first else None
