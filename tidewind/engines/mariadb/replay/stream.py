"""Cuts whole events out of pieces of a session's bytes, and proves each by its checksum.

An event that lies within a piece is a view of it; only one that spans pieces is put together anew. The wrong idea would
be to trust the pieces' own checksums alone: BINLOG takes an event with a wrong checksum without a word.
"""

import zlib
from collections import deque
from collections.abc import Callable, Iterator

from tidewind.engines.mariadb.log.cursor import EventDamaged
from tidewind.engines.mariadb.log.events import CHECKSUM_BYTES, HEADER_BYTES
from tidewind.engines.mariadb.replay.reading import Piece

Raw = tuple[int, memoryview]
"""(type, the whole event with header and checksum)."""


class SessionStream:
    """`pull` gives the next piece, and raises what the store raises; a piece follows the one before or leaves out bytes
    that belong to no transaction asked for."""

    def __init__(self, pull: Callable[[], Piece]) -> None:
        self._pull = pull
        self._pieces: deque[Piece] = deque()

    def begin(self) -> None:
        """Forget what is held: another batch follows, whose pieces are pulled anew."""
        self._pieces.clear()

    def events(self, start: int, end: int) -> Iterator[Raw]:
        """The events from one offset to another. Raises EventDamaged, StoreError."""
        at = start
        while at < end:
            header = self._view(at, HEADER_BYTES)
            length = int.from_bytes(header[9:13], "little")
            if length < HEADER_BYTES + CHECKSUM_BYTES or at + length > end:
                raise EventDamaged(f"at {at} stands an event of {length} bytes in a transaction that ends at {end}")
            event = self._view(at, length)
            if zlib.crc32(event[:-CHECKSUM_BYTES]) != int.from_bytes(event[-CHECKSUM_BYTES:], "little"):
                raise EventDamaged(f"the event at {at} does not have the checksum that it says")
            yield event[4], event
            at += length

    def _view(self, at: int, size: int) -> memoryview:
        while True:
            while self._pieces and self._pieces[0].start + len(self._pieces[0].data) <= at:
                self._pieces.popleft()
            if self._pieces:
                break
            self._pieces.append(self._pull())
        first = self._pieces[0]
        begin = at - first.start
        if begin < 0:
            raise EventDamaged(f"the log's bytes at {at} are missing")
        if begin + size <= len(first.data):
            return memoryview(first.data)[begin : begin + size]
        parts = [memoryview(first.data)[begin:]]
        have = len(parts[0])
        index = 1
        while have < size:
            if index == len(self._pieces):
                self._pieces.append(self._pull())
            piece = self._pieces[index]
            if piece.start != at + have:
                raise EventDamaged(f"the log's bytes at {at + have} are missing")
            parts.append(memoryview(piece.data)[: size - have])
            have += len(parts[-1])
            index += 1
        return memoryview(b"".join(parts))
