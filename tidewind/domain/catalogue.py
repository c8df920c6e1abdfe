"""The catalogue: every backup that has an outcome, as the store knows it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidewind.domain.records import BackupOutcome, Tombstone, Verification


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """One backup. `tombstone`: its deletion has begun. `verification`: the newest one."""

    outcome: BackupOutcome
    tombstone: Tombstone | None = None
    verification: Verification | None = None

    @property
    def backup_id(self) -> str:
        return self.outcome.backup_id

    @property
    def restorable(self) -> bool:
        """Completed and not being deleted. Says nothing of expiry: an expired backup that still exists is good."""
        return self.outcome.result == "completed" and self.tombstone is None

    @property
    def damaged(self) -> bool:
        return self.verification is not None and bool(self.verification.damaged)


def newest_first(entries: Iterable[CatalogueEntry]) -> list[CatalogueEntry]:
    """By snapshot time; failed ones by their end."""
    return sorted(entries, key=lambda entry: entry.outcome.snapshot_time or entry.outcome.ended_at, reverse=True)


def expires_at(outcome: BackupOutcome, retention_days: int) -> datetime | None:
    """When retention stops protecting a backup; None for one that never completed."""
    if outcome.snapshot_time is None:
        return None
    return outcome.snapshot_time + timedelta(days=retention_days)
