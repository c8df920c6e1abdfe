"""Reads the rows of small objects of a backup in this process: account tables, for the plan."""

from collections.abc import AsyncIterator
from typing import Final

import zstandard

from tidewind.ports.store import ObjectDamaged, Store

MAX_BYTES: Final = 64 << 20
_ESCAPED: Final = {ord("t"): b"\t", ord("n"): b"\n", ord("\\"): b"\\"}


async def rows_of(store: Store, key: str) -> list[tuple[bytes | None, ...]]:
    """All rows of one object. Raises StoreError, and ObjectDamaged if it unpacks to more than accounts ever take."""
    packed = b"".join([piece async for piece in _pieces(store, key)])
    try:
        text = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True).read(MAX_BYTES + 1)
    except zstandard.ZstdError as error:
        raise ObjectDamaged("read", key, f"it does not unpack: {error}") from None
    if len(text) > MAX_BYTES:
        raise ObjectDamaged("read", key, "it is larger than any table of accounts")
    return [tuple(field(one) for one in line.split(b"\t")) for line in text.split(b"\n")[:-1]]


def field(text: bytes) -> bytes | None:
    """The value of a field as it stands in the text."""
    if text == b"\\N":
        return None
    if b"\\" not in text:
        return text
    parts = []
    at = 0
    while (found := text.find(b"\\", at)) >= 0:
        parts += [text[at:found], _ESCAPED[text[found + 1]]]
        at = found + 2
    return b"".join([*parts, text[at:]])


def _pieces(store: Store, key: str) -> AsyncIterator[bytes]:
    return store.stream(key)
