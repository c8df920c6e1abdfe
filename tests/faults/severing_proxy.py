"""Stands between clients and a MariaDB server and severs everything at one command, before the server has it or behind
its answer: what SIGKILL of the client's process does to the server, at an exact place.

All connections end at the same moment, and none is let in until the next strike is set.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

Moment = Literal["before", "after"]
_COM_QUERY = 3
_HEADER = 4
_SHOWN = 160


@dataclass
class Strike:
    """At the `at`-th command that `counts`, from 1."""

    at: int
    moment: Moment
    counts: Callable[[str], bool]


@dataclass(eq=False)
class _Client:
    writer: asyncio.StreamWriter
    server: asyncio.StreamWriter
    dying: bool = False
    """The command to be struck behind is under way: the first bytes of its answer end everything."""


@dataclass
class SeveringProxy:
    host: str
    port: int
    """Of the server."""
    listening: int = 0
    struck: str | None = None
    commands: list[str] = field(default_factory=list)
    _strike: Strike | None = None
    _down: bool = False
    _clients: set[_Client] = field(default_factory=set)
    _acceptor: asyncio.Server | None = None
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    async def start(self) -> None:
        self._acceptor = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.listening = self._acceptor.sockets[0].getsockname()[1]

    def aim(self, strike: Strike | None) -> None:
        """Let clients in; the next strike, or none."""
        self._strike, self.struck, self._down = strike, None, False
        self.commands.clear()

    def lead_to(self, host: str, port: int) -> None:
        """From now on to another server: a failover."""
        self._sever()
        self.host, self.port, self._down = host, port, False

    async def close(self) -> None:
        assert self._acceptor is not None
        self._acceptor.close()
        self._sever()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._down:
            writer.transport.abort()
            return
        from_server, to_server = await asyncio.open_connection(self.host, self.port)
        client = _Client(writer, to_server)
        self._clients.add(client)
        for work in (self._upwards(client, reader), self._downwards(client, from_server)):
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _upwards(self, client: _Client, reader: asyncio.StreamReader) -> None:
        """Packet by packet: a command is one whose number is 0."""
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                header = await reader.readexactly(_HEADER)
                body = await reader.readexactly(int.from_bytes(header[:3], "little"))
                if header[3] == 0 and body and body[0] == _COM_QUERY:
                    self._look(client, body[1 : 1 + _SHOWN].decode("utf-8", "replace"))
                if self._down:
                    break
                client.server.write(header + body)
                await client.server.drain()
        self._end(client)

    async def _downwards(self, client: _Client, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                if client.dying:
                    self._sever()
                if self._down:
                    break
                client.writer.write(data)
                await client.writer.drain()
        self._end(client)

    def _look(self, client: _Client, command: str) -> None:
        strike = self._strike
        if strike is None or self._down or not strike.counts(command):
            return
        self.commands.append(command)
        if len(self.commands) != strike.at:
            return
        self.struck = command
        if strike.moment == "before":
            self._sever()
        else:
            client.dying = True

    def _sever(self) -> None:
        self._down = True
        for client in list(self._clients):
            self._end(client)

    def _end(self, client: _Client) -> None:
        self._clients.discard(client)
        client.writer.transport.abort()
        client.server.transport.abort()
