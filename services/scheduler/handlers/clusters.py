"""Enrolment, update and retirement of clusters: what can be said without asking the database.

What concerns the database is checked for its shape here and then goes on to the snapshotter, which tries it out,
answers and ends it. Two services never answer one command.
"""

from typing import Any

from schemas.commands import ClusterEnroll, ClusterRetire, ClusterUpdate
from schemas.events import ClusterRetired, ClusterUpdated
from schemas.replies import FieldError, Problem
from schemas.topics import BACKUPS
from services.scheduler.handlers.registry_changes import RegistryChanges, RoutedOnly, command_failed, enrolled
from tidewind.domain.problems import refused
from tidewind.domain.records import RegistryEntry
from tidewind.domain.regions import Regions, zone_of
from tidewind.domain.retention import from_catalogue
from tidewind.ports.jobs import Accept, Ending, Incoming, JobContext, Route
from tidewind.runtime.catalogue import Catalogue
from tidewind.runtime.intake import command_of


class EnrollCluster(RoutedOnly):
    """`tidewind.cluster.enroll.v1`: checked here, tried out by the snapshotter."""

    command = "tidewind.cluster.enroll.v1"

    def __init__(self, regions: Regions, engines: frozenset[str]) -> None:
        self._regions = regions
        self._engines = engines

    async def decide(self, incoming: Incoming) -> Route:
        command = incoming.command
        assert isinstance(command, ClusterEnroll)
        taken = incoming.cluster
        if taken is not None:
            if taken.state != "retired" and taken.endpoints == command.endpoints:
                raise refused(
                    "cluster-exists",
                    f"{command.cluster_id} is enrolled already with this endpoint, since {taken.created_at:%Y-%m-%d}",
                    next_step=f"Nothing to do; see it with  tidewind cluster show {command.cluster_id}",
                    errors=(FieldError(field="cluster_id", problem="is enrolled already"),),
                )
            once = "was once" if taken.state == "retired" else "is"
            raise refused(
                "cluster-exists",
                f"{command.cluster_id} {once} the id of a {taken.engine} cluster, enrolled {taken.created_at:%Y-%m-%d}",
                errors=(FieldError(field="cluster_id", problem="is taken; ids are never used again"),),
            )
        if command.engine not in self._engines:
            raise refused(
                "unsupported-engine",
                f"{command.engine} cannot be protected yet, but {', '.join(sorted(self._engines))} can",
                errors=(FieldError(field="engine", problem=f"{command.engine} is not supported yet"),),
            )
        zone_of(command.region, self._regions)
        return Route(topic=BACKUPS)


class UpdateCluster:
    """`tidewind.cluster.update.v1`: done here, unless it changes how the database is reached."""

    command = "tidewind.cluster.update.v1"

    def __init__(self, changes: RegistryChanges, regions: Regions) -> None:
        self._changes = changes
        self._regions = regions

    async def decide(self, incoming: Incoming) -> Accept | Route:
        entry = enrolled(incoming)
        command = incoming.command
        assert isinstance(command, ClusterUpdate)
        zone = entry.zone if command.region is None else zone_of(command.region, self._regions)
        if command.touches_database():
            return Route(topic=BACKUPS)
        return Accept(answer={"changed": _changed(command), "region": command.region or entry.region, "zone": zone})

    async def work(self, context: JobContext) -> Ending:
        command = command_of(context.job, ClusterUpdate)

        def change(_: RegistryEntry) -> dict[str, Any]:
            fields = {name: getattr(command, name) for name in _changed(command)}
            # A field given as null is left as it is: nothing here can be unset.
            fields = {name: value for name, value in fields.items() if value is not None}
            return fields | ({"zone": context.job.answer["zone"]} if "region" in fields else {})

        entry = await self._changes.revise(context, change)
        return Ending(
            event="tidewind.cluster.updated.v1",
            body=ClusterUpdated(
                cluster_id=entry.cluster_id,
                job_id=context.job.job_id,
                actor=context.job.actor,
                changed=tuple(_changed(command)),
                revision=entry.revision,
            ),
        )

    def failed(self, context: JobContext, problem: Problem) -> Ending:
        return command_failed(context, problem)


class RetireCluster:
    """`tidewind.cluster.retire.v1`: no further backups; those that exist live until they expire."""

    command = "tidewind.cluster.retire.v1"

    def __init__(self, changes: RegistryChanges, catalogue: Catalogue) -> None:
        self._changes = changes
        self._catalogue = catalogue

    async def decide(self, incoming: Incoming) -> Accept:
        entry = enrolled(incoming)
        kept = await self._kept(entry.cluster_id)
        return Accept(answer={"backups_kept": kept, "retention_days": entry.setting.retention_days})

    async def work(self, context: JobContext) -> Ending:
        command = command_of(context.job, ClusterRetire)
        entry = await self._changes.revise(context, lambda _: {"state": "retired"}, command.reason)
        return Ending(
            event="tidewind.cluster.retired.v1",
            body=ClusterRetired(
                cluster_id=entry.cluster_id,
                job_id=context.job.job_id,
                actor=context.job.actor,
                reason=command.reason,
                revision=entry.revision,
                backups_kept=tuple(context.job.answer["backups_kept"]),
            ),
        )

    def failed(self, context: JobContext, problem: Problem) -> Ending:
        return command_failed(context, problem)

    async def _kept(self, cluster: str) -> list[str]:
        backups = from_catalogue(await self._catalogue.backups(cluster))
        return [backup.backup_id for backup in sorted(backups, key=lambda one: one.at) if backup.complete]


def _changed(command: ClusterUpdate) -> list[str]:
    return sorted(command.model_fields_set - {"cluster_id"})
