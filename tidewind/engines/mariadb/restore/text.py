"""The text of one stored object, pulled by the thread that gives it to the server."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import IO, Any, Final, TypeVar, cast

import zstandard

from tidewind.ports.store import ObjectDamaged, Store, StoreUnavailable

Answer = TypeVar("Answer")

TEXT_BYTES: Final = 1 << 18
PIECE_DEADLINE_S: Final = 600.0
DAMAGED: Final = "the stored bytes are not those of the backup; restore another backup and examine the store"


def text_of(store: Store, key: str, *, size: int, row_bytes: int, loop: asyncio.AbstractEventLoop) -> Iterator[bytes]:
    """The text of an object of `size` stored bytes, in pieces; to be closed by the thread that pulls it, which is not
    that of `loop`, where the store is asked. Raises ObjectDamaged if the object is not what the manifest says, and
    StoreError."""
    found = _awaited(store.info(key), key, loop)
    if found is None or found.size != size:
        there = "missing" if found is None else f"{found.size} bytes long"
        raise ObjectDamaged("load", key, f"it is {there}; the manifest says {size} bytes", DAMAGED)
    source = Pulled(key, store.stream(key), loop)
    try:
        yield from Unpacked(key, row_bytes, source).pieces()
    finally:
        _awaited(source.close(), key, loop)


def _awaited(asked: Coroutine[Any, Any, Answer], key: str, loop: asyncio.AbstractEventLoop) -> Answer:
    """What was asked of the store is over when this returns or raises, so that its stream can be closed."""

    async def within() -> Answer:
        async with asyncio.timeout(PIECE_DEADLINE_S):
            return await asked

    try:
        return asyncio.run_coroutine_threadsafe(within(), loop).result()
    except TimeoutError:
        raise StoreUnavailable("load", key, f"the store was silent for {PIECE_DEADLINE_S:g} seconds") from None


class Pulled:
    """Bytes of a stream of the event loop, pulled from a thread."""

    def __init__(self, key: str, stream: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self._key = key
        self._stream = stream
        self._loop = loop
        self._waiting = b""

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, b"" at the end. Raises what the stream raises."""
        if not self._waiting:
            self._waiting = _awaited(self._next(), self._key, self._loop)
        taken = self._waiting if size < 0 else self._waiting[:size]
        self._waiting = self._waiting[len(taken) :]
        return taken

    async def close(self) -> None:
        close = getattr(self._stream, "aclose", None)
        if close is not None:
            await close()

    async def _next(self) -> bytes:
        async for piece in self._stream:
            if piece:
                return piece
        return b""


class Unpacked:
    """The text of rows, in pieces of bounded size whatever they unpack to; counted against the manifest."""

    def __init__(self, key: str, row_bytes: int, source: Pulled) -> None:
        self._key = key
        self._row_bytes = row_bytes
        self._source = source

    def pieces(self) -> Iterator[bytes]:
        """Raises ObjectDamaged if this is not what the manifest describes: before the last piece reaches the server."""
        total = 0
        held = b""
        try:
            with zstandard.ZstdDecompressor().stream_reader(
                cast(IO[bytes], self._source), read_across_frames=True
            ) as reader:
                while piece := reader.read(TEXT_BYTES):
                    total += len(piece)
                    if held:
                        yield held
                    held = piece
        except zstandard.ZstdError as error:
            raise ObjectDamaged("load", self._key, f"it does not unpack: {error}", DAMAGED) from None
        if total != self._row_bytes:
            what = f"it holds {total} bytes of rows; the manifest says {self._row_bytes}"
            raise ObjectDamaged("load", self._key, what, DAMAGED)
        if held:
            yield held
