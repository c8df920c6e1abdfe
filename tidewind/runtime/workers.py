"""Worker processes of a restore: forked from one helper process that has imported what they need, so that each begins
within milliseconds and shares the memory of what was imported.

The helper is started once per service and ends with it. It holds no connection and no thread, and of secrets only what
the service's environment holds; a worker is given everything else over its pipe. The folder of the helper's socket is
in one of ours, `tidewind-pool-*`, locked for as long as we live: what a service that was killed leaves of it is removed
by the next that starts a helper.
"""

import asyncio
import fcntl
import multiprocessing
import os
import shutil
import tempfile
import threading
from collections.abc import Sequence
from multiprocessing import forkserver, util
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

WORKERS: ForkServerContext = multiprocessing.get_context("forkserver")
"""What makes pipes and processes; `start_worker` starts them."""

_FOLDER_BYTES: Final = 50
"""The path of a socket has at most 107 bytes, and ours, the helper's folder and its socket add up to 57."""
_SHORT_FOLDER: Final = "/tmp"  # noqa: S108 - a private folder is made in it
_FOLDER_NAME: Final = "tidewind-pool-"
_starting = threading.Lock()
_ours: list[int] = []
"""The descriptor of our folder, which holds its lock."""


async def prepare_workers(modules: Sequence[str]) -> None:
    """Start the helper, which imports `modules` while the service goes on. Once it runs, a second call does nothing;
    without any call it is started by the first worker and imports nothing beforehand."""
    WORKERS.set_forkserver_preload(list(modules))
    await asyncio.to_thread(_ensure_helper)


async def start_worker(process: BaseProcess) -> None:
    """Start a process of `WORKERS`. Raises OSError if the system makes no more processes."""
    await asyncio.to_thread(_start, process)


def _start(process: BaseProcess) -> None:
    _ensure_helper()
    process.start()


def _ensure_helper() -> None:
    with _starting:
        if not _ours:
            usual = tempfile.tempdir
            tempfile.tempdir = _own_folder()
            try:
                forkserver.ensure_running()
            finally:
                tempfile.tempdir = usual
        else:
            forkserver.ensure_running()


def _own_folder() -> str:
    """A locked folder for the helper's, after those of the dead were removed."""
    usual = tempfile.gettempdir()
    parent = Path(usual if len(usual.encode()) <= _FOLDER_BYTES else _SHORT_FOLDER)
    for left in parent.glob(f"{_FOLDER_NAME}*"):
        _remove_if_left(left)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_FOLDER_NAME, dir=parent))
        if (descriptor := _locked(folder)) is not None:
            break  # else somebody took it for left between the two
    _ours.append(descriptor)
    # After the helper's own folder, which has -100.
    util.Finalize(None, shutil.rmtree, args=[folder], kwargs={"ignore_errors": True}, exitpriority=-200)
    return str(folder)


def _remove_if_left(folder: Path) -> None:
    """If its lock is free; others' are left alone."""
    descriptor = _locked(folder)
    if descriptor is not None:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _locked(folder: Path) -> int | None:
    """A descriptor that holds the folder's lock until it is closed or we end; None if somebody else holds it, or the
    folder is gone or not ours."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_uid == os.geteuid() and folder.exists():
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None
