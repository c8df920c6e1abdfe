"""`python -m services.scheduler`."""

import asyncio
import os
import sys
import threading

from services.scheduler.bootstrap import NAME, serve
from services.scheduler.faust_app import without_cancellations
from tidewind.runtime.startup import run_service


async def _serve_and_leave() -> int:
    """Everything of ours is closed when `serve` ends. Tasks and the thread of Faust go on for as long as a broker that
    is gone does not answer them, and asyncio and the interpreter would wait for both."""
    code = await serve()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    threading.excepthook = without_cancellations
    sys.exit(run_service(NAME, lambda: asyncio.run(_serve_and_leave())))
