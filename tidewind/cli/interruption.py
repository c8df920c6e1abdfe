"""Ctrl-C ends the tool, whatever it is doing, with `INTERRUPTED`.

As long as no command works nothing has to be ended: the process is gone at once. While one works the first Ctrl-C
cancels it, so that it says what goes on without it and closes what it opened; a second one, or an ending that takes
longer than `ENDING_S`, ends the process where it stands. What needs longer (`up`, `demo`) handles the signal itself.

A process that was started with the signal ignored, as shells start jobs in the background, goes on ignoring it.
"""

import os
import signal
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from tidewind.cli.endings import INTERRUPTED

if TYPE_CHECKING:
    from asyncio import Task

ENDING_S: Final = 3.0
_CURSOR: Final = b"\x1b[?25h"
Result = TypeVar("Result")


def end_at_once() -> None:
    """From now on, until a command works."""
    if not _ignored():
        signal.signal(signal.SIGINT, _end)


def run_interruptibly(work: Coroutine[Any, Any, Result]) -> Result:
    """`asyncio.run`; raises KeyboardInterrupt if the work was cancelled by Ctrl-C."""
    import asyncio

    if _ignored() or threading.current_thread() is not threading.main_thread():
        return asyncio.run(work)
    interruption = _Interruption()
    before = signal.signal(signal.SIGINT, interruption.come)
    try:
        return asyncio.run(interruption.guard(work))
    except asyncio.CancelledError:
        if interruption.came:
            raise KeyboardInterrupt from None
        raise
    finally:
        # asyncio puts Python's own handler in place of those that the work set.
        signal.signal(signal.SIGINT, before)
        interruption.over()


@contextmanager
def raised() -> Iterator[None]:
    """While something blocks on purpose, such as a question: KeyboardInterrupt, as a cancellation would wait for it."""
    if _ignored() or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Interruption:
    def __init__(self) -> None:
        self._task: Task[Any] | None = None
        self._deadline = threading.Timer(ENDING_S, _end)
        self._deadline.daemon = True
        self.came = False

    async def guard(self, work: Coroutine[Any, Any, Result]) -> Result:
        from asyncio import current_task

        self._task = current_task()
        return await work

    def come(self, *_: object) -> None:
        """Also when the loop does not run because something blocks: the deadline does."""
        if self.came or self._task is None:
            _end()
        self.came = True
        self._deadline.start()
        self._task.get_loop().call_soon_threadsafe(self._task.cancel)

    def over(self) -> None:
        self._deadline.cancel()


def _ignored() -> bool:
    return signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def _end(*_: object) -> NoReturn:
    with suppress(OSError, ValueError):
        if os.isatty(sys.stderr.fileno()):
            os.write(sys.stderr.fileno(), _CURSOR)  # a live display hides it
    os._exit(INTERRUPTED)
