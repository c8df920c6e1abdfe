"""No change of stored bytes is ever read as other content."""

import random
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.test_store import MIB, in_pieces, read_all, some_bytes
from tidewind.domain import frames
from tidewind.domain.frames import Codec, FrameDamaged, Header
from tidewind.ports.store import KeyMissing, ObjectDamaged, ObjectInfo, StoreRefused
from tidewind.runtime.clock import SystemRandomness
from tidewind.store.directory import DirectoryStore
from tidewind.store.keyring import Keyring
from tidewind.store.sealed import SealedStore

RANDOM = SystemRandomness()
KEYRING = Keyring.generate("prod-2026", RANDOM)
OBJECTS_KEY = bytes(range(32))
SALT = bytes(reversed(range(32)))
FRAME = 1024


@pytest.fixture
async def directory(tmp_path: Path) -> AsyncIterator[DirectoryStore]:
    store = DirectoryStore(tmp_path)
    await store.open()
    yield store
    await store.close()


@pytest.fixture(params=["encrypted", "checked"])
def sealed(request: pytest.FixtureRequest, directory: DirectoryStore) -> SealedStore:
    return SealedStore(directory, KEYRING if request.param == "encrypted" else None, RANDOM)


class Shown:
    """A store that shows its readers these bytes as whatever object they ask for. Where thousands of changes are read,
    files would take the time and add nothing: what is judged is the seal."""

    stored = b""

    async def get(self, key: str) -> bytes:
        return self.stored

    async def info(self, key: str) -> ObjectInfo:
        return ObjectInfo(key=key, size=len(self.stored), modified=datetime.now(UTC))

    async def stream(self, key: str, *, start: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None]:
        asked = self.stored[start : None if length is None else start + length]
        for at in range(0, len(asked), 700):
            yield asked[at : at + 700]


async def assert_damaged(store: SealedStore, key: str) -> None:
    for reading in (store.get(key), read_all(store, key), read_all(store, key, 1)):
        with pytest.raises(ObjectDamaged) as damaged:
            await reading
        assert damaged.value.key == key
        assert key in str(damaged.value)


async def test_every_byte_of_an_object_flipped(sealed: SealedStore) -> None:
    content = some_bytes(1200)
    await sealed.put("o", content)
    raw = await sealed.inner.get("o")
    assert await sealed.get("o") == content
    shown = Shown()
    store = SealedStore(shown, sealed.keyring, RANDOM)
    ways = (store.get, lambda key: read_all(store, key), lambda key: read_all(store, key, 10, 10))
    shown.stored = raw
    assert [await way("o") for way in ways] == [content, content, content[10:20]]
    for at in range(len(raw)):
        changed = bytearray(raw)
        changed[at] ^= 1 << (at % 8)
        shown.stored = bytes(changed)
        with pytest.raises(ObjectDamaged, match="o: "):
            await ways[at % 3]("o")


async def test_truncation_at_every_length_and_appending(sealed: SealedStore) -> None:
    await sealed.put("o", some_bytes(300))
    raw = await sealed.inner.get("o")
    shown = Shown()
    store = SealedStore(shown, sealed.keyring, RANDOM)
    for size in range(len(raw)):
        shown.stored = raw[:size]
        await assert_damaged(store, "o")
    for more in (b"\0", raw, raw[-16:]):
        await sealed.inner.put("o", raw + more)
        await assert_damaged(sealed, "o")


async def test_truncation_at_frame_bounds(sealed: SealedStore) -> None:
    """Cut off there, what is left is a row of whole frames."""
    await sealed.put_stream("o", in_pieces(some_bytes(3 * MIB), MIB))
    raw = await sealed.inner.get("o")
    step = (len(raw) - frames.HEADER_BYTES) // 3
    for count in (0, 1, 2):
        await sealed.inner.put("o", raw[: frames.HEADER_BYTES + count * step])
        with pytest.raises(ObjectDamaged):
            await sealed.get("o")
        with pytest.raises(ObjectDamaged):
            await read_all(sealed, "o")
        with pytest.raises(ObjectDamaged):
            await read_all(sealed, "o", 3 * MIB, 1)


async def test_frames_moved_within_an_object(sealed: SealedStore) -> None:
    await sealed.put_stream("o", in_pieces(some_bytes(3 * MIB), MIB))
    raw = await sealed.inner.get("o")
    head, step = raw[: frames.HEADER_BYTES], (len(raw) - frames.HEADER_BYTES) // 3
    pieces = [raw[len(head) + n * step : len(head) + (n + 1) * step] for n in range(3)]
    for order in ((1, 0, 2), (0, 2, 1), (0, 0, 2), (2, 1, 0), (0, 1, 2, 2)):
        await sealed.inner.put("o", head + b"".join(pieces[n] for n in order))
        await assert_damaged(sealed, "o")


async def test_two_objects_swapped(sealed: SealedStore) -> None:
    await sealed.put("a", b"content of a")
    await sealed.put("b", b"content of b")
    a, b = await sealed.inner.get("a"), await sealed.inner.get("b")
    await sealed.inner.put("a", b)
    await sealed.inner.put("b", a)
    await assert_damaged(sealed, "a")
    await assert_damaged(sealed, "b")


async def test_the_body_of_another_object_under_its_own_header(sealed: SealedStore) -> None:
    await sealed.put("a", b"content of a")
    await sealed.put("b", b"content of b")
    a, b = await sealed.inner.get("a"), await sealed.inner.get("b")
    await sealed.inner.put("a", a[: frames.HEADER_BYTES] + b[frames.HEADER_BYTES :])
    await assert_damaged(sealed, "a")


