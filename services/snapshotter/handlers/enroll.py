"""Enrolment and changes that must be tried on the database before they are believed."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from schemas.commands import ClusterEnroll, ClusterUpdate
from schemas.events import ClusterEnrolled, ClusterUpdated, CommandFailed
from schemas.replies import Problem
from services.snapshotter.handlers.connection import connection
from services.snapshotter.rules.suitability import judge, same_identity, second_id, warnings
from tidewind.domain.problems import Refused, problem, refused
from tidewind.domain.records import Accepted, RegistryEntry
from tidewind.domain.regions import Regions, zone_of
from tidewind.domain.slots import first_slot_date
from tidewind.ports.clock import Clock
from tidewind.ports.engine import Preflight, SnapshotEngine
from tidewind.ports.jobs import Accept, Ending, Incoming, JobContext, Reject
from tidewind.runtime.intake import command_of
from tidewind.runtime.registry import Registry

Engines = Mapping[str, SnapshotEngine]


class Probe:
    """Runs a preflight under a deadline and judges it."""

    def __init__(self, engines: Engines, timeout_s: float) -> None:
        self._engines = engines
        self._timeout_s = timeout_s

    async def try_out(self, entry: ClusterEnroll | RegistryEntry) -> Preflight:
        """Raises Refused or DatabaseError, with what is wrong and how to mend it."""
        engine = self._engines.get(entry.engine)
        if engine is None:
            known = ", ".join(sorted(self._engines))
            raise refused("unsupported-engine", f"engine {entry.engine!r} is not supported by this release; {known} is")
        where = connection(entry.cluster_id, entry.endpoints, entry.credentials, entry.restore_credentials, entry.tls)
        try:
            async with asyncio.timeout(self._timeout_s):
                preflight = await engine.preflight(where.address, where.login, where.restore_login)
        except TimeoutError:
            raise refused(
                "database-unreachable",
                f"{_endpoint_text(entry)} did not answer within {self._timeout_s:.0f} s",
            ) from None
        if (unfit := judge(preflight)) is not None:
            raise Refused(unfit)
        return preflight


def _endpoint_text(entry: ClusterEnroll | RegistryEntry) -> str:
    return ", ".join(f"{endpoint.host}:{endpoint.port}" for endpoint in entry.endpoints)


class Enroll:
    """`tidewind.cluster.enroll.v1`: the preflight decides; the first registry revision is the effect."""

    command = "tidewind.cluster.enroll.v1"

    def __init__(self, probe: Probe, registry: Registry, regions: Regions) -> None:
        self._probe = probe
        self._registry = registry
        self._regions = regions

    async def decide(self, incoming: Incoming) -> Accept | Reject:
        command = incoming.command
        assert isinstance(command, ClusterEnroll)
        if incoming.cluster is not None:
            return Reject(problem=problem("cluster-exists", f"{command.cluster_id} was enrolled before"))
        zone = zone_of(command.region, self._regions)
        preflight = await self._probe.try_out(command)
        others = [entry async for entry in self._registry.clusters()]
        wrong = second_id(command.cluster_id, command.endpoints, others)
        if wrong is not None:
            return Reject(problem=wrong)
        return Accept(
            answer={
                "engine_version": preflight.facts.version,
                "server_identity": preflight.facts.identity,
                "zone": zone,
                "setting": command.setting.model_dump(mode="json"),
                "warnings": [
                    *warnings(preflight.findings),
                    *same_identity(command.cluster_id, preflight.facts.identity, others),
                ],
            }
        )

    async def work(self, context: JobContext) -> Ending:
        job = context.job
        entry = _first_entry(job, command_of(job, ClusterEnroll))
        if not await self._registry.put(entry):
            standing = await self._registry.newest(job.cluster_id)
            if standing is None or standing.job_id != job.job_id:
                raise refused("cluster-exists", f"{job.cluster_id} was enrolled by another command meanwhile")
            entry = standing
        return Ending(
            event="tidewind.cluster.enrolled.v1",
            body=ClusterEnrolled(
                cluster_id=entry.cluster_id,
                job_id=job.job_id,
                actor=job.actor,
                engine=entry.engine,
                engine_version=entry.engine_version,
                region=entry.region,
                zone=entry.zone,
                replicas=entry.replicas,
                setting=entry.setting,
                revision=entry.revision,
            ),
        )

    def failed(self, context: JobContext, problem: Problem) -> Ending:
        return command_failed(context, problem)


class UpdateConnection:
    """`tidewind.cluster.update.v1` where endpoints, credentials or TLS change."""

    command = "tidewind.cluster.update.v1"

    def __init__(self, probe: Probe, registry: Registry, regions: Regions, clock: Clock) -> None:
        self._probe = probe
        self._registry = registry
        self._regions = regions
        self._clock = clock

    async def decide(self, incoming: Incoming) -> Accept | Reject:
        command = incoming.command
        assert isinstance(command, ClusterUpdate)
        if incoming.cluster is None:
            return Reject(problem=problem("unknown-cluster", f"No cluster {command.cluster_id} is enrolled"))
        if incoming.cluster.state == "retired":
            return Reject(problem=problem("cluster-retired", f"{command.cluster_id} is retired"))
        preflight = await self._probe.try_out(incoming.cluster.model_copy(update=self._changes(command)))
        return Accept(
            answer={
                "engine_version": preflight.facts.version,
                "server_identity": preflight.facts.identity,
                "warnings": warnings(preflight.findings),
            }
        )

    async def work(self, context: JobContext) -> Ending:
        job = context.job
        command = command_of(job, ClusterUpdate)
        changes = self._changes(command)
        while True:
            standing = await self._registry.newest(job.cluster_id)
            if standing is None:
                raise refused("unknown-cluster", f"No cluster {job.cluster_id} is enrolled")
            if standing.job_id == job.job_id:
                entry = standing
                break
            entry = standing.model_copy(
                update=changes
                | {
                    "revision": standing.revision + 1,
                    "engine_version": job.answer["engine_version"],
                    "server_identity": job.answer["server_identity"],
                    # Slots are computed from the revisions in the order of their times: a clock that was set back
                    # must not mix them up.
                    "changed_at": max(self._clock.now(), standing.changed_at + timedelta(microseconds=1)),
                    "changed_by": job.actor,
                    "job_id": job.job_id,
                }
            )
            if await self._registry.put(entry):
                break
        return Ending(
            event="tidewind.cluster.updated.v1",
            body=ClusterUpdated(
                cluster_id=job.cluster_id,
                job_id=job.job_id,
                actor=job.actor,
                changed=tuple(sorted(changes)),
                revision=entry.revision,
            ),
        )

    def failed(self, context: JobContext, problem: Problem) -> Ending:
        return command_failed(context, problem)

    def _changes(self, command: ClusterUpdate) -> dict[str, Any]:
        changes = {name: getattr(command, name) for name in command.model_fields_set - {"cluster_id"}}
        if "region" in changes:
            changes["zone"] = zone_of(changes["region"], self._regions)
        return changes


def command_failed(context: JobContext, problem: Problem) -> Ending:
    """The terminal event of a command that was accepted and then could not be carried out."""
    job = context.job
    return Ending(
        event="tidewind.command.failed.v1",
        body=CommandFailed(
            cluster_id=job.cluster_id, job_id=job.job_id, actor=job.actor, command=job.command, problem=problem
        ),
    )


def _first_entry(job: Accepted, command: ClusterEnroll) -> RegistryEntry:
    return RegistryEntry(
        cluster_id=command.cluster_id,
        revision=1,
        engine=command.engine,
        engine_version=job.answer["engine_version"],
        server_identity=job.answer["server_identity"],
        region=command.region,
        zone=job.answer["zone"],
        endpoints=command.endpoints,
        credentials=command.credentials,
        restore_credentials=command.restore_credentials,
        tls=command.tls,
        replicas=command.replicas,
        changes=command.changes,
        setting=command.setting,
        created_at=job.accepted_at,
        changed_at=job.accepted_at,
        changed_by=job.actor,
        job_id=job.job_id,
        first_slot_date=first_slot_date(job.accepted_at, job.answer["zone"], command.setting.backup_time).isoformat(),
    )
