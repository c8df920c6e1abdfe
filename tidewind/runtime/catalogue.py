"""Reads the catalogue from the store. Outcomes are immutable, so those read once are remembered."""

from pydantic import ValidationError

from tidewind.domain import keys
from tidewind.domain.catalogue import CatalogueEntry
from tidewind.domain.records import BackupOutcome, Pin, Timeline, Tombstone, Verification, parse
from tidewind.ports.store import ObjectDamaged, ObjectMissing, Store
from tidewind.runtime.ledger import Ledger


class Catalogue:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._outcomes: dict[str, BackupOutcome] = {}

    async def backup(self, cluster: str, backup: str) -> CatalogueEntry | None:
        """One backup, or None if it has no outcome (any more: the store is asked, not memory)."""
        self._outcomes.pop(keys.outcome(cluster, backup), None)
        try:
            outcome = await self._outcome(keys.outcome(cluster, backup))
        except ObjectMissing:
            return None
        return CatalogueEntry(
            outcome=outcome,
            tombstone=await self.tombstone(cluster, backup),
            verification=await self._verification(cluster, backup),
        )

    async def backups(self, cluster: str) -> list[CatalogueEntry]:
        """All backups of a cluster that have an outcome, in no order."""
        tombstones = await self.tombstones(cluster)
        verifications = await self._newest_verifications(cluster)
        entries = []
        async for found in self._store.list(f"{keys.OUTCOMES}{cluster}/"):
            try:
                outcome = await self._outcome(found.key)
            except ObjectMissing:  # deleted since the listing
                continue
            entries.append(
                CatalogueEntry(
                    outcome=outcome,
                    tombstone=tombstones.get(outcome.backup_id),
                    verification=verifications.get(outcome.backup_id),
                )
            )
        return entries

    async def tombstone(self, cluster: str, backup: str) -> Tombstone | None:
        try:
            return parse(Tombstone, await self._store.get(keys.tombstone(cluster, backup)))
        except ObjectMissing:
            return None

    async def tombstones(self, cluster: str) -> dict[str, Tombstone]:
        prefix = f"{keys.TOMBSTONES}{cluster}/"
        found = [entry.key.removeprefix(prefix).removesuffix(".json") async for entry in self._store.list(prefix)]
        marks = [await self.tombstone(cluster, backup) for backup in found]
        return {mark.backup_id: mark for mark in marks if mark is not None}

    async def pins(self, cluster: str) -> list[Pin]:
        """Every pin, void ones too: a pin is void once its job has a terminal record."""
        found = [entry.key async for entry in self._store.list(f"{keys.PINS}{cluster}/")]
        pins = []
        for key in found:
            try:
                pins.append(parse(Pin, await self._store.get(key)))
            except ObjectMissing:
                continue
        return pins

    async def timelines(self, cluster: str) -> list[Timeline]:
        """Oldest first."""
        found = [entry.key async for entry in self._store.list(f"{keys.TIMELINES}{cluster}/")]
        documents = [parse(Timeline, await self._store.get(key)) for key in found]
        return sorted(documents, key=lambda document: document.started_at)

    async def _outcome(self, key: str) -> BackupOutcome:
        known = self._outcomes.get(key)
        if known is None:
            data = await self._store.get(key)
            try:
                known = self._outcomes[key] = parse(BackupOutcome, data)
            except ValidationError as error:
                raise ObjectDamaged("read", key, f"not an outcome: {error.error_count()} fields wrong") from error
        return known

    async def _verification(self, cluster: str, backup: str) -> Verification | None:
        newest: Verification | None = None
        async for found in self._store.list(f"{keys.VERIFICATIONS}{cluster}/{backup}/"):
            newest = _newer(newest, parse(Verification, await self._store.get(found.key)))
        return newest

    async def _newest_verifications(self, cluster: str) -> dict[str, Verification]:
        newest: dict[str, Verification] = {}
        async for found in self._store.list(f"{keys.VERIFICATIONS}{cluster}/"):
            verification = parse(Verification, await self._store.get(found.key))
            newest[verification.backup_id] = _newer(newest.get(verification.backup_id), verification)
        return newest


def _newer(one: Verification | None, other: Verification) -> Verification:
    return other if one is None or other.verified_at >= one.verified_at else one


async def pins_in_force(catalogue: Catalogue, ledger: Ledger, cluster: str) -> list[Pin]:
    """Those whose job has not ended. Raises StoreError."""
    return [pin for pin in await catalogue.pins(cluster) if not await ledger.ended(cluster, pin.job_id)]
