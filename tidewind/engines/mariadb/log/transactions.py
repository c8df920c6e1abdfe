"""Cuts the log into transactions as it comes in, at any bounds, and leaves out what belongs to none.

`Splitter.feed` takes events as the server sends them and gives back (bytes, groups): the bytes are those of a session
as `tidewind.domain.log_stream` describes it, a format description and behind it nothing but transactions, each from its
GTID event to its last event. What lies between them in the log is left out: rotations, later format descriptions that
say the same, GTID lists, checkpoints, the encryption's beginning, stops, heartbeats, and all that the server makes up.

Invariants
- An event's bytes go out as they came, as soon as its header is whole. Nothing is held back but a few small events, so
  memory does not grow with an event. Every event's CRC-32 is compared before a transaction that holds it is given out.
- A group is given out in the `feed` in which its last byte comes in. Before that nothing is said of it. Where a new
  format description follows an unfinished group (the server crashed), its bytes remain as a hole between transactions:
  readers go by the transactions' places, never by what lies between.
- What cannot be understood is never passed over: `failure` says what it is, and nothing behind it is looked at.

The C twin in `_walk.c` gives the same bytes, groups and failures; a property test holds both to it.
"""

import struct
import zlib
from typing import Final, Literal

from tidewind.domain import log_stream
from tidewind.engines.mariadb.log import events

NAME_BYTES: Final = 512
HELD_BYTES: Final = 8192
"""Events that must be looked into are shorter; a longer statement ends no transaction by its text."""

FailureKind = Literal["damaged", "unknown", "incident", "header"]
"""`header`: a format description that differs in more than its times; `follower` is it, and whoever reads on must begin
a new session with it, and with what followed the `consumed` bytes of the last `feed`."""


Group = tuple[str, int, int, int, int, int, int, int]
"""A whole transaction: (GTID, domain, sequence number, start, end, stamp, flags, checksum). Start and end are offsets
in the session; the stamp is the log's, in seconds; flags are those of `log_stream.Transaction`; the checksum is the
CRC-32 of its events' checksums. A plain tuple, because hundreds of thousands come in a second."""


_CRC = struct.Struct("<I")
_GTID_BODY = struct.Struct("<QIB")
_OUTSIDE: Final = frozenset(
    {
        events.STOP,
        events.ROTATE,
        events.HEARTBEAT,
        events.ANNOTATE_ROWS,
        events.BINLOG_CHECKPOINT,
        events.GTID_LIST,
        events.START_ENCRYPTION,
    }
)
_CONTINUES_STANDALONE: Final = frozenset(
    {events.INTVAR, events.RAND, events.USER_VAR, events.TABLE_MAP, events.ANNOTATE_ROWS, events.BEGIN_LOAD_QUERY}
    | {events.APPEND_BLOCK}
)
_INSIDE: Final = (
    events.ROWS
    | events.QUERIES
    | _CONTINUES_STANDALONE
    | {events.XID, events.XA_PREPARE, events.EXECUTE_LOAD_QUERY, events.DELETE_FILE}
)
_HELD: Final = frozenset({events.GTID, events.FORMAT_DESCRIPTION, events.ROTATE})
_ENDS: Final = (b"COMMIT", b"ROLLBACK")
_XA_ENDS: Final = (b"XA COMMIT", b"XA ROLLBACK")
_DESCRIPTION_START: Final = events.HEADER_BYTES + 52
_DESCRIPTION_LENGTHS: Final = _DESCRIPTION_START + 4


