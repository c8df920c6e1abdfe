"""The changelog as users run it: how fast a log is read, how soon a commit is safe, what quiet clusters cost.

The service runs as a process of its own, with Kafka and an encrypted store; the figures are taken from outside, from
what it puts into either. The log that is read is that of sysbench's writing transactions: two updates, a delete and an
insert of rows of 190 bytes. The quiet clusters are enrolled ones, spread over a few servers, because one machine does
not hold 300: for the service it is 300 sessions with their connections each.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.changes_feed import ChangesFeed
from benchmarks.figures import Figure
from benchmarks.memory import MemoryWatch
from schemas.commands import BackupSetting, Endpoint
from tests.acceptance.deployment import Deployment, ServiceProcess
from tests.servers.kafka_server import KafkaServer
from tidewind.domain import keys
from tidewind.domain.gtids import GtidList
from tidewind.domain.records import RegistryEntry
from tidewind.embedded.mariadb import PrivateMariaDB
from tidewind.ports.store import Store
from tidewind.runtime.log_archive import LogArchive
from tidewind.runtime.registry import Registry
from tidewind.store.factory import StoreSettings, open_store

CLUSTER = "bench"
LOGIN = "tidewind:bench-secret"
TRANSACTIONS = 100_000
WRITERS = 4
RATE_PER_S = 500
LATENCY_SECONDS = 10
QUIET_CLUSTERS = 300
QUIET_SERVERS = 3
QUIET_SECONDS = 20
_DEADLINE_S = 120.0
_TICKS = os.sysconf("SC_CLK_TCK")
_ROWS = 20_000
_LOOP = (
    "BEGIN NOT ATOMIC DECLARE n INT DEFAULT 0; DECLARE row_id INT; WHILE n < {count} DO"
    " SET row_id = {first} + (n * 7919) MOD {span}; START TRANSACTION;"
    " UPDATE bench.s SET k = k + 1 WHERE id = row_id;"
    " UPDATE bench.s SET c = REVERSE(c) WHERE id = row_id + 1;"
    " DELETE FROM bench.s WHERE id = row_id;"
    " INSERT INTO bench.s VALUES (row_id, n, REPEAT('0123456789-', 10), REPEAT('0123456789-', 5));"
    " COMMIT; SET n = n + 1; END WHILE; END"
)


async def measure(folder: Path) -> list[Figure]:
    """All figures of one run."""
    async with _servers(folder) as (servers, kafka):
        deployment = Deployment(
            folder / "tidewind", kafka.address, extra={"BENCH_LOGIN": LOGIN, "TIDEWIND_CAPTURE": "true"}
        )
        os.environ["BENCH_KEYRING"] = deployment.environment["TEST_KEYRING"]
        settings = StoreSettings(url=deployment.environment["TIDEWIND_STORE_URL"], keyring="env:BENCH_KEYRING")
        try:
            await deployment.make_topics()
            async with (
                open_store(settings) as store,
                ChangesFeed(kafka.address, deployment.prefix, store) as feed,
            ):
                return await _Measured(deployment, servers, store, feed).figures()
        finally:
            await deployment.close()


@asynccontextmanager
async def _servers(folder: Path) -> AsyncIterator[tuple[list[PrivateMariaDB], KafkaServer]]:
    """The server that is written to, then those that are quiet."""
    options = ("--max-connections=2000", "--innodb-buffer-pool-size=128M")
    servers = [
        PrivateMariaDB(folder / f"mariadb-{number}", server_id=number + 1, options=options)
        for number in range(1 + QUIET_SERVERS)
    ]
    kafka = KafkaServer(folder / "kafka")
    await asyncio.gather(kafka.start(), *(server.start() for server in servers))
    try:
        for server in servers:
            user, password = LOGIN.split(":")
            await _execute(
                server, f"CREATE USER {user}@'%' IDENTIFIED BY '{password}'", f"GRANT ALL ON *.* TO {user}@'%'"
            )
        await _execute(
            servers[0],
            "CREATE DATABASE bench",
            "CREATE TABLE bench.t (id BIGINT AUTO_INCREMENT PRIMARY KEY, a INT, b VARCHAR(60)) ENGINE=InnoDB",
            "CREATE TABLE bench.s (id INT PRIMARY KEY, k INT, c CHAR(120), pad CHAR(60), KEY (k)) ENGINE=InnoDB",
            "INSERT INTO bench.s SELECT seq, seq, REPEAT('0123456789-', 10), REPEAT('0123456789-', 5)"
            f" FROM bench.seq_1_to_{_ROWS}",
        )
        yield servers, kafka
    finally:
        await kafka.kill()
        for server in servers:
            await server.remove()


async def _execute(server: PrivateMariaDB, *statements: str) -> None:
    connection = await server.connect()
    try:
        async with connection.cursor() as cursor:
            for statement in statements:
                await cursor.execute(statement)
    finally:
        connection.close()


class _Measured:
    """One run; the figures are taken in this order, each from the state that the one before left."""

    def __init__(self, deployment: Deployment, servers: list[PrivateMariaDB], store: Store, feed: ChangesFeed) -> None:
        self._deployment = deployment
        self._written, *self._quiet = servers
        self._store = store
        self._feed = feed
        self._peak_mb = 0.0

    async def figures(self) -> list[Figure]:
        async with self._running():
            await _enroll(self._store, self._written, CLUSTER)
            await _until(lambda: _is(self._feed.sessions >= 1))
        found = [await self._throughput()]
        async with self._running() as process:
            found += await self._latencies()
            found += await self._quiet_clusters(process)
        return [
            *found,
            Figure(name="changelog_peak_mb", value=self._peak_mb, unit="MB", goal=400, better="lower"),
        ]

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[ServiceProcess]:
        [process] = await self._deployment.start("changelog")
        watch = MemoryWatch(process.pid)
        watching = asyncio.create_task(watch.run())
        try:
            yield process
        finally:
            watching.cancel()
            self._peak_mb = max(self._peak_mb, watch.peak_mb)
            await process.stop()

    async def _throughput(self) -> Figure:
        """Megabytes of log a second, from the first block of a session that begins far behind to the last in Kafka,
        while the archive seals what comes."""
        span = _ROWS // WRITERS
        loops = [
            _LOOP.format(count=TRANSACTIONS // WRITERS, first=1 + number * span, span=span - 1)
            for number in range(WRITERS)
        ]
        await asyncio.gather(*(_execute(self._written, loop) for loop in loops))
        last = await _last_number(self._written)
        before = self._feed.size
        async with self._running() as process:
            used = _processor_s(process.pid)
            await _until(lambda: _is(self._feed.newest >= last))
            used = _processor_s(process.pid) - used
        size = (self._feed.size - before) / 1e6
        took = self._feed.last_block_at - self._feed.session_began_at
        _say(f"{size:.0f} MB of log captured in {took:.1f} s, {used:.1f} s of processor time with the start")
        return Figure(name="capture_mb_per_s", value=size / took, unit="MB/s", goal=50, better="higher")

    async def _latencies(self) -> list[Figure]:
        """Of each commit: until a reader of Kafka had it, and until it was found in the store."""
        await _until(lambda: _is(self._feed.sessions >= 3))
        committed: dict[int, float] = {}
        archived: dict[int, float] = {}
        stored = asyncio.create_task(self._watch_store(archived))
        await _execute(self._written, "INSERT INTO bench.t (a, b) VALUES (0, 'the first, which waits for the start')")
        first = await _last_number(self._written)
        await _until(lambda: _is(max(archived, default=0) >= first))
        await self._write_at_a_rate(first, committed)
        last = max(committed)
        await _until(lambda: _is(self._feed.newest >= last))
        await _until(lambda: _is(max(archived, default=0) >= last))
        stored.cancel()
        known = self._feed.received
        kafka = sorted(max(0.0, known[number] - at) * 1000 for number, at in committed.items())
        store = sorted(max(0.0, archived[number] - at) for number, at in committed.items())
        return [
            Figure(
                name="rpo_p99_ms",
                value=_p99(kafka),
                unit="ms",
                goal=1000,
                better="lower",
                samples=(kafka[len(kafka) // 2], kafka[-1]),
            ),
            Figure(
                name="archived_p99_s",
                value=_p99(store),
                unit="s",
                goal=8,
                better="lower",
                samples=(store[len(store) // 2], store[-1]),
            ),
        ]

    async def _write_at_a_rate(self, first: int, committed: dict[int, float]) -> None:
        connection = await self._written.connect()
        async with connection.cursor() as cursor:
            began = time.perf_counter()
            for number in range(RATE_PER_S * LATENCY_SECONDS):
                await asyncio.sleep(max(0.0, began + number / RATE_PER_S - time.perf_counter()))
                await cursor.execute("INSERT INTO bench.t (a, b) VALUES (1, 'now')")
                committed[first + 1 + number] = time.time()
        connection.close()

    async def _watch_store(self, found: dict[int, float]) -> None:
        """When each transaction was first seen in a segment: number to the moment."""
        archive = LogArchive(self._store)
        [history] = await archive.histories(CLUSTER)
        known = (await archive.objects(CLUSTER, history.history))[-1].last
        while True:
            for one in await archive.objects(CLUSTER, history.history):
                if one.first > known:
                    at = time.time()
                    for ref in await archive.refs(CLUSTER, history.history, one):
                        for transaction in await archive.transactions(ref):
                            found[_number(transaction.gtid)] = at
                    known = one.last
            await asyncio.sleep(0.05)

    async def _quiet_clusters(self, process: ServiceProcess) -> list[Figure]:
        """Processor time of the service beside that of one core, while nothing happens in any of its clusters."""
        names = [f"quiet-{number:03d}" for number in range(QUIET_CLUSTERS)]
        for number, name in enumerate(names):
            await _enroll(self._store, self._quiet[number % QUIET_SERVERS], name)
        await _until(lambda: _is(self._feed.clusters >= set(names)))
        await _until(lambda: self._all_begun(names))
        await asyncio.sleep(QUIET_SECONDS / 4)
        messages, objects = self._feed.messages, await self._objects()
        used, began = _processor_s(process.pid), time.perf_counter()
        await asyncio.sleep(QUIET_SECONDS)
        took = time.perf_counter() - began
        used = _processor_s(process.pid) - used
        share = 60 / took / QUIET_CLUSTERS
        _say(
            f"a quiet cluster: {(self._feed.messages - messages) * share:.0f} messages a minute, "
            f"{(await self._objects() - objects) * share:.2f} objects a minute"
        )
        return [
            Figure(name="quiet_clusters_cpu_pct", value=100 * used / took, unit="%", goal=50, better="lower"),
        ]

    async def _all_begun(self, names: list[str]) -> bool:
        """Whether each has its first segment, with what its log does not hold."""
        begun = {entry.key.split("/")[1] async for entry in self._store.list(keys.HISTORIES)}
        return begun >= set(names)

    async def _objects(self) -> int:
        return len([entry async for entry in self._store.list("")])


async def _enroll(store: Store, server: PrivateMariaDB, cluster: str) -> None:
    now = datetime.now(UTC)
    entry = RegistryEntry(
        cluster_id=cluster,
        revision=1,
        engine="mariadb",
        engine_version="",
        server_identity="",
        region="eu-central-1",
        zone="Europe/Berlin",
        endpoints=(Endpoint(host=server.host, port=server.port),),
        credentials="env:BENCH_LOGIN",
        setting=BackupSetting(),
        created_at=now,
        changed_at=now,
        job_id="00000000-0000-4000-8000-000000000000",
        first_slot_date=now.date().isoformat(),
    )
    await Registry(store).put(entry)


async def _last_number(server: PrivateMariaDB) -> int:
    connection = await server.connect()
    try:
        async with connection.cursor() as cursor:
            await cursor.execute("SELECT @@global.gtid_binlog_pos")
            return GtidList.parse((await cursor.fetchone())[0]).last[0].sequence
    finally:
        connection.close()


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(_DEADLINE_S):
        while not await holds():
            await asyncio.sleep(0.05)


async def _is(holds: bool) -> bool:
    return holds


def _number(gtid: str) -> int:
    return int(gtid.rsplit("-", 1)[1])


def _p99(values: list[float]) -> float:
    return values[int(len(values) * 0.99)]


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _say(text: str) -> None:
    sys.stderr.write(f"  {text}\n")
