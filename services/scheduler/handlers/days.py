"""Which local days are settled, read from the ledger of jobs.

A day is settled by `accepted.json` of its job, whoever put it: the snapshotter when it takes the backup in, or the
scheduler when it declares the day missed. It is put once, so a backup that arrives late and a `missed` exclude each
other, whatever happened to the messages in between.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from services.scheduler.rules.emission import slot_work
from services.scheduler.rules.statuses import first_day, slot_revisions
from tidewind.domain.problems import problem
from tidewind.domain.records import Accepted, RegistryEntry, Terminal
from tidewind.domain.slots import SlotAction, local_date
from tidewind.runtime.catalogue import Catalogue
from tidewind.runtime.intake import body_digest
from tidewind.runtime.ledger import Ledger

SERVICE = "scheduler"

_DAY = timedelta(days=1)
_LEDGER_DAYS = 85
"""The ledger keeps ended jobs for 90 days."""


class SlotDays:
    def __init__(self, ledger: Ledger, catalogue: Catalogue) -> None:
        self._ledger = ledger
        self._catalogue = catalogue

    async def settled_through(self, history: Sequence[RegistryEntry], now: datetime) -> date | None:
        """The newest settled day. Days are settled in order, so the first one found going back is it."""
        cluster = history[-1].cluster_id
        first = first_day(history[0])
        newest = max(local_date(now, revision.zone) for revision in slot_revisions(history)) + _DAY
        day = newest
        while day >= max(first, newest - _LEDGER_DAYS * _DAY):
            if await self.taken_in(cluster, day) is not None:
                return day
            day -= _DAY
        if day < first:
            return None
        entries = await self._catalogue.backups(cluster)
        return max((date.fromisoformat(slot) for entry in entries if (slot := entry.outcome.slot_date)), default=None)

    async def taken_in(self, cluster: str, day: date) -> Accepted | None:
        """The ledger entry that settles a day, or None while the day is open."""
        return await self._ledger.accepted(cluster, slot_work(cluster, day).job_id)

    async def end(self, cluster: str, day: date) -> Terminal | None:
        return await self._ledger.terminal(cluster, slot_work(cluster, day).job_id)

    async def day_of_job(self, cluster: str, job: str) -> tuple[date, Accepted] | None:
        """The day whose backup a job is, or None if it is no such job."""
        accepted = await self._ledger.accepted(cluster, job)
        if accepted is None or accepted.body.get("cause") != "slot":
            return None
        return date.fromisoformat(str(accepted.body["slot_date"])), accepted

    async def declare_missed(self, cluster: str, action: SlotAction, now: datetime) -> Accepted:
        """Settle a day as missed, unless its backup was taken in first; returns what stands. From then on the day's
        command, wherever it still lies, is answered with this refusal."""
        work = slot_work(cluster, action.day)
        message = work.message(now)
        detail = f"The backup of {cluster} for {action.day.isoformat()} was due at {action.due_at.isoformat()}: "
        return await self._ledger.accept(
            Accepted(
                job_id=work.job_id,
                service=SERVICE,
                cluster_id=cluster,
                command=work.command,
                body=dict(work.body),
                body_sha256=body_digest(message),
                message_id=message.id,
                source=message.source,
                idempotency_key=work.key,
                actor=message.actor,
                accepted_at=now,
                answer={},
                rejected=problem("command-expired", detail + action.reason),
            )
        )
