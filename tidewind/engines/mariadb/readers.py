"""The parent's side of the reader processes (see `messages` and `worker`).

Whoever closes the pool, for whatever reason, leaves no process and no connection behind: processes are killed, and
their connections are ended on the server by id, because a server in the middle of a long read notices a closed socket
late.
"""

import asyncio
import contextlib
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Final

from tidewind.engines.mariadb.connection import Access, end_connection
from tidewind.engines.mariadb.messages import (
    Answer,
    Done,
    Failed,
    Progress,
    ReaderSettings,
    Ready,
    Release,
    Request,
    WrittenChunk,
)
from tidewind.engines.mariadb.worker import run_reader
from tidewind.ports.engine import DatabaseError, StoreFactory
from tidewind.ports.store import StoreError

START_SECONDS: Final = 60.0
JOIN_SECONDS: Final = 5.0

Advance = Callable[[int, int], None]
"""Told of rows and bytes that were written since the last call."""


class Reader:
    """One reader process. One request at a time."""

    def __init__(self, process: SpawnProcess, pipe: Connection, access: Access, advance: Advance) -> None:
        self._process = process
        self._pipe = pipe
        self._access = access
        self._advance = advance
        self._answers: asyncio.Queue[Answer | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(pipe.fileno(), self._receive)
        self.connection_id: int | None = None
        self.reading: tuple[str, str] | None = None

    def _receive(self) -> None:
        try:
            while self._pipe.poll():
                answer = self._pipe.recv()
                if isinstance(answer, Progress):
                    self._advance(answer.rows, answer.row_bytes)
                else:
                    self._answers.put_nowait(answer)
        except (EOFError, OSError):
            self._loop.remove_reader(self._pipe.fileno())
            self._answers.put_nowait(None)

    async def started(self) -> None:
        """Wait until it is connected. Raises DatabaseError."""
        async with asyncio.timeout(START_SECONDS):
            answer = await self._next()
        if isinstance(answer, Failed):
            raise failure(answer)
        assert isinstance(answer, Ready)
        self.connection_id = answer.connection_id

    async def ask(self, request: Request) -> Answer:
        """Send a request and wait for its answer. Raises DatabaseError if the process has ended."""
        try:
            self._pipe.send(request)
        except (BrokenPipeError, OSError) as error:
            raise _ended(self._process) from error
        return await self._next()

    async def _next(self) -> Answer:
        answer = await self._answers.get()
        if answer is None:
            await asyncio.to_thread(self._process.join, JOIN_SECONDS)
            raise _ended(self._process)
        return answer

    async def close(self) -> None:
        """End the process, then its connection."""
        with contextlib.suppress(OSError, ValueError):
            self._loop.remove_reader(self._pipe.fileno())
        self._process.kill()
        self._pipe.close()
        await asyncio.to_thread(self._process.join, JOIN_SECONDS)
        if self.connection_id is not None:
            await end_connection(self._access, self.connection_id)


def _ended(process: SpawnProcess) -> DatabaseError:
    return DatabaseError(
        "snapshot-inconsistent",
        f"a reader process ended by itself (exit code {process.exitcode}); its snapshot is gone",
    )


def failure(answer: Failed) -> DatabaseError | StoreError:
    """The exception an answer stands for."""
    if answer.store is not None:
        return answer.store
    return DatabaseError(answer.kind, answer.detail, answer.next_step)


class ReaderPool:
    """`async with ReaderPool(…) as pool`: all readers started; `ready` waits until they are connected."""

    def __init__(
        self,
        access: Access,
        *,
        open_store: StoreFactory,
        prefix: str,
        chunk_bytes: int,
        readers: int,
        unlogged: bool,
        advance: Advance,
    ) -> None:
        self.readers: list[Reader] = []
        self._access = access
        self._advance = advance
        self._settings = [
            ReaderSettings(
                access=access,
                open_store=open_store,
                prefix=prefix,
                chunk_bytes=chunk_bytes,
                number=number,
                step=readers,
                unlogged=unlogged,
            )
            for number in range(readers)
        ]

    async def __aenter__(self) -> "ReaderPool":
        try:
            for settings in self._settings:
                self.readers.append(await self._start(settings))
        except BaseException:
            await self.close()
            raise
        return self

    async def ready(self) -> None:
        """Wait until all readers are connected. Raises DatabaseError. Again it returns at once."""
        for reader in self.readers:
            if reader.connection_id is None:
                await reader.started()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _start(self, settings: ReaderSettings) -> Reader:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=run_reader, args=(theirs, settings), name="tidewind-reader", daemon=True)
        # In this thread: a process asks the kernel to end with the thread that made it.
        process.start()
        theirs.close()
        return Reader(process, ours, self._access, self._advance)

    async def release(self) -> None:
        """End all snapshots. Raises DatabaseError."""
        answers = await asyncio.gather(*(reader.ask(Release()) for reader in self.readers))
        for answer in answers:
            if isinstance(answer, Failed):
                raise failure(answer)

    async def close(self) -> None:
        """A second call does nothing. Goes through to its end also when it is cancelled meanwhile."""
        readers, self.readers = self.readers, []
        if readers:
            await asyncio.shield(asyncio.gather(*(reader.close() for reader in readers), return_exceptions=True))


__all__ = ["Done", "Reader", "ReaderPool", "WrittenChunk", "failure"]
