"""`tidewind.backup-setting.set.v1`: when a cluster is backed up, and how long its backups are kept at least."""

from collections.abc import Sequence
from datetime import datetime

from schemas.commands import BackupSetting, BackupSettingSet
from schemas.events import BackupSettingChanged
from schemas.replies import Problem
from services.scheduler.handlers.days import SlotDays
from services.scheduler.handlers.registry_changes import RegistryChanges, command_failed, enrolled
from services.scheduler.handlers.removals import retention_settings
from services.scheduler.rules.statuses import setting_status
from tidewind.domain.records import RegistryEntry
from tidewind.domain.retention import from_catalogue, now_eligible
from tidewind.domain.slots import DEFAULT_BACKUP_TIME
from tidewind.ports.clock import Clock
from tidewind.ports.jobs import Accept, Ending, Incoming, JobContext
from tidewind.runtime.catalogue import Catalogue
from tidewind.runtime.intake import command_of


class SetBackupSetting:
    """The answer holds the effective setting, what was filled in for fields left out, when the next backup is due, and
    the backups that a shorter retention allows to be removed."""

    command = "tidewind.backup-setting.set.v1"

    def __init__(self, changes: RegistryChanges, days: SlotDays, catalogue: Catalogue, clock: Clock) -> None:
        self._changes = changes
        self._days = days
        self._catalogue = catalogue
        self._clock = clock

    async def decide(self, incoming: Incoming) -> Accept:
        entry = enrolled(incoming)
        command = incoming.command
        assert isinstance(command, BackupSettingSet)
        now = self._clock.now()
        setting = _setting(command)
        history = await self._changes.history(entry.cluster_id)
        changed = entry.model_copy(update={"setting": setting, "changed_at": now})
        following = setting_status([*history, changed], await self._days.settled_through(history, now), now)
        return Accept(
            answer={
                "setting": setting.model_dump(mode="json"),
                "zone": entry.zone,
                "filled_in": _filled_in(command, entry.zone),
                "next_backup_at": _text(following.next_backup_at),
                "now_eligible": list(await self._eligible(entry, command.retention_days, now)),
            }
        )

    async def work(self, context: JobContext) -> Ending:
        command = command_of(context.job, BackupSettingSet)
        entry = await self._changes.revise(context, lambda _: {"setting": _setting(command)})
        return Ending(
            event="tidewind.backup-setting.changed.v1",
            body=BackupSettingChanged(
                cluster_id=entry.cluster_id,
                job_id=context.job.job_id,
                actor=context.job.actor,
                setting=entry.setting,
                zone=entry.zone,
                revision=entry.revision,
                effective_from=entry.changed_at,
                now_eligible=tuple(context.job.answer["now_eligible"]),
            ),
        )

    def failed(self, context: JobContext, problem: Problem) -> Ending:
        return command_failed(context, problem)

    async def _eligible(self, entry: RegistryEntry, retention_days: int, now: datetime) -> Sequence[str]:
        if retention_days >= entry.setting.retention_days:
            return ()
        return now_eligible(
            from_catalogue(await self._catalogue.backups(entry.cluster_id)),
            retention_settings(entry),
            retention_settings(entry, retention_days=retention_days),
            now,
        )


def _setting(command: BackupSettingSet) -> BackupSetting:
    return BackupSetting(backup_time=command.backup_time, retention_days=command.retention_days)


def _filled_in(command: BackupSettingSet, zone: str) -> dict[str, str]:
    """What the command left out, and what is used instead, in words."""
    filled = {}
    if "retention_days" not in command.model_fields_set:
        filled["retention_days"] = f"{command.retention_days} days, because none were given"
    if command.backup_time is None:
        filled["backup_time"] = f"{DEFAULT_BACKUP_TIME} in {zone}, because none was given"
    return filled


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
