"""Backup beside mydumper, restore beside myloader, the stall of a writer, and the memory of the services.

Ours runs as users run it: services as processes, Kafka between them, checksums and encryption on, from the accepted
command to the terminal event. The peers run on the same server, the same rows, in turn with ours.
"""

import asyncio
import contextlib
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.dataset import TABLES, fill
from benchmarks.figures import Figure
from benchmarks.memory import MemoryWatch
from tests.acceptance.deployment import Deployment
from tests.acceptance.plain_client import PlainClient
from tests.servers.kafka_server import KafkaServer
from tidewind.embedded.mariadb import PrivateMariaDB

WORKERS = 2
CLUSTER = "bench"
_SETTLE_S = 120.0
_CLEAN_PAGES = 100
_OPTIONS = ("--innodb-buffer-pool-size=1G", "--innodb-log-file-size=512M", "--max-connections=200")


async def measure(folder: Path, *, size_mb: int, rounds: int) -> list[Figure]:
    """All figures of one run."""
    server = PrivateMariaDB(folder / "mariadb", options=_OPTIONS)
    kafka = KafkaServer(folder / "kafka")
    await asyncio.gather(server.start(), kafka.start())
    deployment = Deployment(
        folder / "tidewind",
        kafka.address,
        extra={"BENCH_LOGIN": "tidewind:bench-secret", "TIDEWIND_WORKERS": str(WORKERS)},
    )
    try:
        return await _measure(folder, server, kafka.address, deployment, size_mb, rounds)
    finally:
        await deployment.close()
        await kafka.kill()
        await server.remove()


async def _measure(
    folder: Path, server: PrivateMariaDB, bootstrap: str, deployment: Deployment, size_mb: int, rounds: int
) -> list[Figure]:
    root = await server.connect()
    rows = await fill(root, size_mb)
    _say(f"{rows} rows in {TABLES} tables, about {size_mb} MB; {WORKERS} workers and threads; {rounds} rounds")
    async with root.cursor() as cursor:
        await cursor.execute("CREATE USER tidewind@'%' IDENTIFIED BY 'bench-secret'")
        await cursor.execute("GRANT ALL ON *.* TO tidewind@'%' WITH GRANT OPTION")
    await deployment.make_topics()
    processes = await deployment.start()
    watches = [MemoryWatch(process.pid) for process in processes]
    watching = [asyncio.create_task(watch.run()) for watch in watches]
    ours: dict[str, list[float]] = {"backup": [], "restore": [], "stall": []}
    peers: dict[str, list[float]] = {"backup": [], "restore": []}
    async with PlainClient(bootstrap, deployment.prefix) as client:
        await _enroll(client, server)
        for number in range(1, rounds + 1):
            await _settle(root)
            peers["backup"].append(await _mydumper(server, folder / "dump"))
            await _settle(root)
            seconds, backup, stall = await _backup(client, server)
            ours["backup"].append(seconds)
            ours["stall"].append(stall)
            _say(f"round {number}: backup {seconds:.2f} s, mydumper {peers['backup'][-1]:.2f} s, stall {stall:.0f} ms")
            await _settle(root)
            peers["restore"].append(await _myloader(server, root, folder / "dump"))
            await _settle(root)
            ours["restore"].append(await _restore(client, backup))
            root = await server.connect()
            await _drop_safeguards(root)
            _say(f"round {number}: restore {ours['restore'][-1]:.2f} s, myloader {peers['restore'][-1]:.2f} s")
    for task in watching:
        task.cancel()
    return [
        _ratio("snapshot_vs_mydumper", peers["backup"], ours["backup"], 1.0, "mydumper -c -t 2 (Debian)"),
        _ratio("restore_vs_myloader", peers["restore"], ours["restore"], 1.5, "myloader -t 2 (Debian)"),
        Figure(
            name="writer_stall_ms",
            value=max(ours["stall"]),
            unit="ms",
            goal=200,
            better="lower",
            samples=tuple(ours["stall"]),
        ),
        Figure(
            name="peak_rss_mb",
            value=max(watch.peak_mb for watch in watches),
            unit="MB",
            goal=400,
            better="lower",
            samples=tuple(watch.peak_mb for watch in watches),
        ),
    ]


def _ratio(name: str, peer: list[float], ours: list[float], goal: float, peer_name: str) -> Figure:
    pairs = tuple(theirs / own for theirs, own in zip(peer, ours, strict=True))
    return Figure(
        name=name,
        value=statistics.median(pairs),
        unit="ratio",
        goal=goal,
        better="higher",
        peer=peer_name,
        samples=pairs,
    )


