"""Reads the catalogue from the store. Outcomes are immutable, so those read once are remembered."""

import structlog

from tidewind.domain import keys, timelines
from tidewind.domain.catalogue import CatalogueEntry, Contents, UnreadableBackup
from tidewind.domain.records import BackupOutcome, Pin, Timeline, Tombstone, Verification, parse
from tidewind.ports.store import UNREADABLE, ObjectMissing, Store, StoreError
from tidewind.runtime.failures import store_problem
from tidewind.runtime.ledger import Ledger

log = structlog.get_logger()


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
        """All backups of a cluster whose outcome can be read, in no order. One that cannot be read must not keep
        anybody from working with the others; see `contents`."""
        return (await self.contents(cluster)).backups

    async def contents(self, cluster: str) -> Contents:
        """All backups of a cluster, those that cannot be read by name. Raises StoreError where the store fails."""
        marks, unreadable_marks = await self._marks(cluster)
        verifications = await self._newest_verifications(cluster)
        prefix = f"{keys.OUTCOMES}{cluster}/"
        backups: list[CatalogueEntry] = []
        unreadable: list[UnreadableBackup] = []
        async for found in self._store.list(prefix):
            backup = found.key.removeprefix(prefix).removesuffix(".json")
            try:
                outcome = await self._outcome(found.key)
                if backup in unreadable_marks:
                    raise unreadable_marks[backup]
            except ObjectMissing:  # deleted since the listing
                continue
            except UNREADABLE as error:
                log.warning(
                    "a backup cannot be read",
                    action="backup-unreadable",
                    cluster=cluster,
                    backup=backup,
                    why=str(error),
                )
                unreadable.append(UnreadableBackup(cluster_id=cluster, backup_id=backup, problem=store_problem(error)))
                continue
            backups.append(
                CatalogueEntry(outcome=outcome, tombstone=marks.get(backup), verification=verifications.get(backup))
            )
        return Contents(backups=backups, unreadable=unreadable)

    async def tombstone(self, cluster: str, backup: str) -> Tombstone | None:
        try:
            key = keys.tombstone(cluster, backup)
            return parse(Tombstone, await self._store.get(key), key)
        except ObjectMissing:
            return None

    async def tombstones(self, cluster: str) -> dict[str, Tombstone]:
        """By backup; without those that cannot be read."""
        return (await self._marks(cluster))[0]

    async def _marks(self, cluster: str) -> tuple[dict[str, Tombstone], dict[str, StoreError]]:
        prefix = f"{keys.TOMBSTONES}{cluster}/"
        found = [entry.key.removeprefix(prefix).removesuffix(".json") async for entry in self._store.list(prefix)]
        marks: dict[str, Tombstone] = {}
        unreadable: dict[str, StoreError] = {}
        for backup in found:
            try:
                mark = await self.tombstone(cluster, backup)
            except UNREADABLE as error:
                unreadable[backup] = error
            else:
                marks |= {} if mark is None else {backup: mark}
        return marks, unreadable

    async def pins(self, cluster: str) -> list[Pin]:
        """Every pin, void ones too: a pin is void once its job has a terminal record."""
        found = [entry.key async for entry in self._store.list(f"{keys.PINS}{cluster}/")]
        pins = []
        for key in found:
            try:
                pins.append(parse(Pin, await self._store.get(key), key))
            except ObjectMissing:
                continue
        return pins

    async def timelines(self, cluster: str) -> list[Timeline]:
        """In the order in which they were lived."""
        found = [entry.key async for entry in self._store.list(f"{keys.TIMELINES}{cluster}/")]
        documents = [parse(Timeline, await self._store.get(key), key) for key in found]
        return timelines.in_order(documents)

    async def _outcome(self, key: str) -> BackupOutcome:
        known = self._outcomes.get(key)
        if known is None:
            known = self._outcomes[key] = parse(BackupOutcome, await self._store.get(key), key)
        return known

    async def _verification(self, cluster: str, backup: str) -> Verification | None:
        return (await self._newest_verifications(cluster, f"{backup}/")).get(backup)

    async def _newest_verifications(self, cluster: str, below: str = "") -> dict[str, Verification]:
        """By backup. What a verification found is lost with its record; another one finds it again."""
        newest: dict[str, Verification] = {}
        async for found in self._store.list(f"{keys.VERIFICATIONS}{cluster}/{below}"):
            try:
                verification = parse(Verification, await self._store.get(found.key), found.key)
            except (*UNREADABLE, ObjectMissing) as error:
                log.warning("a verification cannot be read", action="verification-unreadable", why=str(error))
                continue
            newest[verification.backup_id] = _newer(newest.get(verification.backup_id), verification)
        return newest


def _newer(one: Verification | None, other: Verification) -> Verification:
    return other if one is None or other.verified_at >= one.verified_at else one


async def pins_in_force(catalogue: Catalogue, ledger: Ledger, cluster: str) -> list[Pin]:
    """Those whose job has not ended. Raises StoreError."""
    return [pin for pin in await catalogue.pins(cluster) if not await ledger.ended(cluster, pin.job_id)]