async def test_a_header_forged_for_another_name(sealed: SealedStore) -> None:
    """Its check value needs no key, so an attacker can make it fit; the frames still do not."""
    await sealed.put("a", b"content of a")
    a = await sealed.inner.get("a")
    header = Header.parse(a, "a")
    await sealed.inner.put("b", header.to_bytes("b") + a[frames.HEADER_BYTES :])
    with pytest.raises((ObjectDamaged, KeyMissing)):
        await sealed.get("b")


async def test_nothing_unencrypted_is_accepted_where_encryption_is_on(directory: DirectoryStore) -> None:
    await SealedStore(directory, None, RANDOM).put("o", b"planted")
    with pytest.raises(ObjectDamaged, match="not encrypted"):
        await SealedStore(directory, KEYRING, RANDOM).get("o")
    await directory.put("o", b"planted")
    with pytest.raises(ObjectDamaged):
        await SealedStore(directory, KEYRING, RANDOM).get("o")


async def test_missing_and_wrong_keys_name_the_key(directory: DirectoryStore) -> None:
    await SealedStore(directory, KEYRING, RANDOM).put("o", b"secret")
    others = {
        "another": Keyring.generate("prod-2025", RANDOM),
        "same name, other key": Keyring.generate("prod-2026", RANDOM),
        "none": None,
    }
    for keyring in others.values():
        store = SealedStore(directory, keyring, RANDOM)
        for reading in (store.get("o"), read_all(store, "o"), read_all(store, "o", 1, 2)):
            with pytest.raises(KeyMissing, match="prod-2026") as missing:
                await reading
            assert "prod-2026" in missing.value.hint


async def test_older_keys_still_open_what_they_sealed(directory: DirectoryStore) -> None:
    await SealedStore(directory, KEYRING, RANDOM).put("old", b"old")
    rotated = SealedStore(directory, KEYRING.with_newest("prod-2027", RANDOM), RANDOM)
    assert await rotated.get("old") == b"old"
    await rotated.put("new", b"new")
    assert Header.parse(await directory.get("new"), "new").key_id == "prod-2027"
    with pytest.raises(KeyMissing, match="prod-2027"):
        await SealedStore(directory, KEYRING, RANDOM).get("new")


async def test_a_newer_format_is_refused_by_name(directory: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SealedStore(directory, KEYRING, RANDOM)
    with monkeypatch.context() as later:
        later.setattr(frames, "FORMAT", 2)
        await store.put("o", b"x")
    with pytest.raises(StoreRefused, match="format 2") as refused:
        await store.get("o")
    assert "upgrade" in refused.value.hint


async def test_content_does_not_appear_in_what_is_stored(directory: DirectoryStore) -> None:
    content = b"correct horse battery staple " * 50
    await SealedStore(directory, KEYRING, RANDOM).put("o", content)
    raw = await directory.get("o")
    assert b"horse" not in raw
    await SealedStore(directory, KEYRING, RANDOM).put("o", content)
    assert await directory.get("o") != raw, "every object has a salt of its own"


def codecs(name: str) -> list[tuple[bytes, Codec]]:
    return [frames.encrypting("k", OBJECTS_KEY, SALT, name), frames.plain(SALT, name)]


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=5 * FRAME), which=st.sampled_from([0, 1]))
def test_frames_open_to_what_was_sealed(content: bytes, which: int) -> None:
    _, codec = codecs("n")[which]
    sealed = frames.seal_frames(codec, 0, memoryview(content), ends=True, frame=FRAME)
    assert frames.open_frames(codec, 0, memoryview(sealed), ends=True, frame=FRAME) == content
    stored = frames.HEADER_BYTES + len(sealed)
    assert frames.content_size(stored, overhead=codec.overhead, frame=FRAME) == len(content)


@settings(max_examples=300, deadline=None)
@given(content=st.binary(min_size=1, max_size=4 * FRAME), seed=st.integers(0, 1 << 32), which=st.sampled_from([0, 1]))
def test_any_mutation_of_frames_is_found(content: bytes, seed: int, which: int) -> None:
    chance = random.Random(seed)
    _, codec = codecs("n")[which]
    sealed = bytes(frames.seal_frames(codec, 0, memoryview(content), ends=True, frame=FRAME))
    step = FRAME + codec.overhead
    cuts = [sealed[at : at + step] for at in range(0, len(sealed), step)]
    kind = chance.randrange(4)
    if kind == 0:
        at = chance.randrange(len(sealed))
        mutated = sealed[:at] + bytes([sealed[at] ^ chance.randrange(1, 256)]) + sealed[at + 1 :]
    elif kind == 1:
        mutated = sealed[: chance.randrange(len(sealed))]
    elif kind == 2:
        mutated = b"".join(chance.sample(cuts, len(cuts)))
    else:
        mutated = sealed + chance.randbytes(chance.randrange(1, 2 * step))
    if mutated == sealed:
        return
    with pytest.raises(FrameDamaged):
        frames.open_frames(codec, 0, memoryview(mutated), ends=True, frame=FRAME)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.sampled_from([0, 1, 5, MIB - 1, MIB, MIB + 1, 2 * MIB, 2 * MIB + 1, 3 * MIB]),
    start=st.one_of(st.integers(0, 4 * MIB), st.sampled_from([MIB - 1, MIB, 2 * MIB])),
    length=st.one_of(st.none(), st.integers(0, 4 * MIB)),
    piece=st.integers(10_000, 2 * MIB),
)
async def test_ranges_are_slices(
    directory: DirectoryStore, size: int, start: int, length: int | None, piece: int
) -> None:
    store = SealedStore(directory, KEYRING, RANDOM)
    content = some_bytes(size)
    await store.put_stream("o", in_pieces(content, piece))
    expected = content[start:] if length is None else content[start : start + length]
    assert await read_all(store, "o", start, length) == expected
