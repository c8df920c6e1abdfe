"""Whether a snapshot whose every byte was written may still be useless."""

from collections.abc import Sequence

from tidewind.domain.records import BackupOutcome

_SMALL_BYTES = 10_000_000
_REMAINS = 0.1
_NAMED = 10


def suspicions(
    *, tables: int, rows: int, row_bytes: int, earlier: BackupOutcome | None, left_out: Sequence[str] = ()
) -> tuple[str, ...]:
    """Reasons to look at the backup before trusting it; empty for an ordinary one.

    `left_out`: what the engine found and could not keep, in words. `earlier` is the newest completed backup before this
    one. A drop is judged only where there was something to lose.
    """
    reasons = []
    if tables == 0:
        reasons.append("it holds no tables")
    if earlier is not None and earlier.row_bytes > _SMALL_BYTES and row_bytes < earlier.row_bytes * _REMAINS:
        lost = 100 - 100 * row_bytes / earlier.row_bytes
        reasons.append(f"it holds {lost:.0f} % less than the backup before ({earlier.backup_id})")
    if earlier is not None and earlier.rows > 0 and rows == 0 and tables > 0:
        reasons.append(f"every table is empty, and the backup before ({earlier.backup_id}) had {earlier.rows} rows")
    if left_out:
        reasons.append(f"it does not hold {len(left_out)} things that are there: {'; '.join(left_out[:_NAMED])}")
    return tuple(reasons)
