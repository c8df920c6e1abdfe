"""Worker processes: forked from one helper process that has imported what they need, so that each begins within
milliseconds and shares the memory of what was imported.

The helper is started once per service and ends with it; it holds no connection, no secret and no thread. A worker is
given everything over its pipe.
"""

import asyncio
import multiprocessing
from collections.abc import Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

WORKERS: ForkServerContext = multiprocessing.get_context("forkserver")
"""What makes pipes and processes."""


async def prepare_workers(modules: Sequence[str]) -> None:
    """Start the helper, which imports `modules` while the service goes on. Once it runs, a second call does nothing;
    without any call it is started by the first worker and imports nothing beforehand."""
    WORKERS.set_forkserver_preload(list(modules))
    await asyncio.to_thread(forkserver.ensure_running)
