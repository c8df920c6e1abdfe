"""A reader process: one connection, one consistent snapshot, one request at a time (see `messages`).

Started by `readers.ReaderPool`. It holds nothing that outlives it: it ends at once when its parent's end of the pipe
closes, and the server rolls back what its connection held. Interrupts of the terminal are its parent's affair.
"""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC
from multiprocessing.connection import Connection
from typing import Any, Final

import pymysql
from pymysql.constants import COMMAND

from tidewind.engines.mariadb.connection import RawConnection, open_raw, raw_rows
from tidewind.engines.mariadb.definition import Identity, identity
from tidewind.engines.mariadb.failures import DEFINITION_CHANGED, INTERRUPTED, LOCK_TIMEOUT, code_of, translate
from tidewind.engines.mariadb.messages import (
    Answer,
    Began,
    Begin,
    Done,
    Failed,
    Locate,
    Located,
    Progress,
    Read,
    ReaderSettings,
    Ready,
    Request,
    WrittenChunk,
)
from tidewind.engines.mariadb.quoting import quote_table, text_literal
from tidewind.engines.mariadb.reader import ObjectSource, RowStream, write_objects
from tidewind.engines.mariadb.server import LogPlace
from tidewind.engines.mariadb.stored import ALTERED, NOTHING, STORED, by_table
from tidewind.ports.engine import DatabaseError
from tidewind.ports.store import Store, StoreError

ORPHANED: Final = 3
_SPIN_SECONDS: Final = 0.001
_UNCONVERTED: Final = "SET character_set_results = NULL"
_CONVERTED: Final = "SET character_set_results = utf8mb4"
_BEGIN: Final = (
    b"START TRANSACTION WITH CONSISTENT SNAPSHOT",
    b"SELECT UTC_TIMESTAMP(6)",
)


