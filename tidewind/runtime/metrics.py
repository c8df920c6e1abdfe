"""The metrics every service exposes on `/metrics`. No label holds a table's name or any other unbounded set."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

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
