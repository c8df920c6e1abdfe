"""What the handlers of the snapshotter act through."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.snapshotter.settings import SnapshotterSettings
from tidewind.ports.clock import Clock
from tidewind.ports.engine import SnapshotEngine, StoreFactory
from tidewind.ports.store import Store
from tidewind.runtime.catalogue import Catalogue
from tidewind.runtime.registry import Registry


@dataclass(frozen=True, kw_only=True)
class SnapshotTools:
    """`engines` by name. `key_id` names the key new objects are encrypted under, None without encryption."""

    engines: Mapping[str, SnapshotEngine]
    store: Store
    open_store: StoreFactory
    registry: Registry
    catalogue: Catalogue
    clock: Clock
    settings: SnapshotterSettings
    key_id: str | None
