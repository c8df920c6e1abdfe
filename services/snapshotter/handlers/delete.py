"""Deletes one backup in two phases.

Order: tombstone → look for pins → grace → data → outcome. A restore does the mirror image: pin → look for tombstones.
So of a restore and a delete that meet, at least one sees the other and gives way: the deleter withdraws its tombstone
and answers with a conflict. The outcome goes last: a delete that died half way is found by its tombstone and finished,
by the job's next holder, or by the sweep where the job ended as failed.
A tombstone that a paused holder put after its successor had refused is withdrawn by the sweep, never carried out.
The tombstone stays, so that the id answers "deleted" and not "unknown", until the sweep takes it away a week later.
"""

from collections.abc import Sequence

import structlog

from schemas.commands import BackupDelete
from schemas.events import BackupDeleted
from schemas.replies import Problem
from services.snapshotter.handlers.enroll import command_failed
from services.snapshotter.handlers.removal import remove_backup
from services.snapshotter.handlers.statuses import backup_status, status_of_unreadable
from services.snapshotter.handlers.tools import SnapshotTools
from services.snapshotter.rules.deletes import (
    clocks_agree,
    refuse_delete,
    refuse_delete_unreadable,
    window_after,
    window_without,
)
from tidewind.domain import keys
from tidewind.domain.catalogue import CatalogueEntry, UnreadableBackup
from tidewind.domain.lived import Lived, bases_of
from tidewind.domain.problems import Refused, problem, refused
from tidewind.domain.records import Tombstone
from tidewind.ports.jobs import Accept, Ending, Incoming, JobContext, Reject
from tidewind.ports.store import UNREADABLE, StoreError, StoreUnavailable
from tidewind.runtime.catalogue import pins_in_force
from tidewind.runtime.failures import store_problem
from tidewind.runtime.intake import command_of
from tidewind.runtime.ledger import Ledger
from tidewind.runtime.log_archive import LogArchive

_RETRY_S = 5.0
REMOVING_NOTE = "removing"

log = structlog.get_logger()


