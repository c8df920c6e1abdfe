"""What the scheduler remembers of a cluster between ticks. All of it can be lost: the store decides, this saves work.

The part that saves most, what was said when, is kept in the scheduler's table and so survives a change of owner.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from services.scheduler.rules.emission import Emitted
from services.scheduler.rules.statuses import Slot

_KEPT_WORKS = 64


@dataclass
class Memory:
    """`settled_known`: whether `settled_through` was read from the ledger yet. `open_days`: backups that were taken in
    and have not ended, with the time of acceptance. `published`: the newest status said, by kind. `withdrawn`: the
    cluster is retired and its last backup gone, so its statuses were removed."""

    settled_known: bool = False
    settled_through: date | None = None
    slot: Slot | None = None
    open_days: dict[date, datetime] = field(default_factory=dict)
    overdue_said: set[str] = field(default_factory=set)
    deferred_until: datetime | None = None
    emitted: dict[str, Emitted] = field(default_factory=dict)
    based: set[tuple[str, str | None]] = field(default_factory=set)
    retained_at: float | None = None
    withdrawn: bool = False
    published: dict[str, str] = field(default_factory=dict)

    def said(self, key: str, now: datetime) -> None:
        """A work was emitted."""
        earlier = self.emitted.pop(key, None)
        self.emitted[key] = Emitted(count=earlier.count + 1 if earlier else 1, at=now.timestamp())
        while len(self.emitted) > _KEPT_WORKS:
            self.emitted.pop(next(iter(self.emitted)))

    def to_row(self, revision: int) -> dict[str, Any]:
        """The table's row of this cluster, as JSON values."""
        return {
            "revision": revision,
            "deferred_until": None if self.deferred_until is None else self.deferred_until.isoformat(),
            "emitted": {key: [one.count, one.at] for key, one in self.emitted.items()},
        }


def from_row(row: Mapping[str, Any] | None) -> Memory:
    """A memory begun from the table's row, if there is one."""
    if row is None:
        return Memory()
    deferred = row.get("deferred_until")
    return Memory(
        deferred_until=None if deferred is None else datetime.fromisoformat(deferred).astimezone(UTC),
        emitted={key: Emitted(count=int(count), at=float(at)) for key, (count, at) in row["emitted"].items()},
    )
