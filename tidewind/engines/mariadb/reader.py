"""One SELECT, read as raw packets and written to the store as compressed text. Runs inside a reader process.

Python never touches a row: bytes go from the socket through the converter and the compressor in pieces of a quarter
megabyte, so memory does not grow with rows, chunks or tables. The blocking half (`RowStream`, `ObjectSource`) stays on
one thread; the store's half runs on the event loop, one piece behind.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from typing import Final

import pymysql
import zstandard
from pymysql.constants import COMMAND

from tidewind.domain import keys
from tidewind.engines.mariadb.connection import RawConnection
from tidewind.engines.mariadb.messages import WrittenChunk
from tidewind.engines.mariadb.rows import RowConverter
from tidewind.ports.store import Store

RECEIVE_BYTES: Final = 256 * 1024
PIECE_BYTES: Final = 256 * 1024
COMPRESSION_LEVEL: Final = 1
_MASK: Final = (1 << 64) - 1

Counted = tuple[int, int, int]
"""Rows, bytes of text and checksum of complete rows."""


class RowStream:
    """The answer to one SELECT as text. Blocking.

    After an error of the server in the middle the connection is in step again; after any other exception it is not.
    """

    def __init__(self, connection: RawConnection, statement: str) -> None:
        self._connection = connection
        connection._execute_command(COMMAND.COM_QUERY, statement)
        columns = connection._read_packet().read_length_encoded_integer()
        for _ in range(columns + 1):  # their definitions, and the mark behind them
            connection._read_packet()
        self._converter = RowConverter(columns)
        self._view = memoryview(bytearray(RECEIVE_BYTES))
        self._first = True

    @property
    def finished(self) -> bool:
        return self._converter.finished

    @property
    def counted(self) -> Counted:
        return self._converter.rows, self._converter.row_bytes, self._converter.checksum

    def read(self) -> tuple[bytes, int]:
        """More text, and its length up to the last complete row. Raises the server's error as pymysql does."""
        text = self._converter.feed(self._receive())
        if self._converter.error is not None:
            pymysql.err.raise_mysql_exception(self._converter.error)
        return text, self._converter.boundary

    def _receive(self) -> bytes | memoryview:
        """What lies ready in the driver's buffer comes first, on its own: `readinto1` would go on to wait for more."""
        data: bytes | memoryview
        if self._first:
            self._first = False
            data = self._connection._rfile.read1(RECEIVE_BYTES)
        else:
            data = self._view[: self._connection._rfile.readinto1(self._view)]
        if not data:
            raise pymysql.err.OperationalError(2013, "Lost connection to MySQL server during query")
        return data


class ObjectSource:
    """Cuts a stream into objects at row ends and compresses each. Blocking."""

    def __init__(self, stream: RowStream, chunk_bytes: int) -> None:
        self._stream = stream
        self._chunk_bytes = chunk_bytes
        self._carried = b""
        self._start: Counted = (0, 0, 0)
        self._end: Counted = (0, 0, 0)
        self._compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL, write_checksum=True)
        self._object: zstandard.ZstdCompressionObj | None = None

    def begin(self) -> bool:
        """Begin the next object; False if no rows are left."""
        while not self._carried and not self._stream.finished:
            self._carried, _ = self._stream.read()
        if not self._carried:
            return False
        self._start = self._end
        self._object = self._compressor.compressobj()
        return True

    def piece(self) -> tuple[bytes, bool]:
        """The next compressed bytes of the object, and whether they are its last."""
        assert self._object is not None
        pieces = [self._object.compress(self._carried)]
        self._carried = b""
        size = len(pieces[0])
        while size < PIECE_BYTES:
            if self._stream.finished:
                return self._ended(pieces)
            text, boundary = self._stream.read()
            # What is carried over is the beginning of one row: a full object is always noticed where it fills up.
            full = boundary > 0 and self._stream.counted[1] - self._start[1] >= self._chunk_bytes
            if full:
                text, self._carried = text[:boundary], text[boundary:]
            pieces.append(self._object.compress(text))
            size += len(pieces[-1])
            if full:
                return self._ended(pieces)
        return b"".join(pieces), False

    def _ended(self, pieces: list[bytes]) -> tuple[bytes, bool]:
        assert self._object is not None
        pieces.append(self._object.flush())
        self._object = None
        self._end = self._stream.counted
        return b"".join(pieces), True

    @property
    def object_counted(self) -> Counted:
        """Rows, bytes and checksum of the object that ended last."""
        rows, row_bytes, checksum = (end - start for end, start in zip(self._end, self._start, strict=True))
        return rows, row_bytes, checksum & _MASK


async def write_objects(
    source: Callable[[], ObjectSource],
    store: Store,
    executor: Executor,
    *,
    prefix: str,
    partition: str | None,
    next_number: Callable[[], int],
    written: Callable[[WrittenChunk], None],
) -> None:
    """Read to the end, one object after the other, telling `written` of each. `source` begins the read. Raises what the
    database or the store raised; the object in hand is then not in the store."""
    loop = asyncio.get_running_loop()
    objects = await loop.run_in_executor(executor, source)
    while await loop.run_in_executor(executor, objects.begin):
        number = next_number()
        stored = await store.put_stream(keys.chunk(prefix, number), _pieces(objects, executor))
        rows, row_bytes, checksum = objects.object_counted
        written(
            WrittenChunk(
                number=number,
                key=stored.key,
                size=stored.size,
                sha256=stored.sha256,
                rows=rows,
                row_bytes=row_bytes,
                checksum=checksum,
                partition=partition,
            )
        )


async def _pieces(objects: ObjectSource, executor: Executor) -> AsyncIterator[bytes]:
    """The object's bytes; the next piece is made while the store takes this one."""
    loop = asyncio.get_running_loop()
    coming = loop.run_in_executor(executor, objects.piece)
    try:
        while True:
            piece, last = await coming
            if not last:
                coming = loop.run_in_executor(executor, objects.piece)
            yield piece
            if last:
                return
    finally:
        # The connection must not be used by anything else before the blocking half has come back.
        if not coming.done():
            await asyncio.wait([coming])
        if coming.done() and not coming.cancelled():
            coming.exception()
