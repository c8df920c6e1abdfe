"""Runs the parts of a service as one process: starts them, stops all when one dies or a signal comes.

A part that ends or raises stops the process with exit code 1: a service without its heartbeat or its consumer must not
look alive. SIGTERM and SIGINT stop it with exit code 0 after the parts were cancelled and the closers ran, each under a
deadline.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

log = structlog.get_logger()

Part = Callable[[], Coroutine[Any, Any, None]]
Closer = Callable[[], Awaitable[object]]


class Host:
    """Add parts and closers, then `run`. Closers run in the reverse order of their addition."""

    def __init__(self, name: str, *, stop_deadline_s: float) -> None:
        self._name = name
        self._stop_deadline_s = stop_deadline_s
        self._parts: list[tuple[str, Part]] = []
        self._closers: list[tuple[str, Closer]] = []
        self.stop = asyncio.Event()

    def add(self, name: str, part: Part) -> None:
        """A coroutine function that runs until cancelled."""
        self._parts.append((name, part))

    def on_close(self, name: str, closer: Closer) -> None:
        self._closers.append((name, closer))

    async def run(self) -> int:
        """The exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop.set)
        try:
            return await self._run_parts()
        finally:
            await self._close()

    async def _run_parts(self) -> int:
        tasks = [asyncio.create_task(part(), name=name) for name, part in self._parts]
        stopped = asyncio.create_task(self.stop.wait(), name="stop signal")
        log.info(f"{self._name} runs", action="started")
        done, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
        failed = [task for task in done if task is not stopped]
        for task in failed:
            error = None if task.cancelled() else task.exception()
            log.error(f"{task.get_name()} ended, so the service stops", action="part-died", exc_info=error)
        for task in [*tasks, stopped]:
            task.cancel()
        await asyncio.wait([*tasks, stopped], timeout=self._stop_deadline_s)
        return 1 if failed else 0

    async def _close(self) -> None:
        for name, closer in reversed(self._closers):
            try:
                async with asyncio.timeout(self._stop_deadline_s):
                    await closer()
            except TimeoutError:
                log.warning(f"{name} did not close in time", action="close-late")
            except Exception:
                log.exception(f"{name} failed to close", action="close-failed")
        log.info(f"{self._name} stopped", action="stopped")
