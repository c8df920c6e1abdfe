"""Worker processes of a restore: forked from one helper process that has imported what they need, so that each begins
within milliseconds and shares the memory of what was imported.

The helper is started once per service and ends with it. It holds no connection and no thread, and of secrets only what
the service's environment holds; a worker is given everything else over its pipe. A service that is killed leaves the
folder of the helper's socket (`pymp-*`) to whatever cleans TMPDIR.
"""

import asyncio
import multiprocessing
import tempfile
import threading
from collections.abc import Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import Final

WORKERS: ForkServerContext = multiprocessing.get_context("forkserver")
"""What makes pipes and processes; `start_worker` starts them."""

_FOLDER_BYTES: Final = 70
"""The path of a socket has at most 107 bytes, and the helper's adds up to 37 to that of its folder."""
_SHORT_FOLDER: Final = "/tmp"  # noqa: S108 - the helper makes a private folder in it
_starting = threading.Lock()


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
        usual = tempfile.tempdir
        if len(tempfile.gettempdir().encode()) > _FOLDER_BYTES:
            tempfile.tempdir = _SHORT_FOLDER
        try:
            forkserver.ensure_running()
        finally:
            tempfile.tempdir = usual
