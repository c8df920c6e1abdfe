"""The registry of clusters in the store: revisions that are put once, the newest in force."""

from collections.abc import AsyncIterator

import structlog

from tidewind.domain import keys
from tidewind.domain.records import RegistryEntry, parse
from tidewind.ports.store import UNREADABLE, Store

log = structlog.get_logger()


class Registry:
    """Reads the store every time: a cluster enrolled a moment ago by another service is found."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def newest(self, cluster: str) -> RegistryEntry | None:
        found = [entry.key async for entry in self._store.list(f"{keys.REGISTRY}{cluster}/")]
        return await self._read(found[-1]) if found else None

    async def history(self, cluster: str) -> list[RegistryEntry]:
        """All revisions, oldest first."""
        found = [entry.key async for entry in self._store.list(f"{keys.REGISTRY}{cluster}/")]
        return [await self._read(key) for key in found]

    async def put(self, entry: RegistryEntry) -> bool:
        """False: this revision exists already and is not ours; read again and decide anew."""
        return await self._store.put_if_absent(keys.registry(entry.cluster_id, entry.revision), entry.to_bytes())

    async def clusters(self) -> AsyncIterator[RegistryEntry]:
        """The newest revision of every cluster, retired ones included, in the order of their ids. One that cannot be
        read is left out and logged: whoever works for all clusters works for the others."""
        newest: dict[str, str] = {}
        async for found in self._store.list(keys.REGISTRY):
            newest[found.key.removeprefix(keys.REGISTRY).split("/")[0]] = found.key
        for cluster, key in newest.items():
            try:
                entry = await self._read(key)
            except UNREADABLE as error:
                log.warning("a cluster cannot be read", action="cluster-skipped", cluster=cluster, why=str(error))
                continue
            yield entry

    async def _read(self, key: str) -> RegistryEntry:
        return parse(RegistryEntry, await self._store.get(key), key)
