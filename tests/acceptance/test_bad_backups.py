"""Backups that cannot be restored, and a cluster that is busy: each is refused by name, and nothing is touched."""

import base64
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import shop
from tests.acceptance.protected import CLUSTER, ProtectedShop, problem_name
from tests.servers.galera import galera_options
from tests.servers.small_disk import small_disk
from tidewind.domain import keys
from tidewind.domain.manifest import Manifest
from tidewind.domain.records import BackupOutcome, Tombstone, parse
from tidewind.embedded.mariadb import PrivateMariaDB
from tidewind.ports.store import Store
from tidewind.store.factory import StoreSettings, open_store


async def restore_refused(protected: ProtectedShop, backup: str, **more: Any) -> dict[str, Any]:
    return await protected.refused("restores", "restore.request", {"mode": "snapshot", "backup_id": backup, **more})


@pytest.fixture(scope="module")
async def backup(protected: ProtectedShop) -> str:
    return await protected.backup()


async def test_unknown_deleted_and_of_another_cluster(protected: ProtectedShop, backup: str) -> None:
    unknown = await restore_refused(protected, "bkp_ZZZZZZZZZZ")
    assert problem_name(unknown) == "unknown-backup"
    assert f"{CLUSTER} has no backup bkp_ZZZZZZZZZZ" in unknown["detail"]
    # By its other name: under the same address the server is refused a second id.
    elsewhere_named = [{"host": "localhost", "port": protected.server.port}]
    await protected.done("commands", "cluster.enroll", protected.enrolment("shop-2", endpoints=elsewhere_named))
    elsewhere = await restore_refused(protected, backup, cluster_id="shop-2")
    assert problem_name(elsewhere) == "backup-of-another-cluster"
    assert f"was taken of cluster {CLUSTER}, not shop-2" in elsewhere["detail"]

    last = await protected.backup()
    newest = await protected.refused("commands", "backup.delete", {"backup_id": last})
    assert problem_name(newest) == "last-backup"
    assert "confirm_shorter_window" in newest["next_step"]
    deleted = await protected.done("commands", "backup.delete", {"backup_id": last, "confirm_shorter_window": True})
    assert deleted["type"] == "tidewind.backup.deleted.v1"
    gone = await restore_refused(protected, last)
    assert problem_name(gone) == "backup-deleted"
    assert f"{last} was deleted by a command at 20" in gone["detail"]
    assert problem_name(await protected.refused("commands", "backup.delete", {"backup_id": last})) == "backup-deleted"


def settings_of(protected: ProtectedShop, monkeypatch: pytest.MonkeyPatch, *, key: str | None = None) -> StoreSettings:
    """The deployment's store, opened by the test; `key` is another key of the keyring that comes first."""
    environment = protected.deployment.environment
    keyring = (f"{key}\n" if key else "") + environment["TEST_KEYRING"]
    monkeypatch.setenv("TEST_KEYRING", keyring)
    return StoreSettings(url=environment["TIDEWIND_STORE_URL"], keyring="env:TEST_KEYRING")


async def standing_outcome(store: Store, backup: str) -> BackupOutcome:
    return parse(BackupOutcome, await store.get(keys.outcome(CLUSTER, backup)))


