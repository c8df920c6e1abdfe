"""Merges row events of many transactions into few statements of BINLOG. Pure.

A *group* is what the server sees as one statement: table maps, then row events, the last of which ends it. The server
opens and locks the group's tables once, which is most of what a small transaction costs. Merging is legal because only
the state at the end is promised, and the order of the row events is kept.

Invariants
- Every group begins with the map of every table that it or one of its cascades changes: the server drops row events
  whose table has no map in the same statement, without a word.
- Row events of one group agree in the flags that the server takes from the first of them (checks of foreign keys,
  unique keys and constraints).
- Table ids are given anew within a group, so that the same table under two ids of the log is opened once.

Events are written without checksums, after a format description that says so.
"""

import binascii
import struct
from collections.abc import Iterable, Iterator
from typing import Final

from tidewind.engines.mariadb.log.events import (
    CHECKSUM_BYTES,
    CHECKSUM_OFF,
    HEADER_BYTES,
    TABLE_MAP,
    FormatDescription,
    with_checksum,
)
from tidewind.engines.mariadb.log.rows import STATEMENT_END

_HEADER: Final = struct.Struct("<IBIIIH")
_ROWS_HEADER: Final = struct.Struct("<IBIIIHIHH")
"""An event's header, a table id in two parts, flags."""
SHARED_FLAGS: Final = 2 | 4 | 128
"""Foreign keys, unique keys, check constraints: the flags that a group's events must agree in."""
_ROWS_START: Final = HEADER_BYTES + 8
BASE64_PIECE: Final = 3 << 18
"""A multiple of three, so that pieces of base64 join without padding."""
VIEWED_BYTES: Final = 1 << 20
"""An event larger than this is not copied: it fills the memory it lies in, where a view of a smaller one would keep all
of a piece."""
STATEMENT_BYTES_MAX: Final = (1 << 30) - 2
"""Of text, which the server takes in one statement at most, whatever `max_allowed_packet` says."""
LARGEST_EVENT: Final = 767 << 20
"""As base64 it fills such a statement but for a megabyte, which is left for the maps of its tables."""


def too_large(size: int) -> str:
    """What is said of an event that no statement can hold."""
    return (
        f"a row change of {size >> 20} MiB is larger than the {LARGEST_EVENT >> 20} MiB that fit into a statement of "
        "1 GiB, the most a server takes"
    )


def format_description(preamble: bytes, description: FormatDescription) -> bytes:
    """The session's format description, saying that events carry no checksums."""
    body = preamble[:-CHECKSUM_BYTES]
    if description.checksum == CHECKSUM_OFF:
        return preamble
    return with_checksum(body[:-1] + bytes((CHECKSUM_OFF,)))


class Group:
    """Row events that become one statement. `tables` are the maps' bodies in the order of their new ids."""

    def __init__(self) -> None:
        self.size = 0
        self.events = 0
        self._flags: int | None = None
        self._ids: dict[bytes, int] = {}
        self._rows: list[bytes | memoryview] = []

    def fits(self, flags: int) -> bool:
        """Whether an event with these flags may join."""
        return self._flags is None or self._flags == flags & SHARED_FLAGS

    def name(self, body: bytes) -> None:
        """Make a table known: `body` is its map behind the table id."""
        if body not in self._ids:
            self._ids[body] = len(self._ids) + 1
            self.size += len(body) + HEADER_BYTES + 6

    def add(self, event: memoryview, body: bytes) -> None:
        """A plain row event of a table that was named."""
        flags = event[25] | event[26] << 8
        self._flags = flags & SHARED_FLAGS
        when, kind, server, length, _, own = _HEADER.unpack_from(event)
        head = _ROWS_HEADER.pack(
            when, kind, server, length - CHECKSUM_BYTES, 0, own, self._ids[body], 0, flags & ~STATEMENT_END
        )
        self._rows.append(head)
        rows = event[_ROWS_START:-CHECKSUM_BYTES]
        self._rows.append(rows if length > VIEWED_BYTES else bytes(rows))
        self.size += length
        self.events += 1

    def parts(self) -> Iterator[bytes | memoryview]:
        """The group's events as the server reads them; nothing for an empty group."""
        if not self._rows:
            return
        when, _, server, *_ = _HEADER.unpack_from(self._rows[0])
        for body, number in self._ids.items():
            length = HEADER_BYTES + 6 + len(body)
            yield _HEADER.pack(when, TABLE_MAP, server, length, 0, 0) + number.to_bytes(6, "little") + body
        yield from self._rows[:-2]
        last = bytearray(self._rows[-2])
        last[25] |= STATEMENT_END
        yield bytes(last)
        yield self._rows[-1]


def base64_pieces(parts: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """The parts, joined, in base64; little more than a piece is held, however large a part is."""
    held: list[bytes | memoryview] = []
    size = 0
    for part in parts:
        rest = memoryview(part)
        if len(rest) >= BASE64_PIECE:
            begin = -size % 3
            held.append(rest[:begin])
            yield binascii.b2a_base64(b"".join(held), newline=False)
            whole = len(rest) - (len(rest) - begin) % 3
            for at in range(begin, whole, BASE64_PIECE):
                yield binascii.b2a_base64(rest[at : min(at + BASE64_PIECE, whole)], newline=False)
            held, size = [], 0
            rest = rest[whole:]
        held.append(rest)
        size += len(rest)
        if size >= BASE64_PIECE:
            joined = b"".join(held)
            whole = size - size % 3
            yield binascii.b2a_base64(memoryview(joined)[:whole], newline=False)
            held, size = [joined[whole:]], size - whole
    if size:
        yield binascii.b2a_base64(b"".join(held), newline=False)
