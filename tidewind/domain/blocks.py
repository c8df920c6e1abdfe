"""How a block of the log is written into the value of a record on `changes.v1`, before it is sealed.

    length of the head (u32, big-endian) · head (JSON) · data, all of it packed with zstd

Whoever reads a record first opens the seal, which is bound to cluster, session and sequence: a block cannot be put in
another's place.
"""

import struct
import zlib
from typing import Any

import zstandard
from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.base import ClusterId
from tidewind.domain.log_stream import (
    BLOCK_DATA_BYTES,
    Block,
    Mark,
    Precision,
    SessionStart,
    State,
    Transaction,
)

FORMAT = 1
BLOCK_TYPE = "tidewind.changes.block.v1"
CONTENT_TYPE = "application/vnd.tidewind.block"
_LENGTH = struct.Struct(">I")
_LARGEST = BLOCK_DATA_BYTES + (64 << 20)


class BlockDamaged(ValueError):
    """The bytes are not a block."""


class _Head(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int
    cluster_id: ClusterId
    session: str
    sequence: int
    start: int
    size: int
    crc: int
    transactions: tuple[tuple[str, int, int, int, int, int], ...]
    marks: tuple[Mark, ...]
    states: tuple[State, ...]
    begins: SessionStart | None
    precision: Precision


def block_name(cluster: str, session: str, sequence: int) -> str:
    """What the seal of a block is bound to."""
    return f"changes/{cluster}/{session}/{sequence:016d}"


def pack_block(block: Block) -> bytes:
    head: dict[str, Any] = {
        "format": FORMAT,
        "cluster_id": block.cluster_id,
        "session": block.session,
        "sequence": block.sequence,
        "start": block.start,
        "size": len(block.data),
        "crc": zlib.crc32(block.data),
        "transactions": [(t.gtid, t.start, t.end, t.time_us, t.flags, t.checksum) for t in block.transactions],
        "marks": block.marks,
        "states": block.states,
        "begins": block.begins,
        "precision": block.precision,
    }
    text = _Head.model_validate(head).model_dump_json().encode()
    return zstandard.ZstdCompressor(level=1).compress(_LENGTH.pack(len(text)) + text + block.data)


def unpack_block(packed: bytes) -> Block:
    """Raises BlockDamaged."""
    try:
        raw = zstandard.ZstdDecompressor().decompress(packed, max_output_size=_LARGEST)
        length = _LENGTH.unpack_from(raw)[0]
        head = _Head.model_validate_json(raw[_LENGTH.size : _LENGTH.size + length])
    except (zstandard.ZstdError, struct.error, ValidationError) as error:
        raise BlockDamaged(f"it is not a block of the log: {type(error).__name__}") from None
    if head.format > FORMAT:
        raise BlockDamaged(f"it has format {head.format}; this release reads {FORMAT}")
    data = raw[_LENGTH.size + length :]
    if len(data) != head.size or zlib.crc32(data) != head.crc:
        raise BlockDamaged("its bytes are not what its head says")
    return Block(
        cluster_id=head.cluster_id,
        session=head.session,
        sequence=head.sequence,
        start=head.start,
        data=data,
        transactions=tuple(Transaction(*one) for one in head.transactions),
        marks=head.marks,
        states=head.states,
        begins=head.begins,
        precision=head.precision,
    )
