"""The metrics every service exposes on `/metrics`. No label holds a table's name or any other unbounded set."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

REGISTRY = CollectorRegistry()

COMMANDS = Counter("tidewind_commands_total", "Commands answered", ["type", "result"], registry=REGISTRY)
JOBS_RUNNING = Gauge("tidewind_jobs_running", "Jobs in hand of this instance", registry=REGISTRY)
JOBS = Counter("tidewind_jobs_total", "Jobs ended, by terminal event", ["event"], registry=REGISTRY)
JOB_SECONDS = Histogram(
    "tidewind_job_duration_seconds",
    "From accepting a job to its terminal record",
    ["command"],
    buckets=(0.1, 1, 10, 60, 600, 3600, 4 * 3600, 24 * 3600),
    registry=REGISTRY,
)
TAKEOVERS = Counter("tidewind_job_takeovers_total", "Jobs taken over from silent holders", registry=REGISTRY)
LAST_SUCCESS = Gauge(
    "tidewind_last_success_timestamp_seconds", "Snapshot time of the newest good backup", ["cluster"], registry=REGISTRY
)
STORED_BYTES = Gauge("tidewind_stored_bytes", "Stored size of the newest good backup", ["cluster"], registry=REGISTRY)
READY = Gauge("tidewind_ready", "1 while the readiness checks pass", registry=REGISTRY)

PUBLISHER_RECORDS = Gauge(
    "tidewind_publisher_pending_records", "Records that wait for Kafka's acknowledgement", registry=REGISTRY
)
PUBLISHER_BYTES = Gauge("tidewind_publisher_pending_bytes", "Their size", registry=REGISTRY)

CLUSTERS = Gauge("tidewind_scheduler_clusters", "Clusters of this instance, by state", ["state"], registry=REGISTRY)
SLOTS = Gauge(
    "tidewind_scheduler_slots", "Clusters by what became of their newest daily backup", ["state"], registry=REGISTRY
)
SLOTS_MISSED = Counter("tidewind_scheduler_slots_missed_total", "Days said to be missed", registry=REGISTRY)
SLOTS_OVERDUE = Counter("tidewind_scheduler_slots_overdue_total", "Alarms about overdue backups", registry=REGISTRY)
OLDEST_JOB_SECONDS = Gauge(
    "tidewind_scheduler_oldest_job_age_seconds",
    "Age of the oldest job that a service has not ended, 0 without any",
    ["service"],
    registry=REGISTRY,
)
STREAM_RESTARTS = Gauge(
    "tidewind_scheduler_stream_restarts", "How often the stream application was started again", registry=REGISTRY
)


class ConsumerFigures(Protocol):
    """What a consumer counts. `stalls`: records that fail again and again."""

    dead_lettered: int
    rerouted: int
    restarts: int

    def stalls(self) -> Sequence[object]: ...


class _Consumers(Collector):
    """Reads the consumers when somebody looks."""

    def __init__(self) -> None:
        self.followed: dict[str, ConsumerFigures] = {}

    def collect(self) -> Iterable[Metric]:
        stalled = GaugeMetricFamily("tidewind_consumer_stalled", "Partitions that wait for a record", labels=["group"])
        buried = CounterMetricFamily("tidewind_dead_lettered", "Records sent to the dead letters", labels=["group"])
        moved = CounterMetricFamily("tidewind_rerouted", "Records sent to their own partition", labels=["group"])
        again = CounterMetricFamily("tidewind_consumer_restarts", "Consumers started again", labels=["group"])
        for group, consumer in self.followed.items():
            stalled.add_metric([group], len(consumer.stalls()))
            buried.add_metric([group], consumer.dead_lettered)
            moved.add_metric([group], consumer.rerouted)
            again.add_metric([group], consumer.restarts)
        return (stalled, buried, moved, again)


@dataclass(frozen=True, kw_only=True)
class LogFigures:
    """Of one cluster's captured log. `up`: it is being read. Lags are seconds since the last instant up to which Kafka,
    or the store, is known to hold everything; `headroom_s` until the server purges what was not read. None where it is
    not known."""

    cluster: str
    up: bool
    kafka_lag_s: float | None
    store_lag_s: float | None
    headroom_s: float | None
    gaps: int


class _Logs(Collector):
    """Reads the figures of the logs when somebody looks."""

    def __init__(self) -> None:
        self.figures: Callable[[], Iterable[LogFigures]] = tuple

    def collect(self) -> Iterable[Metric]:
        families = {
            name: GaugeMetricFamily(f"tidewind_{name}", text, labels=["cluster"])
            for name, text in (
                ("capture_up", "1 while the cluster's log is read"),
                ("capture_lag_seconds", "Since the last instant up to which Kafka holds the log"),
                ("archive_lag_seconds", "Since the last instant up to which the store holds the log"),
                ("capture_headroom_seconds", "Until the server purges what was not read of its log"),
                ("log_gaps", "Gaps in the log within the window of point in time"),
            )
        }
        for one in self.figures():
            known = {
                "capture_up": float(one.up),
                "capture_lag_seconds": one.kafka_lag_s,
                "archive_lag_seconds": one.store_lag_s,
                "capture_headroom_seconds": one.headroom_s,
                "log_gaps": float(one.gaps),
            }
            for name, value in known.items():
                if value is not None:
                    families[name].add_metric([one.cluster], value)
        return tuple(families.values())


_LOGS = _Logs()
REGISTRY.register(_LOGS)
_CONSUMERS = _Consumers()
REGISTRY.register(_CONSUMERS)


def follow_consumer(group: str, consumer: ConsumerFigures) -> None:
    """Export a consumer's figures under its group's name."""
    _CONSUMERS.followed[group] = consumer


def follow_publisher(pending: Callable[[], tuple[int, int]]) -> None:
    """Export how many records and bytes wait for Kafka."""
    PUBLISHER_RECORDS.set_function(lambda: pending()[0])
    PUBLISHER_BYTES.set_function(lambda: pending()[1])


def follow_logs(figures: Callable[[], Iterable[LogFigures]]) -> None:
    """Export the figures of the logs in hand."""
    _LOGS.figures = figures
