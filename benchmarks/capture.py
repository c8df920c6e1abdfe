"""How fast a log is read, how soon a commit is here, and what quiet clusters cost: `python -m benchmarks.capture`.

The log is that of one-insert transactions, the hardest there is for a reader: most transactions for its bytes. Times
are those of one process; the server runs beside it on the same machine.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from benchmarks.figures import Figure
from schemas.commands import Endpoint
from tidewind.domain.gtids import GtidList
from tidewind.embedded.mariadb import PrivateMariaDB
from tidewind.engines.mariadb.capture import MariaDBCaptureEngine
from tidewind.ports.capture import LogReading, Resume
from tidewind.ports.engine import Address, Login

TRANSACTIONS = 200_000
WRITERS = 4
ROUNDS = 3
RATE_PER_S = 500
LATENCY_SECONDS = 10
QUIET_CLUSTERS = 300
QUIET_SECONDS = 20
FIRST_SERVER_ID = 4_100_000_000

_LOOP = (
    "BEGIN NOT ATOMIC DECLARE n INT DEFAULT 0; WHILE n < {count} DO"
    " INSERT INTO bench.t (a, b) VALUES (n, 'a row like many others'); SET n = n + 1; END WHILE; END"
)


@asynccontextmanager
async def server_with_log(folder: Path) -> AsyncIterator[PrivateMariaDB]:
    """A server with an empty table `bench.t`."""
    server = PrivateMariaDB(folder / "capture", options=("--max-connections=2000",))
    await server.start()
    try:
        await execute(
            server,
            "CREATE DATABASE bench",
            "CREATE TABLE bench.t (id BIGINT AUTO_INCREMENT PRIMARY KEY, a INT, b VARCHAR(60)) ENGINE=InnoDB",
        )
        yield server
    finally:
        await server.remove()


async def execute(server: PrivateMariaDB, *statements: str) -> None:
    connection = await server.connect()
    try:
        async with connection.cursor() as cursor:
            for statement in statements:
                await cursor.execute(statement)
    finally:
        connection.close()


async def write(server: PrivateMariaDB, transactions: int) -> None:
    """So many one-insert transactions."""
    loop = _LOOP.format(count=transactions // WRITERS)
    await asyncio.gather(*(execute(server, loop) for _ in range(WRITERS)))


def target(server: PrivateMariaDB, cluster: str = "bench") -> tuple[Address, Login]:
    endpoint = Endpoint(host=server.host, port=server.port)
    return Address(cluster_id=cluster, endpoints=(endpoint,), tls=None), Login(user="root", password=server.password)


async def read_to(reading: LogReading, position: str) -> tuple[int, int]:
    """(bytes, transactions) up to the position."""
    last = GtidList.parse(position).last[0].sequence
    size = count = 0
    async for piece in reading.pieces():
        size += len(piece.data)
        count += len(piece.transactions)
        if piece.transactions and int(piece.transactions[-1].gtid.rsplit("-", 1)[1]) >= last:
            return size, count
    raise AssertionError("the log ended")


async def throughput(server: PrivateMariaDB) -> Figure:
    """Megabytes of log a second, and of processor time: the server beside us takes its share of the machine."""
    await write(server, TRANSACTIONS)
    engine = MariaDBCaptureEngine()
    address, login = target(server)
    end = await engine.log_end(address, login)
    walls, processor = [], []
    for _ in range(ROUNDS):
        async with engine.read(address, login, Resume(position=""), server_id=FIRST_SERVER_ID) as reading:
            began, used = time.perf_counter(), time.process_time()
            size, count = await read_to(reading, end)
            walls.append(size / 1e6 / (time.perf_counter() - began))
            processor.append(size / 1e6 / (time.process_time() - used))
        assert count >= TRANSACTIONS
    return Figure(
        name="capture_read_mb_per_s",
        value=_median(walls),
        unit="MB/s",
        goal=50,
        better="higher",
        samples=tuple(processor),
    )


async def latency(server: PrivateMariaDB) -> Figure:
    """From the moment at which a commit was acknowledged to its receipt, the 99th of a hundred, in milliseconds."""
    engine = MariaDBCaptureEngine()
    address, login = target(server)
    position = await engine.log_end(address, login)
    received: list[float] = []
    committed: list[float] = []
    total = RATE_PER_S * LATENCY_SECONDS

    async def receive(reading: LogReading) -> None:
        async for piece in reading.pieces():
            received.extend([time.perf_counter()] * len(piece.transactions))
            if len(received) >= total:
                return

    async with engine.read(address, login, Resume(position=position), server_id=FIRST_SERVER_ID) as reading:
        receiving = asyncio.create_task(receive(reading))
        connection = await server.connect()
        async with connection.cursor() as cursor:
            began = time.perf_counter()
            for number in range(total):
                await asyncio.sleep(max(0.0, began + number / RATE_PER_S - time.perf_counter()))
                await cursor.execute("INSERT INTO bench.t (a, b) VALUES (1, 'now')")
                committed.append(time.perf_counter())
        connection.close()
        await receiving
    delays = sorted(max(0.0, got - done) * 1000 for got, done in zip(received, committed, strict=True))
    return Figure(
        name="capture_received_p99_ms",
        value=delays[int(len(delays) * 0.99)],
        unit="ms",
        goal=50,
        better="lower",
        samples=(delays[len(delays) // 2],),
    )


async def quiet(server: PrivateMariaDB, clusters: int = QUIET_CLUSTERS) -> Figure:
    """Share of one core that so many clusters take in which nothing happens: a mark a second, a look at what no log
    holds every ten."""
    engine = MariaDBCaptureEngine()
    async with AsyncExitStack() as opened:
        address, login = target(server)
        position = await engine.log_end(address, login)
        readings = await asyncio.gather(
            *(
                opened.enter_async_context(
                    engine.read(address, login, Resume(position=position), server_id=FIRST_SERVER_ID + 1 + number)
                )
                for number in range(clusters)
            )
        )
        tasks = [asyncio.create_task(_drain(reading)) for reading in readings]
        tasks += [asyncio.create_task(_watch(reading, number)) for number, reading in enumerate(readings)]
        await asyncio.sleep(QUIET_SECONDS / 4)
        used = time.process_time()
        await asyncio.sleep(QUIET_SECONDS)
        share = (time.process_time() - used) / QUIET_SECONDS
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return Figure(name="capture_quiet_core_percent", value=share * 100, unit="%", goal=50, better="lower")


async def _drain(reading: LogReading) -> None:
    async for _ in reading.pieces():
        pass


async def _watch(reading: LogReading, number: int) -> None:
    await asyncio.sleep(number % 100 / 100)
    for second in range(10**9):
        await reading.mark()
        if (second + number) % 10 == 0:
            for kind in MariaDBCaptureEngine.state_kinds:
                await reading.state(kind)
            await reading.headroom_s(reading.position)
        await asyncio.sleep(1)


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


async def measure(folder: Path) -> list[Figure]:
    async with server_with_log(folder) as server:
        return [await throughput(server), await latency(server), await quiet(server)]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="tidewind-bench-") as scratch:
        for figure in asyncio.run(measure(Path(scratch))):
            print(figure.as_json())
