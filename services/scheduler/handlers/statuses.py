"""Publishes the scheduler's status records: when they change, and all of them after an assignment.

So the status topic can be lost: whoever owns a partition next says everything again, from the store.
"""

from datetime import datetime

from schemas import topics
from schemas.status import Status
from services.scheduler.handlers.memory import Memory
from services.scheduler.rules.statuses import cluster_status, setting_status, slot_status
from tidewind.domain.records import RegistryEntry
from tidewind.ports.bus import Publisher, StatusView
from tidewind.runtime.outbox import Composer

KINDS = ("cluster", "setting", "slot")


class StatusKeeper:
    def __init__(self, publisher: Publisher, composer: Composer, view: StatusView) -> None:
        self._publisher = publisher
        self._composer = composer
        self._view = view

    def keep(self, history: tuple[RegistryEntry, ...], memory: Memory, now: datetime) -> None:
        """Say what changed. Waits for the view: revisions continue from what is published."""
        if not self._view.caught_up():
            return
        entry = history[-1]
        self._say("cluster", cluster_status(history, now), entry.revision, memory)
        self._say("setting", setting_status(history, memory.settled_through, now), entry.revision, memory)
        if memory.slot is not None:
            self._say("slot", slot_status(entry.cluster_id, memory.slot, now), entry.revision, memory)

    def withdraw(self, cluster: str) -> None:
        """Remove the records of a retired cluster whose last backup is gone."""
        for kind in KINDS:
            if self._view.caught_up() and self._view.get(f"{kind}/{cluster}") is not None:
                self._publisher.post(topics.STATUS, self._composer.tombstone(kind, cluster))

    def _say(self, kind: str, status: Status, epoch: int, memory: Memory) -> None:
        content = status.model_dump_json(exclude={"at", "revision"})
        if memory.published.get(kind) != content:
            self._publisher.post(topics.STATUS, self._composer.status(kind, status, epoch=epoch))
            memory.published[kind] = content
