"""One job in hand: its lease, its notes, and everything it publishes.

The holder of a job is whoever put its newest epoch. `Work` watches for a newer one and for a cancel request while the
job runs; a holder that finds a newer epoch stops at once.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from schemas import topics
from schemas.base import Fact
from schemas.progress import PROGRESS_TYPE
from schemas.status import JobStatus, Status
from tidewind.domain.records import Accepted, CancelRequest
from tidewind.ports.bus import Publisher
from tidewind.ports.clock import Clock
from tidewind.ports.jobs import LeaseLost, OperationKind
from tidewind.ports.store import StoreUnavailable
from tidewind.runtime.ledger import Ledger
from tidewind.runtime.operations import OperationLock
from tidewind.runtime.outbox import Composer
from tidewind.runtime.progress import ProgressMeter


class Work:
    """Implements tidewind.ports.jobs.JobContext."""

    def __init__(
        self,
        job: Accepted,
        epoch: int,
        *,
        holder: str,
        ledger: Ledger,
        operations: OperationLock,
        composer: Composer,
        publisher: Publisher,
        clock: Clock,
    ) -> None:
        self.job = job
        self.epoch = epoch
        self.cancel_requested = asyncio.Event()
        self._holder = holder
        self._ledger = ledger
        self._operations = operations
        self._composer = composer
        self._publisher = publisher
        self._clock = clock
        self._meter = ProgressMeter(job, clock)
        self._progress_count = 0
        self._step: str | None = None

    def report(self, step: str, done: float, total: float | None = None, unit: str = "", detail: str = "") -> None:
        self._step = step
        record = self._meter.measure(step, done, total, unit, detail)
        if record is not None:
            self._progress_count += 1
            self._publisher.post(
                topics.PROGRESS,
                self._composer.progress(self.job, PROGRESS_TYPE, record, self._progress_count, self.epoch),
            )

    async def note(self, name: str, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        await self.check_lease()
        standing = await self._ledger.note(self.job.cluster_id, self.job.job_id, name, self.epoch, facts)
        return standing.facts

    async def notes(self) -> Mapping[str, Mapping[str, Any]]:
        return await self._ledger.notes(self.job.cluster_id, self.job.job_id)

    async def check_lease(self) -> None:
        newest = await self._ledger.newest_epoch(self.job.cluster_id, self.job.job_id)
        if newest != self.epoch:
            raise LeaseLost(f"job {self.job.job_id} is held under epoch {newest}, not {self.epoch}")

    def event(self, event: str, body: Fact, *, step: str = "") -> None:
        self._publisher.post(topics.EVENTS, self._composer.event(self.job, event, body, step))

    def status(self, kind: str, status: Status, *, entity: str | None = None) -> None:
        message = self._composer.status(kind, status, entity=entity, epoch=self.epoch)
        self._publisher.post(topics.STATUS, message)

    async def status_acknowledged(self, kind: str, status: Status, *, entity: str | None = None) -> None:
        message = self._composer.status(kind, status, entity=entity, epoch=self.epoch)
        await self._publisher.send(topics.STATUS, message)

    async def take_operation(self, kind: OperationKind, *, cancel_backup: bool = False) -> None:
        while True:
            holder = await self._operations.try_take(self.job.cluster_id, self.job.job_id, kind)
            if holder is None:
                return
            if cancel_backup and holder.kind == "backup":
                await self._ledger.request_cancel(
                    self.job.cluster_id,
                    CancelRequest(
                        job_id=holder.job_id,
                        requested_by=self.job.job_id,
                        actor=self.job.actor,
                        reason=f"a {kind} of the cluster was asked for",
                        requested_at=self._clock.now(),
                    ),
                )
            self.report("waiting", 0, None, "", f"{holder.kind} {holder.job_id} holds the cluster")
            await self._clock.sleep(1.0)
            await self.check_lease()

    def heartbeat(self, state: str, *, terminal_event: str | None = None) -> None:
        """Publish the job's status: the sign of life that keeps others from taking the job over."""
        body = JobStatus.model_validate(
            {
                "cluster_id": self.job.cluster_id,
                "at": self._clock.now(),
                "job_id": self.job.job_id,
                "service": self.job.service,
                "command": self.job.command,
                "epoch": self.epoch,
                "state": state,
                "holder": self._holder,
                "step": self._step,
                "terminal_event": terminal_event,
            }
        )
        self.status("job", body, entity=self.job.job_id)

    async def beat(self, every_s: float) -> None:
        """Send heartbeats until cancelled. Raises LeaseLost when a newer epoch is found; a store that does not answer
        is no reason to stop, since nobody else can claim through it either."""
        while True:
            self.heartbeat("running")
            with contextlib.suppress(StoreUnavailable):
                await self.check_lease()
            await self._clock.sleep(every_s)

    async def watch_for_cancel(self, every_s: float) -> None:
        """Look for a cancel request until one is there."""
        while not self.cancel_requested.is_set():
            with contextlib.suppress(StoreUnavailable):
                if await self._ledger.cancel_request(self.job.cluster_id, self.job.job_id):
                    self.cancel_requested.set()
                    return
            await self._clock.sleep(every_s)
