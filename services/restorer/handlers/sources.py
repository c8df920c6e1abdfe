"""What a restore restores: a backup of the store, or what an earlier restore set aside."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from schemas.commands import RestoreUndo
from schemas.events import RestorePoint
from services.restorer.handlers.restores import UNDO
from services.restorer.handlers.tools import RestoreTools
from services.restorer.rules import refusals
from services.restorer.rules.refusals import BackupFound
from tidewind.domain import keys, timelines
from tidewind.domain.ids import timeline_id
from tidewind.domain.manifest import Manifest
from tidewind.domain.problems import Refused, refused
from tidewind.domain.records import BackupOutcome, PinnedLog, Timeline, parse
from tidewind.ports.restore import SafeguardSource, SnapshotSource, Source
from tidewind.ports.store import FormatNewer, ObjectDamaged
from tidewind.runtime.intake import command_of

EXPIRED_NOTE = "safeguard-expired"
OPENED_NOTE = "opened"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A source and where it lies: on which timeline, at which position, and which backup it is, if it is one. `source`
    is None where it could be read when the restore began and no longer can: then only the way back is left.
    `cut_history` is set for a point of the log, `log` are the segments that lead there; `suspect` says why the backup
    may not hold what it should."""

    source: Source | None
    timeline: str
    cut: str | None
    backup_id: str | None
    cut_history: str | None = None
    cut_at: datetime | None = None
    point: RestorePoint | None = None
    log: tuple[PinnedLog, ...] = ()
    suspect: tuple[str, ...] = ()


async def backup_origin(tools: RestoreTools, cluster: str, backup_id: str, timeline: str | None) -> Origin:
    """Raises Refused for every backup that cannot be restored, StoreError."""
    origin = await origin_of(tools, await completed_outcome(tools, cluster, backup_id))
    assert isinstance(origin.source, SnapshotSource)
    wrong = refusals.manifest_refusal(origin.source.manifest, cluster, timeline)
    if wrong is not None:
        raise Refused(wrong)
    return origin


async def origin_of(tools: RestoreTools, outcome: BackupOutcome) -> Origin:
    """Raises StoreError, Refused for a manifest of a newer release."""
    manifest = await read_manifest(tools, outcome)
    source = SnapshotSource(manifest=manifest, open_store=tools.open_store)
    return Origin(
        source=source,
        timeline=manifest.timeline,
        cut=manifest.position,
        backup_id=manifest.backup_id,
        cut_at=manifest.snapshot_time,
        suspect=outcome.suspect,
    )


async def completed_outcome(tools: RestoreTools, cluster: str, backup_id: str) -> BackupOutcome:
    """Raises Refused unless there is such a backup and it is whole and not being deleted."""
    try:
        entry = await tools.catalogue.backup(cluster, backup_id)
    except FormatNewer as error:
        raise refused("backup-newer-format", f"Backup {backup_id}: its record: {error.cause}") from None
    found = BackupFound(
        outcome=entry.outcome if entry else None,
        tombstone=entry.tombstone if entry else await tools.catalogue.tombstone(cluster, backup_id),
        elsewhere=None if entry else await _elsewhere(tools, cluster, backup_id),
        begun=entry is None and await _begun(tools, cluster, backup_id),
    )
    wrong = refusals.backup_refusal(found, cluster, backup_id)
    if wrong is not None:
        raise Refused(wrong)
    assert found.outcome is not None
    return found.outcome


async def read_manifest(tools: RestoreTools, outcome: BackupOutcome) -> Manifest:
    """Raises StoreError, Refused for a manifest of a newer release."""
    assert outcome.manifest_key is not None
    data = await tools.store.get(outcome.manifest_key)
    try:
        return parse(Manifest, data, outcome.manifest_key)
    except FormatNewer as error:
        raise refused("backup-newer-format", f"Backup {outcome.backup_id}: its manifest: {error.cause}") from None
    except ObjectDamaged as error:
        raise ObjectDamaged("read", outcome.manifest_key, error.cause, "choose another backup") from None


async def safeguard_origin(tools: RestoreTools, cluster: str, restore_id: str, *, checked: bool) -> Origin:
    """What a completed restore set aside. Checked, raises Refused if it may not be brought back."""
    lived = await tools.catalogue.timelines(cluster)
    own = timelines.by_id(lived, timeline_id(restore_id))
    kept = await tools.ledger.notes(cluster, own.job_id) if own is not None and own.job_id is not None else {}
    opened = kept.get(OPENED_NOTE)
    wrong = refusals.undo_refusal(
        restore_id,
        lived,
        undos=await _undos(tools, cluster, lived),
        undo_until=None if opened is None else datetime.fromisoformat(str(opened["undo_until"])),
        expired=EXPIRED_NOTE in kept,
        now=tools.clock.now(),
    )
    if wrong is not None and (checked or own is None):
        raise Refused(wrong)
    assert own is not None
    return Origin(
        source=SafeguardSource(restore_id=restore_id, kept=kept),
        timeline=timelines.lived_before(lived, own),
        cut=own.parent_end,
        backup_id=None,
        cut_history=own.end_history,
        cut_at=own.ended_at,
    )


async def _undos(tools: RestoreTools, cluster: str, lived: Sequence[Timeline]) -> dict[str, str]:
    """Of the undos among those that opened timelines: what each undid."""
    found = {}
    for one in lived:
        if one.restore_id is None or one.job_id is None:
            continue
        job = await tools.ledger.accepted(cluster, one.job_id)
        if job is not None and job.command == UNDO:
            found[one.restore_id] = command_of(job, RestoreUndo).restore_id
    return found


async def _elsewhere(tools: RestoreTools, cluster: str, backup_id: str) -> str | None:
    async for other in tools.registry.clusters():
        if other.cluster_id != cluster and await tools.catalogue.backup(other.cluster_id, backup_id) is not None:
            return other.cluster_id
    return None


async def _begun(tools: RestoreTools, cluster: str, backup_id: str) -> bool:
    async for _ in tools.store.list(keys.snapshot(cluster, backup_id)):
        return True
    return False
