"""What every store must do. `StoreContract` is run here over the directory, in tests/integration over S3 servers."""

import asyncio
import hashlib
import random
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

import pytest

from tidewind.ports.store import ObjectDamaged, ObjectMissing, Store, StoreRefused
from tidewind.runtime.clock import SystemRandomness
from tidewind.store.conditional import check_conditional_puts
from tidewind.store.directory import DirectoryStore
from tidewind.store.keyring import Keyring
from tidewind.store.sealed import SealedStore

MIB = 1 << 20
BAD_KEYS = ("", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", ".tmp/x", "a b", "a\n", "ä", "a\0b", "a\\b", "a" * 900)


async def in_pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def read_all(store: Store, key: str, start: int = 0, length: int | None = None) -> bytes:
    return b"".join([piece async for piece in store.stream(key, start=start, length=length)])


async def keys_of(store: Store, prefix: str, after: str = "") -> list[str]:
    return [found.key async for found in store.list(prefix, after=after)]


@lru_cache(maxsize=32)
def some_bytes(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


class StoreContract:
    """Subclasses give a `store` fixture; each test works below a prefix of its own."""

    honours_conditional_puts = True
    decides_races = True
    many = 1203
    """Objects in a long listing: more than a page."""
    large = 3 * MIB + 17
    """Bytes; stores that split objects override it with a size that is split."""

    @pytest.fixture
    def prefix(self) -> str:
        return f"t{secrets.token_hex(6)}/"

    async def test_what_was_put_is_got(self, store: Store, prefix: str) -> None:
        for size in (0, 1, 1000, 70_000):
            key = f"{prefix}o{size}"
            data = some_bytes(size)
            await store.put(key, data)
            assert await store.get(key) == data
            assert await read_all(store, key) == data

    async def test_put_may_be_repeated(self, store: Store, prefix: str) -> None:
        await store.put(prefix + "o", b"same")
        await store.put(prefix + "o", b"same")
        assert await store.get(prefix + "o") == b"same"

    async def test_a_stream_of_any_pieces_is_stored_whole(self, store: Store, prefix: str) -> None:
        for size, piece in ((0, 1), (5, 2), (MIB, MIB), (MIB + 1, 300_000), (self.large, 65_537)):
            key = f"{prefix}s{size}"
            data = some_bytes(size)
            stored = await store.put_stream(key, in_pieces(data, piece))
            assert stored.key == key
            found = await store.info(key)
            assert found is not None
            assert found.size == stored.size
            assert await read_all(store, key) == data

    async def test_ranges(self, store: Store, prefix: str) -> None:
        data = some_bytes(2 * MIB + 100)
        await store.put_stream(prefix + "r", in_pieces(data, 100_000))
        ranges = [(0, 1), (0, MIB), (1, None), (MIB - 1, 2), (MIB, MIB), (len(data) - 1, 1), (len(data) - 1, 50)]
        ranges += [(len(data), None), (len(data) + 9, 5), (7, 0), (2 * MIB, None)]
        for start, length in ranges:
            expected = data[start:] if length is None else data[start : start + length]
            assert await read_all(store, prefix + "r", start, length) == expected, (start, length)

    async def test_a_range_of_an_empty_object_is_empty(self, store: Store, prefix: str) -> None:
        await store.put(prefix + "empty", b"")
        assert await read_all(store, prefix + "empty", 0, 10) == b""
        assert await read_all(store, prefix + "empty", 3) == b""

    async def test_a_reader_may_stop_early(self, store: Store, prefix: str) -> None:
        data = some_bytes(self.large)
        await store.put_stream(prefix + "r", in_pieces(data, MIB))
        async for piece in store.stream(prefix + "r"):
            assert data.startswith(piece)
            break
        assert await store.get(prefix + "r") == data

    async def test_missing_objects(self, store: Store, prefix: str) -> None:
        key = prefix + "none"
        assert await store.info(key) is None
        with pytest.raises(ObjectMissing) as got:
            await store.get(key)
        assert key in str(got.value)
        with pytest.raises(ObjectMissing):
            await read_all(store, key)
        with pytest.raises(ObjectMissing):
            await read_all(store, key, 5, 5)

    async def test_stored_sizes_and_checksums_are_of_the_stored_bytes(self, store: Store, prefix: str) -> None:
        inner = store.inner if isinstance(store, SealedStore) else store
        for name, size in (("a", 10), ("b", self.large)):
            stored = await store.put_stream(prefix + name, in_pieces(some_bytes(size), MIB))
            raw = await read_all(inner, prefix + name)
            assert (len(raw), hashlib.sha256(raw).hexdigest()) == (stored.size, stored.sha256)
        stored = await store.put(prefix + "c", b"x")
        assert hashlib.sha256(await inner.get(prefix + "c")).hexdigest() == stored.sha256

    async def test_put_if_absent_keeps_the_first(self, store: Store, prefix: str) -> None:
        assert await store.put_if_absent(prefix + "claim", b"mine")
        assert await store.put_if_absent(prefix + "claim", b"theirs") is not self.honours_conditional_puts
        if self.honours_conditional_puts:
            assert await store.get(prefix + "claim") == b"mine"

    async def test_of_twenty_writers_exactly_one_wins(self, store: Store, prefix: str) -> None:
        if not self.honours_conditional_puts:
            assert await check_conditional_puts(store, SystemRandomness()) == "ignores"
            return
        for run in range(5):
            key = f"{prefix}claim{run}/n"
            won = await asyncio.gather(*(store.put_if_absent(key, b"writer %d" % n) for n in range(20)))
            assert won.count(True) == 1 or (won.count(True) > 1 and not self.decides_races)
            assert await store.get(key) in [b"writer %d" % n for n in range(20) if won[n]]

    async def test_the_probe_tells_whether_conditional_puts_are_honoured(self, store: Store) -> None:
        found = await check_conditional_puts(store, SystemRandomness())
        if not self.honours_conditional_puts:
            assert found == "ignores"
        else:
            assert found == "honours" or (found == "races" and not self.decides_races)
        assert await keys_of(store, "probes/") == []

    async def test_listing_is_in_key_order_and_begins_after(self, store: Store, prefix: str) -> None:
        names = ["a-b", "a.b", "a/b", "a/c/d", "a0", "b/1", "b/10", "b/2", "b-1", "B", "_"]
        for name in names:
            await store.put(prefix + name, name.encode())
        ordered = sorted(names)
        assert await keys_of(store, prefix) == [prefix + name for name in ordered]
        for at, name in enumerate(ordered):
            assert await keys_of(store, prefix, after=prefix + name) == [prefix + n for n in ordered[at + 1 :]], name
        assert await keys_of(store, prefix + "b/1") == [prefix + "b/1", prefix + "b/10"]
        assert await keys_of(store, prefix + "a/c/") == [prefix + "a/c/d"]
        assert await keys_of(store, prefix, after=prefix + "zz") == []
        assert await keys_of(store, prefix + "nothing/") == []

    async def test_long_listings_are_complete(self, store: Store, prefix: str) -> None:
        names = [f"{prefix}{number // 100:03d}/{number:06d}" for number in range(self.many)]
        limit = asyncio.Semaphore(16)

        async def put(name: str) -> None:
            async with limit:
                await store.put(name, b"")

        await asyncio.gather(*(put(name) for name in names))
        assert await keys_of(store, prefix) == names
        assert await keys_of(store, prefix, after=names[-20]) == names[-19:]
        await store.delete(names)
        assert await keys_of(store, prefix) == []

    async def test_info_and_listing_agree(self, store: Store, prefix: str) -> None:
        before = await store.now() - timedelta(seconds=2)
        await store.put(prefix + "o", b"12345")
        info = await store.info(prefix + "o")
        assert info is not None
        assert [found.size async for found in store.list(prefix)] == [info.size]
        assert info.modified.tzinfo is not None
        assert before <= info.modified <= await store.now() + timedelta(seconds=2)

    async def test_delete_may_be_repeated(self, store: Store, prefix: str) -> None:
        keys = [f"{prefix}d/{number}" for number in range(5)]
        for key in keys[:3]:
            await store.put(key, b"x")
        await store.delete(keys)
        await store.delete(keys[:1])
        await store.delete([])
        assert await keys_of(store, prefix) == []
        await store.put(keys[0], b"again")
        assert await store.get(keys[0]) == b"again"

    async def test_a_failing_source_leaves_nothing(self, store: Store, prefix: str) -> None:
        for size in (100, self.large):

            async def parts(size: int = size) -> AsyncIterator[bytes]:
                yield some_bytes(size)
                raise RuntimeError("the source broke")

            with pytest.raises(RuntimeError, match="the source broke"):
                await store.put_stream(prefix + "broken", parts())
            assert await keys_of(store, prefix) == []
            assert await store.info(prefix + "broken") is None

    async def test_a_cancelled_upload_leaves_nothing_and_ends_its_source(self, store: Store, prefix: str) -> None:
        reached, closed = asyncio.Event(), asyncio.Event()

        async def parts() -> AsyncIterator[bytes]:
            try:
                for _ in range(3):
                    yield some_bytes(self.large)
                reached.set()
                await asyncio.Event().wait()
            finally:
                closed.set()

        upload = asyncio.create_task(store.put_stream(prefix + "cut", parts()))
        async with asyncio.timeout(30):
            await reached.wait()
            upload.cancel()
            with pytest.raises(asyncio.CancelledError):
                await upload
        assert closed.is_set()
        assert await keys_of(store, prefix) == []

    async def test_uploads_cancelled_at_any_moment_leave_all_or_nothing(self, store: Store, prefix: str) -> None:
        data = some_bytes(self.large)
        for turn in range(12):
            key = f"{prefix}{turn}"
            upload = asyncio.create_task(store.put_stream(key, in_pieces(data, MIB)))
            await asyncio.wait([upload], timeout=0.004 * turn**2)
            if upload.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await upload
                assert await store.info(key) is None, turn
            else:
                assert await store.get(key) == data

    async def test_bad_keys_are_refused_everywhere(self, store: Store) -> None:
        for key in BAD_KEYS:
            with pytest.raises(StoreRefused, match=r"not a key|at most"):
                await store.put(key, b"x")
            with pytest.raises(StoreRefused):
                await store.put_if_absent(key, b"x")
            with pytest.raises(StoreRefused):
                await store.put_stream(key, in_pieces(b"x", 1))
            with pytest.raises(StoreRefused):
                await store.get(key)
            with pytest.raises(StoreRefused):
                await read_all(store, key)
            with pytest.raises(StoreRefused):
                await store.info(key)
            with pytest.raises(StoreRefused):
                await store.delete([key])

    async def test_bad_prefixes_and_ranges_are_refused(self, store: Store, prefix: str) -> None:
        with pytest.raises(StoreRefused):
            await keys_of(store, "../")
        await store.put(prefix + "o", b"x")
        for start, length in ((-1, None), (0, -1)):
            with pytest.raises(StoreRefused):
                await read_all(store, prefix + "o", start, length)

    async def test_the_clock_is_near_ours(self, store: Store) -> None:
        now = await store.now()
        assert now.tzinfo is not None
        assert abs(now - datetime.now(UTC)) < timedelta(seconds=5)


class SealedContract(StoreContract):
    """What sealing adds, over any inner store."""

    many = 120

    async def test_every_stored_byte_can_be_verified(self, store: SealedStore, prefix: str) -> None:
        stored = await store.put_stream(prefix + "v", in_pieces(some_bytes(self.large), MIB))
        await store.verify_object(prefix + "v", size=stored.size, sha256=stored.sha256)
        with pytest.raises(ObjectDamaged, match="bytes instead of"):
            await store.verify_object(prefix + "v", size=stored.size + 1, sha256=stored.sha256)
        raw = bytearray(await read_all(store.inner, prefix + "v"))
        raw[len(raw) // 2] ^= 1
        await store.inner.put_stream(prefix + "v", in_pieces(bytes(raw), MIB))
        with pytest.raises(ObjectDamaged, match="sha256") as damaged:
            await store.verify_object(prefix + "v", size=stored.size, sha256=stored.sha256)
        assert damaged.value.key == prefix + "v"
        with pytest.raises(ObjectMissing):
            await store.verify_object(prefix + "none", size=1, sha256="")

    async def test_two_equal_claims_have_one_winner(self, store: SealedStore, prefix: str) -> None:
        if not (self.honours_conditional_puts and self.decides_races):
            return
        won = await asyncio.gather(*(store.put_if_absent(prefix + "same", b"") for _ in range(20)))
        assert won.count(True) == 1


@pytest.fixture
async def directory(tmp_path: Path) -> AsyncIterator[DirectoryStore]:
    store = DirectoryStore(tmp_path)
    await store.open()
    yield store
    await store.close()
    assert list((tmp_path / ".tmp").iterdir()) == []


class TestDirectory(StoreContract):
    @pytest.fixture
    def store(self, directory: DirectoryStore) -> DirectoryStore:
        return directory


class TestEncryptedDirectory(SealedContract):
    @pytest.fixture
    def store(self, directory: DirectoryStore) -> SealedStore:
        return SealedStore(directory, Keyring.generate("test", SystemRandomness()), SystemRandomness())


class TestCheckedDirectory(SealedContract):
    """Encryption switched off: the same frames with checksums."""

    @pytest.fixture
    def store(self, directory: DirectoryStore) -> SealedStore:
        return SealedStore(directory, None, SystemRandomness())
