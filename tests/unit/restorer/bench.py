"""Values for tests of the restorer's rules."""

from datetime import UTC, datetime, timedelta

from services.restorer.rules.plan import Assumptions
from tidewind.domain.manifest import Manifest, Table
from tidewind.domain.records import BackupOutcome, RegistryEntry, Timeline, Tombstone
from tidewind.ports.engine import ServerFacts, TargetState
from tidewind.ports.restore import SourceState

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
BACKUP = "bkp_0123456789"
RESTORE = "rst_0123456789"
JOB = "00000000-0000-5000-8000-000000000001"
ASSUMED = Assumptions(
    load_mb_per_s=30,
    replay_transactions_per_s=8000,
    space_factor=1.5,
    limit=timedelta(hours=3),
    undo_kept=timedelta(days=7),
)


def entry(**more):
    values = {
        "cluster_id": "shop",
        "revision": 1,
        "engine": "mariadb",
        "engine_version": "10.11.19",
        "server_identity": "1-aaaa",
        "region": "eu-central-1",
        "zone": "Europe/Berlin",
        "endpoints": [{"host": "db-1", "port": 3306}],
        "credentials": "env:DB",
        "setting": {"backup_time": "02:00", "retention_days": 7},
        "created_at": NOW,
        "changed_at": NOW,
        "job_id": JOB,
        "first_slot_date": "2026-11-23",
    }
    return RegistryEntry.model_validate(values | more)


def table(name, rows=10, row_bytes=1000, schema="shop", **more):
    values = {
        "schema_name": schema,
        "name": name,
        "engine": "InnoDB",
        "create": f"CREATE TABLE `{name}` (\n  `id` int(11) NOT NULL\n) ENGINE=InnoDB",
        "columns": (),
        "chunks": (),
        "rows": rows,
        "row_bytes": row_bytes,
    }
    return Table(**values | more)


def manifest(tables=(), **more):
    values = {
        "cluster_id": "shop",
        "backup_id": BACKUP,
        "attempt": 1,
        "engine": "mariadb",
        "engine_version": "10.11.8",
        "server_identity": "1-aaaa",
        "timeline": "main",
        "snapshot_time": NOW - timedelta(hours=10),
        "position": "0-1-100",
        "schemas": [],
        "tables": tables,
        "objects": [],
        "system_tables": [],
        "variables": {},
        "chunks": [],
    }
    return Manifest.model_validate(values | more)


def outcome(**more):
    values = {
        "cluster_id": "shop",
        "backup_id": BACKUP,
        "job_id": JOB,
        "result": "completed",
        "attempt": 1,
        "cause": "slot",
        "started_at": NOW,
        "ended_at": NOW,
        "manifest_key": "snapshots/shop/bkp_0123456789/a0001/manifest.json",
        "snapshot_time": NOW,
        "engine": "mariadb",
        "engine_version": "10.11.8",
    }
    return BackupOutcome.model_validate(values | more)


def target(tables=None, **more):
    values = {
        "facts": ServerFacts(
            engine="mariadb", version="10.11.19", identity="1-aaaa", zone="UTC", position="0-1-200", now=NOW
        ),
        "findings": (),
        "tables": tables or {},
        "objects": 0,
        "schemas": ("shop",),
        "accounts": (),
        "account_prints": {},
        "data_bytes": 0,
        "free_bytes": 10**12,
        "prepared_xa": (),
        "connections": 3,
    }
    return TargetState(**(values | more))


def source(**more):
    return SourceState(**({"account_prints": None, "findings": (), "closing": "in a way"} | more))


def timeline(name, began, restore=None, job=None, **more):
    values = {
        "cluster_id": "shop",
        "timeline": name,
        "parent": None if name == "main" else "main",
        "cut": None,
        "parent_end": "0-1-150",
        "history": None,
        "start": None,
        "started_at": began,
        "restore_id": restore,
        "job_id": job,
    }
    return Timeline.model_validate(values | more)


def tombstone(cause):
    return Tombstone(backup_id=BACKUP, job_id=JOB, cause=cause, marked_at=NOW)
