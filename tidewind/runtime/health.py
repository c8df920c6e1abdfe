"""`/livez`, `/readyz` and `/metrics` of a service, on loopback unless told otherwise."""

from collections.abc import Callable, Mapping

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from tidewind.runtime.metrics import READY, REGISTRY

Check = Callable[[], str | None]
"""Returns None when ready, else what is missing in words."""


class HealthServer:
    """Answering at all is what `/livez` proves: the loop turns. `/readyz` names what is missing with status 503."""

    def __init__(self, host: str, port: int, checks: Mapping[str, Check]) -> None:
        self._host = host
        self._port = port
        self._checks = checks
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Begin to listen; returns the port. Raises OSError if the port is taken."""
        app = web.Application()
        app.router.add_get("/livez", self._live)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def _missing(self) -> dict[str, str]:
        missing = {name: text for name, check in self._checks.items() if (text := check()) is not None}
        READY.set(0 if missing else 1)
        return missing

    async def _live(self, _: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def _ready(self, _: web.Request) -> web.Response:
        missing = self._missing()
        return web.json_response({"ready": not missing, "missing": missing}, status=503 if missing else 200)

    async def _metrics(self, _: web.Request) -> web.Response:
        self._missing()
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})
