"""How work that is due is named and how often it is said again.

The same work always has the same ids, so saying it again is harmless; it is said until the ledger shows that it was
taken in, ever more slowly.

Users cannot use these keys: what they send under the key of a slot, even if it is refused, would take that day's place
in the ledger. So such a record never gets as far as the ledger.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime

from schemas.envelope import Message, Poison
from tidewind.domain import ids

BACKUP_RUN = "tidewind.backup.run.v1"
BACKUP_DELETE = "tidewind.backup.delete.v1"
SEGMENTS_DELETE = "tidewind.segments.delete.v1"
SOURCE = "/tidewind/scheduler"
ACTOR = "tidewind scheduler"
RESERVED_KEYS = ("slot:", "base:", "retention:")

_PAUSES_S = (30.0, 60.0, 120.0, 300.0, 600.0)


@dataclass(frozen=True, kw_only=True)
class Work:
    """Something due: a command for the snapshotter. `key` is its idempotency key."""

    cluster: str
    command: str
    key: str
    body: dict[str, str | bool | int]

    @property
    def job_id(self) -> str:
        return ids.job_id(
            self.cluster, self.command, idempotency_key=self.key, source=SOURCE, message_id=self.message_id
        )

    @property
    def message_id(self) -> str:
        return ids.derived_id(self.cluster, self.command, self.key)

    def message(self, now: datetime) -> Message:
        return Message(
            id=self.message_id,
            type=self.command,
            source=SOURCE,
            time=now,
            key=self.cluster,
            subject=self.job_id,
            correlation_id=self.message_id,
            idempotency_key=self.key,
            actor=ACTOR,
            data=self.body,
        )


def slot_work(cluster: str, day: date) -> Work:
    """The backup of one local day."""
    return Work(
        cluster=cluster,
        command=BACKUP_RUN,
        key=f"slot:{day.isoformat()}",
        body={"cluster_id": cluster, "cause": "slot", "slot_date": day.isoformat()},
    )


def base_work(cluster: str, timeline: str, history: str | None, attempt: int) -> Work:
    """The backup that makes a timeline's start, in the log captured then, restorable; `attempt` counts from 1."""
    key = ":".join(("base", timeline, *([history] if history else []), *([str(attempt)] if attempt > 1 else [])))
    return Work(cluster=cluster, command=BACKUP_RUN, key=key, body={"cluster_id": cluster, "cause": "base"})


def removal_work(cluster: str, backup: str, now: datetime, *, retired: bool) -> Work:
    """The deletion of a backup that retention lets go. A new key each day: a deletion that failed is tried again.
    A retired cluster's newest backup goes too; that it is the newest must be confirmed."""
    return Work(
        cluster=cluster,
        command=BACKUP_DELETE,
        key=f"retention:{backup}:{now.astimezone(UTC).date().isoformat()}",
        body={
            "cluster_id": cluster,
            "backup_id": backup,
            "cause": "retention",
            "confirm_shorter_window": retired,
        },
    )


def log_removal_work(cluster: str, history: str, through: int, now: datetime) -> Work:
    """The deletion of segments that no kept backup needs; a new key each day, as for backups."""
    return Work(
        cluster=cluster,
        command=SEGMENTS_DELETE,
        key=f"retention:{history}:{through}:{now.astimezone(UTC).date().isoformat()}",
        body={"cluster_id": cluster, "history": history, "through": through},
    )


@dataclass(frozen=True, kw_only=True)
class Emitted:
    """How often a work was said, and when last (Unix seconds)."""

    count: int
    at: float


def say_again(emitted: Emitted | None, now: datetime) -> bool:
    """Whether it is time to say a work (again). A clock set back does not silence it."""
    if emitted is None:
        return True
    waited = now.timestamp() - emitted.at
    return waited < 0 or waited >= _PAUSES_S[min(emitted.count, len(_PAUSES_S)) - 1]


def base_pause_s(failed_attempts: int) -> float:
    """How long to wait after the newest of so many failed attempts at a base: 15 min, doubling, at most 4 h."""
    return float(min(900 * 2 ** (failed_attempts - 1), 4 * 3600))


def forged(message: Message) -> Poison | None:
    """Why a user's command is not looked at: it bears a name that only the scheduler's own work may have."""
    key = message.idempotency_key or ""
    if key.startswith(RESERVED_KEYS):
        names = ", ".join(RESERVED_KEYS)
        return Poison(
            "reserved-key",
            f"the idempotency key {key[:80]!r} begins like the scheduler's own ({names}); "
            "send the command again under another key",
            message.id,
        )
    if message.source == SOURCE:
        return Poison("reserved-source", f"the source {SOURCE} is the scheduler's own; name your program", message.id)
    return None
