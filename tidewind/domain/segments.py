"""Segments: the log at rest. One object each; an hour of them is rolled up into one.

    magic `TWSEG1\\n\\0` · length of the head (u32, big-endian) · head (zstd of JSON) · table (zstd) · frames (zstd)

The head says what the segment is and where everything lies, so that a reader asks for the object's beginning and then
for no more than it needs. The table lists the transactions that end in the segment; frames are consecutive pieces of
the session's bytes. The store encrypts objects and binds them to their keys: a swapped, cut or foreign segment is
refused there; what the head says of cluster, history and number is checked here besides.

A rolled-up object holds segments as they were, one behind the other:

    magic `TWROL1\\n\\0` · length of the directory (u32) · directory (zstd of JSON: heads and offsets) · segments

Invariant: within a history the numbers of segments run on from 1 without a hole, and each begins in the log where its
predecessor ended (`from_position` equals the predecessor's `to_position`).
"""

import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import zstandard
from pydantic import BaseModel, ConfigDict

from schemas.base import ClusterId
from tidewind.domain.log_stream import Mark, Precision, State, Transaction

FORMAT = 1
MAGIC = b"TWSEG1\n\0"
ROLL_MAGIC = b"TWROL1\n\0"
FRAME_BYTES = 1 << 20
SEGMENT_BYTES = 16 << 20
SEGMENT_AGE_S = 5.0
STRETCHES = 64
"""Most stretches of stamped times that a head lists."""
HEAD_PROBE_BYTES = 64 << 10
"""What a reader asks for first; most heads are shorter."""
_LENGTH = struct.Struct(">I")
_ENTRY = struct.Struct("<IIQQQqII")


class SegmentDamaged(ValueError):
    """The bytes are not a segment, or not the one they should be."""


class SegmentTooNew(ValueError):
    """A later release wrote it."""


class Frame(BaseModel):
    """A piece of the session: `size` bytes at `start`, stored as `stored` bytes; `crc` is of the raw bytes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    start: int
    size: int
    stored: int
    crc: int


class SegmentHead(BaseModel):
    """`start` and `end` are offsets in the session, which may lie within a transaction. `from_position` and
    `to_position` bound the transactions that end here. `complete_us`: every transaction of the history up to that time
    is held by `to_position`. `preamble` is that of the session, in hexadecimal. `stamped` are all stretches of the
    history up to here whose times are the log's own stamps, so that the last segment alone tells of them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = FORMAT
    cluster_id: ClusterId
    history: str
    number: int
    session: str
    start: int
    end: int
    from_position: str
    to_position: str
    first_us: int | None
    last_us: int | None
    complete_us: int
    precision: Precision
    transactions: int
    preamble: str
    table_stored: int
    table_crc: int
    frames: tuple[Frame, ...]
    states: tuple[State, ...] = ()
    marks: tuple[Mark, ...] = ()
    stamped: tuple[tuple[int, int], ...] = ()
    sealed_us: int


def with_stamped(stamped: tuple[tuple[int, int], ...], begin_us: int, end_us: int) -> tuple[tuple[int, int], ...]:
    """One more stretch behind the others. What touches becomes one; where there would be too many, the two that lie
    closest to each other become one, which says too much rather than too little."""
    if stamped and begin_us <= stamped[-1][1]:
        return (*stamped[:-1], (stamped[-1][0], max(end_us, stamped[-1][1])))
    more = [*stamped, (begin_us, end_us)]
    if len(more) > STRETCHES:
        at = min(range(len(more) - 1), key=lambda index: more[index + 1][0] - more[index][1])
        more[at : at + 2] = [(more[at][0], more[at + 1][1])]
    return tuple(more)


def precision_of(head: SegmentHead, *times_us: int) -> Precision:
    """How far times in a segment, or just before it, can be trusted: `stamps` if one of them lies in a stretch of
    stamped times. A segment that lists no stretches, from a release that kept none, tells it for all of it."""
    if head.precision == "stamps" and not head.stamped:
        return "stamps"
    return "stamps" if any(begin <= one <= end for begin, end in head.stamped for one in times_us) else "clock"


@dataclass(frozen=True, kw_only=True)
class SegmentRef:
    """Where a segment's bytes lie: an object, and the range in it (a roll-up holds many)."""

    key: str
    offset: int
    head_bytes: int
    head: SegmentHead

    @property
    def number(self) -> int:
        return self.head.number

    @property
    def size(self) -> int:
        """Bytes of the whole segment."""
        return self.head_bytes + self.head.table_stored + sum(frame.stored for frame in self.head.frames)

    @property
    def table_range(self) -> tuple[int, int]:
        """(start, length) in the object."""
        return self.offset + self.head_bytes, self.head.table_stored

    def frame_range(self, index: int) -> tuple[int, int]:
        """(start, length) in the object."""
        before = sum(frame.stored for frame in self.head.frames[:index])
        return self.offset + self.head_bytes + self.head.table_stored + before, self.head.frames[index].stored


def build(head: SegmentHead, transactions: Sequence[Transaction], data: bytes) -> bytes:
    """The object of a segment: `data` are the session's bytes from `head.start` to `head.end`. What the head says of
    frames and table is filled in here."""
    if head.end - head.start != len(data):
        raise ValueError(f"{len(data)} bytes for a segment from {head.start} to {head.end}")
    packer = zstandard.ZstdCompressor(level=1)
    frames, stored = [], []
    for at in range(0, len(data), FRAME_BYTES):
        piece = data[at : at + FRAME_BYTES]
        packed = packer.compress(piece)
        stored.append(packed)
        frames.append(Frame(start=head.start + at, size=len(piece), stored=len(packed), crc=zlib.crc32(piece)))
    table = pack_table(transactions)
    packed_table = packer.compress(table)
    whole = head.model_copy(
        update={
            "frames": tuple(frames),
            "table_stored": len(packed_table),
            "table_crc": zlib.crc32(table),
            "transactions": len(transactions),
        }
    )
    return b"".join((_framed(MAGIC, whole.model_dump_json().encode()), packed_table, *stored))


