"""How a backup ended, as the store keeps it."""

from collections.abc import Mapping
from typing import Any

from schemas.replies import Problem
from tidewind.domain.manifest import Manifest
from tidewind.domain.records import BackupOutcome, RegistryEntry
from tidewind.ports.engine import SnapshotContent
from tidewind.ports.store import StoredObject


def completed_outcome(
    frame: Mapping[str, Any], manifest: Manifest, content: SnapshotContent, stored: StoredObject, *, key_id: str | None
) -> BackupOutcome:
    """`frame`: what every outcome of the job says. `stored`: the manifest's object."""
    took = frame["ended_at"] - frame["started_at"]
    return BackupOutcome.model_validate(
        {
            **frame,
            "result": "completed",
            "manifest_key": stored.key,
            "manifest_sha256": stored.sha256,
            "manifest_size": stored.size,
            "key_id": key_id,
            "snapshot_time": manifest.snapshot_time,
            "position": manifest.position,
            "open_xa_position": manifest.open_xa_position,
            "settled_position": content.settled_position,
            "settled_time": content.settled_time,
            "history": manifest.history,
            "timeline": manifest.timeline,
            "engine": manifest.engine,
            "engine_version": content.facts.version,
            "tables": len(manifest.tables),
            "rows": sum(table.rows for table in manifest.tables),
            "row_bytes": sum(chunk.row_bytes for chunk in manifest.chunks),
            "stored_bytes": sum(chunk.size for chunk in manifest.chunks) + stored.size,
            "objects": len(manifest.chunks) + 1,
            "duration_ms": round(took.total_seconds() * 1000),
            "writer_stall_ms": content.writer_stall_ms,
        }
    )


def failed_outcome(frame: Mapping[str, Any], entry: RegistryEntry | None, why: Problem) -> BackupOutcome:
    """`entry` is the cluster's, None if it is not known any more."""
    engine = {"engine": entry.engine if entry else "mariadb", "engine_version": entry.engine_version if entry else ""}
    return BackupOutcome.model_validate({**frame, **engine, "result": "failed", "problem": why})
