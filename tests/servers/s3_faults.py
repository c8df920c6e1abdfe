"""An HTTP proxy in front of an S3 server that does to chosen requests what networks and overloaded servers do."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from tidewind.embedded.processes import LOOPBACK

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens to a request. `status` answers instead of the server. `lose_answer` lets the server act and then
    closes the connection; `hold_answer` lets it act and then keeps silent. `drop_after` and `stall_after` count bytes
    of the answer's body. `hide_range` takes Content-Range from the answer. `body` is answered instead, with `status`
    or 200."""

    status: int | None = None
    code: str = ""
    lose_answer: bool = False
    hold_answer: bool = False
    drop_after: int | None = None
    stall_after: int | None = None
    hide_range: bool = False
    body: str | None = None


@dataclass
class FaultProxy:
    """`decide(index, method, headers)` names the fault of each request, None for none; `seen` lists method and range
    of every request."""

    target: str
    decide: Callable[[int, str, CIMultiDict[str]], Fault | None] = lambda index, method, headers: None
    seen: list[tuple[str, str]] = field(default_factory=list)

    async def start(self) -> str:
        """Returns the URL to use instead of the server's."""
        self._released = asyncio.Event()
        self.held = asyncio.Event()
        self._session = aiohttp.ClientSession(auto_decompress=False)
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, LOOPBACK, 0)
        await site.start()
        port = self._runner.addresses[0][1]
        return f"http://{LOOPBACK}:{port}"

    async def stop(self) -> None:
        self._released.set()
        await self._runner.cleanup()
        await self._session.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        headers = CIMultiDict(request.headers)
        fault = self.decide(len(self.seen), request.method, headers) or Fault()
        self.seen.append((request.method, headers.get("Range", "")))
        body = await request.read()
        if fault.body is not None:
            return web.Response(status=fault.status or 200, text=fault.body, content_type="text/html")
        if fault.status is not None:
            text = f"<Error><Code>{fault.code}</Code><Message>scripted</Message></Error>"
            return web.Response(status=fault.status, text=text, content_type="application/xml")
        for name in ("Transfer-Encoding", "Expect"):
            headers.popall(name, None)
        url = URL(self.target + request.raw_path, encoded=True)
        async with self._session.request(
            request.method, url, headers=headers, data=body or None, skip_auto_headers=("Content-Type", "User-Agent")
        ) as answer:
            if fault.hold_answer:
                await answer.read()
                self.held.set()
                await self._released.wait()
            if fault.lose_answer or fault.hold_answer:
                await answer.read()
                return self._cut(request)
            return await self._pass_on(request, answer, fault)

    async def _pass_on(self, request: web.Request, answer: aiohttp.ClientResponse, fault: Fault) -> web.StreamResponse:
        kept = CIMultiDict((k, v) for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP)
        if fault.hide_range:
            kept.popall("Content-Range", None)
        response = web.StreamResponse(status=answer.status, headers=kept)
        if "Content-Length" in answer.headers:
            response.content_length = int(answer.headers["Content-Length"])
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        limits = [at for at in (fault.drop_after, fault.stall_after) if at is not None]
        left = min(limits) if limits else None
        async for piece in answer.content.iter_chunked(65_536):
            part = piece if left is None else piece[:left]
            await response.write(part)
            if left is not None:
                left -= len(part)
                if left == 0:
                    if fault.stall_after is not None:
                        await self._released.wait()
                    return self._cut(request, response)
        await response.write_eof()
        return response

    @staticmethod
    def _cut(request: web.Request, begun: web.StreamResponse | None = None) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        return begun or web.Response()