def parse_head(beginning: bytes) -> tuple[SegmentHead, int] | int:
    """(head, how many bytes it takes) from an object's beginning; a number if so many bytes are needed to tell. Raises
    SegmentDamaged, SegmentTooNew."""
    found = _unframed(MAGIC, beginning)
    if isinstance(found, int):
        return found
    body, taken = found
    return _head_of(body), taken


def pack_table(transactions: Sequence[Transaction]) -> bytes:
    """Fixed-width entries: domain, server, sequence, start, end, time, flags, checksum."""
    parts = []
    for one in transactions:
        domain, server, sequence = map(int, one.gtid.split("-"))
        parts.append(_ENTRY.pack(domain, server, sequence, one.start, one.end, one.time_us, one.flags, one.checksum))
    return b"".join(parts)


def unpack_table(head: SegmentHead, stored: bytes) -> tuple[Transaction, ...]:
    """Raises SegmentDamaged."""
    table = _unpacked(stored, head.transactions * _ENTRY.size)
    if len(table) != head.transactions * _ENTRY.size or zlib.crc32(table) != head.table_crc:
        raise SegmentDamaged(f"segment {head.number}: its table of transactions is not what its head says")
    return tuple(
        Transaction(f"{domain}-{server}-{sequence}", start, end, time_us, flags, checksum)
        for domain, server, sequence, start, end, time_us, flags, checksum in _ENTRY.iter_unpack(table)
    )


def unpack_frame(head: SegmentHead, index: int, stored: bytes) -> bytes:
    """The session's bytes of a frame. Raises SegmentDamaged."""
    frame = head.frames[index]
    data = _unpacked(stored, frame.size)
    if len(data) != frame.size or zlib.crc32(data) != frame.crc:
        raise SegmentDamaged(f"segment {head.number}: frame {index} is not what its head says")
    return data


class _Rolled(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    offset: int
    head_bytes: int
    size: int
    head: SegmentHead


class _Directory(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = FORMAT
    segments: tuple[_Rolled, ...]


def roll_up_directory(members: Sequence[tuple[SegmentHead, int, int]]) -> bytes:
    """The beginning of a roll-up whose members follow in this order: (head, bytes of its head, bytes of all of it)."""
    rolled, at = [], 0
    for head, head_bytes, size in members:
        rolled.append(_Rolled(offset=at, head_bytes=head_bytes, size=size, head=head))
        at += size
    return _framed(ROLL_MAGIC, _Directory(segments=tuple(rolled)).model_dump_json().encode())


def parse_directory(key: str, beginning: bytes) -> tuple[SegmentRef, ...] | int:
    """Where the segments of a roll-up lie; a number if so many bytes are needed to tell. Raises SegmentDamaged,
    SegmentTooNew."""
    found = _unframed(ROLL_MAGIC, beginning)
    if isinstance(found, int):
        return found
    body, taken = found
    try:
        claimed = json.loads(body).get("format")
        if isinstance(claimed, int) and claimed > FORMAT:
            raise SegmentTooNew(f"it has format {claimed}; this release reads {FORMAT}")
        directory = _Directory.model_validate_json(body)
    except (ValueError, AttributeError) as error:
        if isinstance(error, SegmentTooNew):
            raise
        raise SegmentDamaged("it has no directory that can be read") from None
    return tuple(
        SegmentRef(key=key, offset=taken + one.offset, head_bytes=one.head_bytes, head=one.head)
        for one in directory.segments
    )


def _head_of(body: bytes) -> SegmentHead:
    try:
        claimed = json.loads(body).get("format")
        if isinstance(claimed, int) and claimed > FORMAT:
            raise SegmentTooNew(f"it has format {claimed}; this release reads {FORMAT}")
        return SegmentHead.model_validate_json(body)
    except (ValueError, AttributeError) as error:
        if isinstance(error, SegmentTooNew):
            raise
        raise SegmentDamaged("it has no head that can be read") from None


def _framed(magic: bytes, body: bytes) -> bytes:
    packed = zstandard.ZstdCompressor(level=3).compress(body)
    return magic + _LENGTH.pack(len(packed)) + packed


def _unframed(magic: bytes, beginning: bytes) -> tuple[bytes, int] | int:
    fixed = len(magic) + _LENGTH.size
    if not beginning.startswith(magic[: len(beginning)]):
        raise SegmentDamaged("it does not begin like a segment")
    if len(beginning) < fixed:
        return fixed
    needed = fixed + int(_LENGTH.unpack_from(beginning, len(magic))[0])
    if len(beginning) < needed:
        return needed
    return _unpacked(beginning[fixed:needed], None), needed


def _unpacked(stored: bytes, size: int | None) -> bytes:
    limit = size if size is not None else 256 << 20
    if not stored and not limit:
        return b""
    try:
        return zstandard.ZstdDecompressor().decompress(stored, max_output_size=max(limit, 1))
    except zstandard.ZstdError as error:
        raise SegmentDamaged(f"it does not unpack: {error}") from None