class PythonSplitter:
    """See the module. `description` is the format description in force, whole; `length` how many bytes were given out,
    the session's offset; `log_file` and `log_offset` where the server's files were read up to, heartbeats included."""

    def __init__(self) -> None:
        self.description = b""
        self.follower = b""
        self.length = 0
        self.log_file = b""
        self.log_offset = 0
        self.consumed = 0
        self.failure: tuple[FailureKind, int, str] | None = None
        self._checksum = 0
        self._head = b""
        self._left = 0
        self._kind = 0
        self._flags = 0
        self._stamp = 0
        self._server = 0
        self._end = 0
        self._size = 0
        self._keep = False
        self._hold = False
        self._held = b""
        self._crc = 0
        self._tail = b""
        self._group: tuple[int, int, int, int, int, int] | None = None
        self._chain = 0

    def feed(self, data: bytes | bytearray | memoryview) -> tuple[bytes, list[Group]]:
        """What belongs to the session, and the transactions that end in it. Nothing after a failure."""
        view, at = memoryview(data), 0
        out: list[bytes] = []
        groups: list[Group] = []
        while at < len(view) and self.failure is None:
            if not self._left:
                taken = bytes(view[at : at + events.HEADER_BYTES - len(self._head)])
                at += len(taken)
                self._head += taken
                if len(self._head) < events.HEADER_BYTES:
                    break
                self._begin(out)
                if self.failure is not None or self._left:
                    continue
            else:
                piece = view[at : at + self._left]
                at += len(piece)
                self._take(piece, out)
            if not self._left and self.failure is None:
                self._finish(out, groups)
        self.consumed = at
        kept = b"".join(out)
        return kept, groups

    def _fail(self, kind: FailureKind, why: str) -> None:
        self.failure = (kind, self._kind, why)

    def _begin(self, out: list[bytes]) -> None:
        stamp, kind, server, size, end, flags = events.HEADER.unpack(self._head)
        self._stamp, self._kind, self._server, self._size, self._end, self._flags = (
            stamp,
            kind,
            server,
            size,
            end,
            flags,
        )
        head, self._head = self._head, b""
        artificial = bool(flags & events.ARTIFICIAL) or kind == events.HEARTBEAT
        least = events.HEADER_BYTES + (self._checksum if not artificial else 0)
        if size < least:
            self._fail("damaged", "it is shorter than an event")
            return
        if not self.description and not (kind == events.FORMAT_DESCRIPTION or artificial):
            self._fail("damaged", "it comes before the format description")
            return
        self._keep = not artificial and self._kept(kind, flags)
        if self.failure is not None:
            return
        self._hold = kind in _HELD or (kind in events.QUERIES and size <= HELD_BYTES and self._group is not None)
        if kind in _HELD and size > HELD_BYTES:
            self._fail("damaged", "it is longer than such an event can be")
            return
        self._held = head if self._hold else b""
        self._crc, self._tail = 0, b""
        self._left = size
        self._consume(memoryview(head), out)

    def _kept(self, kind: int, flags: int) -> bool:
        if kind == events.INCIDENT:
            self._fail("incident", "the server says that its log lacks changes")
            return False
        if kind == events.FORMAT_DESCRIPTION:
            return False
        if kind == events.GTID:
            if self._group is not None:
                self._fail("damaged", "a transaction begins within another")
            return True
        if self._group is not None and kind in _INSIDE:
            return True
        if self._group is None and kind in _OUTSIDE:
            return False
        if flags & events.IGNORABLE and kind not in _INSIDE:
            return False
        if kind in _INSIDE:
            self._fail("damaged", "it belongs to no transaction")
        elif kind in _OUTSIDE:
            self._fail("damaged", "it stands within a transaction")
        else:
            self._fail("unknown", "this release does not know it")
        return False

    def _take(self, piece: memoryview, out: list[bytes]) -> None:
        if self._hold:
            self._held += piece
        self._consume(piece, out)

    def _consume(self, piece: memoryview, out: list[bytes]) -> None:
        """The next bytes of the event in hand, its header's included. The last four are its checksum."""
        before_checksum = self._left - events.CHECKSUM_BYTES
        self._left -= len(piece)
        if before_checksum > 0:
            self._crc = zlib.crc32(piece[:before_checksum], self._crc)
        if before_checksum < len(piece):
            self._tail += bytes(piece[max(before_checksum, 0) :])
        if self._keep:
            out.append(bytes(piece))
            self.length += len(piece)

    def _finish(self, out: list[bytes], groups: list[Group]) -> None:
        kind = self._kind
        artificial = bool(self._flags & events.ARTIFICIAL) or kind == events.HEARTBEAT
        crc = events.description_crc(self._held) if kind == events.FORMAT_DESCRIPTION else self._crc
        matches = len(self._tail) == 4 and _CRC.unpack(self._tail)[0] == crc
        if (self._checksum or kind == events.FORMAT_DESCRIPTION) and not artificial and not matches:
            self._fail("damaged", "its checksum is not that of its bytes")
            return
        if not artificial or kind == events.HEARTBEAT:
            self.log_offset = self._end
        if kind == events.ROTATE:
            self._rotated(matches)
        elif kind == events.FORMAT_DESCRIPTION:
            self._described(out, matches)
        elif self._keep:
            self._chain = zlib.crc32(self._tail, self._chain if kind != events.GTID else 0)
            if kind == events.GTID:
                self._opened()
            elif self._ends():
                self._closed(groups)

    def _rotated(self, matches: bool) -> None:
        body = self._held[events.HEADER_BYTES : len(self._held) - (4 if matches else 0)]
        self.log_offset = int.from_bytes(body[:4], "little")
        self.log_file = body[8:].split(b"\0", 1)[0][:NAME_BYTES]

    def _described(self, out: list[bytes], matches: bool) -> None:
        raw = self._held
        if not matches or len(raw) < _DESCRIPTION_LENGTHS + 8 or raw[_DESCRIPTION_LENGTHS] != events.HEADER_BYTES:
            self._fail("damaged", "it is no format description")
            return
        if raw[-5] not in (events.CHECKSUM_OFF, events.CHECKSUM_CRC32):
            self._fail("unknown", "its events have checksums of another kind")
            return
        self._group = None
        if not self.description:
            self.description = raw
            self._checksum = 4 if raw[-5] == events.CHECKSUM_CRC32 else 0
            out.append(raw)
            self.length += len(raw)
        elif _said(self.description) != _said(raw):
            self.follower = raw
            self._fail("header", "the log is written differently from here on")

    def _opened(self) -> None:
        body = self._held[events.HEADER_BYTES : len(self._held) - self._checksum]
        if len(body) < _GTID_BODY.size:
            self._fail("damaged", "it is shorter than such an event")
            return
        sequence, domain, flags = _GTID_BODY.unpack_from(body)
        self._group = (domain, self._server, sequence, self.length - self._size, self._stamp, flags)

    def _ends(self) -> bool:
        assert self._group is not None
        flags = self._group[5]
        if flags & events.STANDALONE:
            return self._kind not in _CONTINUES_STANDALONE
        if self._kind in (events.XID, events.XA_PREPARE):
            return True
        if self._kind != events.QUERY or not self._hold:
            return False
        body = self._held[events.HEADER_BYTES : len(self._held) - self._checksum]
        if len(body) < 13:
            return False
        text = body[13 + int.from_bytes(body[11:13], "little") + body[8] + 1 :]
        return text in _ENDS or text.startswith(_XA_ENDS)

    def _closed(self, groups: list[Group]) -> None:
        assert self._group is not None
        domain, server, sequence, start, stamp, flags = self._group
        gtid = f"{domain}-{server}-{sequence}"
        groups.append((gtid, domain, sequence, start, self.length, stamp, log_flags(flags), self._chain))
        self._group = None


def _said(description: bytes) -> tuple[bytes, bytes]:
    """What a format description says beyond when and where it was written."""
    return description[events.HEADER_BYTES : _DESCRIPTION_START], description[_DESCRIPTION_LENGTHS:-4]


def log_flags(flags: int) -> int:
    """The flags of `log_stream.Transaction` from those of a GTID event."""
    found = 0
    if flags & events.IS_DDL:
        found |= log_stream.DDL
    if flags & events.XA_PREPARED:
        found |= log_stream.XA_PREPARE
    if flags & events.XA_COMPLETED:
        found |= log_stream.XA_END
    if not flags & (events.TRANSACTIONAL | events.IS_DDL | events.XA_PREPARED | events.XA_COMPLETED):
        found |= log_stream.UNTRANSACTED
    return found


try:
    from tidewind.engines.mariadb.log._walk import Splitter

    COMPILED = True
except ImportError:  # installed without a compiler
    Splitter = PythonSplitter  # type: ignore[assignment,misc]
    COMPILED = False

__all__ = ["COMPILED", "FailureKind", "Group", "PythonSplitter", "Splitter", "log_flags"]
