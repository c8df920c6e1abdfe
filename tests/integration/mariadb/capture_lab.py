"""A server whose log is captured: what every test of capture needs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from schemas.commands import DatabaseTls, Endpoint
from tidewind.domain.gtids import Gtid, GtidList
from tidewind.domain.log_stream import Transaction
from tidewind.engines.mariadb.capture import MariaDBCaptureEngine
from tidewind.engines.mariadb.log import events
from tidewind.engines.mariadb.log.reading import MariaDBLogReading
from tidewind.engines.mariadb.log.transactions import PythonSplitter
from tidewind.ports.capture import Resume
from tidewind.ports.engine import Address, Login

SERVER_ID = 4_100_000_001
SECONDS = 60.0


@dataclass
class Captured:
    """What a session gave so far. `data` is kept unless `keep` is off."""

    keep: bool = True
    data: bytearray = field(default_factory=bytearray)
    transactions: list[Transaction] = field(default_factory=list)
    lives: list[bool] = field(default_factory=list)
    largest: int = 0
    position: GtidList = field(default_factory=GtidList)

    @property
    def gtids(self) -> list[str]:
        return [one.gtid for one in self.transactions]

    def bytes_of(self, one: Transaction) -> bytes:
        return bytes(self.data[one.start : one.end])

    def resume(self) -> Resume:
        return Resume(position=str(self.position), last=self.transactions[-1] if self.transactions else None)

    def whole(self) -> None:
        """The session is what its description says: read to the end without an error, places and all."""
        [description, *_] = events.iterate(self.data)
        at = len(description.raw)
        parsed = events.parse_format_description(description.raw)
        for one in self.transactions:
            assert one.start >= at
            at = one.end
            first, *_ = events.iterate(self.bytes_of(one), parsed)
            assert str(events.parse_gtid(first.header, first.body)) == one.gtid
        times = [one.time_us for one in self.transactions]
        assert times == sorted(times)


class Lab:
    def __init__(self, server: Any, *, tls: DatabaseTls | None = None, login: Login | None = None) -> None:
        self.server = server
        self.engine = MariaDBCaptureEngine()
        self.tls = tls
        self.login = login or Login(user="root", password=server.password)

    @property
    def address(self) -> Address:
        host = "localhost" if self.tls else self.server.host
        return Address(cluster_id="captured", endpoints=(Endpoint(host=host, port=self.server.port),), tls=self.tls)

    async def sql(self, *statements: str) -> None:
        """One after the other, on a connection of their own."""
        connection = await self.server.connect()
        try:
            async with connection.cursor() as cursor:
                for statement in statements:
                    await cursor.execute(statement)
                    await cursor.fetchall()
        finally:
            connection.close()

    async def value(self, query: str) -> Any:
        connection = await self.server.connect()
        try:
            async with connection.cursor() as cursor:
                await cursor.execute(query)
                return (await cursor.fetchone())[0]
        finally:
            connection.close()

    async def end(self) -> str:
        return await self.engine.log_end(self.address, self.login)

    @asynccontextmanager
    async def read(
        self, resume: Resume | str = "", *, server_id: int = SERVER_ID, keep: bool = True
    ) -> AsyncIterator["Running"]:
        if isinstance(resume, str):
            resume = Resume(position=resume)
        async with self.engine.read(self.address, self.login, resume, server_id=server_id) as reading:
            running = Running(reading, keep)
            try:
                yield running
            finally:
                await running.stop()

    async def capture(self, resume: Resume | str = "", **options: Any) -> Captured:
        """Everything up to the log's present end."""
        end = await self.end()
        async with self.read(resume, **options) as running:
            await running.up_to(end)
        return running.captured

    def files(self) -> bytes:
        """The log's files as they lie there, without their magic."""
        found = sorted(
            path for path in (self.server.directory / "binlog").glob("binlog.*") if path.suffix[1:].isdigit()
        )
        return b"".join(path.read_bytes()[4:] for path in found)

    def logged(self) -> tuple[bytes, list[Any]]:
        """(bytes, groups) of the log's files, split by the plain Python splitter."""
        splitter = PythonSplitter()
        kept, groups = splitter.feed(self.files())
        assert splitter.failure is None
        return kept, groups


class Running:
    """A session that is being read in the background."""

    def __init__(self, reading: MariaDBLogReading, keep: bool = True) -> None:
        self.reading = reading
        self.captured = Captured(keep=keep, position=GtidList.parse(reading.position))
        self.ended: BaseException | None = None
        self._changed = asyncio.Condition()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        captured = self.captured
        try:
            async for piece in self.reading.pieces():
                async with self._changed:
                    captured.largest = max(captured.largest, len(piece.data))
                    if captured.keep:
                        captured.data += piece.data
                    for one in piece.transactions:
                        captured.transactions.append(one)
                        captured.lives.append(piece.live)
                        captured.position = captured.position.advanced(Gtid.parse(one.gtid))
                    self._changed.notify_all()
        except BaseException as error:
            self.ended = error
            async with self._changed:
                self._changed.notify_all()
            if isinstance(error, asyncio.CancelledError):
                raise

    async def until(self, holds: Callable[[Captured], bool], seconds: float = SECONDS) -> None:
        """Fails with what ended the session, if it did."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: self.ended is not None or holds(self.captured))
        if not holds(self.captured):
            assert self.ended is not None
            raise self.ended

    async def up_to(self, position: str, seconds: float = SECONDS) -> None:
        wanted = GtidList.parse(position)
        await self.until(lambda captured: captured.position.covers(wanted), seconds)

    async def failure(self, seconds: float = SECONDS) -> BaseException:
        """What ends the session."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: self.ended is not None)
        assert self.ended is not None
        return self.ended

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
