"""Events of MariaDB's binary log: headers, checksums, and the bodies that replay and capture must understand. No I/O.

    header, 19 bytes, little-endian: stamp u32 · type u8 · server u32 · length u32 · end in its file u32 · flags u16
    body, then the CRC-32 of header and body if the format description says so

A format description always carries a checksum, whatever it says of the events that follow. The layouts are those of
the server's log_event.cc. Whatever is too short for its own lengths raises `EventDamaged`.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tidewind.engines.mariadb.log.cursor import Cursor, Data, EventDamaged

HEADER_BYTES: Final = 19
CHECKSUM_BYTES: Final = 4

QUERY: Final = 2
STOP: Final = 3
ROTATE: Final = 4
INTVAR: Final = 5
APPEND_BLOCK: Final = 9
DELETE_FILE: Final = 11
RAND: Final = 13
USER_VAR: Final = 14
FORMAT_DESCRIPTION: Final = 15
XID: Final = 16
BEGIN_LOAD_QUERY: Final = 17
EXECUTE_LOAD_QUERY: Final = 18
TABLE_MAP: Final = 19
WRITE_ROWS_V1: Final = 23
UPDATE_ROWS_V1: Final = 24
DELETE_ROWS_V1: Final = 25
INCIDENT: Final = 26
HEARTBEAT: Final = 27
WRITE_ROWS: Final = 30
UPDATE_ROWS: Final = 31
DELETE_ROWS: Final = 32
XA_PREPARE: Final = 38
ANNOTATE_ROWS: Final = 160
BINLOG_CHECKPOINT: Final = 161
GTID: Final = 162
GTID_LIST: Final = 163
START_ENCRYPTION: Final = 164
QUERY_COMPRESSED: Final = 165
WRITE_ROWS_COMPRESSED_V1: Final = 166
UPDATE_ROWS_COMPRESSED_V1: Final = 167
DELETE_ROWS_COMPRESSED_V1: Final = 168
WRITE_ROWS_COMPRESSED: Final = 169
UPDATE_ROWS_COMPRESSED: Final = 170
DELETE_ROWS_COMPRESSED: Final = 171

PLAIN_ROWS: Final = frozenset(
    {WRITE_ROWS_V1, UPDATE_ROWS_V1, DELETE_ROWS_V1, WRITE_ROWS, UPDATE_ROWS, DELETE_ROWS},
)
PLAIN_OF_COMPRESSED: Final = {
    QUERY_COMPRESSED: QUERY,
    WRITE_ROWS_COMPRESSED_V1: WRITE_ROWS_V1,
    UPDATE_ROWS_COMPRESSED_V1: UPDATE_ROWS_V1,
    DELETE_ROWS_COMPRESSED_V1: DELETE_ROWS_V1,
    WRITE_ROWS_COMPRESSED: WRITE_ROWS,
    UPDATE_ROWS_COMPRESSED: UPDATE_ROWS,
    DELETE_ROWS_COMPRESSED: DELETE_ROWS,
}
ROWS: Final = PLAIN_ROWS | (PLAIN_OF_COMPRESSED.keys() - {QUERY_COMPRESSED})
QUERIES: Final = frozenset({QUERY, QUERY_COMPRESSED})

IN_USE: Final = 0x1
"""Flag of a format description: the server writes the file still, or crashed when it did."""
ARTIFICIAL: Final = 0x20
"""Flag of a header: the server made the event up for this reader; it is in no file."""
IGNORABLE: Final = 0x80
"""Flag of a header: whoever does not know the type may pass over it."""
THREAD_SPECIFIC: Final = 0x4
SUPPRESS_USE: Final = 0x8

CHECKSUM_OFF: Final = 0
CHECKSUM_CRC32: Final = 1

STANDALONE: Final = 1
GROUP_COMMIT: Final = 2
TRANSACTIONAL: Final = 4
ALLOW_PARALLEL: Final = 8
WAITED: Final = 16
IS_DDL: Final = 32
XA_PREPARED: Final = 64
XA_COMPLETED: Final = 128

MULTI_ENGINE: Final = 1
ALTER_START: Final = 2
ALTER_COMMIT: Final = 4
ALTER_ROLLBACK: Final = 8
HAS_THREAD_ID: Final = 16

HEADER = struct.Struct("<IBIIIH")
_U32 = struct.Struct("<I")
_VERSION_BYTES: Final = 50
_FLAGS_AT: Final = 17


@dataclass(frozen=True, slots=True)
class Header:
    """`stamp` is in seconds since 1970 and set by whoever likes; `length` counts header and checksum too; `end` is the
    place behind the event in its file, modulo 2^32."""

    stamp: int
    type: int
    server: int
    length: int
    end: int
    flags: int

    @property
    def artificial(self) -> bool:
        return bool(self.flags & ARTIFICIAL)


@dataclass(frozen=True, slots=True)
class FormatDescription:
    """How the events behind it are written. `post_header_lengths[type - 1]`. `created` is 0 but for the first file
    after a start of the server."""

    binlog_version: int
    server_version: str
    created: int
    post_header_lengths: bytes
    checksum: int

    @property
    def checksum_bytes(self) -> int:
        return CHECKSUM_BYTES if self.checksum == CHECKSUM_CRC32 else 0

    def post_header_length(self, kind: int) -> int:
        """Raises EventDamaged for a type it does not know."""
        if not 0 < kind <= len(self.post_header_lengths):
            raise EventDamaged(f"the format description knows no events of type {kind}")
        return self.post_header_lengths[kind - 1]


@dataclass(frozen=True, slots=True)
class Event:
    """One whole event: `raw` with header and checksum, `body` without either."""

    header: Header
    raw: memoryview
    body: memoryview

    @property
    def type(self) -> int:
        return self.header.type


@dataclass(frozen=True, slots=True)
class Xid:
    """The name of an XA transaction."""

    format_id: int
    global_id: bytes
    branch: bytes


@dataclass(frozen=True, slots=True)
class GtidEvent:
    """The first event of every transaction. `alter_start` is the sequence number of the two-phase ALTER's beginning,
    on its COMMIT or ROLLBACK."""

    domain: int
    server: int
    sequence: int
    flags: int
    commit_id: int | None = None
    xid: Xid | None = None
    extra_flags: int = 0
    extra_engines: int = 0
    alter_start: int | None = None
    thread_id: int | None = None

    def __str__(self) -> str:
        return f"{self.domain}-{self.server}-{self.sequence}"

    @property
    def standalone(self) -> bool:
        return bool(self.flags & STANDALONE)


def parse_header(data: Data, at: int = 0) -> Header:
    """Raises EventDamaged if there is less than a header or its length is impossible."""
    if len(data) - at < HEADER_BYTES:
        raise EventDamaged("less than an event's header")
    stamp, kind, server, length, end, flags = HEADER.unpack_from(data, at)
    if length < HEADER_BYTES:
        raise EventDamaged(f"an event of type {kind} says that it is {length} bytes long")
    return Header(stamp, kind, server, length, end, flags)


def pack_header(header: Header) -> bytes:
    return HEADER.pack(header.stamp, header.type, header.server, header.length, header.end, header.flags)


def with_checksum(data: bytes) -> bytes:
    """Header and body with their CRC-32 behind them. The header's length must count it already."""
    return data + _U32.pack(zlib.crc32(data))