def run_reader(pipe: Connection, settings: ReaderSettings) -> None:
    """The process's main function."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        asyncio.run(_Reader(pipe, settings).serve())
    except (EOFError, BrokenPipeError):
        os._exit(ORPHANED)


class _Reader:
    def __init__(self, pipe: Connection, settings: ReaderSettings) -> None:
        self._pipe = pipe
        self._settings = settings
        self._executor = ThreadPoolExecutor(1, "database")
        self._number = settings.number
        self._connection: RawConnection | None = None
        self._altered: str | None = None
        self._stored: dict[str, str] = {}

    async def serve(self) -> None:
        requests: asyncio.Queue[Request] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._listen, args=(loop, requests), daemon=True).start()
        try:
            self._connection = await self._blocking(self._connect)
            self._send(Ready(connection_id=self._connection.thread_id()))
        except DatabaseError as error:
            self._send(_failed(error))
            return
        async with self._settings.open_store() as store:
            while True:
                self._send(await self._answer(await requests.get(), store))

    def _listen(self, loop: asyncio.AbstractEventLoop, requests: "asyncio.Queue[Request]") -> None:
        """Runs on a thread of its own, so that the parent's end is noticed in the middle of anything."""
        with suppress(EOFError, OSError):
            while True:
                loop.call_soon_threadsafe(requests.put_nowait, self._pipe.recv())
        os._exit(ORPHANED)

    def _send(self, answer: Answer) -> None:
        self._pipe.send(answer)

    async def _blocking(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)

    async def _answer(self, request: Request, store: Store) -> Answer:
        written: list[WrittenChunk] = []
        try:
            if isinstance(request, Begin):
                return await self._begin(request)
            if isinstance(request, Locate):
                return Located(place=await self._blocking(self._place))
            if isinstance(request, Read):
                found = await self._read(request, store, written)
                return Done(chunks=tuple(written), identity=found)
            await self._blocking(self._run, "ROLLBACK")
            return Done()
        except (pymysql.err.Error, DatabaseError, StoreError, OSError, ValueError) as error:
            return self._failure(error, tuple(written))

    def _failure(self, error: Exception, chunks: tuple[WrittenChunk, ...]) -> Failed:
        access = self._settings.access
        code = code_of(error)
        if isinstance(error, StoreError):
            return Failed(reason="store", kind=type(error).__name__, detail=str(error), store=error, chunks=chunks)
        if isinstance(error, ValueError):
            return Failed(reason="internal", kind="internal-error", detail=str(error), chunks=chunks)
        if code in DEFINITION_CHANGED or code in LOCK_TIMEOUT:
            return Failed(reason="changed", kind="snapshot-inconsistent", detail=str(error), chunks=chunks)
        if code in INTERRUPTED:
            return Failed(reason="interrupted", kind="snapshot-inconsistent", detail=str(error), chunks=chunks)
        return _failed(translate(error, access.subject, access.login.user, "reading rows"), chunks)

    # What follows runs on the database's thread.

    def _connect(self) -> RawConnection:
        settings = {"sql_log_bin": "0"} if self._settings.unlogged else {}
        connection = open_raw(self._settings.access, settings=settings)
        connection.query("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        return connection

    def _run(self, sql: str) -> None:
        assert self._connection is not None
        self._connection.query(sql)

    async def _begin(self, request: Begin) -> Began:
        began: Began = await self._blocking(self._begin_at, request.at)
        return began

    def _begin_at(self, at: float) -> Began:
        """Both statements leave in one write, so that nothing lies between snapshot and time; and at an instant all
        readers share, so that the snapshots fall close together."""
        connection = self._connection
        assert connection is not None
        connection.query("ROLLBACK")
        self._altered = None
        packets = b"".join(
            (len(sql) + 1).to_bytes(3, "little") + b"\0" + bytes([COMMAND.COM_QUERY]) + sql for sql in _BEGIN
        )
        time.sleep(max(at - time.monotonic() - _SPIN_SECONDS, 0))
        while time.monotonic() < at:
            pass
        connection._write_bytes(packets)
        answers = []
        for _ in _BEGIN:
            connection._next_seq_id = 1
            connection._read_query_result()
            answers.append(connection._result.rows)
        return Began(clock=answers[1][0][0].replace(tzinfo=UTC).isoformat())

    def _place(self) -> LogPlace | None:
        assert self._connection is not None
        rows = raw_rows(self._connection, self._settings.access, "SHOW STATUS LIKE 'binlog_snapshot_%'")
        status = {name.lower(): value for name, value in rows}
        file = status.get("binlog_snapshot_file")
        return LogPlace(file, int(status["binlog_snapshot_position"])) if file else None

    async def _read(self, request: Read, store: Store, written: list[WrittenChunk]) -> Identity | None:
        found: Identity | None = None
        if request.transactional:
            await self._blocking(self._run, "SAVEPOINT tidewind_chunk")
        try:
            if request.expected is not None:
                standing: Identity = await self._blocking(self._identity, request)
                if standing != request.expected:
                    return standing
            await write_objects(
                lambda: self._source(request),
                store,
                self._executor,
                prefix=self._settings.prefix,
                partition=request.partition,
                next_number=self._next_number,
                written=lambda chunk: self._note(chunk, written),
            )
            if request.stored_name:
                found = await self._blocking(self._identity, request)
            return found
        except BaseException as error:
            if not _in_step(error):
                assert self._connection is not None
                await self._blocking(self._connection._force_close)
            raise
        finally:
            if request.transactional:
                await self._blocking(self._release)

    def _source(self, request: Read) -> ObjectSource:
        assert self._connection is not None
        self._run(_UNCONVERTED)
        return ObjectSource(RowStream(self._connection, request.statement), self._settings.chunk_bytes)

    def _identity(self, request: Read) -> Identity:
        """Taken before the savepoint is rolled back: the read's metadata lock still holds off every DDL."""
        assert self._connection is not None
        self._run(_CONVERTED)
        access = self._settings.access
        table = quote_table(request.schema, request.table)
        create = raw_rows(self._connection, access, f"SHOW CREATE TABLE {table}")[0][1]
        made = raw_rows(
            self._connection,
            access,
            "SELECT CREATE_TIME FROM information_schema.TABLES"
            f" WHERE TABLE_SCHEMA = {text_literal(request.schema)} AND TABLE_NAME = {text_literal(request.table)}",
        )
        # Before the look at what is stored: an exchange that is not seen by it is seen by the next.
        altered = raw_rows(self._connection, access, ALTERED)[0][1]
        if altered != self._altered:
            self._stored = by_table(raw_rows(self._connection, access, STORED))
            self._altered = altered
        return identity(
            create,
            made[0][0].replace(tzinfo=UTC) if made and made[0][0] else None,
            self._stored.get(request.stored_name, NOTHING),
        )

    def _release(self) -> None:
        """Lets go of the table's metadata lock and keeps the snapshot. A dead connection has let go already."""
        assert self._connection is not None
        while self._connection.open:
            try:
                self._run("ROLLBACK TO SAVEPOINT tidewind_chunk")
                break
            except pymysql.err.Error as error:
                if code_of(error) not in INTERRUPTED:  # a KILL QUERY meant for the read came late
                    raise

    def _next_number(self) -> int:
        number = self._number
        self._number += self._settings.step
        return number

    def _note(self, chunk: WrittenChunk, written: list[WrittenChunk]) -> None:
        written.append(chunk)
        self._send(Progress(rows=chunk.rows, row_bytes=chunk.row_bytes))


def _in_step(error: BaseException) -> bool:
    """Whether the server's answer was read to its end: it was, if the end was an error of the server's own."""
    code = code_of(error)
    return code is not None and not 2000 <= code < 3000


def _failed(error: DatabaseError, chunks: tuple[WrittenChunk, ...] = ()) -> Failed:
    return Failed(reason="database", kind=error.kind, detail=error.detail, next_step=error.next_step, chunks=chunks)
