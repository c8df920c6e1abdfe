"""Says what is due, missed or overdue. Ids follow from what is said, so saying it twice is harmless."""

from datetime import datetime

from schemas import topics
from schemas.envelope import Message
from schemas.events import BackupMissed, BackupOverdue
from services.scheduler.handlers.memory import Memory
from services.scheduler.rules.emission import Work, say_again, slot_work
from services.scheduler.rules.overdue import Overdue
from tidewind.domain import ids
from tidewind.domain.slots import SlotAction
from tidewind.ports.bus import Publisher
from tidewind.runtime import metrics
from tidewind.runtime.outbox import body_of

MISSED = "tidewind.backup.missed.v1"
OVERDUE = "tidewind.backup.overdue.v1"


class Speaker:
    """`source` names the service and instance. Methods raise BusUnavailable."""

    def __init__(self, publisher: Publisher, source: str) -> None:
        self._publisher = publisher
        self._source = source

    async def order(self, work: Work, memory: Memory, now: datetime) -> bool:
        """Put a work on `backups.v1`, unless it was said a moment ago. True if it was put."""
        if not say_again(memory.emitted.get(work.key), now):
            return False
        await self._publisher.send(topics.BACKUPS, work.message(now))
        memory.said(work.key, now)
        return True

    async def missed(self, cluster: str, action: SlotAction, now: datetime) -> None:
        body = BackupMissed(
            cluster_id=cluster,
            slot_date=action.day.isoformat(),
            due_at=action.due_at,
            zone=action.zone,
            detail=action.reason,
        )
        work = slot_work(cluster, action.day)
        await self._publisher.send(
            topics.EVENTS,
            Message(
                id=ids.derived_id(cluster, MISSED, action.day.isoformat()),
                type=MISSED,
                source=self._source,
                time=now,
                key=cluster,
                subject=work.job_id,
                correlation_id=work.message_id,
                data=body_of(body),
            ),
        )
        metrics.SLOTS_MISSED.inc()

    async def overdue(self, cluster: str, alarm: Overdue, now: datetime) -> None:
        body = BackupOverdue(
            cluster_id=cluster,
            slot_date=alarm.day.isoformat(),
            due_at=alarm.due_at,
            overdue_s=int(alarm.allowed.total_seconds()),
            detail=alarm.detail,
        )
        work = slot_work(cluster, alarm.day)
        await self._publisher.send(
            topics.EVENTS,
            Message(
                id=ids.derived_id(cluster, OVERDUE, alarm.name),
                type=OVERDUE,
                source=self._source,
                time=now,
                key=cluster,
                subject=work.job_id,
                correlation_id=work.message_id,
                data=body_of(body),
            ),
        )
        metrics.SLOTS_OVERDUE.inc()
