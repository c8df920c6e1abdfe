"""The catalogue: every backup that has an outcome, as the store knows it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from schemas.replies import Problem
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


@dataclass(frozen=True, kw_only=True)
class UnreadableBackup:
    """A backup whose outcome, or deletion mark, is there and cannot be read: damaged, of a key that the keyring does
    not hold, or of a later release. It may be whole; so only a command removes it."""

    cluster_id: str
    backup_id: str
    problem: Problem


@dataclass(frozen=True, kw_only=True)
class Contents:
    """All backups of a cluster that have an outcome, in no order."""

    backups: list[CatalogueEntry]
    unreadable: list[UnreadableBackup]

    def unreadable_one(self, backup_id: str) -> UnreadableBackup | None:
        return next((one for one in self.unreadable if one.backup_id == backup_id), None)


def newest_first(entries: Iterable[CatalogueEntry]) -> list[CatalogueEntry]:
    """By snapshot time; failed ones by their end."""
    return sorted(entries, key=lambda entry: entry.outcome.snapshot_time or entry.outcome.ended_at, reverse=True)


def expires_at(outcome: BackupOutcome, retention_days: int) -> datetime | None:
    """When retention stops protecting a backup; None for one that never completed."""
    if outcome.snapshot_time is None:
        return None
    return outcome.snapshot_time + timedelta(days=retention_days)
