"""Streams of bytes between a store and its callers."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

SMALL_BYTES = 64 * 1024

Result = TypeVar("Result")


@asynccontextmanager
async def closed_after(parts: AsyncIterator[Result]) -> AsyncGenerator[AsyncIterator[Result], None]:
    """Close a generator at once when its reader stops early, instead of whenever it is collected."""
    try:
        yield parts
    finally:
        if isinstance(parts, AsyncGenerator):
            await parts.aclose()


class Reader:
    """Pieces of any size taken as runs of the size asked for."""

    def __init__(self, parts: AsyncIterator[bytes]) -> None:
        self.parts = parts
        self._waiting = bytearray()

    async def take(self, size: int, *, beyond: int = 0) -> bytes:
        """`size` bytes, fewer only at the end. Reads `beyond` more first, if there are any, and keeps them."""
        while len(self._waiting) < size + beyond:
            piece = await anext(self.parts, None)
            if piece is None:
                break
            self._waiting += piece
        taken = bytes(memoryview(self._waiting)[:size])
        del self._waiting[:size]
        return taken

    @property
    def exhausted(self) -> bool:
        """After a `take` with `beyond`: whether nothing follows."""
        return not self._waiting


async def off_loop(work: Callable[[], Result], size: int) -> Result:
    """Small work is done at once: handing it to a thread would take longer."""
    return work() if size <= SMALL_BYTES else await asyncio.to_thread(work)
