"""Says of every cluster whether clients may use it, also of those that were never restored.

A restore's holder speaks for its cluster while it runs. This speaks for the rest: for a cluster that was just enrolled,
and for all of them when the status topic was lost.
"""

from collections.abc import Callable

import structlog

from schemas import topics
from schemas.events import RestoreFailed
from schemas.status import AvailabilityStatus
from services.restorer.handlers import restores
from services.restorer.handlers.tools import RestoreTools
from tidewind.domain import keys
from tidewind.domain.records import Operation, parse
from tidewind.ports.bus import Publisher, StatusView
from tidewind.ports.store import ObjectMissing, StoreError
from tidewind.runtime.outbox import Composer

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
_FAILED = "tidewind.restore.failed.v1"


class AvailabilityKeeper:
    """`owns` tells whether this instance takes in a cluster's commands."""

    def __init__(
        self,
        tools: RestoreTools,
        *,
        publisher: Publisher,
        composer: Composer,
        view: StatusView,
        owns: Callable[[str], bool],
    ) -> None:
        self._tools = tools
        self._publisher = publisher
        self._composer = composer
        self._view = view
        self._owns = owns

    async def run(self) -> None:
        """Look until cancelled. The status topic tells of new clusters, so nothing is asked of the store in between."""
        while True:
            try:
                await self.look()
            except StoreError as error:
                log.warning(str(error), action="availability-unknown")
            await self._tools.clock.sleep(LOOK_EVERY_S)

    async def look(self) -> list[str]:
        """Speak for every owned cluster of which nothing has been said; returns them."""
        if not self._view.caught_up():
            return []
        spoken = []
        for key in self._view.keys("cluster/"):
            cluster = key.removeprefix("cluster/")
            if self._owns(cluster) and self._view.get(f"availability/{cluster}") is None:
                status = await self._present(cluster)
                if status is not None:
                    self._publisher.post(topics.STATUS, self._composer.status("availability", status))
                    spoken.append(cluster)
        return spoken

    async def _present(self, cluster: str) -> AvailabilityStatus | None:
        """None while a restore runs, whose holder speaks."""
        if await restores.running(self._tools.ledger, cluster, but="") is not None:
            return None
        now = self._tools.clock.now()
        failed = await self._left_closed(cluster)
        if failed is None:
            return AvailabilityStatus(cluster_id=cluster, at=now, state="Available")
        return AvailabilityStatus(
            cluster_id=cluster,
            at=now,
            state="RestoreFailed",
            restore_id=failed.restore_id,
            detail=failed.problem.detail,
            open_by_hand=failed.open_by_hand,
        )

    async def _left_closed(self, cluster: str) -> RestoreFailed | None:
        """The last restore's failure, if it left the cluster closed."""
        found = [entry.key async for entry in self._tools.store.list(f"{keys.OPERATIONS}{cluster}/")]
        for key in reversed(found):
            try:
                operation = parse(Operation, await self._tools.store.get(key))
            except ObjectMissing:  # trimmed by a later holder
                continue
            if operation.kind == "backup":
                continue
            terminal = await self._tools.ledger.terminal(cluster, operation.job_id)
            if terminal is None or terminal.event != _FAILED:
                return None
            failed = RestoreFailed.model_validate(terminal.data)
            return None if failed.returned else failed
        return None
