"""Cuts whole events out of pieces of a session's bytes, and proves each by its checksum.

An event that lies within a piece is a view of it; only one that spans pieces is put together anew. The wrong idea would
be to trust the pieces' own checksums alone: BINLOG takes an event with a wrong checksum without a word.

Memory: of the largest event one copy. Pieces are let go as they are copied into it, and it is let go before the next is
begun, provided that who asks for the next holds none.
"""

import mmap
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from tidewind.engines.mariadb.log.cursor import EventDamaged
from tidewind.engines.mariadb.log.events import CHECKSUM_BYTES, HEADER_BYTES
from tidewind.engines.mariadb.replay.merge import LARGEST_EVENT, too_large
from tidewind.engines.mariadb.replay.reading import Piece
from tidewind.ports.engine import DatabaseError

Raw = tuple[int, memoryview]
"""(type, the whole event with header and checksum)."""


def forget(event: memoryview, upto: int) -> None:
    """Give back the memory of an event that was put together, but for its first page, up to a byte: zeros stand there
    from now on. Of an event within a piece nothing is given back."""
    own, end = event.obj, upto - upto % mmap.PAGESIZE
    if isinstance(own, mmap.mmap) and end > mmap.PAGESIZE:
        own.madvise(mmap.MADV_DONTNEED, mmap.PAGESIZE, end - mmap.PAGESIZE)


_U32 = struct.Struct("<I").unpack_from


def cut(piece: Piece, start: int, end: int) -> list[Raw]:
    """The events from one offset to another, all of which lie in the piece. Raises EventDamaged."""
    data, view, crc32 = piece.data, memoryview(piece.data), zlib.crc32
    at, stop = start - piece.start, end - piece.start
    found: list[Raw] = []
    while at < stop:
        behind = at + _U32(data, at + 9)[0] if at + HEADER_BYTES <= stop else stop + 1
        checksum = behind - CHECKSUM_BYTES
        if behind > stop or checksum < at + HEADER_BYTES:
            raise EventDamaged(f"at {piece.start + at} stands no whole event of the transaction that ends at {end}")
        if crc32(view[at:checksum]) != _U32(data, checksum)[0]:
            raise _wrong_checksum(piece.start + at)
        found.append((data[at + 4], view[at:behind]))
        at = behind
    return found


def _wrong_checksum(at: int) -> EventDamaged:
    return EventDamaged(f"the event at {at} does not have the checksum that it says")


class SessionStream:
    """`pull` gives the next piece, and raises what the store raises; a piece follows the one before or leaves out bytes
    that belong to no transaction asked for."""

    def __init__(self, pull: Callable[[], Piece]) -> None:
        self._pull = pull
        self._pieces: deque[Piece] = deque()

    def begin(self) -> None:
        """Forget what is held: another batch follows, whose pieces are pulled anew."""
        self._pieces.clear()

    def events(self, start: int, end: int) -> Iterable[Raw]:
        """The events from one offset to another, one at a time where they are not in memory already. Raises
        EventDamaged, StoreError."""
        pieces = self._pieces
        while pieces and pieces[0].start + len(pieces[0].data) <= start:
            pieces.popleft()
        if pieces and pieces[0].start <= start and end <= pieces[0].start + len(pieces[0].data):
            return cut(pieces[0], start, end)
        return self._one_by_one(start, end)

    def _one_by_one(self, start: int, end: int) -> Iterator[Raw]:
        at = start
        while at < end:
            header = self._view(at, HEADER_BYTES)
            length = int.from_bytes(header[9:13], "little")
            if length < HEADER_BYTES + CHECKSUM_BYTES or at + length > end:
                raise EventDamaged(f"at {at} stands an event of {length} bytes in a transaction that ends at {end}")
            if length > LARGEST_EVENT:
                raise DatabaseError("replay-refused", too_large(length))
            event = self._whole(at, length)
            if zlib.crc32(event[:-CHECKSUM_BYTES]) != int.from_bytes(event[-CHECKSUM_BYTES:], "little"):
                raise _wrong_checksum(at)
            yield event[4], event
            del event  # two of the largest would be in memory
            at += length

    def _whole(self, at: int, size: int) -> memoryview:
        """An event, of which the pieces are let go that it is copied from."""
        pieces = self._pieces
        begin = at - pieces[0].start
        if begin + size <= len(pieces[0].data):
            return memoryview(pieces[0].data)[begin : begin + size]
        event, have = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), 0
        while have < size:
            if not pieces:
                pieces.append(self._pull())
            first = pieces[0]
            begin = at + have - first.start
            if begin and have:
                raise EventDamaged(f"the log's bytes at {at + have} are missing")
            taken = memoryview(first.data)[begin : begin + size - have]
            event[have : have + len(taken)] = taken
            have += len(taken)
            if begin + len(taken) == len(first.data):
                pieces.popleft()
        return memoryview(event)

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
