"""Listing S3 in key order, also on servers that walk a file system instead.

Such servers list `a/1` before `a-b`, although `-` sorts before `/`; from one page to the next they then repeat or skip
keys. Invariant: what is returned is complete and in key order, or an error is raised. A listing out of order is thrown
away, and from then on this store lists folder by folder and sorts each, at the price of a request for every folder.
"""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from tidewind.ports.store import ObjectInfo, StoreRefused, StoreUnavailable
from tidewind.store.s3_client import S3Client


class Lister:
    """Lists the keys below `root`, the deployment's prefix. Remembers whether the server lists in key order."""

    def __init__(self, client: S3Client, root: str) -> None:
        self._client = client
        self._root = root
        self._ordered = True

    async def entries(self, prefix: str, after: str) -> AsyncGenerator[ObjectInfo, None]:
        last = after
        if self._ordered:
            async for page in self._pages(prefix, after):
                if not _rises(last, page):
                    self._ordered = False
                    break
                for entry in page:
                    last = entry.key
                    yield entry
        if self._ordered:
            return
        if last != after:
            cause = "the server lists keys out of order; they are listed in another way from now on"
            raise StoreUnavailable("list", prefix, cause, "repeat; other S3 servers are faster here")
        async for entry in self._by_folder(prefix, after):
            yield entry

    async def _pages(self, prefix: str, after: str) -> AsyncGenerator[list[ObjectInfo], None]:
        where: dict[str, Any] = {"Prefix": self._root + prefix}
        begin: dict[str, Any] = {"StartAfter": self._root + after} if after else {}
        while True:
            answer = await self._client.call("list", prefix, "list_objects_v2", **where, **begin)
            page = [self._entry(content) for content in answer.get("Contents", ())]
            yield page
            if not answer.get("IsTruncated"):
                return
            if token := answer.get("NextContinuationToken"):
                begin = {"ContinuationToken": token}
            elif page:
                begin = {"StartAfter": self._root + page[-1].key}
            else:
                raise StoreUnavailable("list", prefix, "the server broke the list off", "check the S3 server")

    async def _by_folder(self, prefix: str, after: str) -> AsyncGenerator[ObjectInfo, None]:
        level = await self._level(prefix)
        for key in sorted(level):
            entry = level[key]
            if entry is not None:
                if key > after:
                    yield entry
            elif after < key or after.startswith(key):
                async for below in self._by_folder(key, after):
                    yield below

    async def _level(self, prefix: str) -> dict[str, ObjectInfo | None]:
        """The objects of one folder; folders in it, with their slash, have no entry."""
        level: dict[str, ObjectInfo | None] = {}
        begin: dict[str, Any] = {}
        while True:
            where: dict[str, Any] = {"Prefix": self._root + prefix, "Delimiter": "/"}
            answer = await self._client.call("list", prefix, "list_objects_v2", **where, **begin)
            known = len(level)
            for content in answer.get("Contents", ()):
                entry = self._entry(content)
                level[entry.key] = entry
            for folder in answer.get("CommonPrefixes", ()):
                level[str(folder["Prefix"]).removeprefix(self._root)] = None
            if not answer.get("IsTruncated"):
                return level
            begin = {"ContinuationToken": answer.get("NextContinuationToken")}
            if len(level) == known or not begin["ContinuationToken"]:
                cause = "the server repeats itself instead of listing on"
                raise StoreRefused("list", prefix, cause, "use an S3 server that lists in key order")

    def _entry(self, content: Mapping[str, Any]) -> ObjectInfo:
        key = str(content["Key"]).removeprefix(self._root)
        return ObjectInfo(key=key, size=int(content["Size"]), modified=content["LastModified"])


def _rises(last: str, page: list[ObjectInfo]) -> bool:
    """Whether every key of the page comes after the one before it."""
    for entry in page:
        if entry.key <= last:
            return False
        last = entry.key
    return True
