"""Keeps the daily slots of a cluster: says what is due, settles what was missed, watches what runs.

Invariant: every owed local day ends as exactly one backup or one `missed`. See `days` for what settles one, and
tidewind.domain.slots for which are owed. The event of a missed day is out before the day counts as settled here.
"""

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from services.scheduler.handlers.days import SlotDays
from services.scheduler.handlers.memory import Memory
from services.scheduler.handlers.speaker import Speaker
from services.scheduler.handlers.survey import Survey
from services.scheduler.rules.emission import slot_work
from services.scheduler.rules.overdue import Limits, Overdue, not_begun, not_ended, not_succeeding, without_backup
from services.scheduler.rules.statuses import Slot, SlotState, first_day, slot_revisions
from tidewind.domain import ids
from tidewind.domain.records import Accepted, RegistryEntry, Terminal
from tidewind.domain.slots import SlotAction, decide_slots, due_of
from tidewind.ports.bus import StatusView

COMPLETED = "tidewind.backup.completed.v1"
_ACTIONS_A_TICK = 32


@dataclass(frozen=True, kw_only=True)
class SlotRules:
    """`grace`: how late a backup may still begin."""

    grace: timedelta
    limits: Limits


class SlotKeeper:
    """`view`: the status topic, where the holder of a backup says that an attempt failed."""

    def __init__(self, rules: SlotRules, days: SlotDays, survey: Survey, speaker: Speaker, view: StatusView) -> None:
        self._view = view
        self._rules = rules
        self._days = days
        self._survey = survey
        self._speaker = speaker

    async def keep(self, history: tuple[RegistryEntry, ...], memory: Memory, now: datetime) -> None:
        """One round for one cluster. Raises StoreError, BusUnavailable; the next round continues."""
        if not memory.settled_known:
            await self._recall(history, memory, now)
        cluster = history[-1].cluster_id
        restoring = self._survey.restoring(cluster)
        if restoring:
            memory.deferred_until = now
        actions = decide_slots(
            slot_revisions(history),
            first_day=first_day(history[0]),
            settled_through=memory.settled_through,
            now=now,
            grace=self._rules.grace,
            restoring=restoring,
            deferred_until=memory.deferred_until,
        )
        for action in actions[:_ACTIONS_A_TICK]:
            await self._act(cluster, action, memory, now)
        await self._watch(history, memory, now)

    async def _recall(self, history: tuple[RegistryEntry, ...], memory: Memory, now: datetime) -> None:
        """Begin from the store: the newest settled day, and the days whose backups have not ended."""
        cluster = history[-1].cluster_id
        for job in self._survey.open_backup_jobs(cluster):
            found = await self._days.day_of_job(cluster, job)
            if found is not None:
                memory.open_days[found[0]] = found[1].accepted_at
        through = await self._days.settled_through(history, now)
        standing = None if through is None else await self._days.taken_in(cluster, through)
        if through is not None and standing is not None:
            due = due_of(through, slot_revisions(history))
            action = SlotAction(day=through, due_at=due.at, zone=due.zone, kind="run", reason="due")
            await self._settle(cluster, action, standing, memory, now)
        memory.settled_through = through
        memory.settled_known = True

    async def _act(self, cluster: str, action: SlotAction, memory: Memory, now: datetime) -> None:
        standing = await self._days.taken_in(cluster, action.day)
        if standing is None and action.kind == "missed":
            standing = await self._days.declare_missed(cluster, action, now)
        if standing is not None:
            await self._settle(cluster, action, standing, memory, now)
            return
        state: SlotState = "due" if action.kind == "run" else "deferred"
        memory.slot = Slot(day=action.day, due_at=action.due_at, state=state, detail=action.reason)
        if action.kind == "run":
            await self._speaker.order(slot_work(cluster, action.day), memory, now)
        late = not_begun(action.day, action.due_at, now, self._rules.limits, deferred=action.kind == "deferred")
        await self._alarm(cluster, late, memory, now)

    async def _settle(
        self, cluster: str, action: SlotAction, standing: Accepted, memory: Memory, now: datetime
    ) -> None:
        """The day has its ledger entry: a refusal means missed, anything else a backup."""
        if standing.rejected is not None:
            reason = standing.rejected.detail
            missed = SlotAction(day=action.day, due_at=action.due_at, zone=action.zone, kind="missed", reason=reason)
            await self._speaker.missed(cluster, missed, now)
            memory.slot = Slot(day=action.day, due_at=action.due_at, state="missed", detail=reason)
        else:
            memory.slot = Slot(day=action.day, due_at=action.due_at, state="running")
            memory.open_days[action.day] = standing.accepted_at
        memory.settled_through = action.day

    async def _watch(self, history: tuple[RegistryEntry, ...], memory: Memory, now: datetime) -> None:
        """Look after backups that were taken in: ended, still running, or overdue."""
        cluster = history[-1].cluster_id
        running = self._survey.open_backup_jobs(cluster)
        for day, taken_in in list(memory.open_days.items()):
            work = slot_work(cluster, day)
            if work.job_id not in running:
                end = await self._days.end(cluster, day)
                if end is not None:
                    if end.event != COMPLETED:
                        await self._alarm(cluster, self._without(history, day, end, now), memory, now)
                    del memory.open_days[day]
                    if memory.slot is not None and memory.slot.day == day:
                        state: SlotState = "completed" if end.event == COMPLETED else "failed"
                        memory.slot = Slot(day=day, due_at=memory.slot.due_at, state=state, detail=_why(end.data))
                    continue
                # Neither ended nor listed as unfinished: taken in since the listing, or its marker is lost.
                await self._speaker.order(work, memory, now)
            due = due_of(day, slot_revisions(history))
            await self._alarm(cluster, not_ended(day, due.at, taken_in, now, self._rules.limits), memory, now)
            failed = self._failed_attempt(cluster, work.job_id)
            if memory.slot is not None and memory.slot.day == day:
                memory.slot = replace(memory.slot, detail=failed)
            if failed is not None:
                late = not_succeeding(day, due.at, taken_in, now, self._rules.limits, why=failed)
                await self._alarm(cluster, late, memory, now)

    def _failed_attempt(self, cluster: str, job: str) -> str | None:
        """In words, what the newest attempt at a running backup failed with and when the next begins, as its holder
        says; None while it does well."""
        said = self._view.get(f"backup/{cluster}/{ids.backup_id(job)}") or {}
        problem, then = said.get("problem"), said.get("next_try_at")
        if said.get("state") != "pending" or not isinstance(problem, dict) or then is None:
            return None
        return f"{problem.get('detail')}; tried again at {then}"

    def _without(self, history: tuple[RegistryEntry, ...], day: date, end: Terminal, now: datetime) -> Overdue:
        due = due_of(day, slot_revisions(history))
        return without_backup(day, due.at, now, why=_why(end.data) or "its job failed without a reason")

    async def _alarm(self, cluster: str, alarm: Overdue | None, memory: Memory, now: datetime) -> None:
        if alarm is not None and alarm.name not in memory.overdue_said:
            await self._speaker.overdue(cluster, alarm, now)
            memory.overdue_said.add(alarm.name)


def _why(data: dict[str, object]) -> str | None:
    problem = data.get("problem")
    return str(problem["detail"]) if isinstance(problem, dict) and "detail" in problem else None
