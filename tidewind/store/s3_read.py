"""Reading from S3 through dropped and stalled connections.

Invariant: the bytes returned are one object's, in order, without hole or overlap. A resumed read asks for the same
ETag, and the server's answer must name the range that was asked for.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

from tidewind.ports.store import ObjectDamaged, StoreRefused, StoreUnavailable
from tidewind.store.s3_client import S3Client
from tidewind.store.s3_errors import FAILURES, PreconditionFailed, RangeBeyondEnd, classified

PIECE_BYTES = 512 * 1024
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
PROGRESS_SECONDS = 30.0
"""A piece that takes longer counts as a lost connection: no reader waits for a stalled server, or one byte a second."""


@dataclass(frozen=True, kw_only=True)
class _Begun:
    """An answer whose first piece has arrived. `until` is where this answer ends in the object, `end` where the range
    asked for does."""

    body: Any
    piece: bytes
    until: int
    end: int
    etag: str | None


async def read(
    client: S3Client, key: str, name: str, *, start: int, length: int | None, progress_s: float = PROGRESS_SECONDS
) -> AsyncGenerator[bytes, None]:
    """The bytes of object `name` (`key` in errors). Raises ObjectMissing, ObjectDamaged if it was replaced meanwhile,
    StoreUnavailable when no try brings any progress."""
    reader = _Reader(client, key, name, progress_s)
    at, end = start, None if length is None else start + length
    etag: str | None = None
    while end is None or at < end:
        begun = await reader.begin(at, end, etag)
        if begun is None:
            return
        end, etag, piece = begun.end, begun.etag, begun.piece
        try:
            while piece:
                at += len(piece)
                yield piece
                piece = await reader.next_piece(begun.body, begun.until - at)
        finally:
            begun.body.close()


class _Reader:
    def __init__(self, client: S3Client, key: str, name: str, progress_s: float) -> None:
        self._client = client
        self._key = key
        self._name = name
        self._progress_s = progress_s

    async def begin(self, at: int, end: int | None, etag: str | None) -> _Begun | None:
        """Ask until a first piece has come; so every return is progress. None if nothing lies in the range."""
        async for attempt in self._client.tries():
            with attempt:
                return await self._try(at, end, etag)
        raise AssertionError("the last try returns or raises")

    async def next_piece(self, body: Any, left: int) -> bytes:
        """The next piece, or nothing: at the end, and also if the connection failed, which `begin` then mends."""
        try:
            return await self._piece(body, left)
        except StoreUnavailable:
            return b""

    async def _try(self, at: int, end: int | None, etag: str | None) -> _Begun | None:
        conditions: dict[str, Any] = {"IfMatch": etag} if etag else {}
        ranged = at > 0 or end is not None
        if ranged:
            conditions["Range"] = f"bytes={at}-" if end is None else f"bytes={at}-{end - 1}"
        try:
            answer = await self._client.once("get", self._key, "get_object", Key=self._name, **conditions)
        except RangeBeyondEnd:
            return None
        except PreconditionFailed:
            cause = "it was replaced while it was read"
            raise ObjectDamaged("get", self._key, cause, "objects never change: find out who wrote it") from None
        body = answer["Body"]
        try:
            until, size = self._extent(answer, at) if ranged else (int(answer["ContentLength"]),) * 2
            piece = await self._piece(body, until - at)
        except BaseException:
            body.close()
            raise
        whole = size if end is None else min(end, size)
        return _Begun(body=body, piece=piece, until=until, end=whole, etag=answer.get("ETag"))

    def _extent(self, answer: Mapping[str, Any], at: int) -> tuple[int, int]:
        """Where the bytes of the answer end, and the object."""
        text = str(answer.get("ContentRange") or "")
        named = _CONTENT_RANGE.fullmatch(text)
        if named is None or int(named[1]) != at:
            cause = f"asked for bytes from {at}, the server answered with {text or 'the whole object'}"
            raise StoreRefused("get", self._key, cause, "use an S3 server that honours ranges")
        return int(named[2]) + 1, int(named[3])

    async def _piece(self, body: Any, left: int) -> bytes:
        wanted = min(PIECE_BYTES, left)
        piece = bytearray()
        try:
            async with asyncio.timeout(self._progress_s):
                while len(piece) < wanted:
                    more = await body.read(wanted - len(piece))
                    if not more:
                        raise StoreUnavailable("get", self._key, "the connection ended within the object")
                    piece += more
        except FAILURES as error:
            client = self._client
            raise classified(error, "get", self._key, bucket=client.bucket, endpoint=client.endpoint) from error
        return bytes(piece)
