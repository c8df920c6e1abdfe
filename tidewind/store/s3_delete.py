"""Deleting from S3: in batches, or one by one where a server does not offer batches."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from tidewind.ports.store import ObjectMissing, StoreRefused, StoreUnavailable
from tidewind.store.s3_client import S3Client
from tidewind.store.s3_errors import NotOffered

BATCH = 1000
AT_ONCE = 8
_GONE = {"NoSuchKey", "NoSuchVersion"}
_LATER = {"InternalError", "SlowDown", "ServiceUnavailable", "OperationAborted", "RequestTimeout"}
_NO_BATCHES = ("NotImplemented", "InvalidRequest", "InvalidArgument", "MissingContentMD5", "MalformedXML")


class Deleter:
    """Remembers whether the server takes batches."""

    def __init__(self, client: S3Client) -> None:
        self._client = client
        self._batches = True

    async def delete(self, names: Mapping[str, str]) -> None:
        """Remove the objects `names`, whose keys (for errors) are the values; those already gone count as removed."""
        waiting = iter(names)
        while batch := list(islice(waiting, BATCH)):
            if self._batches and len(batch) > 1:
                try:
                    await self._batch(batch, names)
                    continue
                except StoreRefused as error:
                    if not isinstance(error, NotOffered) and not error.cause.startswith(_NO_BATCHES):
                        raise
                    self._batches = False
            await self._singly(batch, names)

    async def _batch(self, batch: Sequence[str], names: Mapping[str, str]) -> None:
        left = list(batch)
        async for attempt in self._client.tries():
            with attempt:
                objects = {"Objects": [{"Key": name} for name in left], "Quiet": True}
                answer = await self._client.once("delete", names[left[0]], "delete_objects", Delete=objects)
                left = _refused(answer, names)
                if left:
                    cause = f"{len(left)} of {len(batch)} objects could not be deleted now"
                    raise StoreUnavailable("delete", names[left[0]], cause, "check the S3 server")

    async def _singly(self, batch: Sequence[str], names: Mapping[str, str]) -> None:
        slots = asyncio.Semaphore(AT_ONCE)

        async def remove(name: str) -> None:
            async with slots:
                try:
                    await self._client.call("delete", names[name], "delete_object", Key=name)
                except ObjectMissing:
                    return

        try:
            async with asyncio.TaskGroup() as group:
                for name in batch:
                    group.create_task(remove(name))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None


def _refused(answer: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    """The names to try again. Raises StoreRefused if one will never go."""
    later: list[str] = []
    for error in answer.get("Errors", ()):
        name, code = str(error.get("Key")), str(error.get("Code"))
        if code in _GONE:
            continue
        if code not in _LATER:
            cause = f"{code} {error.get('Message') or ''}".strip()
            hint = "let these credentials delete in the bucket, and look for a lock on the object"
            raise StoreRefused("delete", names.get(name, name), cause, hint)
        later.append(name)
    return later
