"""What one cluster's damaged record does to the safeguards of the others: nothing."""

from pathlib import Path
from types import SimpleNamespace

from services.restorer.handlers.expiry import Expiry
from tests.fakes import ManualClock, RecordingPublisher, SharedView
from tests.unit.restorer.bench import entry
from tidewind.domain import keys
from tidewind.domain.records import RegistryEntry, Timeline
from tidewind.runtime.catalogue import Catalogue
from tidewind.runtime.outbox import Composer
from tidewind.runtime.registry import Registry
from tidewind.store.directory import DirectoryStore


class _Looks(Expiry):
    """Notes whose safeguards were looked at."""

    looked: list[str]

    async def _expire(self, entry: RegistryEntry, timeline: Timeline) -> bool:
        self.looked.append(entry.cluster_id)
        return False


async def test_a_damaged_record_does_not_keep_the_next_cluster_s_safeguards(tmp_path: Path) -> None:
    """`blue` and `green` come before `shop`."""
    store, clock, publisher = DirectoryStore(tmp_path), ManualClock(), RecordingPublisher()
    for cluster in ("blue", "shop"):
        await Registry(store).put(entry(cluster_id=cluster))
    await store.put_if_absent(keys.registry("green", 1), b"{}")
    await store.put_if_absent(keys.timeline("blue", "main"), b'{"format": 2}')
    root = Timeline(
        cluster_id="shop", timeline="main", parent=None, cut=None, parent_end=None, history=None, start=None,
        started_at=clock.now(),
    )  # fmt: skip
    await store.put_if_absent(keys.timeline("shop", "main"), root.to_bytes())
    tools = SimpleNamespace(registry=Registry(store), catalogue=Catalogue(store))
    composer = Composer("/tests", clock, SharedView(publisher))
    expiry = _Looks(tools, publisher=publisher, composer=composer, owns=lambda _: True)  # type: ignore[arg-type]
    expiry.looked = []
    assert await expiry.sweep() == []
    assert expiry.looked == ["shop"]
