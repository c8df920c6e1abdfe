"""The registry of clusters in the store: revisions that are put once, the newest in force."""

from collections.abc import AsyncIterator

from tidewind.domain import keys
from tidewind.domain.records import RegistryEntry, parse
from tidewind.ports.store import Store


class Registry:
    """Reads the store every time: a cluster enrolled a moment ago by another service is found."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def newest(self, cluster: str) -> RegistryEntry | None:
        found = [entry.key async for entry in self._store.list(f"{keys.REGISTRY}{cluster}/")]
        return parse(RegistryEntry, await self._store.get(found[-1])) if found else None

    async def history(self, cluster: str) -> list[RegistryEntry]:
        """All revisions, oldest first."""
        found = [entry.key async for entry in self._store.list(f"{keys.REGISTRY}{cluster}/")]
        return [parse(RegistryEntry, await self._store.get(key)) for key in found]

    async def put(self, entry: RegistryEntry) -> bool:
        """False: this revision exists already and is not ours; read again and decide anew."""
        return await self._store.put_if_absent(keys.registry(entry.cluster_id, entry.revision), entry.to_bytes())

    async def clusters(self) -> AsyncIterator[RegistryEntry]:
        """The newest revision of every cluster, retired ones included, in the order of their ids."""
        newest: dict[str, str] = {}
        async for found in self._store.list(keys.REGISTRY):
            newest[found.key.removeprefix(keys.REGISTRY).split("/")[0]] = found.key
        for key in newest.values():
            yield parse(RegistryEntry, await self._store.get(key))
