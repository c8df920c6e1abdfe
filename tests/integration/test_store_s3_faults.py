"""S3 through a network and servers that fail: nothing is lost, doubled or wrong, and errors say what to do."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.contract.test_store import MIB, in_pieces, keys_of, read_all, some_bytes
from tests.integration.test_store_s3 import PART_BYTES, QUICK, access, open_uploads
from tests.servers.s3 import S3Endpoint, S3Server
from tests.servers.s3_faults import Fault, FaultProxy
from tidewind.embedded.processes import LOOPBACK, free_port
from tidewind.ports.store import (
    ObjectDamaged,
    Store,
    StoreError,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)
from tidewind.runtime.clock import SystemRandomness
from tidewind.store.keyring import Keyring
from tidewind.store.s3 import S3Place, S3Store
from tidewind.store.s3_client import S3Access
from tidewind.store.sealed import SealedStore

LARGE = some_bytes(PART_BYTES + 9)
Decide = Callable[[int, str, Any], Fault | None]


@asynccontextmanager
async def through_proxy(server: S3Server, **place: Any) -> AsyncIterator[tuple[S3Store, FaultProxy]]:
    proxy = FaultProxy(server.endpoint.url)
    url = await proxy.start()
    bucket = await server.endpoint.new_bucket()
    settings = replace(access(server.endpoint), endpoint_url=url)
    store = await S3Store.connect(S3Place(bucket=bucket, part_bytes=PART_BYTES, **place), settings, QUICK)
    try:
        yield store, proxy
    finally:
        await store.close()
        await proxy.stop()


def at(index: int, fault: Fault, method: str | None = None) -> Decide:
    return lambda seen, verb, headers: fault if seen == index and method in (None, verb) else None


async def scenario(store: Store) -> None:
    """Every kind of call once, checking what each returns."""
    large = LARGE
    assert (await store.put("a/small", b"small")).size > 0
    assert await store.put_if_absent("a/claim", b"mine")
    assert not await store.put_if_absent("a/claim", b"theirs")
    await store.put_stream("a/large", in_pieces(large, MIB))
    await store.put_stream("a/little", in_pieces(b"little", 3))
    assert await store.get("a/small") == b"small"
    assert await store.get("a/claim") == b"mine"
    assert await read_all(store, "a/large") == large
    assert await read_all(store, "a/large", MIB, 100) == large[MIB : MIB + 100]
    assert await store.info("a/none") is None
    assert await keys_of(store, "a/") == ["a/claim", "a/large", "a/little", "a/small"]
    await store.now()
    await store.delete(["a/claim", "a/small", "a/little"])
    assert await keys_of(store, "a/") == ["a/large"]
    await store.delete(["a/large"])


@pytest.mark.parametrize(
    ("fault", "sealed"),
    [(Fault(status=503, code="SlowDown"), False), (Fault(lose_answer=True), False), (Fault(lose_answer=True), True)],
    ids=["slow-down", "answer-lost", "answer-lost-sealed"],
)
async def test_any_one_request_may_fail(moto_s3: S3Server, fault: Fault, sealed: bool) -> None:
    async with through_proxy(moto_s3) as (unsealed, proxy):
        keyring = Keyring.generate("k", SystemRandomness())
        store: Store = SealedStore(unsealed, keyring, SystemRandomness()) if sealed else unsealed
        await scenario(store)
        requests = len(proxy.seen)
        assert requests > 15
        for index in range(requests):
            proxy.seen.clear()
            proxy.decide = at(index, fault)
            await scenario(store)
            assert await open_uploads(moto_s3.endpoint, unsealed.place.bucket) == [], index


async def test_a_server_that_stays_overloaded_is_unavailable(moto_s3: S3Server) -> None:
    async with through_proxy(moto_s3) as (store, proxy):
        await store.put("there", b"x")
        proxy.decide = lambda index, method, headers: Fault(status=503, code="SlowDown")
        for call in (
            lambda: store.put("k", b"x"),
            lambda: store.put_if_absent("k", b"x"),
            lambda: store.put_stream("k", in_pieces(b"x", 1)),
            lambda: store.put_stream("k", in_pieces(some_bytes(2 * PART_BYTES), MIB)),
            lambda: store.get("there"),
            lambda: store.info("there"),
            lambda: keys_of(store, ""),
            lambda: store.delete(["there", "k"]),
            store.now,
        ):
            with pytest.raises(StoreUnavailable, match=r"SlowDown|503") as failed:
                await call()
            assert failed.value.hint


async def test_dropped_connections_are_resumed_where_they_broke(s3proxy: S3Server) -> None:
    data = some_bytes(6 * MIB + 11)
    async with through_proxy(s3proxy) as (store, proxy):
        await store.put_stream("o", in_pieces(data, MIB))
        proxy.seen.clear()
        proxy.decide = lambda index, method, headers: Fault(drop_after=700_000) if index < 8 else None
        assert await read_all(store, "o") == data
        assert len(proxy.seen) == 9
        starts = [int(ranged.removeprefix("bytes=").partition("-")[0] or 0) for _, ranged in proxy.seen if ranged]
        assert starts == sorted(set(starts))
        proxy.decide = lambda index, method, headers: Fault(drop_after=600_000) if index % 2 else None
        assert await read_all(store, "o", 1_000_000, 3_000_000) == data[1_000_000:4_000_000]


async def test_a_connection_that_never_brings_anything_is_given_up(s3proxy: S3Server) -> None:
    async with through_proxy(s3proxy) as (store, proxy):
        await store.put("o", some_bytes(MIB))
        proxy.decide = lambda index, method, headers: Fault(drop_after=1000)
        with pytest.raises(StoreUnavailable):
            await store.get("o")
        assert len(proxy.seen) <= 1 + QUICK.attempts


async def test_a_stalled_read_goes_on_over_another_connection(s3proxy: S3Server) -> None:
    data = some_bytes(3 * MIB)
    async with through_proxy(s3proxy, progress_s=0.5) as (store, proxy):
        await store.put_stream("o", in_pieces(data, MIB))
        proxy.seen.clear()
        proxy.decide = lambda index, method, headers: Fault(stall_after=MIB + 5) if index == 0 else None
        assert await read_all(store, "o") == data
        proxy.seen.clear()
        proxy.decide = lambda index, method, headers: Fault(stall_after=10)
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await read_all(store, "o")
        assert time.monotonic() - begun < 30


async def test_a_server_that_hangs_is_unavailable_within_the_deadline(s3proxy: S3Server) -> None:
    bucket = await s3proxy.endpoint.new_bucket()
    patience = replace(QUICK, request_s=0.5, attempts=2)
    store = await S3Store.connect(S3Place(bucket=bucket), access(s3proxy.endpoint), patience)
    await store.put("o", b"x")
    s3proxy.pause()
    try:
        for call in (lambda: store.put("o", b"x"), lambda: store.get("o"), lambda: keys_of(store, ""), store.now):
            begun = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await call()
            assert time.monotonic() - begun < 30
    finally:
        s3proxy.resume()
        await store.close()


async def test_an_object_replaced_while_it_is_read_is_damaged(moto_s3: S3Server) -> None:
    async with through_proxy(moto_s3) as (store, proxy):
        await store.put("o", b"a" * 2 * MIB)
        proxy.seen.clear()
        proxy.decide = at(0, Fault(drop_after=700_000))
        pieces = store.stream("o")
        assert await anext(pieces)
        async with moto_s3.endpoint.client() as client:
            await client.put_object(Bucket=store.place.bucket, Key="o", Body=b"b" * 2 * MIB)
        with pytest.raises(ObjectDamaged, match="replaced"):
            await anext(pieces)


async def test_a_server_that_ignores_ranges_is_refused(moto_s3: S3Server) -> None:
    async with through_proxy(moto_s3) as (store, proxy):
        await store.put("o", b"0123456789")
        proxy.decide = lambda index, method, headers: Fault(hide_range=True)
        with pytest.raises(StoreRefused, match="bytes from 3"):
            await read_all(store, "o", 3, 2)


async def test_a_cancelled_upload_is_undone_though_the_server_fails_at_first(moto_s3: S3Server) -> None:
    async with through_proxy(moto_s3) as (store, proxy):
        reached = asyncio.Event()

        async def parts() -> AsyncIterator[bytes]:
            yield some_bytes(3 * PART_BYTES)
            reached.set()
            await asyncio.Event().wait()

        failed = 0

        def twice(index: int, method: str, headers: Any) -> Fault | None:
            nonlocal failed
            if method == "DELETE" and failed < 2:
                failed += 1
                return Fault(status=503, code="SlowDown")
            return None

        proxy.decide = twice
        upload = asyncio.create_task(store.put_stream("o", parts()))
        async with asyncio.timeout(30):
            await reached.wait()
            upload.cancel()
            with pytest.raises(asyncio.CancelledError):
                await upload
        assert failed == 2
        assert await open_uploads(moto_s3.endpoint, store.place.bucket) == []


@pytest.mark.parametrize(("size", "last_step"), [(100, "PUT"), (2 * PART_BYTES, "POST")])
async def test_an_upload_cancelled_when_the_server_has_already_done_it(
    moto_s3: S3Server, size: int, last_step: str
) -> None:
    """The put, or the completion, is carried out and only its answer is outstanding."""
    async with through_proxy(moto_s3) as (store, proxy):
        created = 0

        def hold_the_last(index: int, method: str, headers: Any) -> Fault | None:
            nonlocal created
            created += method == "POST"
            return Fault(hold_answer=True) if method == last_step and (size < MIB or created == 2) else None

        proxy.decide = hold_the_last
        upload = asyncio.create_task(store.put_stream("o", in_pieces(some_bytes(size), MIB)))
        async with asyncio.timeout(30):
            await proxy.held.wait()
            async with moto_s3.endpoint.client() as client:
                assert (await client.head_object(Bucket=store.place.bucket, Key="o"))["ContentLength"] == size
            upload.cancel()
            with pytest.raises(asyncio.CancelledError):
                await upload
        assert await store.info("o") is None
        assert await open_uploads(moto_s3.endpoint, store.place.bucket) == []


@pytest.mark.parametrize(
    ("status", "code", "kind", "hint"),
    [
        (400, "ExpiredToken", StoreRefused, "renew"),
        (403, "AccessDenied", StoreRefused, "let these credentials"),
        (403, "InvalidAccessKeyId", StoreRefused, "access key"),
        (403, "RequestTimeTooSkewed", StoreRefused, "clock"),
        (301, "PermanentRedirect", StoreRefused, "region"),
        (403, "QuotaExceeded", StoreFull, "quota"),
        (507, "InsufficientStorage", StoreFull, "free space"),
        (400, "EntityTooLarge", StoreFull, "free space"),
        (400, "BadDigest", StoreUnavailable, "check the S3 server"),
        (409, "ConditionalRequestConflict", StoreUnavailable, "check the S3 server"),
        (429, "TooManyRequests", StoreUnavailable, "check the S3 server"),
        (501, "NotImplemented", StoreRefused, "when_required"),
    ],
)
async def test_refusals_say_what_to_do(
    moto_s3: S3Server, status: int, code: str, kind: type[StoreError], hint: str
) -> None:
    async with through_proxy(moto_s3) as (store, proxy):
        proxy.decide = lambda index, method, headers: Fault(status=status, code=code)
        with pytest.raises(kind) as refused:
            await store.put_if_absent("o", b"x")
        assert type(refused.value) is kind or issubclass(type(refused.value), kind)
        assert code in str(refused.value)
        assert hint in refused.value.hint
        assert store.place.bucket not in refused.value.cause
        tries = QUICK.attempts if kind is StoreUnavailable else 1
        assert len(proxy.seen) == tries, "only transient failures are repeated"


async def refusal(settings: S3Access, bucket: str = "some-bucket") -> StoreError:
    store = await S3Store.connect(S3Place(bucket=bucket), settings, replace(QUICK, attempts=2))
    errors = []
    try:
        for call in (
            lambda: store.put("o", b"x"),
            lambda: store.get("o"),
            lambda: store.info("o"),
            lambda: keys_of(store, ""),
            store.now,
        ):
            with pytest.raises(StoreError) as refused:
                await call()
            errors.append(refused.value)
    finally:
        await store.close()
    assert len({type(error) for error in errors}) == 1, errors
    assert all(error.hint for error in errors)
    return errors[0]


async def test_a_missing_bucket(s3_server: S3Server) -> None:
    error = await refusal(access(s3_server.endpoint), "no-such-bucket")
    assert isinstance(error, StoreRefused)
    assert "no-such-bucket does not exist" in error.cause
    assert "create the bucket" in error.hint


@pytest.mark.parametrize("wrong", ["access_key", "secret_key"])
async def test_wrong_credentials(s3proxy: S3Server, wrong: str) -> None:
    bucket = await s3proxy.endpoint.new_bucket()
    error = await refusal(replace(access(s3proxy.endpoint), **{wrong: "guessed-wrong"}), bucket)
    assert isinstance(error, StoreRefused)
    assert "guessed-wrong" not in f"{error} {error.hint} {error!r}"
    assert "key" in error.hint or "credentials" in error.hint


async def test_an_endpoint_where_nothing_listens() -> None:
    port = free_port()
    endpoint = S3Endpoint(url=f"http://{LOOPBACK}:{port}", access_key="access", secret_key="secret")
    error = await refusal(access(endpoint))
    assert isinstance(error, StoreUnavailable)
    assert str(port) in error.hint


async def test_an_endpoint_that_is_not_s3(moto_s3: S3Server) -> None:
    async with through_proxy(moto_s3) as (store, proxy):
        for status, body in ((200, "<html><p>Welcome<br></html>"), (404, "<html>nothing here</html>")):
            answer = Fault(status=status, body=body)
            proxy.decide = lambda index, method, headers, answer=answer: answer
            for call in (
                lambda: keys_of(store, ""),
                lambda: store.get("o"),
                lambda: store.put("o", b"x"),
                lambda: store.info("o"),
            ):
                with pytest.raises((StoreUnavailable, StoreRefused)) as refused:
                    await call()
                assert "endpoint" in refused.value.hint or store.client.endpoint in refused.value.hint


async def test_a_certificate_nobody_vouches_for(versitygw_tls: S3Server) -> None:
    error = await refusal(replace(access(versitygw_tls.endpoint), ca=None))
    assert isinstance(error, StoreRefused)
    assert "certificate" in error.cause
    assert "TIDEWIND_STORE_CA" in error.hint


async def test_an_endpoint_that_is_no_url() -> None:
    with pytest.raises(StoreRefused) as refused:
        await S3Store.connect(
            S3Place(bucket="b"), S3Access(endpoint_url="s3 server", region=None, access_key="a", secret_key="b")
        )
    assert refused.value.hint
