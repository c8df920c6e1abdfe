"""Publishes the newest status again wherever a late record of a predecessor came after it.

A paused process that wakes sends what it had queued. Whoever follows the status topic ignores it, because its revision
is lower; but compaction keeps the last record of a key and not the highest, and a reader that comes later would take it
for the present. So the writers of each kind read their keys back.

Invariant: what is published again is word for word, revision included, what the topic held: it can never be newer than
what the holder of a job says at the same time, and any number of instances may say it.
"""

from collections.abc import Callable, Mapping

import structlog

from schemas import topics
from tidewind.ports.bus import Publisher, StatusView
from tidewind.ports.clock import Clock
from tidewind.runtime.outbox import Composer

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
_KINDS: Mapping[str, frozenset[str]] = {
    "scheduler": frozenset({"cluster", "setting", "slot"}),
    "snapshotter": frozenset({"backup"}),
    "restorer": frozenset({"availability", "restore"}),
}
"""The kinds each service writes, beside the `job` records of its own jobs."""


class LateStatuses:
    """`owns` tells whether this instance takes in a cluster's commands."""

    def __init__(
        self,
        service: str,
        *,
        publisher: Publisher,
        composer: Composer,
        view: StatusView,
        clock: Clock,
        owns: Callable[[str], bool],
    ) -> None:
        self._service = service
        self._publisher = publisher
        self._composer = composer
        self._view = view
        self._clock = clock
        self._owns = owns

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await self._clock.sleep(LOOK_EVERY_S)

    def look(self) -> list[str]:
        """The keys whose newest record was published again."""
        if not self._view.caught_up():
            return []
        said = []
        for key in self._view.late():
            message = self._composer.again(key) if self._is_ours(key) else None
            if message is not None:
                log.warning("a late status record is published over", action="status-late", key=key)
                self._publisher.post(topics.STATUS, message)
                said.append(key)
        return said

    def _is_ours(self, key: str) -> bool:
        kind, cluster = key.split("/")[:2]
        if not self._owns(cluster):
            return False
        if kind == "job":
            return (self._view.get(key) or {}).get("service") == self._service
        return kind in _KINDS.get(self._service, ())
