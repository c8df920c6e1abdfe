"""Rows as the server sends them, turned into text that LOAD DATA takes back byte for byte.

`RowConverter(columns)` is fed the packet stream that follows a result set's column definitions, cut anywhere, and
returns the text of the rows in it:

    field TAB field … NEWLINE      backslash, tab and newline escaped as \\\\ \\t \\n, NULL as \\N

Its counters speak of *complete* rows only: `rows`, `row_bytes` (text with the newline), `checksum`. `boundary` is the
length of the last answer up to its last complete row, which is where one object can end and the next begin. `finished`
turns true at the end of the result set; `error` then holds the server's error packet if it ended with one.

The checksum is the sum, modulo 2^64, of XXH64 (seed 0) of each row's text without its newline: independent of the
order of rows, and counting duplicates.

The C module does this at a gigabyte a second; `PythonRowConverter` is the same machine for installations without a
compiler. Both give the same bytes, which a property test holds them to.
"""

from struct import Struct
from typing import Final

_ESCAPES: Final = ((b"\\", b"\\\\"), (b"\t", b"\\t"), (b"\n", b"\\n"))
_FULL_PACKET: Final = 0xFFFFFF
_ERROR_BYTES_MAX: Final = 4096
_MASK: Final = (1 << 64) - 1
_P1: Final = 0x9E3779B185EBCA87
_P2: Final = 0xC2B2AE3D27D4EB4F
_P3: Final = 0x165667B19E3779F9
_P4: Final = 0x85EBCA77C2B2AE63
_P5: Final = 0x27D4EB2F165667C5
_STRIPE: Final = Struct("<4Q")
_NOT_ROWS: Final = "the server's answer is not a sequence of rows"
_LENGTH_BYTES: Final = {0xFC: 2, 0xFD: 3, 0xFE: 8}


def _rotate(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (64 - bits))) & _MASK


def _mix(state: int, word: int) -> int:
    return (_rotate((state + word * _P2) & _MASK, 31) * _P1) & _MASK


class _RunningHash:
    """XXH64 over pieces."""

    def __init__(self) -> None:
        self._lanes = [(_P1 + _P2) & _MASK, _P2, 0, (-_P1) & _MASK]
        self._total = 0
        self._tail = b""

    def update(self, data: bytes) -> None:
        self._total += len(data)
        data = self._tail + data
        whole = len(data) & ~31
        one, two, three, four = self._lanes
        # Written out: this loop is where an installation without a compiler spends its time.
        for first, second, third, fourth in _STRIPE.iter_unpack(data[:whole]):
            one = (one + first * _P2) & _MASK
            one = ((one << 31 | one >> 33) * _P1) & _MASK
            two = (two + second * _P2) & _MASK
            two = ((two << 31 | two >> 33) * _P1) & _MASK
            three = (three + third * _P2) & _MASK
            three = ((three << 31 | three >> 33) * _P1) & _MASK
            four = (four + fourth * _P2) & _MASK
            four = ((four << 31 | four >> 33) * _P1) & _MASK
        self._lanes = [one, two, three, four]
        self._tail = data[whole:]

    def digest(self) -> int:
        value = self._merged() if self._total >= 32 else _P5
        value = (value + self._total) & _MASK
        tail, at = self._tail, 0
        while at + 8 <= len(tail):
            value ^= _mix(0, int.from_bytes(tail[at : at + 8], "little"))
            value = (_rotate(value, 27) * _P1 + _P4) & _MASK
            at += 8
        if at + 4 <= len(tail):
            value ^= (int.from_bytes(tail[at : at + 4], "little") * _P1) & _MASK
            value = (_rotate(value, 23) * _P2 + _P3) & _MASK
            at += 4
        for byte in tail[at:]:
            value = (_rotate(value ^ (byte * _P5 & _MASK), 11) * _P1) & _MASK
        value = ((value ^ value >> 33) * _P2) & _MASK
        value = ((value ^ value >> 29) * _P3) & _MASK
        return value ^ value >> 32

    def _merged(self) -> int:
        one, two, three, four = self._lanes
        value = (_rotate(one, 1) + _rotate(two, 7) + _rotate(three, 12) + _rotate(four, 18)) & _MASK
        for lane in self._lanes:
            value = ((value ^ _mix(0, lane)) * _P1 + _P4) & _MASK
        return value


def python_row_hash(data: bytes | bytearray | memoryview) -> int:
    """XXH64 of the bytes, seed 0."""
    running = _RunningHash()
    running.update(bytes(data))
    return running.digest()


def escape(data: bytes) -> bytes:
    """A field's bytes as they stand in the text."""
    for plain, escaped in _ESCAPES:
        data = data.replace(plain, escaped)
    return data


