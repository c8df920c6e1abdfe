"""Keeps one capture running for every cluster whose partition this instance owns, and says of the others of these that
their log is not read: retired ones, and all where capture is off."""

import asyncio
from collections.abc import Callable, Mapping

import structlog

from services.changelog.handlers.capture import Capture
from services.changelog.handlers.sending import CaptureTools
from tidewind.domain.records import RegistryEntry
from tidewind.ports.capture import CaptureEngine
from tidewind.ports.store import StoreError
from tidewind.runtime.registry import Registry

log = structlog.get_logger()

_STOP_S = 10.0


class Captures:
    """`run` as a part of the service; `engines` are none where capture is off, `owns` tells whether a cluster is this
    instance's. A capture whose registry entry
    changed (endpoints, credentials) is begun anew; one that dies is begun again at the next look."""

    def __init__(
        self,
        registry: Registry,
        engines: Mapping[str, CaptureEngine],
        tools: CaptureTools,
        owns: Callable[[str], bool],
    ) -> None:
        self._registry = registry
        self._engines = engines
        self._tools = tools
        self._owns = owns
        self._running: dict[str, tuple[RegistryEntry, asyncio.Task[None]]] = {}

    async def run(self) -> None:
        try:
            while True:
                try:
                    await self._look()
                except StoreError as error:
                    log.warning(str(error), action="captures-store-unavailable")
                await self._tools.clock.sleep(self._tools.settings.clusters_every_s)
        finally:
            await self._stop(list(self._running))

    @property
    def clusters(self) -> frozenset[str]:
        """Those whose logs are to be captured here."""
        return frozenset(self._running)

    async def assigned(self) -> None:
        """Partitions have changed: let go at once of what is no longer owned."""
        await self._stop([cluster for cluster in self._running if not self._owns(cluster)])

    async def _look(self) -> None:
        owned = [entry async for entry in self._registry.clusters() if self._owns(entry.cluster_id)]
        wanted = {entry.cluster_id: entry for entry in owned if self._wanted(entry)}
        gone = [
            cluster
            for cluster, (entry, task) in self._running.items()
            if cluster not in wanted or _reached_otherwise(entry, wanted[cluster]) or task.done()
        ]
        await self._stop(gone)
        for cluster, entry in wanted.items():
            if cluster not in self._running:
                capture = Capture(entry, self._engines[entry.engine], self._tools)
                self._running[cluster] = (entry, asyncio.create_task(capture.run(), name=f"capture {cluster}"))
        for entry in owned:
            if entry.cluster_id not in wanted:
                self._say_off(entry)

    def _wanted(self, entry: RegistryEntry) -> bool:
        return entry.state == "protected" and entry.engine in self._engines

    def _say_off(self, entry: RegistryEntry) -> None:
        """Once, when it is known what was said before: where capture goes on from, when it is on again. Of a retired
        cluster only what is no longer so is taken back."""
        if not self._tools.view.caught_up():
            return
        said = self._tools.view.get(f"capture/{entry.cluster_id}")
        if said is None and entry.state == "retired":
            return
        if said is None or said.get("state") != "off":
            self._tools.notices(entry.cluster_id).off()

    async def _stop(self, clusters: list[str]) -> None:
        tasks = [self._running.pop(cluster)[1] for cluster in clusters]
        for task in tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                log.error("A capture failed and is begun again", action="capture-died", exc_info=task.exception())
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_STOP_S)


def _reached_otherwise(before: RegistryEntry, now: RegistryEntry) -> bool:
    return (before.endpoints, before.credentials, before.tls) != (now.endpoints, now.credentials, now.tls)
