"""What keeps a service from starting: it ends with one message that says what is wrong and what to do, and a code that
tells its supervisor whether to start it again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.acceptance.deployment import SERVICES, Deployment
from tests.servers.s3 import S3Server
from tidewind.domain.records import Repository

NOT_AGAIN, LATER = 78, 69
"""Exit codes: starting again does not help, or may."""

Deploy = Callable[..., Deployment]


@pytest.fixture
async def deploy(tmp_path: Path, kafka: str) -> AsyncIterator[Deploy]:
    """Make deployments; `environment` says what is wrong with them."""
    async with AsyncExitStack() as stack:

        def make(name: str, bootstrap: str = kafka, **environment: str) -> Deployment:
            made = Deployment(tmp_path / name, bootstrap, extra=environment)
            stack.push_async_callback(made.close)
            return made

        yield make


async def refused(deployment: Deployment, code: int, *says: str, services: tuple[str, ...] = ("snapshotter",)) -> None:
    """Each service ends with that code, and its last words hold all of `says` and no traceback."""
    ends = await asyncio.gather(*(deployment.refused_start(name) for name in services))
    for name, (ended, said) in zip(services, ends, strict=True):
        assert ended == code, said
        assert f"tidewind {name} cannot start: " in said
        assert "Traceback" not in said
        for words in says:
            assert words in said


async def s3_settings(server: S3Server, folder: Path) -> dict[str, str]:
    (folder / "access").write_text(server.endpoint.access_key)
    (folder / "secret").write_text(server.endpoint.secret_key)
    return {
        "TIDEWIND_STORE_URL": f"s3://{await server.endpoint.new_bucket()}",
        "TIDEWIND_STORE_ENDPOINT_URL": server.endpoint.url,
        "TIDEWIND_STORE_REGION": server.endpoint.region,
        "TIDEWIND_STORE_ACCESS_KEY": f"file:{folder / 'access'}",
        "TIDEWIND_STORE_SECRET_KEY": f"file:{folder / 'secret'}",
    }


async def test_kafka_is_down(deploy: Deploy) -> None:
    deployment = deploy("alone", "127.0.0.1:1", TIDEWIND_KAFKA_START_DEADLINE_S="1")
    await refused(
        deployment, LATER, "127.0.0.1:1", "Connection refused", "next: check that the broker runs", services=SERVICES
    )


async def test_topics_are_missing(deploy: Deploy) -> None:
    deployment = deploy("topicless", TIDEWIND_KAFKA_START_DEADLINE_S="1")
    await refused(deployment, LATER, f"{deployment.prefix}status.v1", "tidewind topics apply")


async def test_two_deployments_on_one_bucket(deploy: Deploy, moto_s3: S3Server, tmp_path: Path) -> None:
    bucket = await s3_settings(moto_s3, tmp_path)
    first = deploy("first", **bucket)
    await first.make_topics()
    await first.start("snapshotter")
    async with moto_s3.endpoint.client() as client:
        name = bucket["TIDEWIND_STORE_URL"].removeprefix("s3://")
        marker = await (await client.get_object(Bucket=name, Key="repository.json"))["Body"].read()
    owner = Repository.model_validate_json(marker).deployment

    second = deploy("second", **bucket)
    await second.make_topics()
    own_place = "give this deployment a bucket, prefix or directory of its own"
    await refused(second, NOT_AGAIN, f"belongs to the deployment {owner}", own_place)
    keyring = {"TEST_KEYRING": first.environment["TEST_KEYRING"]}
    named = deploy("named", TIDEWIND_DEPLOYMENT="staging", **bucket, **keyring)
    named.environment["TIDEWIND_KAFKA_PREFIX"] = second.prefix
    await refused(named, NOT_AGAIN, f"belongs to the deployment {owner}, this one is staging", own_place)
    async with moto_s3.endpoint.client() as client:
        left = await client.list_objects_v2(Bucket=name)
        assert await (await client.get_object(Bucket=name, Key="repository.json"))["Body"].read() == marker
    assert not [found["Key"] for found in left["Contents"] if found["Key"].startswith("probes/")]
    assert first.processes[0].running


async def test_a_store_without_conditional_puts(deploy: Deploy, versitygw: S3Server, tmp_path: Path) -> None:
    deployment = deploy("racing", **await s3_settings(versitygw, tmp_path))
    await deployment.make_topics()
    await refused(deployment, NOT_AGAIN, "in spite of If-None-Match", "TIDEWIND_STORE_SINGLE_WRITER=true")


async def test_wrong_credentials_of_the_store(deploy: Deploy, versitygw: S3Server, tmp_path: Path) -> None:
    settings = await s3_settings(versitygw, tmp_path)
    (tmp_path / "secret").write_text("not-the-secret")
    deployment = deploy("outsider", **settings)
    await refused(deployment, LATER, "SignatureDoesNotMatch", "check the access key and the secret key")
