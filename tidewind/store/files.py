"""Files of the directory store while they are written or read. Everything here blocks and runs on threads.

The locks are there because a cancelled caller does not stop its thread: a draft may be thrown away while a write to it
is still under way.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

_TRIES = 20

MakeParents = Callable[[Path], None]


def sync_directory(folder: Path) -> bool:
    """Make the entries of a folder durable. False if it is gone, removed by a delete that found it empty."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return True


class Draft:
    """An object not yet visible. Ends by `publish`, `publish_if_absent` or `discard`; after `discard` nothing of it is
    left, wherever a concurrent call had come. `path` is the draft's own, in the folder for drafts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._published: Path | None = None
        self._discarded = False
        self._hash = hashlib.sha256()
        self._lock = threading.Lock()
        self.size = 0

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def modified(self) -> float:
        """When the file system says it was last written, in seconds since 1970."""
        return self._path.stat().st_mtime

    def write(self, pieces: Sequence[bytes]) -> None:
        """Append. Raises FileNotFoundError if the store's root is missing."""
        with self._lock:
            if self._discarded:
                return
            if self._descriptor is None:
                self._path.parent.mkdir(exist_ok=True)
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                self._descriptor = os.open(self._path, flags, 0o640)
            for piece in pieces:
                self._hash.update(piece)
                self.size += len(piece)
                view = memoryview(piece)
                while view:
                    view = view[os.write(self._descriptor, view) :]

    def publish(self, path: Path, make_parents: MakeParents) -> None:
        """Let it appear under `path`, replacing what was there."""
        with self._lock:
            if self._discarded:
                return
            self._sync()
            _with_parents(path, make_parents, lambda: self._path.replace(path))
            self._published = path
            sync_directory(path.parent)

    def publish_if_absent(self, path: Path, make_parents: MakeParents) -> bool:
        """Let it appear under `path` unless something is there."""
        with self._lock:
            self._sync()
            try:
                _with_parents(path, make_parents, lambda: os.link(self._path, path, follow_symlinks=False))
            except FileExistsError:
                # Over NFS the answer to a link that succeeded can be lost, and its repetition fails.
                if self._path.stat().st_nlink < 2:
                    return False
            sync_directory(path.parent)
            return True

    def discard(self) -> None:
        """Remove it, also if it was published meanwhile."""
        with self._lock:
            self._discarded = True
            self._close()
            self._path.unlink(missing_ok=True)
            if self._published is not None:
                self._published.unlink(missing_ok=True)

    def discard_source(self) -> None:
        """Remove the draft's own name; a link made of it stays."""
        with self._lock:
            self._close()
            self._path.unlink(missing_ok=True)

    def _sync(self) -> None:
        if self._descriptor is not None:
            os.fsync(self._descriptor)
        self._close()

    def _close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)


def _with_parents(path: Path, make_parents: MakeParents, place: Callable[[], object]) -> None:
    """Place a file although a concurrent delete may remove its folder, just emptied, at any moment."""
    for left in reversed(range(_TRIES)):
        try:
            make_parents(path)
            place()
        except FileNotFoundError:
            if left == 0:
                raise
        else:
            return


class OpenFile:
    """A file being read in pieces; opened by the first read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._closed = False
        self._lock = threading.Lock()

    def read(self, at: int, size: int) -> bytes:
        with self._lock:
            if self._closed:
                return b""
            if self._descriptor is None:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            return os.pread(self._descriptor, size, at)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._descriptor is not None:
                descriptor, self._descriptor = self._descriptor, None
                os.close(descriptor)
