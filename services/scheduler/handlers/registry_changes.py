"""Changes of the registry that need no database: one new revision each, put if absent.

Invariant: a job makes at most one revision, and a revision is made from the one before it. A job that is run again
finds its own revision by its id; one that loses the race for a number reads again and decides on what stands.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from schemas.events import CommandFailed
from schemas.replies import Problem
from tidewind.domain.problems import refused
from tidewind.domain.records import RegistryEntry
from tidewind.ports.clock import Clock
from tidewind.ports.jobs import Ending, Incoming, JobContext
from tidewind.runtime.registry import Registry

COMMAND_FAILED = "tidewind.command.failed.v1"

_MOST_RACES = 50


Nudge = Callable[[str], None]
"""Tells whoever schedules a cluster that it has changed. One instance alone publishes a cluster's statuses, so that an
older state is never published over a newer one; it is not always the instance that made the change."""


class RegistryChanges:
    def __init__(self, registry: Registry, clock: Clock, nudge: Nudge) -> None:
        self._registry = registry
        self._clock = clock
        self._nudge = nudge

    async def history(self, cluster: str) -> tuple[RegistryEntry, ...]:
        return tuple(await self._registry.history(cluster))

    async def revise(
        self, context: JobContext, change: Callable[[RegistryEntry], Mapping[str, Any]], reason: str | None = None
    ) -> RegistryEntry:
        """The job's revision: found, or made by applying `change` to the newest. Raises Refused if the cluster was
        retired meanwhile, LeaseLost, StoreError."""
        job = context.job
        for _ in range(_MOST_RACES):
            history = await self._registry.history(job.cluster_id)
            own = [entry for entry in history if entry.job_id == job.job_id]
            if own:
                self._nudge(job.cluster_id)
                return own[-1]
            newest = history[-1]
            if newest.state == "retired":
                raise refused("cluster-retired", f"{job.cluster_id} was retired before the change was made")
            await context.check_lease()
            entry = newest.model_copy(
                update={
                    **change(newest),
                    "revision": newest.revision + 1,
                    # Revisions are in force one after the other, whatever the clocks of those who put them.
                    "changed_at": max(self._clock.now(), newest.changed_at + timedelta(microseconds=1)),
                    "changed_by": job.actor,
                    "reason": reason,
                    "job_id": job.job_id,
                }
            )
            if await self._registry.put(entry):
                self._nudge(job.cluster_id)
                return entry
        raise refused("internal-error", f"{job.cluster_id} is changed by others without end")


def enrolled(incoming: Incoming) -> RegistryEntry:
    """The cluster of a command. Raises Refused if there is none, or if it is retired."""
    entry = known(incoming)
    if entry.state == "retired":
        raise refused("cluster-retired", f"{entry.cluster_id} was retired on {entry.changed_at:%Y-%m-%d}")
    return entry


def known(incoming: Incoming) -> RegistryEntry:
    """The cluster of a command, retired ones too. Raises Refused if there is none."""
    if incoming.cluster is None:
        cluster = getattr(incoming.command, "cluster_id", "")
        raise refused("unknown-cluster", f"No cluster {cluster!r} is enrolled")
    return incoming.cluster


def command_failed(context: JobContext, problem: Problem) -> Ending:
    """The terminal event of a job whose work raised."""
    job = context.job
    return Ending(
        event=COMMAND_FAILED,
        body=CommandFailed(
            cluster_id=job.cluster_id, job_id=job.job_id, actor=job.actor, command=job.command, problem=problem
        ),
    )


class RoutedOnly:
    """A command that is only checked here: the snapshotter accepts it and works on it."""

    async def work(self, context: JobContext) -> Ending:
        raise refused("internal-error", f"{context.job.command} is carried out by the snapshotter, not here")

    def failed(self, context: JobContext, problem: Problem) -> Ending:
        return command_failed(context, problem)
