"""What the scheduler says about a cluster on the status topic."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from schemas.status import ClusterStatus, SettingStatus, SlotStatus
from services.scheduler.rules.emission import slot_work
from tidewind.domain import ids
from tidewind.domain.records import RegistryEntry
from tidewind.domain.slots import Revision, next_backup

SlotState = Literal["due", "running", "completed", "failed", "missed", "deferred"]


@dataclass(frozen=True, kw_only=True)
class Slot:
    """The newest local day that fell due and what became of it."""

    day: date
    due_at: datetime
    state: SlotState
    detail: str | None = None


def slot_revisions(history: Sequence[RegistryEntry]) -> tuple[Revision, ...]:
    """The registry's revisions as the rules of slots take them."""
    return tuple(
        Revision(
            since=entry.changed_at,
            zone=entry.zone,
            backup_time=entry.setting.backup_time,
            retired=entry.state == "retired",
        )
        for entry in history
    )


def cluster_status(history: Sequence[RegistryEntry], now: datetime) -> ClusterStatus:
    entry = history[-1]
    retired_at = next((past.changed_at for past in history if past.state == "retired"), None)
    return ClusterStatus(
        cluster_id=entry.cluster_id,
        at=now,
        engine=entry.engine,
        engine_version=entry.engine_version,
        region=entry.region,
        zone=entry.zone,
        endpoints=entry.endpoints,
        replicas=entry.replicas,
        state=entry.state,
        created_at=entry.created_at,
        retired_at=retired_at,
    )


def setting_status(history: Sequence[RegistryEntry], settled_through: date | None, now: datetime) -> SettingStatus:
    entry = history[-1]
    following = next_backup(
        slot_revisions(history), first_day=first_day(entry), settled_through=settled_through, now=now
    )
    return SettingStatus(
        cluster_id=entry.cluster_id,
        at=now,
        setting=entry.setting,
        zone=entry.zone,
        next_backup_at=following.at if following is not None else None,
    )


def slot_status(cluster: str, slot: Slot, now: datetime) -> SlotStatus:
    """A missed day has no backup; any other has the id its job's backup bears."""
    backup = None if slot.state == "missed" else ids.backup_id(slot_work(cluster, slot.day).job_id)
    return SlotStatus(
        cluster_id=cluster,
        at=now,
        slot_date=slot.day.isoformat(),
        due_at=slot.due_at,
        state=slot.state,
        backup_id=backup,
        detail=slot.detail,
    )


def first_day(entry: RegistryEntry) -> date:
    return date.fromisoformat(entry.first_slot_date)
