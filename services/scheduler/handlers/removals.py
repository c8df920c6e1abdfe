"""Orders the removal of what retention lets go. The rule is tidewind.domain.retention; the snapshotter does it.

Invariant: each order follows from a catalogue read for it, never from a remembered one, and from a trusted clock. A
backup that cannot be read has no age: it stays until a command removes it.
"""

from datetime import datetime, timedelta

from services.scheduler.handlers.memory import Memory
from services.scheduler.handlers.speaker import Speaker
from services.scheduler.rules.emission import removal_work
from tidewind.domain.records import RegistryEntry
from tidewind.domain.retention import RetentionSettings, from_catalogue, plan_retention
from tidewind.runtime.catalogue import Catalogue, pins_in_force
from tidewind.runtime.ledger import Ledger


class RemovalKeeper:
    def __init__(self, ledger: Ledger, catalogue: Catalogue, speaker: Speaker) -> None:
        self._ledger = ledger
        self._catalogue = catalogue
        self._speaker = speaker

    async def keep(
        self, history: tuple[RegistryEntry, ...], memory: Memory, now: datetime, clock_doubt: str | None
    ) -> int:
        """One round for one cluster; returns how many backups remain. Raises StoreError, BusUnavailable."""
        entry = history[-1]
        contents = await self._catalogue.contents(entry.cluster_id)
        verdicts = plan_retention(
            from_catalogue(contents.backups),
            retention_settings(entry, clock_doubt=clock_doubt),
            now,
            in_use=await self._in_use(entry.cluster_id),
        )
        for verdict in verdicts:
            if not verdict.keep:
                work = removal_work(entry.cluster_id, verdict.backup_id, now, retired=entry.state == "retired")
                await self._speaker.order(work, memory, now)
        return len(contents.backups) + len(contents.unreadable)

    async def _in_use(self, cluster: str) -> frozenset[str]:
        pins = await pins_in_force(self._catalogue, self._ledger, cluster)
        return frozenset(backup for pin in pins for backup in pin.backups)


def retention_settings(
    entry: RegistryEntry, *, retention_days: int | None = None, clock_doubt: str | None = None
) -> RetentionSettings:
    """What a registry entry means for retention; `retention_days` in place of its own, to see what would change."""
    days = entry.setting.retention_days if retention_days is None else retention_days
    return RetentionSettings(retention=timedelta(days=days), retired=entry.state == "retired", clock_doubt=clock_doubt)
