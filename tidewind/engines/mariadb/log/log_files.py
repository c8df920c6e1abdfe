"""How long the server will keep the log that lies before us. Pure.

A server purges whole files: by age, counted from a file's last write, and from MariaDB 11.4 on by the size of all.
SHOW BINARY LOGS tells sizes and no times, so a file's last write is taken to be no later than the newest transaction
that we have read of it: what is said is rather too short than too long.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tidewind.domain.gtids import GtidList


@dataclass
class FilesRead:
    """The files that a session has read: each with the position known to be at or behind its beginning, and the time of
    the last transaction read before it."""

    names: list[str] = field(default_factory=list)
    positions: list[GtidList] = field(default_factory=list)
    times_us: list[int] = field(default_factory=list)

    def note(self, name: str, position: GtidList, time_us: int) -> None:
        """The log is read in the file `name` now, having come as far as `position`, at the time `time_us`."""
        if name and (not self.names or self.names[-1] != name):
            self.names.append(name)
            self.positions.append(position)
            self.times_us.append(time_us)

    def holding(self, position: GtidList) -> tuple[str, int | None] | None:
        """(file in which what follows `position` stands, at the earliest; time of its last write, None if it is still
        being read). None if no file is known."""
        if not self.names:
            return None
        at = max(sum(position.covers(one) for one in self.positions) - 1, 0)
        return self.names[at], self.times_us[at + 1] if at + 1 < len(self.names) else None

    def forget_before(self, position: GtidList) -> None:
        """Files that nothing at or behind `position` stands in."""
        found = self.holding(position)
        if found is not None:
            at = self.names.index(found[0])
            del self.names[:at], self.positions[:at], self.times_us[:at]


def headroom_s(
    files: Sequence[tuple[str, int]],
    holding: str,
    last_write_us: int | None,
    now_us: int,
    *,
    kept_s: float | None,
    kept_bytes: int | None,
    bytes_per_s: float,
) -> float | None:
    """Seconds until `holding` is purged; None if the server purges nothing by itself. `files` are (name, size), oldest
    first; `last_write_us` is None for a file that may still be written; `bytes_per_s` is how fast the log grows."""
    names = [name for name, _ in files]
    if holding not in names:
        return 0.0
    left: list[float] = []
    if kept_s is not None:
        since_s = 0.0 if last_write_us is None or holding == names[-1] else (now_us - last_write_us) / 1e6
        left.append(max(0.0, kept_s - since_s))
    if kept_bytes is not None and bytes_per_s > 0 and holding != names[-1]:
        newer = sum(size for name, size in files[names.index(holding) :])
        left.append(max(0.0, (kept_bytes - newer) / bytes_per_s))
    return min(left, default=None)
