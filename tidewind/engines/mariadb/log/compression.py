"""What a server with log_bin_compress wrote, plain again. No I/O."""

import zlib

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
    with_checksum,
)


def decompress(data: Data) -> bytes:
    """What MariaDB compressed: a byte (0x80, algorithm, length of the length), the plain length in big-endian, zlib.
    Raises EventDamaged."""
    cursor = Cursor(data)
    first = cursor.number(1)
    size_bytes = first & 0x07
    if not first & 0x80 or first & 0x70 or not 0 < size_bytes <= 4:
        raise EventDamaged("compressed data begins with a byte that none begins with")
    size = int.from_bytes(cursor.take(size_bytes), "big")
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(cursor.rest(), size + 1)
    except zlib.error as error:
        raise EventDamaged(f"compressed data cannot be unpacked: {error}") from None
    if len(plain) != size or not unpacker.eof:
        raise EventDamaged(f"compressed data holds {len(plain)} bytes, not the {size} that it says")
    return plain


def plain_event(event: Event, description: FormatDescription) -> bytes:
    """The event as it would be in a log that is not compressed, header, checksum and all. Raises EventDamaged."""
    plain = PLAIN_OF_COMPRESSED.get(event.type)
    if plain is None:
        return bytes(event.raw)
    at = _compressed_at(event, description)
    body = b"".join((event.body[:at], decompress(event.body[at:])))
    checksum = description.checksum_bytes
    old = event.header
    header = Header(old.stamp, plain, old.server, HEADER_BYTES + len(body) + checksum, old.end, old.flags)
    made = pack_header(header) + body
    return with_checksum(made) if checksum else made


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
