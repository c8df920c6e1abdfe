"""Walks through the archived log transaction by transaction.

What a session left unfinished when another follows it is no transaction and is dropped: no table lists it.
"""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Literal

from tidewind.domain.log_stream import Transaction
from tidewind.domain.segments import SegmentRef, precision_of
from tidewind.runtime.log_archive import LogArchive

LARGEST_READ = 64 << 20

Verdict = Literal["read", "skip", "end"]


@dataclass(frozen=True, kw_only=True)
class ReadTransaction:
    """`data` is None for one larger than `LARGEST_READ`."""

    transaction: Transaction
    preamble: bytes
    precision: str
    data: bytes | None


async def transactions(
    archived: LogArchive, cluster: str, history: str, *, first: int, from_us: int, to_us: int
) -> AsyncGenerator[ReadTransaction, None]:
    """Those with a time from `from_us` to `to_us`, both included, beginning to look in segment `first`. Raises
    StoreError."""

    def verdict(one: Transaction) -> Verdict:
        return "end" if one.time_us > to_us else "read" if one.time_us >= from_us else "skip"

    async for read in chosen(archived, cluster, history, first=first, verdict=verdict):
        yield read


async def chosen(
    archived: LogArchive, cluster: str, history: str, *, first: int, verdict: Callable[[Transaction], Verdict]
) -> AsyncGenerator[ReadTransaction, None]:
    """The transactions for which `verdict` says so, beginning to look in segment `first`, until it ends the walk.
    Raises StoreError."""
    buffer = _SessionBytes(archived)
    async for ref in archived.segments(cluster, history, first=first):
        buffer.add(ref)
        for one in await archived.transactions(ref):
            wanted = verdict(one)
            if wanted == "end":
                return
            if wanted == "read":
                size = one.end - one.start
                data = None if size > LARGEST_READ else await buffer.read(one.start, one.end)
                yield ReadTransaction(
                    transaction=one,
                    preamble=bytes.fromhex(ref.head.preamble),
                    precision=precision_of(ref.head, one.time_us),
                    data=data,
                )
            buffer.forget(one.end)


class _SessionBytes:
    """The bytes of the session in hand; frames are read when asked for, and once."""

    def __init__(self, archived: LogArchive) -> None:
        self._archived = archived
        self._session: str | None = None
        self._frames: list[tuple[SegmentRef, int, int, int]] = []
        self._read: dict[int, bytes] = {}

    def add(self, ref: SegmentRef) -> None:
        if ref.head.session != self._session:
            self._session = ref.head.session
            self._frames, self._read = [], {}
        self._frames += [
            (ref, index, frame.start, frame.start + frame.size) for index, frame in enumerate(ref.head.frames)
        ]

    def forget(self, before: int) -> None:
        """Nothing before this offset is asked for any more."""
        while self._frames and self._frames[0][3] <= before:
            _, _, start, _ = self._frames.pop(0)
            self._read.pop(start, None)

    async def read(self, start: int, end: int) -> bytes | None:
        """None if the beginning lies before the first segment given."""
        if not self._frames or self._frames[0][2] > start:
            return None
        parts = []
        for ref, index, begins, ends in self._frames:
            if ends <= start or begins >= end:
                continue
            data = self._read.get(begins)
            if data is None:
                data = self._read[begins] = await self._archived.frame(ref, index)
            parts.append(data[max(0, start - begins) : end - begins])
        return b"".join(parts)
