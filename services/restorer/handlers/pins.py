"""Pins: what a restore says it reads, so that nobody deletes it.

Invariant: whatever source a plan is made of lies in a pin that was put before that source was looked at last. A job may
have several pins: an epoch that died before its plan stood may have pinned another source than its successor finds.
"""

from services.restorer.handlers.tools import RestoreTools
from tidewind.domain import keys
from tidewind.domain.records import Pin, PinnedLog, parse
from tidewind.ports.jobs import JobContext
from tidewind.ports.store import ObjectMissing


async def pin(tools: RestoreTools, context: JobContext, backup_id: str, log: tuple[PinnedLog, ...] = ()) -> None:
    """Raises StoreError."""
    job = context.job
    wanted = Pin(job_id=job.job_id, backups=(backup_id,), log=log, pinned_at=tools.clock.now())
    key = keys.pin(job.cluster_id, job.job_id)
    if await tools.store.put_if_absent(key, wanted.to_bytes()):
        return
    try:
        standing = parse(Pin, await tools.store.get(key), key)
    except ObjectMissing:
        standing = None
    if standing is None or (standing.backups, standing.log) != (wanted.backups, wanted.log):
        another = keys.pin(job.cluster_id, f"{job.job_id}-{context.epoch}")
        await tools.store.put_if_absent(another, wanted.to_bytes())


async def release(tools: RestoreTools, context: JobContext) -> None:
    """Every pin of the job, its predecessors' too. Raises StoreError."""
    first = keys.pin(context.job.cluster_id, context.job.job_id)
    found = [entry.key async for entry in tools.store.list(first.removesuffix(".json"))]
    await tools.store.delete(found)