def iterate(data: Data, description: FormatDescription | None = None) -> Iterator[Event]:
    """Whole events one behind the other, checksums compared. `description` is the session's preamble, unless `data`
    begins with one; one that comes later takes over. Raises EventDamaged."""
    view = memoryview(data)
    at = 0
    while at < len(view):
        header = parse_header(view, at)
        if at + header.length > len(view):
            raise EventDamaged(f"an event of type {header.type} ends behind the data")
        raw = view[at : at + header.length]
        if header.type == FORMAT_DESCRIPTION:
            description = parse_format_description(raw)
        if description is None:
            raise EventDamaged("there is no format description before the first event")
        yield Event(header, raw, checked_body(raw, header, description))
        at += header.length


def checked_body(raw: Data, header: Header, description: FormatDescription) -> memoryview:
    """The body between header and checksum. Raises EventDamaged if the checksum is another; that of a format
    description is compared where it is parsed."""
    size = CHECKSUM_BYTES if header.type == FORMAT_DESCRIPTION else description.checksum_bytes
    view = memoryview(raw)
    end = len(view) - size
    if end < HEADER_BYTES:
        raise EventDamaged(f"an event of type {header.type} has no room for its checksum")
    if not size or header.type == FORMAT_DESCRIPTION:
        return view[HEADER_BYTES:end]
    if zlib.crc32(view[:end]) != _U32.unpack_from(view, end)[0]:
        raise EventDamaged(f"an event of type {header.type} does not have the checksum that it says")
    return view[HEADER_BYTES:end]


