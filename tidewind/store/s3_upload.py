"""Multipart uploads.

Invariant: an upload ends completed, or aborted before the error or the cancellation goes on to the caller; also if
that came while the upload was being created or completed, when nobody knows yet how far the server is. Only a killed
process leaves an upload behind, and `sweep` removes those.
"""

import asyncio
import base64
import hashlib
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

from tidewind.ports.store import ObjectMissing, StoreError, StoreRefused, StoreUnavailable
from tidewind.store.s3_client import S3Client
from tidewind.store.s3_errors import NotOffered, UploadMissing
from tidewind.store.streams import Reader, off_loop

PART_SECONDS = 120.0
COMPLETE_SECONDS = 300.0
SETTLE_SECONDS = 5.0
MOST_PARTS = 10_000
_ABORT = "abort the upload of"


class Uploader:
    """Uploads streams to one bucket, `concurrency` parts of `part_bytes` at a time, which bounds its memory."""

    def __init__(self, client: S3Client, *, part_bytes: int, concurrency: int) -> None:
        self._client = client
        self._part_bytes = part_bytes
        self._concurrency = concurrency
        self._undoing: set[asyncio.Task[None]] = set()

    async def put(self, key: str, name: str, data: bytes, **conditions: str) -> None:
        """One object in one request."""
        md5 = await off_loop(partial(_md5, data), len(data))
        await self._client.call(
            "put",
            key,
            "put_object",
            request_s=PART_SECONDS if len(data) > 1 << 20 else None,
            Key=name,
            Body=data,
            **conditions,
            **self._content_md5(md5),
        )

    async def put_small_stream(self, key: str, name: str, data: bytes) -> None:
        """Like `put`, but nothing is left if it fails or is cancelled."""
        try:
            await self.put(key, name, data)
        except BaseException as error:
            await self._undo(error, self._remove(key, name))
            raise

    async def put_parts(self, key: str, name: str, first: bytes, rest: Reader) -> tuple[int, str]:
        """Upload `first`, a whole part, and what follows. Returns size and sha256."""
        run = _Run(self._client, key, name, self._content_md5)
        creating = asyncio.ensure_future(run.create())
        try:
            await asyncio.shield(creating)
            await self._send(run, first, rest)
            await run.complete()
        except BaseException as error:
            await self._undo(error, run.undo(creating))
            raise
        return run.size, run.sha256.hexdigest()

    async def settled(self) -> None:
        """Wait for aborts whose callers were cancelled twice."""
        await asyncio.gather(*self._undoing, return_exceptions=True)

    async def _send(self, run: "_Run", block: bytes, rest: Reader) -> None:
        slots = asyncio.Semaphore(self._concurrency)
        number = 1
        while block:
            if number > MOST_PARTS:
                cause = f"it is larger than {MOST_PARTS} parts of {self._part_bytes >> 20} MiB"
                raise StoreRefused("put", run.key, cause, "raise the store's part_bytes")
            md5 = await asyncio.to_thread(run.count, block)
            await slots.acquire()
            run.begin(number, block, md5).add_done_callback(lambda _: slots.release())
            number += 1
            block = await rest.take(self._part_bytes)
        await run.all_sent()

    def _content_md5(self, md5: bytes) -> dict[str, str]:
        return {"ContentMD5": base64.b64encode(md5).decode()} if self._client.sends_md5 else {}

    async def _remove(self, key: str, name: str) -> None:
        await self._client.call("put", key, "delete_object", Key=name)

    async def _undo(self, error: BaseException, work: Any) -> None:
        """Do it to the end whatever happens to the caller; a failure to do it is told along with the error."""
        task = asyncio.ensure_future(work)
        self._undoing.add(task)
        task.add_done_callback(self._undoing.discard)
        try:
            await asyncio.shield(task)
        except StoreError as failed:
            error.add_note(f"and what was uploaded could not be removed: {failed}")


