"""Worker processes: each does one task at a time over its own connection and its own store.

A task and its outcome are plain values. Secrets reach a worker through the pipe it was started over, never through its
arguments or environment. A worker ends when that pipe closes, so none outlives the process that started it by more than
its present task; and what it does on the server is under the epoch's own account, which a successor removes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from tidewind.ports.engine import DatabaseError
from tidewind.ports.store import (
    KeyMissing,
    ObjectDamaged,
    ObjectMissing,
    StoreError,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)
from tidewind.runtime.workers import WORKERS, start_worker

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")
Failure = tuple[str, tuple[Any, ...]]
"""How an error crosses the pipe: its kind, and what it is made of."""

_STORE_ERRORS: tuple[type[StoreError], ...] = (
    KeyMissing,
    ObjectDamaged,
    ObjectMissing,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
    StoreError,
)
END_DEADLINE_S = 5.0


class WorkerDied(DatabaseError):
    """A worker process ended without an answer; its task was rolled back by the server."""

    def __init__(self, code: int | None) -> None:
        super().__init__("internal-error", f"a worker process ended unexpectedly (exit code {code})")


def pack(error: BaseException) -> Failure:
    """The error as values."""
    if isinstance(error, StoreError):
        name = next(kind.__name__ for kind in _STORE_ERRORS if isinstance(error, kind))
        return name, (error.operation, error.key, error.cause, error.hint)
    if isinstance(error, DatabaseError):
        return "DatabaseError", (error.kind, error.detail, error.next_step)
    return "DatabaseError", ("internal-error", f"a worker failed: {type(error).__name__}: {error}", None)


def unpack(failure: Failure) -> Exception:
    """The error again."""
    name, parts = failure
    for kind in _STORE_ERRORS:
        if kind.__name__ == name:
            return kind(*parts)
    return DatabaseError(*parts)


class Pool(Generic[Task, Outcome]):
    """`main(pipe)` runs in each worker: it receives `start`, then tasks, and answers each with ("done", outcome) or
    ("failed", Failure). Workers are made for the first run and kept for the next until `close`."""

    def __init__(self, main: Callable[[Connection], None], start: Any, workers: int) -> None:
        self._main = main
        self._start = start
        self._count = workers
        self._workers: list[_Worker] = []
        self._threads = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="restore-worker")

    async def run(self, tasks: Sequence[Task], done: Callable[[Task, Outcome], Awaitable[Sequence[Task]]]) -> None:
        """Do all tasks, each as soon as a worker is free; `done` is told of each and may answer with more to do, which
        comes first. The first failure ends all workers and is raised."""
        queue: list[Task] = list(tasks)
        if not queue:
            return
        changed = asyncio.Condition()
        state = {"busy": 0}

        async def serve(worker: _Worker) -> None:
            while True:
                async with changed:
                    await changed.wait_for(lambda: bool(queue) or state["busy"] == 0)
                    if not queue:
                        return
                    task = queue.pop(0)
                    state["busy"] += 1
                more: Sequence[Task] = ()
                try:
                    more = await done(task, await self._ask(worker, task))
                finally:
                    async with changed:
                        queue[:0] = more
                        state["busy"] -= 1
                        changed.notify_all()

        try:
            await self._begin(min(self._count, len(queue)))
            async with asyncio.TaskGroup() as group:
                for worker in self._workers:
                    group.create_task(serve(worker))
        except BaseExceptionGroup as failures:
            await self._end(at_once=True)
            raise failures.exceptions[0] from None
        except BaseException:
            await self._end(at_once=True)
            raise

    async def close(self) -> None:
        """End the workers. What they do at this moment is rolled back by the server."""
        await self._end(at_once=False)
        self._threads.shutdown(wait=False)

    async def _begin(self, wanted: int) -> None:
        """One that died while it had nothing to do has lost nothing, and is replaced."""
        for worker in [one for one in self._workers if not one.process.is_alive()]:
            self._workers.remove(worker)
            worker.pipe.close()
        while len(self._workers) < wanted:
            ours, theirs = WORKERS.Pipe()
            process = WORKERS.Process(target=self._main, args=(theirs,), daemon=True)
            self._workers.append(_Worker(ours, process))
            await start_worker(process)
            theirs.close()
            ours.send(self._start)

    async def _ask(self, worker: "_Worker", task: Task) -> Any:
        loop = asyncio.get_running_loop()
        try:
            worker.pipe.send(task)
            answer = await loop.run_in_executor(self._threads, worker.pipe.recv)
        except (EOFError, OSError):
            await asyncio.to_thread(worker.process.join, END_DEADLINE_S)
            raise WorkerDied(worker.process.exitcode) from None
        kind, value = answer
        if kind == "failed":
            raise unpack(value)
        return value

    async def _end(self, *, at_once: bool) -> None:
        workers, self._workers = self._workers, []
        for worker in workers:
            if at_once and worker.process.is_alive():
                worker.process.kill()
            worker.pipe.close()
        for worker in workers:
            if worker.process.pid is not None:
                await asyncio.to_thread(worker.process.join, END_DEADLINE_S)
                if worker.process.is_alive():
                    worker.process.kill()


@dataclass(frozen=True)
class _Worker:
    pipe: Connection
    process: BaseProcess
