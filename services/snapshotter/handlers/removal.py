"""Removes the objects of a backup whose deletion goes forward.

Invariant: the tombstone stands from before the first object goes until after the outcome, which goes last: a removal
that was interrupted anywhere is found by both, and is repeated whole.
"""

from collections.abc import Callable

from tidewind.domain import keys
from tidewind.ports.store import Store

_BATCH = 500


async def remove_backup(store: Store, cluster: str, backup: str, report: Callable[[int], None]) -> int:
    """The bytes freed; `report` is told of them on the way. Raises StoreError."""
    freed = 0
    batch: list[str] = []
    for prefix in (keys.snapshot(cluster, backup), f"{keys.VERIFICATIONS}{cluster}/{backup}/"):
        async for found in store.list(prefix):
            freed += found.size
            batch.append(found.key)
            if len(batch) >= _BATCH:
                await store.delete(batch)
                batch.clear()
                report(freed)
    await store.delete(batch)
    await store.delete([keys.outcome(cluster, backup)])
    return freed