class DeleteBackup:
    """`tidewind.backup.delete.v1`."""

    command = "tidewind.backup.delete.v1"

    def __init__(self, tools: SnapshotTools, ledger: Ledger) -> None:
        self._tools = tools
        self._ledger = ledger
        self._archived = LogArchive(tools.store)

    async def decide(self, incoming: Incoming) -> Accept | Reject:
        command = incoming.command
        assert isinstance(command, BackupDelete)
        cluster = command.cluster_id
        if incoming.cluster is None:
            return Reject(problem=problem("unknown-cluster", f"No cluster {cluster} is enrolled"))
        contents = await self._tools.catalogue.contents(cluster)
        pins = await pins_in_force(self._tools.catalogue, self._ledger, cluster)
        unreadable = contents.unreadable_one(command.backup_id)
        if unreadable is not None:
            refusal = refuse_delete_unreadable(command, unreadable, pins)
            window = window_without(contents.backups, await self._lived(cluster, contents.backups))
            return (
                Reject(problem=refusal)
                if refusal is not None
                else Accept(answer={"backup_id": command.backup_id, "window": window})
            )
        entry = await self._tools.catalogue.backup(cluster, command.backup_id)
        if entry is None and await self._tools.catalogue.tombstone(cluster, command.backup_id) is not None:
            return Reject(problem=problem("backup-deleted", f"{command.backup_id} was deleted"))
        others = contents.backups
        refusal = refuse_delete(command, entry, others, pins)
        if refusal is not None:
            return Reject(problem=refusal)
        assert entry is not None
        window = window_after(entry, others, await self._lived(cluster, others))
        return Accept(answer={"backup_id": command.backup_id, "window": window})

    async def work(self, context: JobContext) -> Ending:
        while True:
            try:
                return await self._delete(context)
            except StoreUnavailable as error:
                # Ended here it would never be finished: the tombstone hides the backup from everybody.
                log.warning("a delete waits for the store", action="delete-delayed", error=str(error))
                await self._tools.clock.sleep(_RETRY_S)

    async def _delete(self, context: JobContext) -> Ending:
        tools = self._tools
        command = command_of(context.job, BackupDelete)
        cluster, backup = command.cluster_id, command.backup_id
        entry, unreadable = await self._found(cluster, backup)
        mark = Tombstone(
            outcome=entry.outcome if entry else None,
            backup_id=backup,
            job_id=context.job.job_id,
            cause=command.cause,
            marked_at=tools.clock.now(),
        )
        # A holder that was succeeded meanwhile must not mark a backup whose delete its successor refused.
        await context.check_lease()
        if not await tools.store.put_if_absent(keys.tombstone(cluster, backup), mark.to_bytes()):
            standing = await self._standing_mark(cluster, backup)
            if standing is not None and standing.job_id != context.job.job_id:
                raise refused("backup-deleted", f"{backup} is being deleted by job {standing.job_id}")
        if REMOVING_NOTE not in await context.notes():
            await self._give_way(cluster, backup)
            await context.note(REMOVING_NOTE, {"backup_id": backup})
        freed = 0
        if entry is not None:
            freed = await self._remove(context, entry, cluster, backup)
        elif unreadable is not None:
            freed = await self._remove_unreadable(context, unreadable)
        return Ending(
            event="tidewind.backup.deleted.v1",
            body=BackupDeleted(
                cluster_id=cluster,
                job_id=context.job.job_id,
                actor=context.job.actor,
                backup_id=backup,
                cause=command.cause,
                freed_bytes=freed,
            ),
        )

    def failed(self, context: JobContext, problem: Problem) -> Ending:
        return command_failed(context, problem)

    async def _remove(self, context: JobContext, entry: CatalogueEntry, cluster: str, backup: str) -> int:
        tools = self._tools
        registered = await tools.registry.newest(cluster)
        retention = registered.setting.retention_days if registered else 7
        outcome = entry.outcome
        context.status("backup", backup_status(outcome, retention, tools.clock.now(), state="deleting"), entity=backup)
        await tools.clock.sleep(tools.settings.delete_grace_s)
        await context.check_lease()
        total = float(outcome.stored_bytes)
        freed = await remove_backup(
            tools.store, cluster, backup, lambda freed: context.report("deleting", freed, total, "bytes")
        )
        ended = "expired" if command_of(context.job, BackupDelete).cause == "retention" else "deleted"
        context.status("backup", backup_status(outcome, retention, tools.clock.now(), state=ended), entity=backup)
        return freed

    async def _remove_unreadable(self, context: JobContext, backup: UnreadableBackup) -> int:
        tools = self._tools
        await tools.clock.sleep(tools.settings.delete_grace_s)
        await context.check_lease()
        freed = await remove_backup(tools.store, backup.cluster_id, backup.backup_id, lambda _: None)
        status = status_of_unreadable(backup, tools.clock.now(), state="deleted")
        context.status("backup", status, entity=backup.backup_id)
        return freed

    async def _lived(self, cluster: str, backups: Sequence[CatalogueEntry]) -> Lived:
        """What the answer needs to know of the log. A log that cannot be read restores nothing."""
        try:
            reaches = await self._archived.reaches(cluster)
            timelines = await self._tools.catalogue.timelines(cluster) if reaches else []
        except StoreUnavailable:
            raise
        except StoreError as error:
            log.warning("a log cannot be read", action="log-unreadable", cluster=cluster, error=str(error))
            reaches, timelines = [], []
        return Lived(timelines=tuple(timelines), reaches=tuple(reaches), bases=bases_of(backups))

    async def _found(self, cluster: str, backup: str) -> tuple[CatalogueEntry | None, UnreadableBackup | None]:
        try:
            return await self._tools.catalogue.backup(cluster, backup), None
        except UNREADABLE as error:
            return None, UnreadableBackup(cluster_id=cluster, backup_id=backup, problem=store_problem(error))

    async def _standing_mark(self, cluster: str, backup: str) -> Tombstone | None:
        """None for one that cannot be read: whoever put it, the backup is to go."""
        try:
            return await self._tools.catalogue.tombstone(cluster, backup)
        except UNREADABLE:
            return None

    async def _give_way(self, cluster: str, backup: str) -> None:
        """Withdraw the tombstone and refuse, if somebody reads the backup or the clocks cannot be trusted. Only before
        the first object was removed: from then on it goes forward, or a half-deleted backup would count as whole."""
        tools = self._tools
        refusal = clocks_agree(tools.clock.now(), await tools.store.now())
        for pin in await pins_in_force(tools.catalogue, self._ledger, cluster):
            if backup in pin.backups:
                refusal = problem("backup-in-use", f"The restore of job {pin.job_id} reads {backup}")
        if refusal is not None:
            await tools.store.delete([keys.tombstone(cluster, backup)])
            raise Refused(refusal)
