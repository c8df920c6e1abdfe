"""Sealing: every object of any store encrypted, or at least checked, frame by frame.

Invariants
- Content leaves this module only after its frame was proved to be the one written under this key at this place; what
  is changed, cut off, swapped or moved raises ObjectDamaged naming the object.
- With a keyring, nothing is written in the clear and nothing unencrypted is accepted: otherwise somebody who can write
  to the store could put an object of his own in the place of an encrypted one.
- One call seals once: whatever the inner store repeats are the same bytes, and the random salt in them tells a put of
  ours from anybody else's.

Crypto runs on threads, one batch ahead of the reader or writer.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from datetime import datetime
from functools import partial

from tidewind.domain.frames import (
    FRAME_BYTES,
    HEADER_BYTES,
    SALT_BYTES,
    Cipher,
    Codec,
    FormatTooNew,
    FrameDamaged,
    Header,
    WrongKey,
    checking,
    content_size,
    decrypting,
    encrypting,
    open_frames,
    plain,
    seal_frames,
)
from tidewind.ports.clock import Randomness
from tidewind.ports.store import (
    KeyMissing,
    ObjectDamaged,
    ObjectInfo,
    ObjectMissing,
    Store,
    StoredObject,
    StoreRefused,
)
from tidewind.store.keyring import OBJECTS, Keyring, missing_hint
from tidewind.store.naming import checked_key, checked_range
from tidewind.store.streams import Reader, closed_after, off_loop

BATCH_FRAMES = 2
_DAMAGED = "the stored bytes changed; restore from another backup and examine the store"
_UNENCRYPTED = "it is not encrypted although this deployment encrypts: somebody else wrote it"


class SealedStore:
    """Implements tidewind.ports.store.VerifiableStore over `inner`. Without a keyring objects are checked, not
    encrypted. `info` and `list` give stored sizes, ranges of `stream` count bytes of content."""

    def __init__(self, inner: Store, keyring: Keyring | None, randomness: Randomness) -> None:
        self.inner = inner
        self.keyring = keyring
        self._randomness = randomness
        self._objects_keys = (
            {key_id: keyring.derive(OBJECTS, 32, key_id=key_id) for key_id in keyring.keys} if keyring else {}
        )

    async def put(self, key: str, data: bytes) -> StoredObject:
        return await self.inner.put(key, await self._sealed("put", key, data))

    async def put_if_absent(self, key: str, data: bytes) -> bool:
        return await self.inner.put_if_absent(key, await self._sealed("put_if_absent", key, data))

    async def put_stream(self, key: str, parts: AsyncIterator[bytes]) -> StoredObject:
        header, codec = self._new("put_stream", key)
        return await self.inner.put_stream(key, _seal_stream(header, codec, parts))

    async def get(self, key: str) -> bytes:
        return await self._opened("get", key, await self.inner.get(key))

    async def seal(self, name: str, content: bytes) -> bytes:
        """What `put` would store under that name, for content that travels: blocks of the log."""
        return await self._sealed("seal", name, content)

    async def unseal(self, name: str, sealed: bytes) -> bytes:
        """Raises ObjectDamaged, KeyMissing."""
        return await self._opened("unseal", name, sealed)

    async def stream(self, key: str, *, start: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None]:
        checked_key("stream", key)
        checked_range("stream", key, start, length)
        source = self._whole(key) if start == 0 and length is None else self._range(key, start, length)
        async with closed_after(source):
            async for piece in source:
                yield piece

    async def info(self, key: str) -> ObjectInfo | None:
        return await self.inner.info(key)

    def list(self, prefix: str, *, after: str = "") -> AsyncIterator[ObjectInfo]:
        return self.inner.list(prefix, after=after)

    async def delete(self, keys: Sequence[str]) -> None:
        await self.inner.delete(keys)

    async def now(self) -> datetime:
        return await self.inner.now()

    async def close(self) -> None:
        await self.inner.close()

    async def verify_object(self, key: str, *, size: int, sha256: str) -> None:
        digest = hashlib.sha256()
        read = 0
        source = self.inner.stream(key)
        async with closed_after(source):
            async for piece in source:
                await off_loop(partial(digest.update, piece), len(piece))
                read += len(piece)
        if read != size:
            raise ObjectDamaged("verify", key, f"it has {read} bytes instead of {size}", _DAMAGED)
        if digest.hexdigest() != sha256:
            raise ObjectDamaged("verify", key, "its sha256 differs from the manifest", _DAMAGED)

    def _new(self, operation: str, key: str) -> tuple[bytes, Codec]:
        checked_key(operation, key)
        salt = self._randomness.token(SALT_BYTES)
        if self.keyring is None:
            return plain(salt, key)
        return encrypting(self.keyring.active, self._objects_keys[self.keyring.active], salt, key)

    async def _sealed(self, operation: str, key: str, data: bytes) -> bytes:
        header, codec = self._new(operation, key)
        sealed = await off_loop(partial(seal_frames, codec, 0, memoryview(data), ends=True), len(data))
        return header + sealed

    async def _opened(self, operation: str, key: str, stored: bytes) -> bytes:
        header, codec = self._stored(operation, key, stored[:HEADER_BYTES])
        body = memoryview(stored)[HEADER_BYTES:]
        opened = partial(open_frames, codec, 0, body, ends=True, frame=header.frame_bytes)
        try:
            return bytes(await off_loop(opened, len(body)))
        except FrameDamaged as error:
            raise ObjectDamaged(operation, key, str(error), _DAMAGED) from None

    def _stored(self, operation: str, key: str, head: bytes) -> tuple[Header, Codec]:
        """Judge the header of a stored object."""
        try:
            header = Header.parse(head, key)
            if header.cipher is Cipher.SHA256:
                if self.keyring is not None:
                    raise ObjectDamaged(operation, key, _UNENCRYPTED, _DAMAGED)
                return header, checking(header, key)
            objects_key = self._objects_keys.get(header.key_id)
            if objects_key is None:
                cause = f"it is encrypted under the key {header.key_id}, which the keyring does not hold"
                raise KeyMissing(operation, key, cause, missing_hint(header.key_id))
            return header, decrypting(header, objects_key, key)
        except FrameDamaged as error:
            raise ObjectDamaged(operation, key, str(error), _DAMAGED) from None
        except FormatTooNew as error:
            raise StoreRefused(operation, key, str(error), "upgrade Tidewind to read it") from None
        except WrongKey as error:
            cause = f"the keyring's key {error} is not the key of that name it was encrypted under"
            raise KeyMissing(operation, key, cause, missing_hint(str(error))) from None

    async def _whole(self, key: str) -> AsyncGenerator[bytes, None]:
        source = Reader(self.inner.stream(key))
        async with closed_after(source.parts):
            header, codec = self._stored("stream", key, await source.take(HEADER_BYTES))
            async for piece in _open_stream(key, source, header, codec, first=0, ends=True):
                yield piece

    async def _range(self, key: str, start: int, length: int | None) -> AsyncGenerator[bytes, None]:
        """Ranges first ask for the object's size, which says where its last frame is; that frame then proves it."""
        found = await self.inner.info(key)
        if found is None:
            raise ObjectMissing("stream", key, "no such object")
        head = Reader(self.inner.stream(key, start=0, length=HEADER_BYTES))
        async with closed_after(head.parts):
            header, codec = self._stored("stream", key, await head.take(HEADER_BYTES))
        frame, step = header.frame_bytes, header.frame_bytes + codec.overhead
        try:
            size = content_size(found.size, overhead=codec.overhead, frame=frame)
        except FrameDamaged as error:
            raise ObjectDamaged("stream", key, str(error), _DAMAGED) from None
        final = max(0, size - 1) // frame
        begin, end = min(start, size), size if length is None else min(size, start + length)
        first, last = min(begin // frame, final), min(max(begin, end - 1) // frame, final)
        source = Reader(self.inner.stream(key, start=HEADER_BYTES + first * step, length=(last - first + 1) * step))
        skip, left = begin - first * frame, max(0, end - begin)
        async with closed_after(source.parts):
            async for piece in _open_stream(key, source, header, codec, first=first, ends=last == final):
                wanted = piece[skip : skip + left]
                skip, left = max(0, skip - len(piece)), left - len(wanted)
                if wanted:
                    yield wanted


async def _seal_stream(header: bytes, codec: Codec, parts: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The stored bytes of an object. One batch is sealed while the next is collected and the one before is written."""
    source, sealing = Reader(parts), _OneAhead()
    first, ends = 0, False
    async with closed_after(parts):
        yield header
        try:
            while not ends:
                content = await source.take(BATCH_FRAMES * FRAME_BYTES, beyond=1)
                ends = source.exhausted
                work = partial(seal_frames, codec, first, memoryview(content), ends=ends)
                first += BATCH_FRAMES
                if (sealed := await sealing.begin(work)) is not None:
                    yield bytes(sealed)
            yield bytes(await sealing.rest())
        finally:
            sealing.abandon()


async def _open_stream(
    key: str, source: Reader, header: Header, codec: Codec, *, first: int, ends: bool
) -> AsyncGenerator[bytes, None]:
    """The content of the frames in `source`, which goes on to the object's end if `ends`."""
    batch = BATCH_FRAMES * (header.frame_bytes + codec.overhead)
    opening, exhausted = _OneAhead(), False
    try:
        while not exhausted:
            stored = memoryview(await source.take(batch, beyond=1))
            exhausted = source.exhausted
            last = ends and exhausted
            work = partial(open_frames, codec, first, stored, ends=last, frame=header.frame_bytes)
            first += BATCH_FRAMES
            if (content := await opening.begin(work)) is not None:
                yield bytes(content)
        yield bytes(await opening.rest())
    except FrameDamaged as error:
        raise ObjectDamaged("stream", key, str(error), _DAMAGED) from None
    finally:
        opening.abandon()


class _OneAhead:
    """Work on threads, one piece of it beside whoever uses the result before."""

    def __init__(self) -> None:
        self._running: asyncio.Task[bytearray] | None = None

    async def begin(self, work: Callable[[], bytearray]) -> bytearray | None:
        """Begin this piece and wait for the one before, if there is one."""
        before, self._running = self._running, asyncio.create_task(asyncio.to_thread(work))
        return None if before is None else await before

    async def rest(self) -> bytearray:
        """Wait for the piece begun last."""
        assert self._running is not None
        before, self._running = self._running, None
        return await before

    def abandon(self) -> None:
        """Nobody wants the rest: its outcome, also an error, is dropped."""
        if self._running is not None:
            self._running.cancel()
            self._running.add_done_callback(lambda task: task.cancelled() or task.exception())
