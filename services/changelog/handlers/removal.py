"""`tidewind.segments.delete.v1`: removes segments that retention lets go.

Invariants: whole objects go, from the oldest on, so that what is left runs on without a hole; none that a running
restore reads, by its pin; none that a backup needs which is there when the removal is carried out, whatever was so when
it was ordered; nothing while clocks cannot be trusted; and never the last one of the history that is being written,
which no history of a retired cluster is.

What goes is announced before the first object is deleted: deletions come through in any order, and one that was
interrupted must not look like a hole to those who read the rest. A removal that was interrupted anywhere is done again
whole.
"""

import math
from datetime import timedelta

from schemas.commands import SegmentsDelete
from schemas.events import CommandFailed, LogRemoved
from schemas.replies import Problem
from services.changelog.rules.rollups import pinned
from tidewind.domain import keys
from tidewind.domain.log_retention import Needed, removable, routes_begin
from tidewind.domain.problems import Refused, problem, refused
from tidewind.domain.retention import clock_doubt
from tidewind.domain.segments import SegmentHead
from tidewind.ports.clock import Clock
from tidewind.ports.jobs import Accept, Ending, Incoming, JobContext, Reject
from tidewind.ports.store import Store
from tidewind.runtime.catalogue import Catalogue, pins_in_force
from tidewind.runtime.intake import command_of
from tidewind.runtime.ledger import Ledger
from tidewind.runtime.log_archive import LogArchive, LogObject
from tidewind.runtime.registry import Registry

_BATCH = 500


class DeleteSegments:
    """`window`: how far back any instant must be reachable."""

    command = "tidewind.segments.delete.v1"

    def __init__(
        self,
        store: Store,
        archived: LogArchive,
        catalogue: Catalogue,
        registry: Registry,
        ledger: Ledger,
        *,
        clock: Clock,
        window: timedelta,
    ) -> None:
        self._store = store
        self._archived = archived
        self._catalogue = catalogue
        self._registry = registry
        self._ledger = ledger
        self._clock = clock
        self._window = window

    async def decide(self, incoming: Incoming) -> Accept | Reject:
        command = incoming.command
        assert isinstance(command, SegmentsDelete)
        known = [one.history for one in await self._archived.histories(command.cluster_id)]
        if command.history not in known:
            return Reject(problem=problem("invalid-command", f"{command.cluster_id} has no history {command.history}"))
        return Accept()

    async def work(self, context: JobContext) -> Ending:
        command = command_of(context.job, SegmentsDelete)
        cluster, history = command.cluster_id, command.history
        entry = await self._registry.newest(cluster)
        newest = (await self._archived.histories(cluster))[-1].history == history
        objects = await self._archived.objects(cluster, history)
        written = newest and (entry is None or entry.state != "retired")
        last_kept = objects[-1].last if written and objects else None
        through = min(command.through, await self._removable_through(cluster, history, last_kept))
        pins = [
            (log.first, log.last)
            for pin in await pins_in_force(self._catalogue, self._ledger, cluster)
            for log in pin.log
            if log.history == history
        ]
        going: list[LogObject] = []
        for found in objects:
            if found.last > through or pinned(found.first, found.last, pins):
                break
            going.append(found)
        await context.check_lease()
        if going:
            await self._store.put_if_absent(keys.trimmed(cluster, history, going[-1].last), b"")
        removed, freed = await self._delete_trimmed(cluster, history)
        return Ending(
            event="tidewind.segments.deleted.v1",
            body=LogRemoved(
                cluster_id=cluster,
                job_id=context.job.job_id,
                actor=context.job.actor,
                history=history,
                segments=removed,
                freed_bytes=freed,
            ),
        )

    async def _removable_through(self, cluster: str, history: str, last_kept: int | None) -> float:
        """Through which segment the log may go by what is known now; infinity if through its end."""
        now = self._clock.now()
        doubt = clock_doubt(now=now, store_now=await self._store.now(), since_last=None, elapsed=None)
        if doubt is not None:
            raise refused("clock-skew", f"{doubt[0].upper()}{doubt[1:]}; nothing is removed meanwhile")
        contents = await self._catalogue.contents(cluster)
        if contents.unreadable:
            raise Refused(contents.unreadable[0].problem)
        needed = Needed(positions=routes_begin(contents.backups, history), last_kept=last_kept)

        def stays(head: SegmentHead) -> bool:
            return not removable(head, needed, now, self._window)

        first = await self._archived.first_where(cluster, history, stays)
        return math.inf if first is None else first.number - 1

    async def _delete_trimmed(self, cluster: str, history: str) -> tuple[int, int]:
        """Deletes all that was announced, by an interrupted removal too, and singles that a pin had held beside their
        roll-up. (segments, bytes) that went."""
        trimmed = await self._archived.trimmed(cluster, history)
        freed = 0
        for at in range(0, len(trimmed.objects), _BATCH):
            batch = trimmed.objects[at : at + _BATCH]
            for one in batch:
                info = await self._store.info(one.key)
                freed += info.size if info else 0
            await self._store.delete([one.key for one in batch])
        await self._store.delete(trimmed.superseded)
        return len({number for one in trimmed.objects for number in range(one.first, one.last + 1)}), freed

    def failed(self, context: JobContext, problem: Problem) -> Ending:
        return Ending(
            event="tidewind.command.failed.v1",
            body=CommandFailed(
                cluster_id=context.job.cluster_id,
                job_id=context.job.job_id,
                actor=context.job.actor,
                command=self.command,
                problem=problem,
            ),
        )