class PythonRowConverter:
    """See the module; the attributes are those of the C type."""

    def __init__(self, columns: int) -> None:
        if columns < 1:
            raise ValueError("a result set has at least one column")
        self._columns = columns
        self._header = b""
        self._packet_left = 0
        self._in_packet = False
        self._more = False
        self._kind = ""
        self._first_length = 0
        self._field = 0
        self._length = b""
        self._length_need = 0
        self._field_left = 0
        self._in_field = False
        self._open: _RunningHash | None = None
        self._open_bytes = 0
        self._out: list[bytes] = []
        self._error = b""
        self.rows = 0
        self.row_bytes = 0
        self.checksum = 0
        self.boundary = 0
        self.finished = False

    @property
    def error(self) -> bytes | None:
        return self._error if self.finished and self._kind == "error" else None

    def feed(self, data: bytes | bytearray | memoryview) -> bytes:
        """Text of the rows in these bytes of the packet stream. ValueError if they cannot be one."""
        view, at = bytes(data), 0
        done: list[bytes] = []
        while at < len(view):
            if self.finished:
                raise ValueError(_NOT_ROWS)
            if not self._in_packet:
                taken = view[at : at + 4 - len(self._header)]
                at += len(taken)
                self._header += taken
                if len(self._header) < 4:
                    break
                self._begin_packet()
            piece = view[at : at + self._packet_left]
            if self._packet_left and not piece:
                break
            at += len(piece)
            self._packet_left -= len(piece)
            self._payload(piece)
            if not self._packet_left:
                self._end_packet(done)
        self.boundary = sum(map(len, done))
        rest = b"".join(self._out)
        if rest:
            self._open = self._open or _RunningHash()
            self._open.update(rest)
            self._open_bytes += len(rest)
            self._out.clear()
        done.append(rest)
        return b"".join(done)

    def _begin_packet(self) -> None:
        self._packet_left = int.from_bytes(self._header[:3], "little")
        self._header = b""
        self._in_packet = True
        if not self._more:
            if not self._packet_left:
                raise ValueError(_NOT_ROWS)
            self._kind = ""
            self._first_length = self._packet_left
        self._more = self._packet_left == _FULL_PACKET

    def _payload(self, piece: bytes) -> None:
        if not self._kind:
            if piece[0] == 0xFF:
                self._kind = "error"
            elif piece[0] == 0xFE and self._first_length < 9:
                self._kind = "end"
            else:
                self._kind = "row"
                self._field, self._length, self._in_field = 0, b"", False
        if self._kind == "row":
            self._row_payload(piece)
        elif self._kind == "error":
            self._error = (self._error + piece)[:_ERROR_BYTES_MAX]

    def _row_payload(self, piece: bytes) -> None:
        at = 0
        while at < len(piece):
            if self._in_field:
                part = piece[at : at + self._field_left]
                at += len(part)
                self._field_left -= len(part)
                self._out.append(escape(part))
                if not self._field_left:
                    self._end_field()
                continue
            if self._field >= self._columns:
                raise ValueError(_NOT_ROWS)
            at = self._field_length(piece, at)

    def _field_length(self, piece: bytes, at: int) -> int:
        if not self._length_need:
            first = piece[at]
            if first < 0xFB:
                self._begin_field(first)
            elif first == 0xFB:
                self._out.append(b"\\N")
                self._end_field()
            elif first == 0xFF:
                raise ValueError(_NOT_ROWS)
            else:
                self._length_need = _LENGTH_BYTES[first]
            return at + 1
        taken = piece[at : at + self._length_need - len(self._length)]
        self._length += taken
        if len(self._length) == self._length_need:
            size = int.from_bytes(self._length, "little")
            self._length, self._length_need = b"", 0
            self._begin_field(size)
        return at + len(taken)

    def _begin_field(self, size: int) -> None:
        self._field_left, self._in_field = size, True
        if not size:
            self._end_field()

    def _end_field(self) -> None:
        self._field += 1
        self._in_field = False
        if self._field < self._columns:
            self._out.append(b"\t")

    def _end_packet(self, done: list[bytes]) -> None:
        self._in_packet = False
        if self._more:
            return
        if self._kind != "row":
            self.finished = True
            return
        if self._field != self._columns or self._in_field or self._length_need:
            raise ValueError(_NOT_ROWS)
        text = b"".join(self._out)
        self._out.clear()
        running = self._open or _RunningHash()
        running.update(text)
        self.checksum = (self.checksum + running.digest()) & _MASK
        self.rows += 1
        self.row_bytes += self._open_bytes + len(text) + 1
        self._open, self._open_bytes = None, 0
        done.append(text + b"\n")


try:
    from tidewind.engines.mariadb._rows import RowConverter, row_hash

    COMPILED = True
except ImportError:  # installed without a compiler
    RowConverter = PythonRowConverter  # type: ignore[assignment,misc]
    row_hash = python_row_hash
    COMPILED = False

__all__ = ["COMPILED", "PythonRowConverter", "RowConverter", "escape", "python_row_hash", "row_hash"]
