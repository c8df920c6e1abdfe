"""One server is enrolled once: under two ids, restores of either would close and overwrite it."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from schemas.commands import ClusterEnroll
from services.scheduler.handlers.clusters import EnrollCluster
from services.snapshotter.handlers.enroll import Enroll
from tests.unit.snapshotter.bench import CLUSTER, FACTS, Bench
from tidewind.domain.problems import Refused
from tidewind.domain.records import RegistryEntry
from tidewind.domain.regions import shipped_regions
from tidewind.ports.engine import Preflight
from tidewind.ports.jobs import Accept, Incoming, Reject


@pytest.fixture
async def bench(tmp_path: Any) -> Bench:
    made = Bench(tmp_path / "store")
    await made.enroll()
    return made


def incoming(cluster: str, host: str, standing: RegistryEntry | None = None) -> Incoming:
    command = ClusterEnroll.model_validate(
        {
            "cluster_id": cluster,
            "engine": "mariadb",
            "region": "eu-central-1",
            "endpoints": ({"host": "db-0", "port": 3306}, {"host": host, "port": 3306}),
            "credentials": "env:TEST_LOGIN",
        }
    )
    return Incoming(message=cast(Any, None), command=command, job_id="", cluster=standing)


async def enrolled(bench: Bench, cluster: str, host: str, identity: str = "another") -> Accept | Reject:
    async def try_out(_: object) -> Preflight:
        return Preflight(facts=replace(FACTS, identity=identity), findings=())

    probe = cast(Any, SimpleNamespace(try_out=try_out))
    return await Enroll(probe, bench.tools.registry, shipped_regions()).decide(incoming(cluster, host))


@pytest.mark.parametrize("host", ["db-1", "DB-1."])
async def test_an_endpoint_of_another_cluster_is_refused(bench: Bench, host: str) -> None:
    refusal = await enrolled(bench, "second", host)
    assert isinstance(refusal, Reject)
    assert refusal.problem.type == "urn:tidewind:problem:server-enrolled"
    assert refusal.problem.detail == f"db-1:3306 is enrolled already, as {CLUSTER}"
    assert f"tidewind cluster retire {CLUSTER}" in refusal.problem.next_step


async def test_the_endpoint_of_a_retired_cluster_is_free(bench: Bench) -> None:
    standing = await bench.tools.registry.newest(CLUSTER)
    assert standing is not None
    await bench.tools.registry.put(standing.model_copy(update={"revision": 2, "state": "retired"}))
    accepted = await enrolled(bench, "second", "db-1", standing.server_identity)
    assert isinstance(accepted, Accept)
    assert accepted.answer["warnings"] == []


async def test_the_same_server_at_another_address_is_warned_of(bench: Bench) -> None:
    """Not refused: a copy of a data directory has the identity of the one it was copied from."""
    told = await enrolled(bench, "second", "db-2", "srv-1")
    assert isinstance(told, Accept)
    (warning,) = told.answer["warnings"]
    assert f"looks like that of {CLUSTER}" in warning
    other = await enrolled(bench, "second", "db-2")
    assert isinstance(other, Accept)
    assert other.answer["warnings"] == []


async def test_an_enrolment_that_is_repeated_is_told_that_it_stands(bench: Bench) -> None:
    standing = await bench.tools.registry.newest(CLUSTER)
    assert standing is not None
    same = incoming(CLUSTER, "db-1").command
    assert isinstance(same, ClusterEnroll)
    standing = standing.model_copy(update={"endpoints": same.endpoints})
    enrol = EnrollCluster(shipped_regions(), frozenset({"mariadb"}))
    with pytest.raises(Refused) as refusal:
        await enrol.decide(incoming(CLUSTER, "db-1", standing))
    assert "is enrolled already with this endpoint" in refusal.value.problem.detail
    assert f"tidewind cluster show {CLUSTER}" in refusal.value.problem.next_step
    for changes in ({"state": "retired"}, {"endpoints": same.endpoints[:1]}):
        with pytest.raises(Refused) as refusal:
            await enrol.decide(incoming(CLUSTER, "db-1", standing.model_copy(update=changes)))
        assert "Choose another id" in refusal.value.problem.next_step
