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
        self._said: dict[str, Mapping[str, object]] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await self._clock.sleep(LOOK_EVERY_S)

    def look(self) -> list[str]:
        """The keys whose newest record was published again: once, and again only after the view has read the key anew.
        While Kafka takes no writes, repeats would fill the outbox."""
        if not self._view.caught_up():
            return []
        late = self._view.late()
        self._said = {key: self._said[key] for key in late if key in self._said}
        said = []
        for key in late:
            known = self._view.get(key)
            # By identity: what was published is equal to what is known, and may be read back and be late once more
            # between two looks.
            if known is None or self._said.get(key) is known or not self._is_ours(key):
                continue
            message = self._composer.again(key)
            if message is not None:
                self._said[key] = known
                log.warning("a late status record is published over", action="status-late", key=key)
                self._publisher.post(topics.STATUS, message)
                said.append(key)
        return said

    def _is_ours(self, key: str) -> bool:
        kind, _, rest = key.partition("/")
        cluster = rest.partition("/")[0]
        if not cluster or not self._owns(cluster):
            return False
        if kind == "job":
            return (self._view.get(key) or {}).get("service") == self._service
        return kind in _KINDS.get(self._service, ())
