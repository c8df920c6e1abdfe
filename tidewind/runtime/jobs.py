"""Runs accepted jobs, and takes over those that others left.

A partition decides only who answers a command. A job belongs to whoever put its newest epoch, also across rebalances.
The instance that owns the cluster's partition claims the next epoch of an unfinished job when its holder has said
nothing for a lease's length, counted by our own monotonic clock and only while we could have heard it: from the
holder's last heartbeat, or, if none of its epoch was heard yet, from when we first saw its claim.

Invariants: a job ends once, by `terminal.json`, put before its event is published; its marker goes only after Kafka has
acknowledged that event. A job whose work is cancelled by shutdown keeps its marker and is released for the next owner.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping

import structlog

from schemas import topics
from schemas.replies import Problem
from tidewind.domain.problems import Refused, problem
from tidewind.domain.records import Accepted, EpochClaim, Terminal
from tidewind.ports.bus import BusUnavailable, Ownership, Publisher, StatusView
from tidewind.ports.clock import Clock
from tidewind.ports.engine import DatabaseError
from tidewind.ports.jobs import Ending, JobKind, LeaseLost
from tidewind.ports.store import StoreError, StoreUnavailable
from tidewind.runtime import metrics
from tidewind.runtime.failures import problem_of
from tidewind.runtime.ledger import Ledger
from tidewind.runtime.operations import OperationLock
from tidewind.runtime.outbox import Composer, body_of
from tidewind.runtime.settings import LeaseSettings
from tidewind.runtime.work import Work

log = structlog.get_logger()


class JobRunner:
    """`partition_of` tells the partition of a cluster id; `holder` names this instance."""

    def __init__(
        self,
        service: str,
        holder: str,
        kinds: Mapping[str, JobKind],
        *,
        ledger: Ledger,
        operations: OperationLock,
        composer: Composer,
        publisher: Publisher,
        view: StatusView,
        clock: Clock,
        leases: LeaseSettings,
        partition_of: Callable[[str], int],
    ) -> None:
        self._service = service
        self._holder = holder
        self._kinds = kinds
        self._ledger = ledger
        self._operations = operations
        self._composer = composer
        self._publisher = publisher
        self._view = view
        self._clock = clock
        self._leases = leases
        self._partition_of = partition_of
        self._running: dict[str, asyncio.Task[None]] = {}
        self._unheard: dict[str, tuple[int, float]] = {}
        self._owned = Ownership(frozenset(), 0)
        self._look_again = asyncio.Event()
        self._stopping = False

    def start(self, job: Accepted) -> None:
        """Begin an accepted job that nobody has worked on. If somebody has, the takeover rules decide instead."""
        if not self._stopping and job.rejected is None and job.job_id not in self._running:
            self._spawn(job, None)

    def running(self) -> frozenset[str]:
        """The ids of the jobs in hand."""
        return frozenset(self._running)

    async def assigned(self, owned: Ownership) -> None:
        """Partitions have been assigned: look for unfinished jobs of their clusters at once."""
        self._owned = owned
        self._look_again.set()

    async def take_over(self) -> None:
        """Look for unfinished jobs until cancelled: after every assignment, and every third of a lease."""
        while True:
            self._look_again.clear()
            try:
                await self._look_for_unfinished()
            except (StoreError, BusUnavailable) as error:
                log.warning(
                    "looking for unfinished jobs failed", action="takeover-failed", error=str(error), next=error.hint
                )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._leases.lease_s / 3):
                    await self._look_again.wait()

    async def stop(self, deadline_s: float) -> None:
        """Cancel what is running and release it for other instances."""
        self._stopping = True
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=deadline_s)
            if late:
                log.error("jobs did not stop in time", action="stop-late", jobs=[task.get_name() for task in late])

    async def _look_for_unfinished(self) -> None:
        unfinished = await self._ledger.open_jobs(self._service)
        self._unheard = {job_id: self._unheard[job_id] for _, job_id in unfinished if job_id in self._unheard}
        for cluster, job_id in unfinished:
            if self._owned.total == 0 or self._partition_of(cluster) not in self._owned.partitions:
                continue
            if job_id in self._running or self._stopping:
                continue
            try:
                await self._look_at(cluster, job_id)
            except (StoreUnavailable, BusUnavailable):
                raise
            except Exception:
                # One damaged record must not keep the jobs listed after it from being taken over.
                log.exception("a job cannot be looked at", action="takeover-failed", job=job_id, cluster=cluster)

    async def _look_at(self, cluster: str, job_id: str) -> None:
        job = await self._ledger.accepted(cluster, job_id)
        if job is None:
            return
        if job.rejected is not None:
            # The marker of a first delivery that got no further; the answer that stands is no.
            await self._ledger.close(self._service, cluster, job_id)
            return
        terminal = await self._ledger.terminal(cluster, job_id)
        if terminal is not None:
            self._spawn_end(job, terminal)
        else:
            await self._consider(job)

    async def _consider(self, job: Accepted) -> None:
        epoch = await self._ledger.newest_epoch(job.cluster_id, job.job_id)
        key = f"job/{job.cluster_id}/{job.job_id}"
        status = self._view.get(key) or {}
        heard = status.get("epoch") == epoch
        released = heard and status.get("state") == "released"
        silence_s = self._view.silence_s(key) if heard else self._silence_since_seen(job.job_id, epoch, key)
        silent = self._view.caught_up() and silence_s >= self._leases.lease_s
        if epoch == 0 or released or silent:
            log.info("taking over a job", action="takeover", job=job.job_id, cluster=job.cluster_id, epoch=epoch + 1)
            metrics.TAKEOVERS.inc(1 if epoch else 0)
            self._spawn(job, epoch + 1)

    def _silence_since_seen(self, job_id: str, epoch: int, key: str) -> float:
        """How long a holder of whom no heartbeat was heard has been silent. The view's silence would count from before
        its claim: a job taken in a moment ago would count as abandoned wherever its partition moves."""
        now = self._view.silence_s(key)
        seen, since = self._unheard.get(job_id, (epoch, now))
        if seen != epoch or now < since:
            since = now
        self._unheard[job_id] = (epoch, since)
        return now - since

    def _spawn(self, job: Accepted, epoch: int | None) -> None:
        task = asyncio.create_task(self._hold(job, epoch), name=f"job {job.command} {job.job_id}")
        self._running[job.job_id] = task
        metrics.JOBS_RUNNING.set(len(self._running))
        task.add_done_callback(lambda done: self._ended(job, done))

    def _spawn_end(self, job: Accepted, terminal: Terminal) -> None:
        task = asyncio.create_task(self._publish_end(job, terminal), name=f"end of {job.job_id}")
        self._running[job.job_id] = task
        task.add_done_callback(lambda done: self._ended(job, done))

    def _ended(self, job: Accepted, task: "asyncio.Task[None]") -> None:
        if self._running.get(job.job_id) is task:
            del self._running[job.job_id]
            metrics.JOBS_RUNNING.set(len(self._running))
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a job's task died", action="job-died", job=job.job_id, exc_info=error)
            self._look_again.set()

    async def _hold(self, job: Accepted, epoch: int | None) -> None:
        if epoch is None:
            if await self._ledger.newest_epoch(job.cluster_id, job.job_id) != 0:
                self._look_again.set()
                return
            epoch = 1
        claim = EpochClaim(job_id=job.job_id, epoch=epoch, holder=self._holder, claimed_at=self._clock.now())
        if not await self._ledger.claim(claim, job.cluster_id):
            return
        work = Work(
            job,
            epoch,
            holder=self._holder,
            ledger=self._ledger,
            operations=self._operations,
            composer=self._composer,
            publisher=self._publisher,
            clock=self._clock,
        )
        try:
            ending = await self._supervise(work)
            terminal = await self._record_end(work, ending)
        except LeaseLost as lost:
            log.warning("the job is held by somebody else", action="lease-lost", job=job.job_id, detail=str(lost))
            return
        except StoreError as error:
            # Refused, or full: neither a step nor the end can be recorded. Its marker stays, and so does what was done.
            log.warning(
                "a job is interrupted until the store takes its records again",
                action="job-interrupted",
                job=job.job_id,
                error=str(error),
                next=error.hint,
            )
            return
        except asyncio.CancelledError:
            work.heartbeat("released")
            raise
        metrics.JOBS.labels(terminal.event).inc()
        metrics.JOB_SECONDS.labels(job.command).observe((terminal.at - job.accepted_at).total_seconds())
        work.heartbeat("ended", terminal_event=terminal.event)
        await self._publish_end(job, terminal)

    async def _supervise(self, work: Work) -> Ending:
        """Run the work beside its heartbeat; a lost lease ends it."""
        worker = asyncio.create_task(self._do(work), name=f"work {work.job.job_id}")
        beat = asyncio.create_task(work.beat(self._leases.heartbeat_s), name=f"heartbeat {work.job.job_id}")
        watch = asyncio.create_task(
            work.watch_for_cancel(self._leases.cancel_poll_s), name=f"cancel watch {work.job.job_id}"
        )
        tasks: list[asyncio.Task[object]] = [worker, beat, watch]
        try:
            waiting = set(tasks)
            while not worker.done():
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done - {worker}:
                    task.result()
            return worker.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _do(self, work: Work) -> Ending:
        kind = self._kinds[work.job.command]
        try:
            return await kind.work(work)
        except (LeaseLost, asyncio.CancelledError):
            raise
        except (Refused, DatabaseError, StoreError) as error:
            return kind.failed(work, problem_of(error))
        except Exception:
            log.exception("a job failed unexpectedly", action="job-failed", job=work.job.job_id)
            return kind.failed(work, _unexpected(work.job))

    async def _record_end(self, work: Work, ending: Ending) -> Terminal:
        wanted = Terminal(
            job_id=work.job.job_id,
            event=ending.event,
            data=body_of(ending.body),
            at=self._clock.now(),
            epoch=work.epoch,
        )
        while True:
            try:
                await work.check_lease()
                return await self._ledger.finish(work.job.cluster_id, wanted)
            except StoreUnavailable as error:
                log.warning("the end of a job cannot be recorded yet", action="end-delayed", error=str(error))
                await self._clock.sleep(2.0)

    async def _publish_end(self, job: Accepted, terminal: Terminal) -> None:
        """Publish the terminal event until acknowledged, then take the marker away. The takeover loop comes back to a
        job whose event could not be published."""
        message = self._composer.terminal(job, terminal)
        while True:
            try:
                await self._publisher.send(topics.EVENTS, message)
                await self._ledger.close(self._service, job.cluster_id, job.job_id)
                return
            except (BusUnavailable, StoreUnavailable) as error:
                log.warning(
                    "a terminal event waits for Kafka", action="event-delayed", job=job.job_id, error=str(error)
                )
                await self._clock.sleep(2.0)


def _unexpected(job: Accepted) -> Problem:
    return problem("internal-error", f"{job.command} of {job.cluster_id} ended in an unexpected error; see the log")
