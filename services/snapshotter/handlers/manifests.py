"""Manifests in the store."""

from tidewind.domain.manifest import Manifest
from tidewind.domain.records import RegistryEntry
from tidewind.ports.engine import SnapshotContent
from tidewind.ports.store import Store, StoredObject


def manifest_of(
    entry: RegistryEntry,
    backup: str,
    attempt: int,
    timeline: str,
    content: SnapshotContent,
    *,
    history: str | None = None,
) -> Manifest:
    """All of a snapshot in one value. `history` is the captured log its position lies in."""
    return Manifest.model_validate(
        {
            "cluster_id": entry.cluster_id,
            "backup_id": backup,
            "attempt": attempt,
            "engine": entry.engine,
            "engine_version": content.facts.version,
            "server_identity": content.facts.identity,
            "timeline": timeline,
            "history": history,
            "snapshot_time": content.snapshot_time,
            "position": content.position,
            "log_hint": content.log_hint,
            "schemas": content.schemas,
            "tables": content.tables,
            "objects": content.objects,
            "system_tables": content.system_tables,
            "variables": dict(content.variables),
            "variable_defaults": dict(content.variable_defaults),
            "prepared_xa": content.prepared_xa,
            "open_xa_position": content.open_xa_position,
            "chunks": content.chunks,
            "unsupported": content.unsupported,
            "settings": dict(content.settings),
        }
    )


async def write_manifest(store: Store, key: str, manifest: Manifest) -> StoredObject:
    return await store.put(key, manifest.to_bytes())