def parse_format_description(raw: Data) -> FormatDescription:
    """Of the whole event: its own checksum is always there. Raises EventDamaged."""
    cursor = Cursor(memoryview(raw)[:-CHECKSUM_BYTES], HEADER_BYTES)
    version = cursor.number(2)
    server_version = cursor.text(_VERSION_BYTES).split(b"\0", 1)[0].decode("latin-1")
    created = cursor.number(4)
    if cursor.number(1) != HEADER_BYTES:
        raise EventDamaged("a log whose events have headers of another length")
    lengths = cursor.rest()
    if not lengths:
        raise EventDamaged("a format description without lengths")
    if description_crc(raw) != _U32.unpack_from(raw, len(raw) - CHECKSUM_BYTES)[0]:
        raise EventDamaged("a format description does not have the checksum that it says")
    return FormatDescription(version, server_version, created, bytes(lengths[:-1]), lengths[-1])


def description_crc(raw: Data) -> int:
    """The checksum that a format description should have: the flag that its file is in use does not count."""
    plain = bytearray(raw[:-CHECKSUM_BYTES])
    if len(plain) > _FLAGS_AT:  # one cut off before it is for the caller to refuse
        plain[_FLAGS_AT] &= ~IN_USE & 0xFF
    return zlib.crc32(plain)


def parse_gtid(header: Header, body: Data) -> GtidEvent:
    """Raises EventDamaged."""
    cursor = Cursor(body)
    sequence, domain, flags = cursor.number(8), cursor.number(4), cursor.number(1)
    commit_id = cursor.number(8) if flags & GROUP_COMMIT else None
    xid = None
    if flags & (XA_PREPARED | XA_COMPLETED):
        format_id, global_size, branch_size = cursor.number(4), cursor.number(1), cursor.number(1)
        xid = Xid(format_id, cursor.text(global_size), cursor.text(branch_size))
    extra = cursor.number(1) if cursor.left else 0
    engines = cursor.number(1) if extra & MULTI_ENGINE else 0
    alter_start = cursor.number(8) if extra & (ALTER_COMMIT | ALTER_ROLLBACK) else None
    thread_id = cursor.number(4) if extra & HAS_THREAD_ID else None
    return GtidEvent(domain, header.server, sequence, flags, commit_id, xid, extra, engines, alter_start, thread_id)


def parse_gtid_list(body: Data) -> tuple[tuple[int, int, int], ...]:
    """(domain, server, sequence) of each; several of a domain may stand there, the newest last. Raises EventDamaged."""
    cursor = Cursor(body)
    count = cursor.number(4) & 0x0FFFFFFF
    return tuple((cursor.number(4), cursor.number(4), cursor.number(8)) for _ in range(count))


def parse_rotate(body: Data) -> tuple[int, str]:
    """(offset, name) of the file that follows. Raises EventDamaged."""
    cursor = Cursor(body)
    return cursor.number(8), bytes(cursor.rest()).split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def parse_xid(body: Data) -> int:
    return Cursor(body).number(8)


def parse_xa_prepare(body: Data) -> tuple[bool, Xid]:
    """(whether it was committed in one phase, its name). Raises EventDamaged."""
    cursor = Cursor(body)
    one_phase = bool(cursor.number(1))
    format_id, global_size, branch_size = cursor.number(4), cursor.number(4), cursor.number(4)
    return one_phase, Xid(format_id, cursor.text(global_size), cursor.text(branch_size))


def parse_incident(body: Data) -> tuple[int, str]:
    """(number, message). Raises EventDamaged."""
    cursor = Cursor(body)
    number = cursor.number(2)
    return number, cursor.text(cursor.number(1)).decode("utf-8", "replace")
