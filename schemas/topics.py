"""The topics, once: names, keys, what is kept, who writes and who reads.

Creation (`tidewind topics`), the checks of every service at start and the generated documents all read this table.
All topics have the same number of partitions and one partitioner, murmur2 of the cluster id, so that everything about
one cluster within a topic is ordered.
"""

from dataclasses import dataclass
from typing import Literal

DEFAULT_PREFIX = "tidewind."
DEFAULT_PARTITIONS = 12
DAY_MS = 24 * 60 * 60 * 1000
MAX_RECORD_BYTES = 1_000_000
MAX_DEAD_LETTER_BYTES = 2_000_000
RECORD_FRAMING_BYTES = 100_000

Cleanup = Literal["delete", "compact"]
TimestampType = Literal["CreateTime", "LogAppendTime"]


@dataclass(frozen=True, kw_only=True)
class Topic:
    """One topic. `name` is without the deployment's prefix; `retention_ms` is None for compacted topics."""

    name: str
    key: str
    purpose: str
    written_by: tuple[str, ...]
    read_by: tuple[str, ...]
    cleanup: Cleanup = "delete"
    retention_ms: int | None = None
    timestamp_type: TimestampType = "CreateTime"
    max_message_bytes: int = MAX_RECORD_BYTES + RECORD_FRAMING_BYTES
    internal: bool = False

    def full_name(self, prefix: str = DEFAULT_PREFIX) -> str:
        return prefix + self.name

    @property
    def record_limit(self) -> int:
        """The largest key, value and headers together that a writer may send; the rest is the batch's framing."""
        return self.max_message_bytes - RECORD_FRAMING_BYTES

    def config(self) -> dict[str, str]:
        """The broker's settings for this topic, as the admin protocol takes them."""
        settings = {
            "cleanup.policy": self.cleanup,
            "max.message.bytes": str(self.max_message_bytes),
            "message.timestamp.type": self.timestamp_type,
        }
        if self.cleanup == "compact":
            settings |= {
                "min.cleanable.dirty.ratio": "0.1",
                "segment.ms": str(6 * 60 * 60 * 1000),
                "delete.retention.ms": str(7 * DAY_MS),
            }
        else:
            settings["retention.ms"] = str(self.retention_ms)
        return settings


COMMANDS = Topic(
    name="commands.v1",
    key="cluster id",
    purpose="What users ask for, but for restores",
    written_by=("users",),
    read_by=("scheduler",),
    retention_ms=7 * DAY_MS,
)
RESTORES = Topic(
    name="restores.v1",
    key="cluster id",
    purpose="Restores: a topic of its own because a restore destroys data and deserves an access list of its own",
    written_by=("users",),
    read_by=("restorer",),
    retention_ms=7 * DAY_MS,
    timestamp_type="LogAppendTime",
)
BACKUPS = Topic(
    name="backups.v1",
    key="cluster id",
    purpose="What is due, and what the scheduler routes: enrolments, deletes, verifications",
    written_by=("scheduler",),
    read_by=("snapshotter",),
    retention_ms=7 * DAY_MS,
)
CHANGES = Topic(
    name="changes.v1",
    key="cluster id",
    purpose="Sealed blocks of the clusters' logs",
    written_by=("changelog capture",),
    read_by=("changelog archive",),
    retention_ms=3 * DAY_MS,
)
REPLIES = Topic(
    name="replies.v1",
    key="cluster id",
    purpose="Exactly one accepted or rejected for every command",
    written_by=("scheduler", "snapshotter", "changelog", "restorer"),
    read_by=("users",),
    retention_ms=7 * DAY_MS,
)
EVENTS = Topic(
    name="events.v1",
    key="cluster id",
    purpose="Facts in the past tense; exactly one terminal event for every accepted command",
    written_by=("scheduler", "snapshotter", "changelog", "restorer"),
    read_by=("anyone",),
    retention_ms=30 * DAY_MS,
)
STATUS = Topic(
    name="status.v1",
    key="<kind>/<cluster>[/<id>], partitioned by cluster id",
    purpose="The present: the whole state of one thing per record",
    written_by=("one writer per kind",),
    read_by=("anyone",),
    cleanup="compact",
)
PROGRESS = Topic(
    name="progress.v1",
    key="cluster id",
    purpose="How far running jobs are, with rate and time left",
    written_by=("snapshotter", "restorer"),
    read_by=("CLI", "dashboard"),
    retention_ms=DAY_MS,
)
SCHEDULER_TICKS = Topic(
    name="scheduler-ticks.v1",
    key="partition number, sent to that partition",
    purpose="Lets the scheduler handle what is due on the partitions it owns",
    written_by=("scheduler",),
    read_by=("scheduler",),
    retention_ms=DAY_MS,
    internal=True,
)
SCHEDULER_TABLE = Topic(
    name="scheduler-clusters-changelog",
    key="cluster id",
    purpose="The scheduler's table of clusters: a cache of the store's registry",
    written_by=("scheduler",),
    read_by=("scheduler",),
    cleanup="compact",
    internal=True,
)
DEAD_LETTERS = Topic(
    name="dead-letters.v1",
    key="as original",
    purpose="Messages nobody could handle, byte for byte, with the reason",
    written_by=("scheduler", "snapshotter", "changelog", "restorer"),
    read_by=("operators: tidewind dlt",),
    retention_ms=30 * DAY_MS,
    max_message_bytes=MAX_DEAD_LETTER_BYTES + RECORD_FRAMING_BYTES,
)

TOPICS: tuple[Topic, ...] = (
    COMMANDS,
    RESTORES,
    BACKUPS,
    CHANGES,
    REPLIES,
    EVENTS,
    STATUS,
    PROGRESS,
    SCHEDULER_TICKS,
    SCHEDULER_TABLE,
    DEAD_LETTERS,
)
