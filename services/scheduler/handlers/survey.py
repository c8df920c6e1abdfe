"""What the store holds, as far as a tick needs to know: listings once a round, immutable documents once ever."""

from dataclasses import dataclass, field
from datetime import datetime

from tidewind.domain import keys, timelines
from tidewind.domain.histories import History
from tidewind.domain.records import RegistryEntry, Timeline, parse
from tidewind.ports.clock import Clock
from tidewind.ports.store import Store

SNAPSHOTTER = "snapshotter"
RESTORER = "restorer"


@dataclass
class _Listing:
    """Keys by cluster, and the ids of unfinished jobs by cluster."""

    revisions: dict[str, list[str]] = field(default_factory=dict)
    timelines: dict[str, list[str]] = field(default_factory=dict)
    histories: dict[str, list[str]] = field(default_factory=dict)
    backups_open: dict[str, frozenset[str]] = field(default_factory=dict)
    restores_open: dict[str, frozenset[str]] = field(default_factory=dict)
    oldest_open: dict[str, datetime] = field(default_factory=dict)


class Survey:
    """`refresh` first; the other methods answer from the newest listing. A few listings for the whole fleet, so that
    ticks cost the same with one cluster or a thousand."""

    def __init__(self, store: Store, clock: Clock, *, max_age_s: float) -> None:
        self._store = store
        self._clock = clock
        self._max_age_s = max_age_s
        self._listed_at: float | None = None
        self._listing = _Listing()
        self._entries: dict[str, RegistryEntry] = {}
        self._timelines: dict[str, Timeline] = {}
        self._histories: dict[str, History] = {}

    async def refresh(self, *, at_once: bool = False) -> None:
        """List again unless the last listing is young. Raises StoreError, keeping the last one."""
        began = self._clock.monotonic()
        if not at_once and self._listed_at is not None and began - self._listed_at < self._max_age_s:
            return
        oldest: dict[str, datetime] = {}
        self._listing = _Listing(
            revisions=await self._by_cluster(keys.REGISTRY),
            timelines=await self._by_cluster(keys.TIMELINES),
            histories=await self._by_cluster(keys.HISTORIES_BEGUN),
            backups_open=await self._open(SNAPSHOTTER, oldest),
            restores_open=await self._open(RESTORER, oldest),
            oldest_open=oldest,
        )
        self._listed_at = began

    def clusters(self) -> list[str]:
        return list(self._listing.revisions)

    def restoring(self, cluster: str) -> bool:
        """Whether a restore or undo of the cluster is accepted and has not ended."""
        return bool(self._listing.restores_open.get(cluster))

    def open_backup_jobs(self, cluster: str) -> frozenset[str]:
        """Unfinished jobs of the snapshotter."""
        return self._listing.backups_open.get(cluster, frozenset())

    def oldest_open(self, now: datetime) -> dict[str, datetime]:
        """When the oldest unfinished job of each service was taken in, by the store's clock; `now` without any."""
        return {service: self._listing.oldest_open.get(service, now) for service in (SNAPSHOTTER, RESTORER)}

    async def history(self, cluster: str) -> tuple[RegistryEntry, ...]:
        """All revisions, oldest first."""
        history = []
        for key in self._listing.revisions.get(cluster, ()):
            if key not in self._entries:
                self._entries[key] = parse(RegistryEntry, await self._store.get(key), key)
            history.append(self._entries[key])
        return tuple(history)

    async def timelines(self, cluster: str) -> list[Timeline]:
        """Oldest first."""
        found = []
        for key in self._listing.timelines.get(cluster, ()):
            if key not in self._timelines:
                self._timelines[key] = parse(Timeline, await self._store.get(key), key)
            found.append(self._timelines[key])
        return timelines.in_order(found)

    async def newest_timeline(self, cluster: str) -> Timeline | None:
        return timelines.newest(await self.timelines(cluster))

    async def histories(self, cluster: str) -> list[History]:
        """The cluster's captured logs, oldest first; none where nothing is captured."""
        found = []
        for key in self._listing.histories.get(cluster, ()):
            if key not in self._histories:
                self._histories[key] = parse(History, await self._store.get(key), key)
            found.append(self._histories[key])
        return found

    async def _by_cluster(self, prefix: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        async for entry in self._store.list(prefix):
            found.setdefault(entry.key.removeprefix(prefix).split("/")[0], []).append(entry.key)
        return found

    async def _open(self, service: str, oldest: dict[str, datetime]) -> dict[str, frozenset[str]]:
        found: dict[str, set[str]] = {}
        prefix = f"{keys.JOBS_OPEN}{service}/"
        async for marker in self._store.list(prefix):
            cluster, job = marker.key.removeprefix(prefix).split("/")
            found.setdefault(cluster, set()).add(job)
            oldest[service] = min(oldest.get(service, marker.modified), marker.modified)
        return {cluster: frozenset(jobs) for cluster, jobs in found.items()}
