"""The workers of a restore, as the processes they are: kept between runs, replaced when they died idle."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from multiprocessing.connection import Connection
from typing import Any

import pytest

from tidewind.engines.mariadb.connection import Access
from tidewind.engines.mariadb.restore import worker
from tidewind.engines.mariadb.restore.pool import Pool, WorkerDied
from tidewind.ports.engine import Address, Login
from tidewind.ports.store import Store, StoreUnavailable


def answer_pid(pipe: Connection) -> None:
    """Answers each task with its process, and ends itself at the task "end"."""
    with contextlib.suppress(EOFError):
        pipe.recv()
        while True:
            if pipe.recv() == "end":
                os._exit(7)
            pipe.send(("done", os.getpid()))


@contextlib.asynccontextmanager
async def no_store() -> AsyncIterator[Store]:
    raise StoreUnavailable("open", "", "nobody answers")
    yield


@contextlib.asynccontextmanager
async def made(main: Any, start: Any, workers: int) -> AsyncIterator[Pool[Any, Any]]:
    pool: Pool[Any, Any] = Pool(main, start, workers)
    try:
        yield pool
    finally:
        await pool.close()


async def pids(pool: Pool[Any, Any], tasks: int) -> list[int]:
    seen: list[int] = []

    async def done(_: Any, pid: int) -> list[Any]:
        seen.append(pid)
        return []

    async with asyncio.timeout(60):
        await pool.run(["task"] * tasks, done)
    return seen


async def test_one_task_makes_one_worker_which_the_next_run_uses():
    async with made(answer_pid, "start", 4) as pool:
        (first,) = await pids(pool, 1)
        assert await pids(pool, 1) == [first]
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


async def test_a_worker_that_died_with_nothing_to_do_is_replaced():
    async with made(answer_pid, "start", 1) as pool:
        (first,) = await pids(pool, 1)
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(30):
            while _lives(first):
                await asyncio.sleep(0.01)
        (second,) = await pids(pool, 1)
        assert second != first


async def test_a_worker_that_dies_over_a_task_fails_the_run():
    async with made(answer_pid, "start", 1) as pool:
        with pytest.raises(WorkerDied, match="exit code 7"):
            await pool.run(["end"], _nothing)
        assert len(await pids(pool, 2)) == 2


async def test_a_store_that_cannot_be_opened_is_named():
    access = Access(address=Address(cluster_id="shop", endpoints=(), tls=None), login=Login(user="u", password="p"))
    start = worker.Start(access=access, open_store=no_store, restore_id="rst_1", logged=False, sql_mode="")
    async with made(worker.main, start, 1) as pool:
        with pytest.raises(StoreUnavailable, match="nobody answers"):
            await pool.run([worker.AddKeys(table="t", statement="s")], _nothing)


async def _nothing(_: Any, __: Any) -> list[Any]:
    return []


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
