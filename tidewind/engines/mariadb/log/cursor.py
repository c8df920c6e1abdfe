"""Reads numbers and strings from the bytes of an event."""

Data = bytes | bytearray | memoryview


class EventDamaged(ValueError):
    """The bytes are not the event that they say they are."""


class Cursor:
    """Reads a body from its beginning. Every reading past its end raises EventDamaged."""

    __slots__ = ("at", "data")

    def __init__(self, data: Data, at: int = 0) -> None:
        self.data = memoryview(data)
        self.at = at

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, size: int) -> memoryview:
        if size < 0 or size > self.left:
            raise EventDamaged(f"an event ends {size - self.left} bytes too early")
        piece = self.data[self.at : self.at + size]
        self.at += size
        return piece

    def text(self, size: int) -> bytes:
        return bytes(self.take(size))

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def packed(self) -> int:
        """A number of 1 to 9 bytes."""
        first = self.number(1)
        if first < 251:
            return first
        if first in (251, 255):
            raise EventDamaged("a packed number begins with a byte that none begins with")
        return self.number({252: 2, 253: 3, 254: 8}[first])

    def rest(self) -> memoryview:
        return self.take(self.left)
