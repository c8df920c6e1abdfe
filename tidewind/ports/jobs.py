"""Jobs: what a service does with an accepted command, and what it is given to do it with.

A service offers one `JobKind` per command type. `tidewind.runtime.jobs` does the rest: validates, asks `decide`,
writes `accepted.json`, answers, claims the epoch, runs `work` under supervision with heartbeats, writes `terminal.json`
and publishes the terminal event; after a crash another instance claims the next epoch and runs `work` again from the
notes it finds. So `work` must be safe to run again from any point.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from schemas.base import Command, Fact
from schemas.envelope import Message
from schemas.replies import Problem
from schemas.status import Status
from schemas.topics import Topic
from tidewind.domain.records import Accepted, RegistryEntry

OperationKind = Literal["backup", "restore", "undo"]


class LeaseLost(Exception):
    """A newer epoch exists: somebody else works on this job. Stop at once and touch nothing more."""


@dataclass(frozen=True, kw_only=True)
class Incoming:
    """A valid command. `cluster` is the newest registry revision, None if the cluster is unknown. `job_id` is what the
    job will be called if it is accepted."""

    message: Message
    command: Command
    job_id: str
    cluster: RegistryEntry | None


@dataclass(frozen=True, kw_only=True)
class Accept:
    answer: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Reject:
    problem: Problem


@dataclass(frozen=True, kw_only=True)
class Route:
    """Another service answers: the message goes on, unchanged, to `topic`."""

    topic: Topic


Decision = Accept | Reject | Route


@dataclass(frozen=True, kw_only=True)
class Ending:
    """The terminal event of a job."""

    event: str
    body: Fact


class JobContext(Protocol):
    """The job in hand. Everything published through it carries the job's id, correlation and causation."""

    job: Accepted
    epoch: int
    cancel_requested: asyncio.Event
    """Set when `cancel.json` was seen (looked for every 2 s)."""

    def report(self, step: str, done: float, total: float | None = None, unit: str = "", detail: str = "") -> None:
        """Progress; thinned out before it is published."""

    async def note(self, name: str, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        """Put `step-<name>.json` if absent and return what stands there now: ours, or an earlier epoch's.
        Raises LeaseLost if a newer epoch exists."""

    async def notes(self) -> Mapping[str, Mapping[str, Any]]:
        """All notes of this job by name, whichever epoch put them."""

    async def check_lease(self) -> None:
        """Raises LeaseLost if a newer epoch exists. Call before anything that cannot be undone."""

    def event(self, event: str, body: Fact, *, step: str = "") -> None:
        """Queue an event that is not the terminal one. Its id follows from job, type and `step`: repeats do no harm."""

    def status(self, kind: str, status: Status, *, entity: str | None = None) -> None:
        """Queue a status record under `<kind>/<cluster>[/<entity>]`; the revision is filled in from the epoch."""

    async def status_acknowledged(self, kind: str, status: Status, *, entity: str | None = None) -> None:
        """The same, returning only when Kafka has acknowledged it. Raises BusUnavailable after its deadline."""

    async def take_operation(self, kind: OperationKind, *, cancel_backup: bool = False) -> None:
        """Take the cluster's operation lock, waiting while another job holds it. With `cancel_backup`, a holder of kind
        backup is asked to stop. Taken again by the same job is harmless. It is free when the job has its terminal."""


class JobKind(Protocol):
    """One command type. `shape` is the body's model."""

    command: str

    def decide(self, incoming: Incoming) -> Awaitable[Decision]:
        """Accept, reject or route. Bounded: at most a few seconds of reading. Raising `Refused`, `DatabaseError` or
        `StoreError` is a rejection, but for a store that is away: then the command is taken in again later."""

    def work(self, context: JobContext) -> Awaitable[Ending]:
        """Do it, from whatever point an earlier epoch reached. Raising `Refused`, `DatabaseError` or `StoreError` ends
        the job as failed through `failed`. Cancellation means shutdown or a lost lease: release what is held and let it
        through; the job stays open for the next holder."""

    def failed(self, context: JobContext, problem: Problem) -> Ending:
        """The terminal event of a job whose `work` raised."""