class _Run:
    """One multipart upload."""

    def __init__(self, client: S3Client, key: str, name: str, content_md5: Any) -> None:
        self.key = key
        self.size = 0
        self.sha256 = hashlib.sha256()
        self._client = client
        self._name = name
        self._content_md5 = content_md5
        self._etags: dict[int, str] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._completing = False
        self._place: dict[str, Any] = {}

    async def create(self) -> str:
        async for attempt in self._client.tries():
            with attempt:
                answer = await self._client.once("put", self.key, "create_multipart_upload", Key=self._name)
                self._place = {"Key": self._name, "UploadId": str(answer["UploadId"])}
        if attempt.num > 1:
            await self._abort_siblings()
        return str(self._place["UploadId"])

    async def _abort_siblings(self) -> None:
        """Tries whose answers were lost may have begun uploads too; nobody else uploads under this name."""
        with suppress(NotOffered):
            answer = await self._client.call("put", self.key, "list_multipart_uploads", Prefix=self._name)
            for upload in answer.get("Uploads", ()):
                place = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
                if upload["Key"] == self._name and place != self._place:
                    with suppress(UploadMissing):
                        await self._client.call(_ABORT, self.key, "abort_multipart_upload", **place)

    def count(self, block: bytes) -> bytes:
        """Take the next part into size and sha256; returns its MD5. Blocks."""
        self.sha256.update(block)
        self.size += len(block)
        return _md5(block)

    def begin(self, number: int, block: bytes, md5: bytes) -> asyncio.Task[None]:
        """Send a part beside the others. Raises what an earlier part failed with."""
        for task in self._sending:
            if task.done():
                task.result()
        task = asyncio.create_task(self._send(number, block, md5))
        self._sending = {before for before in self._sending if not before.done()} | {task}
        return task

    async def all_sent(self) -> None:
        """Raises what the first part to fail failed with."""
        if self._sending:
            done, _ = await asyncio.wait(self._sending, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()

    async def _send(self, number: int, block: bytes, md5: bytes) -> None:
        answer = await self._client.call(
            "put",
            self.key,
            "upload_part",
            request_s=PART_SECONDS,
            **self._place,
            PartNumber=number,
            Body=block,
            **self._content_md5(md5),
        )
        self._etags[number] = str(answer["ETag"])

    async def complete(self) -> None:
        self._completing = True
        parts = [{"PartNumber": number, "ETag": self._etags[number]} for number in sorted(self._etags)]
        arguments = {**self._place, "MultipartUpload": {"Parts": parts}}
        try:
            await self._client.call(
                "put", self.key, "complete_multipart_upload", request_s=COMPLETE_SECONDS, **arguments
            )
        except UploadMissing:
            # An earlier try of ours may have been carried out although its answer was lost.
            if await self._stored_size() != self.size:
                cause = "the upload vanished before it was complete"
                raise StoreUnavailable("put", self.key, cause, "find out who aborts uploads in the bucket") from None

    async def undo(self, creating: "asyncio.Future[str]") -> None:
        try:
            await creating
        except StoreError:
            return
        cut_off = await self._settle()
        with suppress(UploadMissing):
            async for attempt in self._client.tries():
                with attempt:
                    await self._abort(look=cut_off)
        if self._completing:
            await self._client.call("put", self.key, "delete_object", Key=self._name)

    async def _settle(self) -> bool:
        """Let parts on their way arrive: aborting under them leaves remains on some servers. True if some were cut."""
        if not self._sending:
            return False
        _, late = await asyncio.wait(self._sending, timeout=SETTLE_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        return bool(late)

    async def _abort(self, *, look: bool) -> None:
        """A part that was cut off may still arrive and bring the upload back: then look whether it is gone."""
        await self._client.once(_ABORT, self.key, "abort_multipart_upload", **self._place)
        if not look:
            return
        await self._client.once(_ABORT, self.key, "list_parts", **self._place, MaxParts=1)
        raise StoreUnavailable(_ABORT, self.key, "the upload is still there", "it is swept after a day")

    async def _stored_size(self) -> int | None:
        try:
            answer = await self._client.call("put", self.key, "head_object", Key=self._name)
        except ObjectMissing:
            return None
        return int(answer["ContentLength"])


async def sweep(client: S3Client, prefix: str, before: datetime) -> int:
    """Abort the uploads below `prefix` begun before that moment of the store's clock. Returns how many."""
    aborted = 0
    marker: dict[str, Any] = {}
    while True:
        try:
            page = await client.call("list uploads", prefix, "list_multipart_uploads", Prefix=prefix, **marker)
        except NotOffered:
            return aborted
        for upload in page.get("Uploads", ()):
            if upload["Initiated"] < before and upload["Key"].startswith(prefix):
                try:
                    place: dict[str, Any] = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
                    await client.call(_ABORT, upload["Key"], "abort_multipart_upload", **place)
                except UploadMissing:
                    continue
                aborted += 1
        names = ("KeyMarker", "UploadIdMarker")
        following = {name: page[f"Next{name}"] for name in names if page.get(f"Next{name}")}
        if not page.get("IsTruncated") or not following or following == marker:
            return aborted
        marker = following


def _md5(data: bytes) -> bytes:
    """What S3 compares a body with; no secrecy rests on it."""
    return hashlib.md5(data, usedforsecurity=False).digest()