async def test_expired_incomplete_and_of_a_newer_format(
    protected: ProtectedShop, backup: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expired, begun, failed, newer, newest = (f"bkp_000000000{number}" for number in range(1, 6))
    async with open_store(settings_of(protected, monkeypatch)) as store:
        outcome = await standing_outcome(store, backup)
        stone = Tombstone(
            outcome=None,
            backup_id=expired,
            job_id=outcome.job_id,
            cause="retention",
            marked_at=datetime(2026, 1, 2, tzinfo=UTC),
        )
        assert outcome.manifest_key is not None
        manifest = parse(Manifest, await store.get(outcome.manifest_key))
        later = await store.put(
            keys.manifest(keys.attempt(CLUSTER, newest, 1)), manifest.model_copy(update={"format": 99}).to_bytes()
        )
        made = {
            keys.tombstone(CLUSTER, expired): stone,
            keys.chunk(keys.attempt(CLUSTER, begun, 1), 1): stone,
            keys.outcome(CLUSTER, failed): outcome.model_copy(update={"backup_id": failed, "result": "failed"}),
            keys.outcome(CLUSTER, newer): outcome.model_copy(update={"backup_id": newer, "format": 99}),
            keys.outcome(CLUSTER, newest): outcome.model_copy(
                update={"backup_id": newest, "manifest_key": later.key, "manifest_sha256": later.sha256}
            ),
        }
        try:
            for key, document in made.items():
                await store.put(key, document.to_bytes())
            for which, name, says in (
                (expired, "backup-expired", "2026-01-02 00:00:00 UTC"),
                (begun, "backup-incomplete", "has not been completed"),
                (failed, "backup-incomplete", "failed; it holds nothing"),
                (newer, "backup-newer-format", "its record: it has format 99"),
                (newest, "backup-newer-format", "its manifest: it has format 99"),
            ):
                problem = await restore_refused(protected, which)
                assert problem_name(problem) == name, problem
                assert says in problem["detail"]
        finally:
            await store.delete([*made, later.key])


async def test_encrypted_under_a_key_we_lack(
    protected: ProtectedShop, backup: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a rotation of the keyring that has not reached every service."""
    other = "bkp_000000000K"
    rotated = f"prod-2027: {base64.b64encode(secrets.token_bytes(32)).decode()}"
    async with open_store(settings_of(protected, monkeypatch, key=rotated)) as store:
        outcome = await standing_outcome(store, backup)
        key = keys.outcome(CLUSTER, other)
        await store.put(key, outcome.model_copy(update={"backup_id": other}).to_bytes())
        try:
            problem = await restore_refused(protected, other)
        finally:
            await store.delete([key])
    assert problem_name(problem) == "key-missing"
    assert "encrypted under the key prod-2027, which the keyring does not hold" in problem["detail"]
    assert "put the key prod-2027 into the keyring that TIDEWIND_KEYRING names" in problem["next_step"]


@pytest.mark.timeout(120)
async def test_what_is_asked_of_a_cluster_while_it_is_restored(protected: ProtectedShop, backup: str) -> None:
    """The database stands still in the middle of the restore, so that all three meet it there."""
    accepted = await protected.answer("restores", "restore.request", {"mode": "snapshot", "backup_id": backup})
    job, restore = accepted["job_id"], accepted["answer"]["restore_id"]
    await protected.client.wait_for("progress", lambda one: one["data"]["job_id"] == job)
    protected.server.pause()
    try:
        second = await restore_refused(protected, backup)
        deletion = await protected.refused("commands", "backup.delete", {"backup_id": backup})
        waiting = await protected.answer("commands", "backup.run", {})
        waits = await protected.client.wait_for(
            "progress", lambda one: one["data"]["job_id"] == waiting["job_id"] and one["data"]["step"] == "waiting"
        )
    finally:
        protected.server.resume()
    assert problem_name(second) == "operation-running"
    assert f"Restore {restore} of {CLUSTER} has not ended" in second["detail"]
    assert f"tidewind restore cancel {restore}" in second["next_step"]
    assert problem_name(deletion) == "backup-in-use"
    assert job in deletion["detail"]
    assert f"restore {job} holds the cluster" in waits["data"]["detail"]
    assert (await protected.client.terminal(job))["type"] == "tidewind.restore.completed.v1"
    assert (await protected.client.terminal(waiting["job_id"]))["type"] == "tidewind.backup.completed.v1"


async def test_a_replica(protected: ProtectedShop, backup: str) -> None:
    root = await protected.server.connect()
    async with root.cursor() as cursor:
        await cursor.execute("CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = 1, MASTER_USER = 'x'")
        try:
            enrolment = await protected.refused("commands", "cluster.enroll", protected.enrolment("shop-9"))
            restore = await restore_refused(protected, backup)
        finally:
            await cursor.execute("RESET SLAVE ALL")
    root.close()
    assert problem_name(enrolment) == "database-unsuitable"
    assert "is itself a replica" in enrolment["detail"]
    assert "Enrol the source" in enrolment["next_step"]
    assert problem_name(restore) == "restore-blocked"
    assert "is a replica" in restore["detail"]
    assert "Restore the primary instead" in restore["detail"]


async def test_a_prepared_transaction(protected: ProtectedShop, backup: str) -> None:
    root = await protected.server.connect()
    async with root.cursor() as cursor:
        for statement in ("XA START 'stuck'", "DELETE FROM shop.log LIMIT 1", "XA END 'stuck'", "XA PREPARE 'stuck'"):
            await cursor.execute(statement)
        try:
            wanted = {"mode": "snapshot", "backup_id": backup, "dry_run": True}
            plan = (await protected.answer("restores", "restore.request", wanted))["answer"]["plan"]
        finally:
            await cursor.execute("XA ROLLBACK 'stuck'")
    root.close()
    assert plan["transactions_rolled_back"] == ["'stuck'"]
    assert any("prepared" in warning and "rolled back for good" in warning for warning in plan["warnings"])


async def enrolment_of(protected: ProtectedShop, cluster: str, server: PrivateMariaDB) -> dict[str, Any]:
    root = await server.connect()
    await shop.build(root, customers=50, orders=50)
    root.close()
    return protected.enrolment(cluster, endpoints=[{"host": server.host, "port": server.port}])


async def test_a_galera_node(
    protected: ProtectedShop, mariadb_factory: Callable[..., Awaitable[PrivateMariaDB]]
) -> None:
    server = await mariadb_factory()
    wanted = await enrolment_of(protected, "galera", server)
    await server.stop()
    await server.start(extra_options=galera_options())
    problem = await protected.refused("commands", "cluster.enroll", wanted)
    assert problem_name(problem) == "database-unsuitable"
    assert "is a Galera node" in problem["detail"]
    assert "belongs to no Galera cluster" in problem["next_step"]


@pytest.mark.timeout(120)
async def test_too_little_space_beside_what_is_set_aside(protected: ProtectedShop, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=400, named=True) as disk:
        server = PrivateMariaDB(disk.path / "mariadb")
        try:
            await server.start()
            wanted = await enrolment_of(protected, "tight", server)
            root = await server.connect()
            async with root.cursor() as cursor:
                await cursor.execute("USE shop")
                await cursor.execute("CREATE TABLE shop.big (id INT PRIMARY KEY, text VARCHAR(8000)) ENGINE=InnoDB")
                await cursor.execute("INSERT INTO shop.big SELECT seq, REPEAT('x', 5000) FROM seq_1_to_5000")
            root.close()
            await protected.done("commands", "cluster.enroll", wanted)
            end = await protected.done("commands", "backup.run", {"cluster_id": "tight"})
            disk.fill(leaving=20_000_000)
            problem = await restore_refused(protected, end["backup_id"], cluster_id="tight")
        finally:
            await server.remove()
    assert problem_name(problem) == "restore-blocked"
    assert "the database's disk has 0.0 GB free" in problem["detail"]
    assert "→ free space" in problem["detail"]
    assert problem["facts"]["plan"]["space_needed"] > 25_000_000
