"""The text of a stored object, pulled by a thread."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import zstandard

from tidewind.engines.mariadb.restore import text
from tidewind.engines.mariadb.restore.text import text_of
from tidewind.ports.store import StoreUnavailable

ROWS = b"1\tone\n" * 50_000
STORED = zstandard.compress(ROWS)


class HalfStore:
    """Gives the first bytes of an object; the others when `goes_on`."""

    def __init__(self, *, goes_on: bool) -> None:
        self._goes_on = goes_on
        self.open = 0

    async def info(self, key: str) -> Any:
        return type("Info", (), {"size": len(STORED)})

    async def stream(self, key: str) -> AsyncIterator[bytes]:
        self.open += 1
        try:
            yield STORED[:10]
            if not self._goes_on:
                await asyncio.Event().wait()
            yield STORED[10:]
        finally:
            self.open -= 1


def pulled(store: Any) -> Iterator[bytes]:
    return text_of(store, "a", size=len(STORED), row_bytes=len(ROWS), loop=asyncio.get_running_loop())


async def test_the_text_arrives_and_the_stream_is_closed() -> None:
    store = HalfStore(goes_on=True)
    assert await asyncio.to_thread(b"".join, pulled(store)) == ROWS
    assert store.open == 0


async def test_a_store_that_falls_silent_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that a stream was closed while it was asked; and nothing is asked of it any more."""
    monkeypatch.setattr(text, "PIECE_DEADLINE_S", 0.05)
    store = HalfStore(goes_on=False)
    with pytest.raises(StoreUnavailable, match="silent"):
        await asyncio.to_thread(b"".join, pulled(store))
    assert store.open == 0
