"""The store in a directory, local or shared by NFS.

Invariants
- An object appears under its key only when all its bytes are on the disk: it is written to `.tmp/`, synced, and then
  linked (conditional put) or renamed (put, put_stream) in one step; then the directory entry is synced.
- `link` refuses an existing name. That, and nothing else, decides between writers of one key.
- The root is never created here: if a mount is missing, writes are refused instead of filling the disk below it.

Every call to the file system runs on threads of this store, so that a hanging mount stalls neither the loop nor others.
"""

import asyncio
import errno
import os
import secrets
import stat
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from tidewind.ports.store import (
    ObjectInfo,
    ObjectMissing,
    StoredObject,
    StoreError,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)
from tidewind.store.files import Draft, OpenFile, sync_directory
from tidewind.store.naming import checked_key, checked_prefix, checked_range
from tidewind.store.streams import closed_after

TEMPORARY = ".tmp"
LEFTOVER_SECONDS = 86_400.0
PIECE_BYTES = 1 << 20
DEADLINE_SECONDS = 60.0
THREADS = 8
_LIST_BATCH = 500
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {
    errno.EEXIST,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
}
_READS = ("get", "stream", "info")
_OTHERWISE_NAMED = {errno.ENOTDIR, errno.EISDIR}
_UNLINKABLE = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV}

Result = TypeVar("Result")


