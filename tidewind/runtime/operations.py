"""The operation lock: one snapshot, restore or undo at a time per cluster.

    operations/<cluster>/<n>.json   {job}: putting n + 1 takes the lock, allowed once the job in n has its terminal

Invariant: at any time at most one job without a terminal record stands in the newest entry. The lock is never released
by clock or by a process's end, only by the end of the job, whoever brings it about. Of entries trimmed away, the newest
restore or undo stays: whether it left the cluster closed is told by its job for as long as no other follows.
"""

from collections.abc import AsyncIterator

from tidewind.domain import keys
from tidewind.domain.records import Operation, parse
from tidewind.ports.jobs import OperationKind
from tidewind.ports.store import ObjectMissing, Store
from tidewind.runtime.ledger import Ledger

_KEPT_ENTRIES = 16


async def operations_of(store: Store, cluster: str) -> AsyncIterator[Operation]:
    """The entries of a cluster's lock, newest first. Raises StoreError."""
    found = [entry.key async for entry in store.list(f"{keys.OPERATIONS}{cluster}/")]
    for key in reversed(found):
        try:
            yield parse(Operation, await store.get(key), key)
        except ObjectMissing:  # trimmed by a later holder
            continue


class OperationLock:
    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger

    async def holder(self, cluster: str) -> Operation | None:
        """Who holds the lock, or None if it is free."""
        newest, _ = await self._newest(cluster)
        if newest is None or await self._ended(newest):
            return None
        return newest

    async def try_take(self, cluster: str, job: str, kind: OperationKind) -> Operation | None:
        """None: the lock is ours. Otherwise who holds it. Taking it again for the same job is harmless."""
        while True:
            newest, entries = await self._newest(cluster)
            if newest is not None:
                if newest.job_id == job:
                    return None
                if not await self._ended(newest):
                    return newest
            number = newest.number + 1 if newest else 1
            entry = Operation(cluster_id=cluster, number=number, job_id=job, kind=kind)
            if await self._store.put_if_absent(keys.operation(cluster, number), entry.to_bytes()):
                # A claimant that stood still while others came and went may have put a number trimmed long ago.
                newest, entries = await self._newest(cluster)
                if newest is not None and newest.job_id == job:
                    await self._trim(entries[:-_KEPT_ENTRIES])
                    return None

    async def _trim(self, old: list[str]) -> None:
        for key in reversed(old):
            try:
                if parse(Operation, await self._store.get(key), key).kind != "backup":
                    old = [other for other in old if other != key]
                    break
            except ObjectMissing:  # trimmed by a later holder
                continue
        await self._store.delete(old)

    async def _ended(self, operation: Operation) -> bool:
        return await self._ledger.ended(operation.cluster_id, operation.job_id)

    async def _newest(self, cluster: str) -> tuple[Operation | None, list[str]]:
        while True:
            entries = [found.key async for found in self._store.list(f"{keys.OPERATIONS}{cluster}/")]
            if not entries:
                return None, []
            try:
                return parse(Operation, await self._store.get(entries[-1]), entries[-1]), entries
            except ObjectMissing:  # trimmed by a later holder between the two calls: newer entries exist
                continue
