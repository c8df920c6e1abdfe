"""The metrics every service exposes on `/metrics`. No label holds a table's name or any other unbounded set."""

from collections.abc import Callable, Iterable, Sequence
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


_CONSUMERS = _Consumers()
REGISTRY.register(_CONSUMERS)


def follow_consumer(group: str, consumer: ConsumerFigures) -> None:
    """Export a consumer's figures under its group's name."""
    _CONSUMERS.followed[group] = consumer


def follow_publisher(pending: Callable[[], tuple[int, int]]) -> None:
    """Export how many records and bytes wait for Kafka."""
    PUBLISHER_RECORDS.set_function(lambda: pending()[0])
    PUBLISHER_BYTES.set_function(lambda: pending()[1])
