"""What a server with log_bin_compress wrote, plain again. No I/O."""

import struct
import zlib
from collections.abc import Callable
from typing import Final

from tidewind.engines.mariadb.log.cursor import Cursor, Data, EventDamaged
from tidewind.engines.mariadb.log.events import (
    HEADER_BYTES,
    PLAIN_OF_COMPRESSED,
    QUERY_COMPRESSED,
    UPDATE_ROWS,
    UPDATE_ROWS_V1,
    Event,
    FormatDescription,
    Header,
    pack_header,
)

_STEP_BYTES: Final = 1 << 20
_U32: Final = struct.Struct("<I")


def decompress(data: Data) -> bytearray:
    """What MariaDB compressed: a byte (0x80, algorithm, length of the length), the plain length in big-endian, zlib.
    Raises EventDamaged."""
    return _appended(bytearray(), data)


def plain_event(
    event: Event, description: FormatDescription, forget: Callable[[int], None] = lambda _: None
) -> bytes | bytearray:
    """The event as it would be in a log that is not compressed, header, checksum and all. `forget` is told up to which
    byte of the event all has been unpacked. Raises EventDamaged."""
    plain = PLAIN_OF_COMPRESSED.get(event.type)
    if plain is None:
        return bytes(event.raw)
    at = _compressed_at(event, description)
    checksum = description.checksum_bytes
    begun = bytearray(HEADER_BYTES) + event.body[:at]
    made = _appended(begun, event.body[at:], lambda left: forget(HEADER_BYTES + len(event.body) - left))
    old = event.header
    made[:HEADER_BYTES] = pack_header(Header(old.stamp, plain, old.server, len(made) + checksum, old.end, old.flags))
    if checksum:
        made += _U32.pack(zlib.crc32(made))
    return made


def _appended(made: bytearray, data: Data, told: Callable[[int], None] = lambda _: None) -> bytearray:
    """`made` and, behind it, what `data` holds, in steps: an event may be very large. `told` is how much of
    `data` is left."""
    cursor = Cursor(data)
    first = cursor.number(1)
    size_bytes = first & 0x07
    if not first & 0x80 or first & 0x70 or not 0 < size_bytes <= 4:
        raise EventDamaged("compressed data begins with a byte that none begins with")
    size = int.from_bytes(cursor.take(size_bytes), "big")
    begin, unpacker, packed = len(made), zlib.decompressobj(), cursor.rest()
    try:
        for at in range(0, len(packed), _STEP_BYTES):
            step: Data = packed[at : at + _STEP_BYTES]
            while step and len(made) - begin <= size:
                made += unpacker.decompress(step, _STEP_BYTES)
                step = unpacker.unconsumed_tail
            told(max(0, len(packed) - at - _STEP_BYTES))
        made += unpacker.flush()
    except zlib.error as error:
        raise EventDamaged(f"compressed data cannot be unpacked: {error}") from None
    if len(made) - begin != size or not unpacker.eof:
        raise EventDamaged(f"compressed data holds {len(made) - begin} bytes, not the {size} that it says")
    return made


def _compressed_at(event: Event, description: FormatDescription) -> int:
    """Where in the body the compressed part begins."""
    cursor = Cursor(event.body)
    if event.type == QUERY_COMPRESSED:
        cursor.take(8)
        schema_size = cursor.number(1)
        cursor.take(2)
        status_size = cursor.number(2)
        cursor.take(status_size + schema_size + 1)
        return cursor.at
    post_header = description.post_header_length(event.type)
    if post_header == 10:
        cursor.take(8)
        cursor.take(cursor.number(2) - 2)
    else:
        cursor.take(post_header)
    bitmap = (cursor.packed() + 7) // 8
    update = PLAIN_OF_COMPRESSED[event.type] in (UPDATE_ROWS_V1, UPDATE_ROWS)
    cursor.take(bitmap * (2 if update else 1))
    return cursor.at
