"""Thins progress reports out and adds rate and time left."""

from collections import deque

from schemas.progress import Progress
from tidewind.domain.records import Accepted
from tidewind.ports.clock import Clock

_INTERVAL_S = 0.5
_RATE_WINDOW_S = 10.0


class ProgressMeter:
    """Measures one job. `measure` returns a record to publish, or None where the last one is too young."""

    def __init__(self, job: Accepted, clock: Clock) -> None:
        self._job = job
        self._clock = clock
        self._step = ""
        self._steps: list[str] = []
        self._published = float("-inf")
        self._samples: deque[tuple[float, float]] = deque()

    def measure(self, step: str, done: float, total: float | None, unit: str, detail: str) -> Progress | None:
        moment = self._clock.monotonic()
        begins = step != self._step
        if begins:
            self._step = step
            self._samples.clear()
            if step not in self._steps:
                self._steps.append(step)
        self._samples.append((moment, done))
        while len(self._samples) > 2 and moment - self._samples[0][0] > _RATE_WINDOW_S:
            self._samples.popleft()
        ends = total is not None and done >= total
        if not begins and not ends and moment - self._published < _INTERVAL_S:
            return None
        self._published = moment
        rate = self._rate()
        eta = (total - done) / rate if rate and total is not None and total >= done else None
        return Progress(
            cluster_id=self._job.cluster_id,
            job_id=self._job.job_id,
            at=self._clock.now(),
            step=step,
            steps=tuple(self._steps),
            done=done,
            total=total,
            unit=unit,
            rate=rate,
            eta_s=eta,
            detail=detail or None,
        )

    def _rate(self) -> float | None:
        (first_at, first), (last_at, last) = self._samples[0], self._samples[-1]
        return (last - first) / (last_at - first_at) if last_at - first_at >= _INTERVAL_S else None