async def _enroll(client: PlainClient, server: PrivateMariaDB) -> None:
    body = {
        "cluster_id": CLUSTER,
        "engine": "mariadb",
        "region": "eu-central-1",
        "endpoints": [{"host": server.host, "port": server.port}],
        "credentials": "env:BENCH_LOGIN",
    }
    answer = await client.reply(await client.send("commands", "tidewind.cluster.enroll.v1", body))
    _require(answer["type"].endswith("accepted.v1"), answer)
    await client.terminal(answer["job_id"])


async def _backup(client: PlainClient, server: PrivateMariaDB) -> tuple[float, str, float]:
    """(seconds from sending to the terminal event, backup id, a concurrent writer's longest wait in ms)."""
    writer = await server.connect()
    longest = 0.0
    stop = asyncio.Event()

    async def write() -> None:
        nonlocal longest
        async with writer.cursor() as cursor:
            while not stop.is_set():
                began = time.monotonic()
                await cursor.execute("INSERT INTO bench.writes (at) VALUES (NOW(6))")
                await cursor.execute("COMMIT")
                longest = max(longest, (time.monotonic() - began) * 1000)
                await asyncio.sleep(0.002)

    writing = asyncio.create_task(write())
    began = time.monotonic()
    answer = await client.reply(await client.send("commands", "tidewind.backup.run.v1", {"cluster_id": CLUSTER}))
    _require(answer["type"].endswith("accepted.v1"), answer)
    end = await client.terminal(answer["job_id"], deadline_s=600)
    seconds = time.monotonic() - began
    stop.set()
    await writing
    writer.close()
    _require(end["type"].endswith("completed.v1"), end)
    return seconds, end["backup_id"], longest


async def _restore(client: PlainClient, backup: str) -> float:
    began = time.monotonic()
    body = {"cluster_id": CLUSTER, "mode": "snapshot", "backup_id": backup}
    answer = await client.reply(await client.send("restores", "tidewind.restore.request.v1", body))
    _require(answer["type"].endswith("accepted.v1"), answer)
    end = await client.terminal(answer["job_id"], deadline_s=900)
    _require(end["type"] == "tidewind.restore.completed.v1", end)
    return time.monotonic() - began


async def _mydumper(server: PrivateMariaDB, target: Path) -> float:
    shutil.rmtree(target, ignore_errors=True)
    return await _run("mydumper", *_login(server), "-B", "bench", "-c", "-t", str(WORKERS), "-o", str(target))


async def _myloader(server: PrivateMariaDB, root: Any, source: Path) -> float:
    async with root.cursor() as cursor:
        await cursor.execute("SET sql_notes = 0")
        await cursor.execute("DROP DATABASE IF EXISTS bench_loaded")
    seconds = await _run(
        "myloader", *_login(server), "-s", "bench", "-B", "bench_loaded", "-t", str(WORKERS), "-d", str(source)
    )
    async with root.cursor() as cursor:
        await cursor.execute("SELECT COUNT(*) FROM bench_loaded.sbtest1")
        _require((await cursor.fetchone())[0] > 0, "myloader loaded nothing")
        await cursor.execute("DROP DATABASE bench_loaded")
    return seconds


async def _settle(root: Any) -> None:
    """Wait until the server has written out what the run before left dirty, so that no run pays for another's pages."""
    async with root.cursor() as cursor, asyncio.timeout(_SETTLE_S):
        for variable in ("innodb_io_capacity_max", "innodb_io_capacity"):
            await cursor.execute(f"SET GLOBAL {variable} = 20000")
        await cursor.execute("SET GLOBAL innodb_max_dirty_pages_pct = 0")
        dirty = _CLEAN_PAGES
        while dirty >= _CLEAN_PAGES:
            await asyncio.sleep(0.1)
            await cursor.execute("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'")
            dirty = int((await cursor.fetchone())[1])
        for variable in ("innodb_max_dirty_pages_pct", "innodb_io_capacity", "innodb_io_capacity_max"):
            await cursor.execute(f"SET GLOBAL {variable} = DEFAULT")


async def _drop_safeguards(root: Any) -> None:
    """The kept old data would make each round's disk and cache fuller than the last."""
    async with root.cursor() as cursor:
        await cursor.execute("SHOW DATABASES LIKE 'tidewind\\_%'")
        for (schema,) in await cursor.fetchall():
            with contextlib.suppress(Exception):
                await cursor.execute(f"DROP DATABASE `{schema}`")


def _login(server: PrivateMariaDB) -> list[str]:
    return ["-h", server.host, "-P", str(server.port), "-u", server.user, "-p", server.password]


async def _run(*command: str) -> float:
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    _require(process.returncode == 0, f"{command[0]} ended with {process.returncode}: {errors.decode()[-500:]}")
    return time.monotonic() - began


def _require(condition: bool, what: object) -> None:
    if not condition:
        raise SystemExit(f"the benchmark cannot go on: {what}")


def _say(text: str) -> None:
    sys.stderr.write(f"  {text}\n")
