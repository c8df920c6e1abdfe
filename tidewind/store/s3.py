"""The store in an S3 bucket, below a prefix.

Invariants
- What decides between two writers of one key is the server's If-None-Match alone. A put that is answered with 412 may
  be our own, sent twice because the first answer was lost: then the object holds exactly our bytes. Callers make their
  bytes unique; sealing does, by a random salt.
- An object written in parts appears whole when its upload is completed, or never.
- A 404 means a missing object only in a bucket that exists.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

from tidewind.ports.store import (
    ObjectInfo,
    ObjectMissing,
    StoredObject,
    StoreRefused,
    StoreUnavailable,
)
from tidewind.store import s3_read, s3_upload
from tidewind.store.naming import checked_key, checked_prefix, checked_range
from tidewind.store.s3_client import Patience, S3Access, S3Client
from tidewind.store.s3_delete import Deleter
from tidewind.store.s3_errors import PreconditionFailed
from tidewind.store.s3_list import Lister
from tidewind.store.s3_upload import Uploader
from tidewind.store.streams import Reader, closed_after, off_loop

_LOST_RACES = 3


@dataclass(frozen=True, kw_only=True)
class S3Place:
    """Where in S3, and how to write. `single_writer`: conditional puts are done by looking first, for servers that
    ignore If-None-Match; safe only while one process writes."""

    bucket: str
    prefix: str = ""
    single_writer: bool = False
    part_bytes: int = 8 << 20
    part_concurrency: int = 4
    progress_s: float = s3_read.PROGRESS_SECONDS


class S3Store:
    """Implements tidewind.ports.store.Store."""

    def __init__(self, place: S3Place, client: S3Client) -> None:
        self.place = place
        self._prefix = checked_prefix("open", place.prefix) + "/" if place.prefix else ""
        self.client = client
        self._uploader = Uploader(client, part_bytes=place.part_bytes, concurrency=place.part_concurrency)
        self._deleter = Deleter(client)
        self._lister = Lister(client, self._prefix)
        self._only_writer = asyncio.Lock()
        self._bucket_seen = False

    @classmethod
    async def connect(cls, place: S3Place, access: S3Access, patience: Patience | None = None) -> "S3Store":
        """Sends nothing yet. Raises StoreRefused for settings that cannot work."""
        return cls(place, await S3Client.connect(place.bucket, access, patience or Patience()))

    async def put(self, key: str, data: bytes) -> StoredObject:
        await self._uploader.put(key, self._name("put", key), data)
        return await _stored(key, data)

    async def put_if_absent(self, key: str, data: bytes) -> bool:
        name = self._name("put_if_absent", key)
        if self.place.single_writer:
            async with self._only_writer:
                return await self._put_after_looking(key, name, data)
        for _ in range(_LOST_RACES):
            try:
                await self._uploader.put(key, name, data, IfNoneMatch="*")
            except PreconditionFailed:
                try:
                    return await self.get(key) == data
                except ObjectMissing:
                    continue
            return True
        cause = "it was there whenever it was put, and gone whenever it was read"
        raise StoreUnavailable("put_if_absent", key, cause, "find out who writes and deletes it")

    async def put_stream(self, key: str, parts: AsyncIterator[bytes]) -> StoredObject:
        name = self._name("put_stream", key)
        size = self.place.part_bytes
        async with closed_after(parts):
            reader = Reader(parts)
            first = await reader.take(size, beyond=1)
            if reader.exhausted:
                await self._uploader.put_small_stream(key, name, first)
                return await _stored(key, first)
            stored, sha256 = await self._uploader.put_parts(key, name, first, reader)
            return StoredObject(key=key, size=stored, sha256=sha256)

    async def get(self, key: str) -> bytes:
        source = self.stream(key)
        async with closed_after(source):
            return b"".join([piece async for piece in source])

    async def stream(self, key: str, *, start: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None]:
        name = self._name("stream", key)
        checked_range("stream", key, start, length)
        pieces = s3_read.read(self.client, key, name, start=start, length=length, progress_s=self.place.progress_s)
        async with closed_after(pieces):
            async for piece in pieces:
                yield piece

    async def info(self, key: str) -> ObjectInfo | None:
        try:
            answer = await self.client.call("info", key, "head_object", Key=self._name("info", key))
        except ObjectMissing:
            if not self._bucket_seen:
                await self._head_bucket("info")
            return None
        return ObjectInfo(key=key, size=int(answer["ContentLength"]), modified=answer["LastModified"])

    async def list(self, prefix: str, *, after: str = "") -> AsyncGenerator[ObjectInfo, None]:
        checked_prefix("list", prefix)
        found = self._lister.entries(prefix, after)
        async with closed_after(found):
            async for entry in found:
                yield entry

    async def delete(self, keys: Sequence[str]) -> None:
        await self._deleter.delete({self._name("delete", key): key for key in keys})

    async def now(self) -> datetime:
        answer = await self._head_bucket("now")
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).astimezone(UTC)

    async def close(self) -> None:
        await self._uploader.settled()
        await self.client.close()

    async def sweep_uploads(self, older_than: timedelta) -> int:
        """Abort multipart uploads that killed writers left behind, by the store's clock. Returns how many."""
        return await s3_upload.sweep(self.client, self._prefix, await self.now() - older_than)

    async def _put_after_looking(self, key: str, name: str, data: bytes) -> bool:
        if await self.info(key) is not None:
            return await self.get(key) == data
        await self._uploader.put(key, name, data)
        return True

    async def _head_bucket(self, operation: str) -> Mapping[str, Any]:
        """An answer to HEAD of an object does not tell whether it or the bucket is missing. Raises StoreRefused."""
        try:
            answer = await self.client.call(operation, "", "head_bucket")
        except ObjectMissing:
            bucket = self.place.bucket
            cause = f"the bucket {bucket} does not exist at {self.client.endpoint}"
            hint = f"create the bucket {bucket}, or correct its name or the endpoint in the settings of the store"
            raise StoreRefused(operation, "", cause, hint) from None
        self._bucket_seen = True
        return answer

    def _name(self, operation: str, key: str) -> str:
        return self._prefix + checked_key(operation, key)


async def _stored(key: str, data: bytes) -> StoredObject:
    digest = await off_loop(partial(hashlib.sha256, data), len(data))
    return StoredObject(key=key, size=len(data), sha256=digest.hexdigest())
