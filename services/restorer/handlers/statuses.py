"""The status of every restore that has ended, published again where the status topic does not know it.

The topic is an image of the ledger and can be lost. A restore's holder speaks while it runs, and whoever resumes it
does; of a restore that has ended nobody speaks any more, so once after each start what the store knows is compared with
what the topic tells. Which of them were undone is found from the statuses themselves.
"""

from collections.abc import Callable

import structlog

from schemas import topics
from services.restorer.handlers.restores import changes_data
from services.restorer.handlers.tools import RestoreTools
from services.restorer.rules.statuses import PLAN_NOTE, status_of
from tidewind.domain import keys
from tidewind.domain.ids import restore_id
from tidewind.ports.bus import Publisher, StatusView
from tidewind.ports.store import UNREADABLE, StoreError
from tidewind.runtime.outbox import Composer

log = structlog.get_logger()

LOOK_EVERY_S = 1.0


class RestoreStatuses:
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
        self._compared: set[str] = set()

    async def run(self) -> None:
        """Compare until cancelled; a cluster once for each time it comes to this instance."""
        while True:
            try:
                await self.look()
            except StoreError as error:
                log.warning(str(error), action="statuses-failed")
            await self._tools.clock.sleep(LOOK_EVERY_S)

    async def look(self) -> list[str]:
        """The restores of which a status was published. Raises StoreError."""
        if not self._view.caught_up():
            return []
        owned = [name for key in self._view.keys("cluster/") if self._owns(name := key.removeprefix("cluster/"))]
        self._compared &= set(owned)
        said = []
        for cluster in owned:
            if cluster not in self._compared:
                said += await self._compare(cluster)
                self._compared.add(cluster)
        return said

    async def _compare(self, cluster: str) -> list[str]:
        said = []
        for job_id in await self._ended_restores(cluster):
            if self._view.get(f"restore/{cluster}/{restore_id(job_id)}") is not None:
                continue
            try:
                if await self._publish(cluster, job_id):
                    said.append(restore_id(job_id))
            except UNREADABLE:
                # One damaged record must not keep the restores after it from being told.
                log.exception("a restore's status cannot be told", action="statuses-failed", job=job_id)
        return said

    async def _publish(self, cluster: str, job_id: str) -> bool:
        ledger = self._tools.ledger
        job, terminal = await ledger.accepted(cluster, job_id), await ledger.terminal(cluster, job_id)
        if job is None or terminal is None or not changes_data(job):
            return False
        notes = await ledger.notes(cluster, job_id)
        status = status_of(job, terminal, notes, limit=self._tools.settings.limit, now=self._tools.clock.now())
        if status is None:
            return False
        self._publisher.post(topics.STATUS, self._composer.status("restore", status, entity=status.restore_id))
        return True

    async def _ended_restores(self, cluster: str) -> list[str]:
        """Jobs that planned a restore and have ended, told by the names of their records alone."""
        prefix = f"{keys.JOBS}{cluster}/"
        planned: dict[str, None] = {}
        ended: set[str] = set()
        async for found in self._tools.store.list(prefix):
            job_id, _, name = found.key.removeprefix(prefix).partition("/")
            if name == f"step-{PLAN_NOTE}.json":
                planned[job_id] = None
            elif name == "terminal.json":
                ended.add(job_id)
        return [job_id for job_id in planned if job_id in ended]
