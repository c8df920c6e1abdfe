"""Puts the runtime of a job-working service together: ledger, lock, answers, takeovers."""

from collections.abc import Callable, Iterable

from schemas.envelope import Message, Poison
from tidewind.ports.bus import Ownership, Publisher, StatusView
from tidewind.ports.clock import Clock
from tidewind.ports.jobs import JobKind
from tidewind.ports.store import Store
from tidewind.runtime.catalogue import Catalogue
from tidewind.runtime.intake import Intake, IntakeRules
from tidewind.runtime.jobs import JobRunner
from tidewind.runtime.late_statuses import LateStatuses
from tidewind.runtime.ledger import Ledger
from tidewind.runtime.operations import OperationLock
from tidewind.runtime.outbox import Composer
from tidewind.runtime.registry import Registry
from tidewind.runtime.settings import LeaseSettings


class JobService:
    """`name` is the service, `instance` this process. `partition_of` tells the partition of a cluster id.

    `max_age_s`: commands that arrived longer ago are refused; whoever consumes them must not make them young.

    Make it, give it its kinds, then: `handle` for every command, `assigned` after every assignment, `take_over` and
    `late_statuses.run` as parts of the process, `stop` at the end.
    """

    def __init__(
        self,
        name: str,
        instance: str,
        *,
        store: Store,
        publisher: Publisher,
        view: StatusView,
        clock: Clock,
        partition_of: Callable[[str], int],
        partitions: int,
        leases: LeaseSettings | None = None,
        max_age_s: float | None = None,
        for_others: frozenset[str] = frozenset(),
    ) -> None:
        self.name = name
        self.max_age_s = max_age_s
        self.ledger = Ledger(store)
        self.operations = OperationLock(store, self.ledger)
        self.registry = Registry(store)
        self.catalogue = Catalogue(store)
        self.composer = Composer(f"/tidewind/{name}/{instance}", clock, view)
        self.owned: frozenset[int] = frozenset()
        self._partitions = partitions
        self._partition_of = partition_of
        self._kinds: dict[str, JobKind] = {}
        self._runner = JobRunner(
            name,
            instance,
            self._kinds,
            ledger=self.ledger,
            operations=self.operations,
            composer=self.composer,
            publisher=publisher,
            view=view,
            clock=clock,
            leases=leases or LeaseSettings(),
            partition_of=partition_of,
        )
        self.late_statuses = LateStatuses(
            name, publisher=publisher, composer=self.composer, view=view, clock=clock, owns=self.owns
        )
        self._intake = Intake(
            IntakeRules(service=name, max_age_s=max_age_s, for_others=for_others),
            self._kinds,
            ledger=self.ledger,
            registry=self.registry,
            composer=self.composer,
            publisher=publisher,
            clock=clock,
            start=self._runner.start,
        )

    def offer(self, kinds: Iterable[JobKind]) -> None:
        """The commands this service answers."""
        self._kinds.update({kind.command: kind for kind in kinds})

    def owns(self, cluster: str) -> bool:
        """Whether this instance takes in the cluster's commands now."""
        return self._partition_of(cluster) in self.owned

    def running(self) -> frozenset[str]:
        """The ids of the jobs in hand."""
        return self._runner.running()

    async def handle(self, message: Message) -> None:
        await self._intake.handle(message)

    async def refuse_poison(self, poison: Poison, key: str) -> None:
        """Answer the sender of a record that could not be understood but whose id could be read."""
        await self._intake.refuse_poison(poison, key)

    async def assigned(self, partitions: frozenset[int]) -> None:
        self.owned = partitions
        await self._runner.assigned(Ownership(partitions, self._partitions))

    async def take_over(self) -> None:
        await self._runner.take_over()

    async def stop(self, deadline_s: float) -> None:
        await self._runner.stop(deadline_s)
