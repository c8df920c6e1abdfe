"""Marks restores that were undone: their status says so once an undo of them has completed.

An undo is a job of its own and does not write the status of another. Both records stand on the status topic, so that
whoever owns the cluster can do it at any later time, also after a crash in between.
"""

from collections.abc import Callable, Collection, Mapping

import structlog
from pydantic import ValidationError

from schemas import topics
from schemas.status import RestoreStatus
from tidewind.domain.revisions import Revision, revision_of
from tidewind.ports.bus import Publisher, StatusView
from tidewind.ports.clock import Clock
from tidewind.runtime.outbox import Composer

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
_UNDID = frozenset({"completed", "undone"})
"""An undo that was itself undone has undone its restore all the same."""


class UndoneRestores:
    """`owns` tells whether this instance takes in a cluster's commands."""

    def __init__(
        self,
        *,
        publisher: Publisher,
        composer: Composer,
        view: StatusView,
        clock: Clock,
        owns: Callable[[str], bool],
    ) -> None:
        self._publisher = publisher
        self._composer = composer
        self._view = view
        self._clock = clock
        self._owns = owns
        self._said: dict[str, Revision] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await self._clock.sleep(LOOK_EVERY_S)

    def look(self) -> list[str]:
        """The restores that were marked: each once per revision. While Kafka takes no writes, repeats would fill the
        outbox."""
        if not self._view.caught_up():
            return []
        statuses = {key: body for key in self._view.keys("restore/") if (body := self._view.get(key)) is not None}
        undone = {
            (one.get("cluster_id"), _base(one))
            for one in statuses.values()
            if one.get("mode") == "undo" and one.get("state") in _UNDID
        }
        unmarked = {key: one for key, one in statuses.items() if self._is_undone(one, undone)}
        self._said, before = {key: revision_of(one) for key, one in unmarked.items()}, self._said
        return [
            str(one["restore_id"])
            for key, one in unmarked.items()
            if before.get(key) != self._said[key] and self._mark(one)
        ]

    def _is_undone(self, one: Mapping[str, object], undone: Collection[tuple[object, object]]) -> bool:
        cluster = one.get("cluster_id")
        return (
            one.get("state") == "completed" and (cluster, one.get("restore_id")) in undone and self._owns(str(cluster))
        )

    def _mark(self, one: Mapping[str, object]) -> bool:
        try:
            changed = RestoreStatus.model_validate({**one, "state": "undone", "at": self._clock.now()})
        except ValidationError as error:
            log.warning("a restore's status cannot be read", action="undone-unmarked", error=str(error.error_count()))
            return False
        message = self._composer.status("restore", changed, entity=changed.restore_id, continued=True)
        self._publisher.post(topics.STATUS, message)
        return True


def _base(one: Mapping[str, object]) -> object:
    plan = one.get("plan")
    return plan.get("base") if isinstance(plan, Mapping) else None
