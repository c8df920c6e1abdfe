"""How far a running job is. Published a few times a second at most; nothing depends on receiving it."""

from schemas.base import ClusterId, Fact, Instant, JobId


class Progress(Fact):
    """`done` and `total` are counts of `unit`; `rate` is units a second; `eta_s` seconds left, where it can be told."""

    cluster_id: ClusterId
    job_id: JobId
    at: Instant
    step: str
    steps: tuple[str, ...]
    done: float
    total: float | None = None
    unit: str
    rate: float | None = None
    eta_s: float | None = None
    detail: str | None = None


PROGRESS_TYPE = "tidewind.job.progressed.v1"
