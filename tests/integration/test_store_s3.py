"""The store's contract over real S3 servers, sealed and unsealed."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from tests.contract.test_store import MIB, SealedContract, StoreContract, in_pieces, keys_of, some_bytes
from tests.servers.s3 import S3Endpoint, S3Server
from tidewind.ports.store import StoreUnconditional
from tidewind.runtime.clock import SystemRandomness
from tidewind.store.conditional import require_conditional_puts
from tidewind.store.keyring import Keyring
from tidewind.store.s3 import S3Place, S3Store
from tidewind.store.s3_client import Patience, S3Access
from tidewind.store.sealed import SealedStore

PART_BYTES = 5 * MIB
QUICK = Patience(request_s=10, attempts=4, total_s=20, wait_initial_s=0.02, wait_max_s=0.1)


def access(endpoint: S3Endpoint) -> S3Access:
    return S3Access(
        endpoint_url=endpoint.url,
        region=endpoint.region,
        access_key=endpoint.access_key,
        secret_key=endpoint.secret_key,
        ca=endpoint.ca,
    )


async def connected(server: S3Server, **place: object) -> S3Store:
    bucket = await server.endpoint.new_bucket()
    wanted = S3Place(bucket=bucket, prefix="some/where", part_bytes=PART_BYTES, **place)  # type: ignore[arg-type]
    return await S3Store.connect(wanted, access(server.endpoint), QUICK)


async def open_uploads(endpoint: S3Endpoint, bucket: str) -> list[str]:
    async with endpoint.client() as client:
        answer = await client.list_multipart_uploads(Bucket=bucket)
    return [upload["Key"] for upload in answer.get("Uploads", ())]


@pytest.fixture(params=["s3proxy", "versitygw"])
def dating_server(request: pytest.FixtureRequest) -> S3Server:
    """Each server that says when an upload was begun; moto says 2010 of all."""
    server: S3Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture(scope="class")
def server(request: pytest.FixtureRequest) -> S3Server:
    """The server that the class of tests names."""
    server: S3Server = request.getfixturevalue(request.cls.server_fixture)
    return server


@pytest.fixture(scope="class")
async def connection(request: pytest.FixtureRequest, server: S3Server) -> AsyncIterator[S3Store]:
    """A bucket for each class."""
    store = await connected(server, single_writer=request.cls.single_writer)
    yield store
    await store.close()


class _OverS3:
    """No test may leave an upload."""

    large = 3 * PART_BYTES + 17
    server_fixture = ""
    single_writer = False
    keyring: Keyring | None = None

    @pytest.fixture
    async def unsealed(self, connection: S3Store) -> AsyncIterator[S3Store]:
        yield connection
        uploads = await connection.client.call("list uploads", "", "list_multipart_uploads")
        assert [upload["Key"] for upload in uploads.get("Uploads", ())] == []


class _Unsealed(_OverS3, StoreContract):
    @pytest.fixture
    def store(self, unsealed: S3Store) -> S3Store:
        return unsealed


class _Sealed(_OverS3, SealedContract):
    keyring = Keyring.generate("test", SystemRandomness())

    @pytest.fixture
    def store(self, unsealed: S3Store) -> SealedStore:
        return SealedStore(unsealed, self.keyring, SystemRandomness())


class TestS3Proxy(_Unsealed):
    """It looks, then writes: right one after the other, not for writers at the same moment."""

    server_fixture = "s3proxy"
    decides_races = False


class TestSealedS3Proxy(_Sealed):
    """It looks, then writes: right one after the other, not for writers at the same moment."""

    server_fixture = "s3proxy"
    decides_races = False


class TestVersitygw(_Unsealed):
    server_fixture = "versitygw"
    honours_conditional_puts = False


class TestSealedVersitygw(_Sealed):
    server_fixture = "versitygw"
    honours_conditional_puts = False


class TestMoto(_Unsealed):
    server_fixture = "moto_s3"


class TestCheckedMoto(_Sealed):
    server_fixture = "moto_s3"
    keyring = None


class TestVersitygwBehindTls(_Unsealed):
    server_fixture = "versitygw_tls"
    many = 50
    honours_conditional_puts = False


class TestVersitygwWithASingleWriter(_Unsealed):
    """Declared: then one process looks before it puts."""

    server_fixture = "versitygw"
    single_writer = True
    many = 50


async def test_a_store_without_conditional_puts_is_refused(versitygw: S3Server) -> None:
    store = await connected(versitygw)
    try:
        with pytest.raises(StoreUnconditional) as refused:
            await require_conditional_puts(store, SystemRandomness())
    finally:
        await store.close()
    assert "single writer" in refused.value.hint


async def test_a_put_that_was_already_ours_is_recognised(s3proxy: S3Server) -> None:
    """As after an answer that was lost: the same bytes are there."""
    store = await connected(s3proxy)
    try:
        assert await store.put_if_absent("claim", b"nonce 1")
        assert await store.put_if_absent("claim", b"nonce 1")
        assert not await store.put_if_absent("claim", b"nonce 2")
    finally:
        await store.close()


async def test_uploads_of_killed_writers_are_swept(dating_server: S3Server) -> None:
    store = await connected(dating_server)
    bucket = store.place.bucket
    try:
        async with dating_server.endpoint.client() as client:
            for key in ("some/where/a", "some/where/b/c", "elsewhere/d"):
                begun = await client.create_multipart_upload(Bucket=bucket, Key=key)
                await client.upload_part(
                    Bucket=bucket, Key=key, UploadId=begun["UploadId"], PartNumber=1, Body=b"left behind"
                )
        assert await store.sweep_uploads(timedelta(hours=1)) == 0
        assert await store.sweep_uploads(timedelta(seconds=-60)) == 2
        assert await open_uploads(dating_server.endpoint, bucket) == ["elsewhere/d"]
    finally:
        await store.close()


async def test_many_uploads_at_once_stay_within_bounded_memory(s3proxy: S3Server) -> None:
    """The producer is only ever asked for what the parts in flight have room for."""
    store = await connected(s3proxy, part_concurrency=2)
    asked = 0
    block = some_bytes(MIB)

    async def parts() -> AsyncIterator[bytes]:
        nonlocal asked
        for _ in range(40):
            asked += 1
            yield block

    try:
        s3proxy.pause()
        upload = asyncio.create_task(store.put_stream("big", parts()))
        await asyncio.wait([upload], timeout=2)
        assert asked <= 6, "the first part is collected, and nothing is sent before the upload exists"
        s3proxy.resume()
        stored = await upload
        assert stored.size == 40 * MIB
        found = await store.info("big")
        assert found is not None
        assert found.size == 40 * MIB
    finally:
        s3proxy.resume()
        await store.close()


async def test_deleting_more_than_a_batch(s3_server: S3Server) -> None:
    store = await connected(s3_server)
    try:
        for number in range(3):
            await store.put(f"x/{number}", b"")
        names = [f"x/{number}" for number in range(1005)]
        await store.delete(names)
        assert await keys_of(store, "") == []
    finally:
        await store.close()


async def test_both_checksum_settings_work_where_the_server_takes_them(versitygw: S3Server) -> None:
    bucket = await versitygw.endpoint.new_bucket()
    for checksums in ("when_required", "when_supported"):
        settings = S3Access(
            endpoint_url=versitygw.endpoint.url,
            region=versitygw.endpoint.region,
            access_key=versitygw.endpoint.access_key,
            secret_key=versitygw.endpoint.secret_key,
            checksums=checksums,  # type: ignore[arg-type]
        )
        store = await S3Store.connect(S3Place(bucket=bucket, part_bytes=PART_BYTES), settings, QUICK)
        data = some_bytes(2 * PART_BYTES + 5)
        try:
            await store.put("small", b"x")
            await store.put_stream("large", in_pieces(data, MIB))
            assert await store.get("large") == data
        finally:
            await store.close()
