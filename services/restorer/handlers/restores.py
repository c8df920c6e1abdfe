"""Finding restores: those that run, and what one was by its id."""

from dataclasses import dataclass

from schemas.commands import RestoreRequest, RestoreUndo
from tidewind.domain import ids, keys
from tidewind.domain.records import Accepted, Terminal
from tidewind.ports.store import Store
from tidewind.runtime.intake import command_of
from tidewind.runtime.ledger import Ledger

SERVICE = "restorer"
REQUEST = "tidewind.restore.request.v1"
UNDO = "tidewind.restore.undo.v1"
COMPLETED = "tidewind.restore.completed.v1"


@dataclass(frozen=True, kw_only=True)
class KnownRestore:
    """A restore or an undo that was accepted and is, or was, carried out."""

    restore_id: str
    job: Accepted
    terminal: Terminal | None


def changes_data(job: Accepted) -> bool:
    """Whether the job is a restore or undo that is more than a look at the plan."""
    if job.rejected is not None:
        return False
    if job.command == REQUEST:
        return not command_of(job, RestoreRequest).dry_run
    return job.command == UNDO and not command_of(job, RestoreUndo).dry_run


async def running(ledger: Ledger, cluster: str, *, but: str) -> str | None:
    """The id of a restore of the cluster that has not ended, other than the job `but`."""
    for found_cluster, job_id in await ledger.open_jobs(SERVICE):
        if found_cluster != cluster or job_id == but:
            continue
        job = await ledger.accepted(cluster, job_id)
        if job is not None and changes_data(job) and await ledger.terminal(cluster, job_id) is None:
            return ids.restore_id(job_id)
    return None


async def find(store: Store, ledger: Ledger, cluster: str, restore_id: str) -> KnownRestore | None:
    """By the jobs of the cluster, which are kept longer than anything of theirs can be asked for."""
    seen = ""
    async for entry in store.list(f"{keys.JOBS}{cluster}/"):
        job_id = entry.key.removeprefix(f"{keys.JOBS}{cluster}/").split("/")[0]
        if job_id == seen:
            continue
        seen = job_id
        if ids.restore_id(job_id) == restore_id:
            job = await ledger.accepted(cluster, job_id)
            if job is not None and changes_data(job):
                terminal = await ledger.terminal(cluster, job_id)
                return KnownRestore(restore_id=restore_id, job=job, terminal=terminal)
    return None
