"""Why a command about a restore is refused. Each rule returns the problem, or None where nothing speaks against it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from schemas.replies import FieldError, Problem
from tidewind.domain import timelines
from tidewind.domain.ids import timeline_id
from tidewind.domain.manifest import Manifest
from tidewind.domain.problems import problem
from tidewind.domain.records import BackupOutcome, RegistryEntry, Timeline, Tombstone


@dataclass(frozen=True, kw_only=True)
class BackupFound:
    """What the store says of a backup id. `elsewhere`: another cluster that has it; `begun`: objects of it exist."""

    outcome: BackupOutcome | None
    tombstone: Tombstone | None
    elsewhere: str | None = None
    begun: bool = False


def cluster_refusal(entry: RegistryEntry | None, cluster_id: str, engines: Collection[str]) -> Problem | None:
    """`engines` are those whose clusters can be restored."""
    if entry is None:
        return problem("unknown-cluster", f"There is no cluster {cluster_id}")
    if entry.state == "retired":
        return problem("cluster-retired", f"{cluster_id} is retired; its backups are kept but no longer put back")
    if entry.engine not in engines:
        able = ", ".join(sorted(engines))
        return problem("unsupported-engine", f"{cluster_id} runs {entry.engine}; restore works for {able} so far")
    return None


def backup_refusal(found: BackupFound, cluster_id: str, backup_id: str) -> Problem | None:
    """Unknown, foreign, deleted, expired, unfinished or failed. What is too new, the reading of the record refuses."""
    stone = found.tombstone
    if stone is not None and stone.cause == "retention":
        return problem(
            "backup-expired", f"Backup {backup_id} expired and is being removed since {_moment(stone.marked_at)}"
        )
    if stone is not None:
        return problem("backup-deleted", f"Backup {backup_id} was deleted by a command at {_moment(stone.marked_at)}")
    outcome = found.outcome
    if outcome is None:
        return _without_outcome(found, cluster_id, backup_id)
    if outcome.result != "completed" or outcome.manifest_key is None:
        return problem("backup-incomplete", f"Backup {backup_id} failed; it holds nothing that could be restored")
    return None


def manifest_refusal(manifest: Manifest, cluster_id: str, timeline: str | None) -> Problem | None:
    """What only the manifest tells."""
    if manifest.cluster_id != cluster_id:
        return problem(
            "backup-of-another-cluster", f"Backup {manifest.backup_id} was taken of cluster {manifest.cluster_id}"
        )
    if timeline is not None and timeline != manifest.timeline:
        wrong = f"backup {manifest.backup_id} lies on timeline {manifest.timeline}"
        return problem(
            "invalid-command",
            f"timeline: {wrong}, not on {timeline}",
            next_step="Leave timeline out, or choose a backup of that timeline",
            errors=(FieldError(field="timeline", problem=wrong),),
        )
    return None


def hash_refusal(wanted: str | None, computed: str) -> Problem | None:
    """`wanted` may be shortened, as the plan shows it."""
    if wanted is None or computed.startswith(wanted):
        return None
    return problem("plan-changed", f"You confirmed plan {wanted}; the plan now is {computed[: len(wanted)]}")


def second_restore_refusal(cluster_id: str, running: str | None) -> Problem | None:
    """`running` is the id of a restore or undo that has not ended."""
    if running is None:
        return None
    return problem(
        "operation-running",
        f"Restore {running} of {cluster_id} has not ended",
        next_step=f"Wait for it, or take it back: tidewind restore cancel {running}",
        facts={"restore_id": running},
    )


def cancel_refusal(
    restore_id: str, *, known: bool, ended: bool, verdict: Literal["open", "return"] | None
) -> Problem | None:
    if not known:
        return problem("unknown-restore", f"There is no restore {restore_id} of this cluster")
    if ended:
        return problem("restore-ended", f"Restore {restore_id} has ended")
    if verdict == "open":
        return problem("restore-too-late", f"Restore {restore_id} is opening the cluster; it can no longer turn back")
    return None


def unknown_refusal(restore_id: str, *, known: bool) -> Problem | None:
    return None if known else problem("unknown-restore", f"There is no restore {restore_id} of this cluster")


def undo_refusal(
    restore_id: str,
    lived: Sequence[Timeline],
    *,
    undos: Mapping[str, str],
    undo_until: datetime | None,
    expired: bool,
    now: datetime,
) -> Problem | None:
    """`lived` are the cluster's timelines: a restore that completed has one. `undos`: of those that are undos, which
    restore each undid. `expired`: what it set aside is gone."""
    own = timelines.by_id(lived, timeline_id(restore_id))
    if own is None:
        return problem("undo-unavailable", f"Restore {restore_id} did not complete; there is nothing to undo")
    newest = timelines.present(lived)
    if newest != own.timeline:
        undo = undone_by(restore_id, lived, undos)
        if undo is not None:
            return problem(
                "undo-unavailable",
                f"Restore {restore_id} was undone already at {_moment(undo.started_at)} by {undo.restore_id}",
                next_step="There is nothing to do",
            )
        later = timelines.by_id(lived, newest)
        name = later.restore_id if later else newest
        return problem(
            "undo-unavailable",
            f"Restore {restore_id} was followed by {name}, whose undo comes first",
            next_step=f"tidewind restore undo {name}",
        )
    if expired or (undo_until is not None and now >= undo_until):
        kept = "its time was up" if undo_until is None else _moment(undo_until)
        return problem("undo-unavailable", f"What restore {restore_id} set aside was kept until {kept} only")
    return None


def undone_by(restore_id: str, lived: Sequence[Timeline], undos: Mapping[str, str]) -> Timeline | None:
    """What the undo of a restore opened, unless that undo was undone itself."""
    for one in lived:
        own = one.restore_id
        if own is not None and undos.get(own) == restore_id and undone_by(own, lived, undos) is None:
            return one
    return None


def _without_outcome(found: BackupFound, cluster_id: str, backup_id: str) -> Problem:
    if found.elsewhere is not None:
        return problem(
            "backup-of-another-cluster", f"Backup {backup_id} was taken of cluster {found.elsewhere}, not {cluster_id}"
        )
    if found.begun:
        return problem("backup-incomplete", f"Backup {backup_id} has not been completed")
    return problem("unknown-backup", f"Cluster {cluster_id} has no backup {backup_id}")


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
