"""Whether a backup may be deleted."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from schemas.commands import BackupDelete
from schemas.replies import Problem
from tidewind.domain.catalogue import CatalogueEntry, UnreadableBackup
from tidewind.domain.lived import Lived, pieces, reachable_from
from tidewind.domain.problems import problem
from tidewind.domain.records import Pin
from tidewind.domain.retention import Stretch, delete_effect, from_catalogue, newest_good, recoverable

CLOCK_TOLERANCE = timedelta(minutes=5)


def refuse_delete(
    command: BackupDelete,
    entry: CatalogueEntry | None,
    others: Iterable[CatalogueEntry],
    readers: Iterable[Pin],
) -> Problem | None:
    """None if it may go. `readers` are the pins still in force."""
    backup = command.backup_id
    if entry is None:
        return problem("unknown-backup", f"{command.cluster_id} has no backup {backup}")
    if entry.tombstone is not None:
        since = f"{entry.tombstone.marked_at:%Y-%m-%d %H:%M:%S} UTC"
        return problem("backup-deleted", f"{backup} is deleted, or being deleted, since {since}")
    for pin in readers:
        if backup in pin.backups:
            return _in_use(pin, backup)
    if newest_good(from_catalogue(others)) == backup and not command.confirm_shorter_window:
        return problem(
            "last-backup",
            f"{backup} is the newest good backup of {command.cluster_id}; without it only what is older comes back",
        )
    return None


def refuse_delete_unreadable(command: BackupDelete, backup: UnreadableBackup, readers: Iterable[Pin]) -> Problem | None:
    """None if a backup whose record cannot be read may go. It may be whole, and its key or a newer release may come
    back, so that it is wanted gone all the same must be said."""
    for pin in readers:
        if backup.backup_id in pin.backups:
            return _in_use(pin, backup.backup_id)
    if not command.confirm_shorter_window:
        why = backup.problem
        return why.model_copy(update={"next_step": f"{why.next_step}; or repeat with confirm_shorter_window to delete"})
    return None


def _in_use(pin: Pin, backup: str) -> Problem:
    return problem("backup-in-use", f"The restore of job {pin.job_id} reads {backup}", facts={"job": pin.job_id})


def window_without(others: Iterable[CatalogueEntry], lived: Lived) -> dict[str, object]:
    """The answer's part about what can be restored, for a delete of something that counted for nothing."""
    stretches = [_as_json(stretch) for stretch in recoverable(from_catalogue(others), _replayable(lived))]
    return {"shorter": False, "before": stretches, "after": stretches}


def window_after(entry: CatalogueEntry, others: Iterable[CatalogueEntry], lived: Lived) -> dict[str, object]:
    """What the delete makes of what can be restored; part of its answer. Instants in ISO 8601, UTC."""
    left = tuple(base for base in lived.bases if base.backup_id != entry.backup_id)
    effect = delete_effect(
        from_catalogue(others), entry.backup_id, _replayable(lived), _replayable(replace(lived, bases=left))
    )
    return {
        "shorter": effect.shorter,
        "before": [_as_json(stretch) for stretch in effect.before],
        "after": [_as_json(stretch) for stretch in effect.after],
    }


def _replayable(lived: Lived) -> tuple[Stretch, ...]:
    """Stretches of the log all of whose instants can be restored."""
    found = []
    for piece in pieces(lived):
        first = reachable_from(piece, lived)
        if first is not None and first <= piece.last_instant:
            found.append(Stretch(timeline=piece.timeline, start=first, end=piece.last_instant))
    return tuple(found)


def _as_json(stretch: Stretch) -> dict[str, str | None]:
    return {
        "timeline": stretch.timeline,
        "start": stretch.start.isoformat(),
        "end": stretch.end.isoformat(),
    }


def clocks_agree(ours: datetime, stores: datetime) -> Problem | None:
    """Nothing is removed while our clock and the store's differ: an age cannot be trusted then."""
    apart = abs(ours - stores)
    if apart <= CLOCK_TOLERANCE:
        return None
    return problem(
        "clock-skew",
        f"This machine's clock and the store's are {apart.total_seconds():.0f} s apart; nothing is deleted meanwhile",
    )
