"""The packets in which a server sends its log: each holds an event, behind a byte that says so.

    length u24 · number u8 · payload; a payload of 2^24 - 1 bytes goes on in the next packet
    payload: 0x00 and an event's bytes, 0xff and an error, or 0xfe where the log ends

`Unframer.feed` takes what came in, cut anywhere, and gives the events' bytes. `ended` turns true at the end; `error`
is then the server's error packet, if it ended with one. The C twin gives the same.
"""

from typing import Final

FULL: Final = 0xFFFFFF
_ERROR_BYTES_MAX: Final = 4096


class PythonUnframer:
    """See the module."""

    def __init__(self) -> None:
        self.ended = False
        self.error: bytes | None = None
        self._head = b""
        self._left = 0
        self._more = False
        self._first = True
        self._failing = b""
        self._in_error = False

    def feed(self, data: bytes | bytearray | memoryview) -> bytes:
        """The bytes of events in it. ValueError if it is no such stream, or goes on behind its end."""
        view, at = memoryview(data), 0
        out: list[bytes] = []
        while at < len(view):
            if self.ended:
                raise ValueError("the server's answer is not a log")
            if not self._left:
                taken = bytes(view[at : at + 4 - len(self._head)])
                at += len(taken)
                self._head += taken
                if len(self._head) < 4:
                    break
                at = self._begin(view, at)
                continue
            piece = bytes(view[at : at + self._left])
            at += len(piece)
            self._left -= len(piece)
            at_start, self._first = self._first, False
            if at_start:
                piece = self._status(piece)
            if self._in_error:
                self._failing = (self._failing + piece)[:_ERROR_BYTES_MAX]
            else:
                out.append(piece)
            if not self._left:
                self._finish()
        return b"".join(out)

    def _begin(self, view: memoryview, at: int) -> int:
        continued = self._more
        self._left = int.from_bytes(self._head[:3], "little")
        self._head = b""
        self._more = self._left == FULL
        self._first = not continued
        if not self._left and not continued:
            raise ValueError("the server's answer is not a log")
        return at

    def _status(self, piece: bytes) -> bytes:
        if piece[0] == 0xFF:
            self._in_error = True
        elif piece[0] == 0xFE:
            self.ended = True
            self._left = 0
            return b""
        elif piece[0] != 0:
            raise ValueError("the server's answer is not a log")
        return piece[1:]

    def _finish(self) -> None:
        if self._in_error and not self._more:
            self.ended = True
            self.error = self._failing


try:
    from tidewind.engines.mariadb.log._walk import Unframer
except ImportError:  # installed without a compiler
    Unframer = PythonUnframer  # type: ignore[assignment,misc]

__all__ = ["PythonUnframer", "Unframer"]
