"""The store gives trouble while the services run: it fills up, or takes the credentials away. Nothing half done counts,
nothing accepted is lost, whoever looks is told what to do, and work goes on by itself once it is mended."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.acceptance.protected import CLUSTER, ProtectedShop, problem_name, protected_shop, shop_server
from tests.fakes import until
from tests.servers.small_disk import SmallDisk, small_disk
from tests.servers.versitygw_server import VersityServer
from tidewind.embedded.mariadb import PrivateMariaDB

MB = 1_000_000
PHOTOS = 6 * MB
"""What the shop holds that cannot be compressed: it must not fit where the test leaves less."""


@pytest.fixture(scope="module")
async def server(server_directory: Callable[[str], Path]) -> AsyncIterator[PrivateMariaDB]:
    async with shop_server(server_directory("trouble-mariadb")) as made:
        root = await made.connect(database="shop")
        async with root.cursor() as cursor:
            await cursor.execute("CREATE TABLE photos (id INT PRIMARY KEY, photo VARBINARY(1024)) ENGINE=InnoDB")
            await cursor.execute(f"INSERT INTO photos SELECT seq, RANDOM_BYTES(1000) FROM seq_1_to_{PHOTOS // 1000}")
        root.close()
        yield made


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", megabytes=40) as made:
        yield made


def house(
    server: PrivateMariaDB, kafka: str, folder: Path, store: dict[str, str]
) -> AbstractAsyncContextManager[ProtectedShop]:
    """A scheduler and a snapshotter on that store, with the shop enrolled."""
    environment = {**store, "TIDEWIND_CHUNK_MIB": "1"}
    return protected_shop(folder, kafka, server, services=("scheduler", "snapshotter"), environment=environment)


def snapshotter_said(made: ProtectedShop, *words: str) -> bool:
    """Whether one line of the snapshotter's log holds all the words."""
    log = made.deployment.processes[1].log.read_text()
    return any(all(word in line for word in words) for line in log.splitlines())


@pytest.mark.timeout(180)
async def test_the_disk_of_a_directory_is_full(
    server: PrivateMariaDB, kafka: str, disk: SmallDisk, tmp_path: Path
) -> None:
    root = disk.path / "store"
    root.mkdir()
    async with house(server, kafka, tmp_path, {"TIDEWIND_STORE_URL": f"file://{root}"}) as made:
        disk.fill(leaving=MB)
        failed = await made.done("commands", "backup.run", {})
        assert failed["type"] == "tidewind.backup.failed.v1", failed
        assert problem_name(failed["problem"]) == "store-full"
        assert f"{root}: No space left on device" in failed["problem"]["detail"]
        assert failed["problem"]["next_step"] == f"free space below {root}"
        key = f"backup/{CLUSTER}/{failed['backup_id']}"
        await made.client.wait_status(key, lambda data: data["state"] == "failed")
        assert list((root / "snapshots").glob("**/*.zst")) == [], "what was written of it is swept"

        disk.fill()
        asked = await made.client.send("commands", "tidewind.backup.run.v1", {"cluster_id": CLUSTER})
        await until(lambda: snapshotter_said(made, "record-retry", "No space left on device"), deadline_s=60)
        disk.free()
        answer = await made.client.reply(asked)
        assert answer["type"] == "tidewind.command.accepted.v1", "it waited on its topic until it could be recorded"
        completed = await made.client.terminal(answer["job_id"])
        assert completed["type"] == "tidewind.backup.completed.v1", completed
        assert completed["stored_bytes"] > PHOTOS


@pytest.mark.timeout(240)
async def test_a_bucket_is_full_and_its_credentials_are_taken_away(
    server: PrivateMariaDB, kafka: str, disk: SmallDisk, tmp_path: Path
) -> None:
    gateway = VersityServer(tmp_path / "versitygw", data=disk.path / "data")
    await gateway.start()
    account = await gateway.add_account("tidewind-svc", "svc-secret-key")
    (tmp_path / "access").write_text(account.access_key)
    (tmp_path / "secret").write_text(account.secret_key)
    bucket = await account.new_bucket()
    store = {
        "TIDEWIND_STORE_URL": f"s3://{bucket}/prod",
        "TIDEWIND_STORE_ENDPOINT_URL": account.url,
        "TIDEWIND_STORE_REGION": account.region,
        "TIDEWIND_STORE_ACCESS_KEY": f"file:{tmp_path / 'access'}",
        "TIDEWIND_STORE_SECRET_KEY": f"file:{tmp_path / 'secret'}",
        "TIDEWIND_STORE_SINGLE_WRITER": "true",
    }
    try:
        async with house(server, kafka, tmp_path, store) as made:
            disk.fill(leaving=MB)
            answer = await made.accepted("commands", "backup.run", {})
            # This server says no more than that something went wrong inside it.
            await until(lambda: snapshotter_said(made, "InternalError", "whether its disk is full"), deadline_s=90)
            disk.free()
            completed = await made.client.terminal(answer["job_id"])
            assert completed["type"] == "tidewind.backup.completed.v1", completed

            root = await server.connect()
            async with root.cursor() as cursor:
                await cursor.execute("LOCK TABLES shop.photos WRITE")
                answer = await made.accepted("commands", "backup.run", {})
                await made.client.wait_for("progress", lambda one: one["data"]["job_id"] == answer["job_id"])
                await gateway.remove_account(account.access_key)
                await cursor.execute("UNLOCK TABLES")
            root.close()
            refused = ("job-interrupted", "InvalidAccessKeyId", "check the access key and the secret key")
            await until(lambda: snapshotter_said(made, *refused), deadline_s=60)
            assert made.deployment.processes[1].running
            await gateway.add_account(account.access_key, account.secret_key)
            completed = await made.client.terminal(answer["job_id"])
            assert completed["type"] == "tidewind.backup.completed.v1", completed
    finally:
        await gateway.kill()
