"""A file system of its own and of a few megabytes, to be filled up. It takes the right to mount (root)."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tidewind.embedded.processes import ServerStartError


class SmallDisk:
    """`path` is its root. What stands in for other people's files goes into `fill`, and away with `free`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "somebody-elses"

    def fill(self, *, leaving: int = 0) -> None:
        """Take all space but `leaving` bytes."""
        self.free()
        space = os.statvfs(self.path)
        size = space.f_bavail * space.f_frsize - leaving
        with self._ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(size, 1))

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, megabytes: int, *, named: bool = False) -> Iterator[SmallDisk]:
    """A disk in memory. It is reached through an open folder of this process and mounted nowhere, so that the kernel
    takes it away with the process, however that ends. A database server needs to know where it is: with `named` the
    disk stays mounted on `folder`."""
    folder.mkdir(parents=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tidewind-test", str(folder))
    if named:
        try:
            yield SmallDisk(folder)
        finally:
            _run("umount", "--lazy", str(folder))
        return
    try:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    finally:
        _run("umount", "--lazy", str(folder))
    try:
        yield SmallDisk(Path(f"/proc/{os.getpid()}/fd/{held}"))
    finally:
        os.close(held)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode != 0:
        raise ServerStartError(f"{' '.join(command)}: {done.stderr.strip()}; these tests mount a small disk, as root")