class DirectoryStore:
    """Implements tidewind.ports.store.Store in `root`, which must exist."""

    def __init__(self, root: Path, *, deadline_s: float = DEADLINE_SECONDS) -> None:
        self._root = root
        self._deadline_s = deadline_s
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="directory-store")

    async def open(self) -> None:
        """Check that the root can be written to, and remove what killed writers left behind over a day ago."""
        await self._run("open", "", self._sweep)

    async def put(self, key: str, data: bytes) -> StoredObject:
        path = self._path("put", key)
        return await self._run("put", key, partial(self._put, key, path, data))

    async def put_if_absent(self, key: str, data: bytes) -> bool:
        path = self._path("put_if_absent", key)
        return await self._run("put_if_absent", key, partial(self._put_if_absent, path, data))

    async def put_stream(self, key: str, parts: AsyncIterator[bytes]) -> StoredObject:
        path = self._path("put_stream", key)
        draft = Draft(self._temporary())
        try:
            waiting: list[bytes] = []
            size = 0
            async with closed_after(parts):
                async for piece in parts:
                    waiting.append(piece)
                    size += len(piece)
                    if size >= PIECE_BYTES:
                        await self._run("put_stream", key, partial(draft.write, waiting))
                        waiting, size = [], 0
            await self._run("put_stream", key, partial(draft.write, waiting))
            await self._run("put_stream", key, partial(draft.publish, path, self._make_parents))
        except BaseException:
            # On a thread of this store: it happens also if this caller is cancelled once more.
            await asyncio.shield(self._run("put_stream", key, draft.discard))
            raise
        return StoredObject(key=key, size=draft.size, sha256=draft.sha256)

    async def get(self, key: str) -> bytes:
        path = self._path("get", key)
        return await self._run("get", key, path.read_bytes)

    async def stream(self, key: str, *, start: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None]:
        path = self._path("stream", key)
        checked_range("stream", key, start, length)
        file = OpenFile(path)
        try:
            at, left = start, length
            while left is None or left > 0:
                wanted = PIECE_BYTES if left is None else min(PIECE_BYTES, left)
                piece = await self._run("stream", key, partial(file.read, at, wanted))
                if not piece:
                    break
                at += len(piece)
                left = None if left is None else left - len(piece)
                yield piece
        finally:
            file.close()

    async def info(self, key: str) -> ObjectInfo | None:
        path = self._path("info", key)
        try:
            found = await self._run("info", key, path.stat)
        except ObjectMissing:
            return None
        if stat.S_ISDIR(found.st_mode):
            return None
        return ObjectInfo(key=key, size=found.st_size, modified=datetime.fromtimestamp(found.st_mtime, UTC))

    async def list(self, prefix: str, *, after: str = "") -> AsyncGenerator[ObjectInfo, None]:
        checked_prefix("list", prefix)
        found = self._walk(self._root, "", prefix, after)
        while batch := await self._run("list", prefix, lambda: list(islice(found, _LIST_BATCH))):
            for entry in batch:
                yield entry

    async def delete(self, keys: Sequence[str]) -> None:
        for at in range(0, len(keys), _LIST_BATCH):
            paths = [self._path("delete", key) for key in keys[at : at + _LIST_BATCH]]
            await self._run("delete", keys[at], partial(self._delete, paths))

    async def now(self) -> datetime:
        return await self._run("now", "", self._file_clock)

    async def close(self) -> None:
        self._threads.shutdown(wait=False)

    async def _run(self, operation: str, key: str, call: Callable[[], Result]) -> Result:
        """Run on a thread of this store. A call that outlives its deadline goes on alone: each leaves a whole state."""
        try:
            async with asyncio.timeout(self._deadline_s):
                return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except TimeoutError:
            cause = f"no answer from {self._root} within {self._deadline_s:g} s"
            raise StoreUnavailable(operation, key, cause, "check the disk or mount") from None
        except OSError as error:
            raise self._classified(operation, key, error) from error

    def _classified(self, operation: str, key: str, error: OSError) -> StoreError:
        reason = error.strerror or str(error)
        if isinstance(error, FileNotFoundError) or (operation in _READS and error.errno in _OTHERWISE_NAMED):
            if self._root.is_dir():
                return ObjectMissing(operation, key, "no such object")
            hint = f"create {self._root}, or mount it, and give it to the service's user"
            return StoreRefused(operation, key, f"the directory {self._root} does not exist", hint)
        if error.errno in _FULL:
            return StoreFull(operation, key, f"{self._root}: {reason}", f"free space below {self._root}")
        if operation == "put_if_absent" and error.errno in _UNLINKABLE and os.access(self._root, os.W_OK):
            hint = f"put the store on a file system with hard links, or check the rights on {self._root}"
            return StoreRefused(operation, key, f"{self._root} does not take hard links: {reason}", hint)
        if error.errno in _REFUSED:
            hint = f"let the service's user (id {os.geteuid()}) read and write {self._root}"
            return StoreRefused(operation, key, f"{self._root}: {reason}", hint)
        return StoreUnavailable(operation, key, f"{self._root}: {reason}", "check the disk or mount")

    def _path(self, operation: str, key: str) -> Path:
        return self._root / checked_key(operation, key)

    def _temporary(self) -> Path:
        return self._root / TEMPORARY / secrets.token_hex(16)

    def _make_parents(self, path: Path) -> None:
        """Make the folders above the path, each durable. The root itself must be there."""
        missing: list[Path] = []
        folder = path.parent
        while not folder.is_dir() and folder != self._root:
            missing.append(folder)
            folder = folder.parent
        for made in reversed(missing):
            self._make_folder(made)
            sync_directory(made.parent)

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir()
        except FileExistsError:
            # One look decides: a delete may remove the emptied folder, and another writer make it again, between two.
            # If it is gone by now, the caller starts over; it must not look as if the *object* existed.
            if not stat.S_ISDIR(folder.stat().st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None

    def _put(self, key: str, path: Path, data: bytes) -> StoredObject:
        draft = Draft(self._temporary())
        try:
            draft.write([data])
            draft.publish(path, self._make_parents)
        except BaseException:
            draft.discard()
            raise
        return StoredObject(key=key, size=draft.size, sha256=draft.sha256)

    def _put_if_absent(self, path: Path, data: bytes) -> bool:
        draft = Draft(self._temporary())
        try:
            draft.write([data])
            return draft.publish_if_absent(path, self._make_parents)
        finally:
            draft.discard_source()

    def _walk(self, folder: Path, above: str, prefix: str, after: str) -> Iterator[ObjectInfo]:
        """Objects in key order: a folder sorts by its name with the slash that follows it in keys."""
        try:
            with os.scandir(folder) as entries:
                names = sorted(
                    (entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name, entry)
                    for entry in entries
                    if not entry.name.startswith(".")
                )
        except FileNotFoundError:
            if folder == self._root:
                raise
            return
        for name, entry in names:
            key = above + name
            if name.endswith("/"):
                if (key.startswith(prefix) or prefix.startswith(key)) and (after < key or after.startswith(key)):
                    yield from self._walk(folder / entry.name, key, prefix, after)
            elif key.startswith(prefix) and key > after:
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                modified = datetime.fromtimestamp(found.st_mtime, UTC)
                yield ObjectInfo(key=key, size=found.st_size, modified=modified)

    def _delete(self, paths: Sequence[Path]) -> None:
        self._root.stat()
        for path in paths:
            path.unlink(missing_ok=True)
        for folder in {path.parent for path in paths}:
            self._prune(folder)

    def _prune(self, folder: Path) -> None:
        """Remove folders that have become empty; a writer that loses its folder to this makes it again."""
        while folder != self._root:
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
                    raise
                break
            folder = folder.parent
        while not sync_directory(folder) and folder != self._root:
            folder = folder.parent

    def _file_clock(self) -> datetime:
        """The time the file system stamps: on a shared mount that is the server's."""
        draft = Draft(self._temporary())
        try:
            draft.write([b"-"])
            return datetime.fromtimestamp(int(draft.modified()), UTC)
        finally:
            draft.discard()

    def _sweep(self) -> None:
        folder = self._root / TEMPORARY
        folder.mkdir(exist_ok=True)
        limit = time.time() - LEFTOVER_SECONDS
        for leftover in folder.iterdir():
            with suppress(FileNotFoundError):
                if leftover.lstat().st_mtime < limit:
                    leftover.unlink()
        self._file_clock()
