"""One tick: everything that is due now for the clusters of one partition, computed from the store.

The timer that sends ticks does nothing else. A tick is harmless at any time, by anyone, any number of times: what it
says has ids that follow from what is said, and what it settles is put once. Trouble with one cluster (a damaged object)
does not keep the others waiting; trouble with the store or Kafka ends the tick, and the next one goes on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from services.scheduler.handlers.bases import BaseKeeper
from services.scheduler.handlers.figures import Figures
from services.scheduler.handlers.memory import Memory, from_row
from services.scheduler.handlers.removals import RemovalKeeper
from services.scheduler.handlers.slots import SlotKeeper
from services.scheduler.handlers.statuses import StatusKeeper
from services.scheduler.handlers.survey import Survey
from services.scheduler.rules.clockwatch import ClockWatch, Look, observe
from tidewind.domain.records import RegistryEntry
from tidewind.domain.retention import MAX_CLOCK_DIFFERENCE
from tidewind.ports.clock import Clock
from tidewind.ports.store import UNREADABLE, ObjectMissing, Store

log = structlog.get_logger()


class Rows(Protocol):
    """The scheduler's table, as far as a tick uses it: rows by cluster, of the partitions this instance owns."""

    def get(self, cluster: str) -> Mapping[str, Any] | None: ...

    def put(self, cluster: str, row: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, kw_only=True)
class TickRules:
    """`removal_every_s`: between two looks at a cluster's retention; at most `removals_a_tick` clusters in one tick."""

    removal_every_s: float
    removals_a_tick: int = 20


@dataclass(frozen=True, kw_only=True)
class Keepers:
    slots: SlotKeeper
    bases: BaseKeeper
    removals: RemovalKeeper
    statuses: StatusKeeper


class TickHandler:
    def __init__(
        self,
        rules: TickRules,
        keepers: Keepers,
        *,
        survey: Survey,
        store: Store,
        clock: Clock,
        partition_of: Callable[[str], int],
    ) -> None:
        self._rules = rules
        self._keep = keepers
        self._survey = survey
        self._store = store
        self._clock = clock
        self._partition_of = partition_of
        self._memories: dict[str, Memory] = {}
        self._watch = ClockWatch()
        self._doubt: str | None = None
        self._figures = Figures()

    def assigned(self, partitions: frozenset[int]) -> None:
        """Partitions were assigned anew: drop what is remembered of all clusters. Those of partitions owned before may
        have had another owner meanwhile, and everything is to be said again."""
        self._memories = {}
        self._figures.forget()
        log.info("partitions assigned", action="assigned", partitions=sorted(partitions))

    async def handle(self, partition: int, fresh: bool, rows: Rows) -> None:
        """`fresh`: something has just changed, so the last listing will not do. Raises StoreError, BusError."""
        await self._survey.refresh(at_once=fresh)
        look = Look(now=self._clock.now(), store_now=await self._store.now(), monotonic=self._clock.monotonic())
        self._watch, doubt = observe(self._watch, look)
        if doubt != self._doubt:
            log.warning("the clock is in doubt" if doubt else "the clock is trusted", action="clock", detail=doubt)
            self._doubt = doubt
        removals = self._rules.removals_a_tick
        for cluster in self._survey.clusters():
            if self._partition_of(cluster) != partition:
                continue
            try:
                removals -= await self._round(cluster, rows, look, removals > 0)
            except (*UNREADABLE, ObjectMissing) as error:
                log.warning("a cluster is skipped", action="cluster-skipped", cluster=cluster, error=str(error))

        self._figures.publish(self._survey.oldest_open(look.store_now), look.store_now)

    async def _round(self, cluster: str, rows: Rows, look: Look, may_remove: bool) -> int:
        """Returns 1 if retention was looked at."""
        history = await self._survey.history(cluster)
        if not history:
            return 0
        memory = self._memories.get(cluster)
        if memory is None:
            memory = self._memories[cluster] = from_row(rows.get(cluster))
        # Where our clock and the store's part, days follow the store's: it has less reason to be wrong.
        now = look.now if abs(look.now - look.store_now) <= MAX_CLOCK_DIFFERENCE else look.store_now
        if self._watch.jump is None:
            await self._keep.slots.keep(history, memory, now)
            await self._keep.bases.keep(history, memory, now)
        removed = False
        if may_remove and self._removal_due(memory, look.monotonic):
            await self._remove(history, memory, look)
            removed = True
        if not memory.withdrawn:
            self._keep.statuses.keep(history, memory, now)
        self._figures.saw(cluster, history[-1].state, None if memory.slot is None else memory.slot.state)
        row = memory.to_row(history[-1].revision)
        if rows.get(cluster) != row:
            rows.put(cluster, row)
        return int(removed)

    async def _remove(self, history: tuple[RegistryEntry, ...], memory: Memory, look: Look) -> None:
        remaining = await self._keep.removals.keep(history, memory, look.now, self._doubt)
        memory.retained_at = look.monotonic
        if history[-1].state == "retired" and remaining == 0 and not memory.withdrawn:
            memory.withdrawn = True
            self._keep.statuses.withdraw(history[-1].cluster_id)

    def _removal_due(self, memory: Memory, monotonic: float) -> bool:
        return memory.retained_at is None or monotonic - memory.retained_at >= self._rules.removal_every_s
