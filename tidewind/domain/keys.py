"""The layout of the store. Every key is built here, from ids that Tidewind minted or checked."""

REPOSITORY = "repository.json"
HOMES = "homes/"
REGISTRY = "registry/"
JOBS = "jobs/"
JOBS_OPEN = "jobs-open/"
OPERATIONS = "operations/"
SNAPSHOTS = "snapshots/"
OUTCOMES = "outcomes/"
VERIFICATIONS = "verifications/"
TIMELINES = "timelines/"
PINS = "pins/"
TOMBSTONES = "tombstones/"
PROBES = "probes/"
HISTORIES = "histories/"
HISTORIES_BEGUN = "histories-begun/"
CAPTURE_SESSIONS = "capture-sessions/"


def home(number: int) -> str:
    return f"{HOMES}{number:08d}.json"


def registry(cluster: str, revision: int) -> str:
    return f"{REGISTRY}{cluster}/{revision:08d}.json"


def job(cluster: str, job_id: str, name: str) -> str:
    """`name`: accepted.json, epoch-00000001, cancel.json, verdict.json, terminal.json, step-…"""
    return f"{JOBS}{cluster}/{job_id}/{name}"


def job_epoch(cluster: str, job_id: str, epoch: int) -> str:
    return job(cluster, job_id, f"epoch-{epoch:08d}")


def job_open(service: str, cluster: str, job_id: str) -> str:
    return f"{JOBS_OPEN}{service}/{cluster}/{job_id}"


def operation(cluster: str, number: int) -> str:
    return f"{OPERATIONS}{cluster}/{number:08d}.json"


def snapshot(cluster: str, backup: str) -> str:
    return f"{SNAPSHOTS}{cluster}/{backup}/"


def attempt(cluster: str, backup: str, number: int) -> str:
    return f"{snapshot(cluster, backup)}a{number:04d}/"


def manifest(attempt_prefix: str) -> str:
    return f"{attempt_prefix}manifest.json"


def chunk(attempt_prefix: str, number: int) -> str:
    return f"{attempt_prefix}{number:06d}.tsv.zst"


def outcome(cluster: str, backup: str) -> str:
    """Outside the snapshot's folder, so that one listing of `outcomes/<cluster>/` is the catalogue, whatever the number
    of chunks."""
    return f"{OUTCOMES}{cluster}/{backup}.json"


def verification(cluster: str, backup: str, job_id: str) -> str:
    """What a verification found; the newest counts."""
    return f"{VERIFICATIONS}{cluster}/{backup}/{job_id}.json"


def timeline(cluster: str, timeline_id: str) -> str:
    return f"{TIMELINES}{cluster}/{timeline_id}.json"


def pin(cluster: str, job_id: str) -> str:
    return f"{PINS}{cluster}/{job_id}.json"


def tombstone(cluster: str, backup: str) -> str:
    return f"{TOMBSTONES}{cluster}/{backup}.json"


def history(cluster: str, history_id: str) -> str:
    return f"{HISTORIES}{cluster}/{history_id}/"


def histories_begun(cluster: str) -> str:
    return f"{HISTORIES_BEGUN}{cluster}/"


def history_claim(cluster: str, number: int) -> str:
    """The document that begins a history. Its number is the claim: a cluster has one log at a time. Beside the
    segments, so that one listing finds the histories of a whole fleet."""
    return f"{histories_begun(cluster)}{number:08d}.json"


def capture_sessions(cluster: str) -> str:
    return f"{CAPTURE_SESSIONS}{cluster}/"


def capture_session(cluster: str, session: str) -> str:
    """An empty object; putting it is the claim to be the latest reading of the cluster's log."""
    return f"{capture_sessions(cluster)}{session}"


def session_name(number: int) -> str:
    return f"{number:012d}"


def segment(cluster: str, history_id: str, number: int) -> str:
    return f"{history(cluster, history_id)}{number:016d}.seg"


def roll_ups(cluster: str, history_id: str) -> str:
    return f"{history(cluster, history_id)}rollups/"


def roll_up(cluster: str, history_id: str, first: int, last: int) -> str:
    return f"{roll_ups(cluster, history_id)}{first:016d}-{last:016d}.seg"


def trimmed(cluster: str, history_id: str, through: int) -> str:
    """An empty object, put before the segments up to and with `through` are removed; of several the highest counts. Its
    name comes after those of all segments: a listing that saw one of these go sees why."""
    return f"{history(cluster, history_id)}trimmed-{through:016d}"
