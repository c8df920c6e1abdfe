"""Tables that no consistent snapshot covers: those without transactions, and the server's own.

Each carries a position of its own. It is read between two looks at where the log ends; if nothing in between names it,
what was read is its state at the later place. If something does, it is read again; after `TRIES` the last reading is
kept and marked as not exact. Small ones are then read under a global read lock that is given up after 200 ms.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tidewind.engines.mariadb.connection import Access, Control
from tidewind.engines.mariadb.definition import Identity
from tidewind.engines.mariadb.log_scan import named_between
from tidewind.engines.mariadb.messages import Done, Failed, Read, WrittenChunk
from tidewind.engines.mariadb.quoting import quote_table
from tidewind.engines.mariadb.readers import Reader, failure
from tidewind.engines.mariadb.reading import Path, Spoilt
from tidewind.engines.mariadb.server import gtid_at, log_place

TRIES: Final = 4
LOCK_SECONDS: Final = 0.2
LOCKED_BYTES_MAX: Final = 8 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class OwnReading:
    """Tables that were read together. `position` is None without a log; `exact` is False if somebody wrote to them
    while they were read."""

    chunks: dict[Path, tuple[WrittenChunk, ...]]
    position: str | None
    exact: bool
    waste: tuple[WrittenChunk, ...]
    stall_ms: float = 0.0


async def read_on_its_own(
    reader: Reader,
    control: Control,
    reads: Sequence[Read],
    *,
    size: int,
    seen: Identity | None = None,
    once_read: Callable[[], Awaitable[None]] | None = None,
) -> OwnReading:
    """Read tables together, so that they share one position. `seen` is what each must still be, since the definition
    that is kept was read before. `once_read` is called between the first reading and the look at the log, which takes
    long where much is written. Raises Spoilt, DatabaseError, StoreError."""
    waste: list[WrittenChunk] = []
    names = {(read.schema, read.table) for read in reads}
    for _ in range(TRIES):
        before = await log_place(control)
        chunks = await _read_all(reader, reads, seen)
        after = await log_place(control)
        if once_read is not None:
            await once_read()
        if before is None or after is None:
            return OwnReading(chunks=chunks, position=None, exact=True, waste=tuple(waste))
        if not await named_between(control, before, after, names):
            position = await gtid_at(control, after)
            return OwnReading(chunks=chunks, position=position, exact=True, waste=tuple(waste))
        waste.extend(chunk for group in chunks.values() for chunk in group)
    if size <= LOCKED_BYTES_MAX:
        locked = await _read_locked(reader, control.access, reads, waste, seen)
        if locked is not None:
            return locked
    place = await log_place(control)
    begun = await gtid_at(control, place) if place else None
    chunks = await _read_all(reader, reads, seen)
    return OwnReading(chunks=chunks, position=begun, exact=False, waste=tuple(waste))


async def _read_all(
    reader: Reader, reads: Sequence[Read], seen: Identity | None
) -> dict[Path, tuple[WrittenChunk, ...]]:
    chunks = {}
    for read in reads:
        path = (read.schema, read.table)
        answer = await reader.ask(read)
        if isinstance(answer, Failed):
            if answer.reason in ("changed", "interrupted"):
                raise Spoilt(path, answer.detail)
            raise failure(answer)
        assert isinstance(answer, Done)
        # The text only: some engines change the time of creation with the rows, and DDL meanwhile is in the log.
        if seen is not None and (answer.identity is None or answer.identity.text_sha256 != seen.text_sha256):
            raise Spoilt(path, f"{quote_table(*path)}: its definition changed")
        chunks[path] = answer.chunks
    return chunks


async def _read_locked(
    reader: Reader, access: Access, reads: Sequence[Read], waste: list[WrittenChunk], seen: Identity | None
) -> OwnReading | None:
    """Under FLUSH TABLES WITH READ LOCK, if it is to be had at once and the read is short; None if not."""
    async with await Control.connect(access, lock_wait_s=1) as locking:
        started = time.monotonic()
        reading: asyncio.Future[dict[Path, tuple[WrittenChunk, ...]]] | None = None
        try:
            async with asyncio.timeout(LOCK_SECONDS):
                await locking.execute("FLUSH TABLES WITH READ LOCK")
                place = await log_place(locking)
                reading = asyncio.ensure_future(_read_all(reader, reads, seen))
                chunks = await asyncio.shield(reading)
        except TimeoutError:
            locking.abandon()
        else:
            stall_ms = (time.monotonic() - started) * 1000
            position = await gtid_at(locking, place) if place else None
            await locking.execute("UNLOCK TABLES")
            return OwnReading(chunks=chunks, position=position, exact=True, waste=tuple(waste), stall_ms=stall_ms)
    if reading is not None:
        waste.extend(chunk for group in (await reading).values() for chunk in group)
    return None
