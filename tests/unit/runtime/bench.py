"""One service's runtime over a directory store, with kinds given by the test."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from schemas.commands import BackupRun
from schemas.envelope import Message, Origin
from schemas.events import BackupFailed, BackupStarted
from schemas.replies import Problem
from tests.fakes import ManualClock, RecordingPublisher, SharedView
from tidewind.domain.ids import backup_id
from tidewind.ports.bus import Ownership
from tidewind.ports.jobs import Accept, Decision, Ending, Incoming, JobContext
from tidewind.runtime.intake import Intake, IntakeRules
from tidewind.runtime.jobs import JobRunner
from tidewind.runtime.ledger import Ledger
from tidewind.runtime.operations import OperationLock
from tidewind.runtime.outbox import Composer
from tidewind.runtime.registry import Registry
from tidewind.runtime.settings import LeaseSettings
from tidewind.store.directory import DirectoryStore

RUN = "tidewind.backup.run.v1"
CLUSTER = "shop"
BACKUP = "bkp_0123456789"


def command(
    message_id: str = "m-1",
    *,
    kind: str = RUN,
    body: Mapping[str, Any] | None = None,
    key: str | None = None,
    age_s: float = 0,
    clock: ManualClock | None = None,
) -> Message:
    clock = clock or ManualClock()
    stamp = int((clock.now().timestamp() - age_s) * 1000)
    return Message(
        id=message_id,
        type=kind,
        source="/tests",
        time=clock.now(),
        key=CLUSTER,
        data={"cluster_id": CLUSTER} if body is None else dict(body),
        idempotency_key=key,
        origin=Origin(topic="t", partition=0, offset=0, timestamp_ms=stamp, broker_time=True),
    )


class ScriptedKind:
    """A kind whose decision and work the test gives."""

    command = RUN

    def __init__(
        self,
        work: Callable[[JobContext], Awaitable[Ending]],
        decide: Callable[[Incoming], Decision] = lambda _: Accept(answer={"fine": True}),
    ) -> None:
        self._work = work
        self._decide = decide
        self.worked: list[int] = []

    async def decide(self, incoming: Incoming) -> Decision:
        assert isinstance(incoming.command, BackupRun)
        return self._decide(incoming)

    async def work(self, context: JobContext) -> Ending:
        self.worked.append(context.epoch)
        return await self._work(context)

    def failed(self, context: JobContext, problem: Problem) -> Ending:
        return Ending(
            event="tidewind.backup.failed.v1",
            body=BackupFailed(
                cluster_id=context.job.cluster_id,
                job_id=context.job.job_id,
                backup_id=backup_id(context.job.job_id),
                cause="manual",
                attempt=context.epoch,
                problem=problem,
            ),
        )


async def done(context: JobContext) -> Ending:
    return Ending(
        event="tidewind.backup.completed.v1",
        body=BackupStarted(
            cluster_id=context.job.cluster_id,
            job_id=context.job.job_id,
            backup_id=BACKUP,
            cause="manual",
            attempt=context.epoch,
        ),
    )


class Instance:
    """One process of a service. Several may share root, publisher and clock."""

    def __init__(
        self,
        root: Path,
        kind: ScriptedKind,
        *,
        publisher: RecordingPublisher | None = None,
        clock: ManualClock | None = None,
        holder: str = "one",
        max_age_s: float | None = None,
    ) -> None:
        self.store = DirectoryStore(root)
        self.publisher = publisher or RecordingPublisher()
        self.clock = clock or ManualClock()
        self.view = SharedView(self.publisher)
        self.ledger = Ledger(self.store)
        self.operations = OperationLock(self.store, self.ledger)
        composer = Composer(f"/tidewind/test/{holder}", self.clock, self.view)
        kinds = {kind.command: kind}
        self.runner = JobRunner(
            "test",
            holder,
            kinds,
            ledger=self.ledger,
            operations=self.operations,
            composer=composer,
            publisher=self.publisher,
            view=self.view,
            clock=self.clock,
            leases=LeaseSettings(lease_s=30, heartbeat_s=5, cancel_poll_s=2),
            partition_of=lambda _: 0,
        )
        self.intake = Intake(
            IntakeRules(service="test", max_age_s=max_age_s),
            kinds,
            ledger=self.ledger,
            registry=Registry(self.store),
            composer=composer,
            publisher=self.publisher,
            clock=self.clock,
            start=self.runner.start,
        )

    async def look(self) -> None:
        """What the takeover loop does after an assignment."""
        await self.runner.assigned(Ownership(frozenset({0}), 1))
        await self.runner._look_for_unfinished()
