"""Fixtures for the real servers, and the guard that keeps the fast suites off every network.

A server starts when a test first asks for it; each xdist worker has its own. A test whose server cannot be
started fails. If pytest is killed, the kernel ends the servers with it.

What starts a server is imported by its fixture: the suites without a network would wait a second for it in each worker.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.servers.certificates import Certificates
    from tests.servers.docker_servers import DockerKafka, DockerMariaDB
    from tests.servers.kafka_server import KafkaServer
    from tests.servers.s3 import S3Server
    from tidewind.embedded.mariadb import PrivateMariaDB

TESTS = Path(__file__).parent
SUITES_WITHOUT_NETWORK = ("unit", "contract", "property", "golden")
IN_DOCKER = os.environ.get("TIDEWIND_SERVERS") == "docker"


class _Network:
    """What the running test may connect to."""

    forbidden: str | None = None
    loopback_only = not IN_DOCKER


def _judge_connection(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "socket.connect":
        return
    address = arguments[1]
    if _Network.forbidden is not None:
        raise AssertionError(f"{_Network.forbidden} must not open connections, but connects to {address}")
    if _Network.loopback_only and isinstance(address, tuple) and not _is_loopback(str(address[0])):
        raise AssertionError(f"tests connect to this machine only, not to {address}")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".invalid")


sys.addaudithook(_judge_connection)


@pytest.fixture(autouse=True)
def _network_of_the_suite(request: pytest.FixtureRequest) -> Iterator[None]:
    suite = request.node.path.relative_to(TESTS).parts[0]
    if suite in SUITES_WITHOUT_NETWORK:
        _Network.forbidden = f"tests/{suite}"
    yield
    _Network.forbidden = None


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Processes that the test starts heed Ctrl-C. Where a shell runs the tests in the background it has them ignore it,
    and they would inherit that."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def server_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """Make a data directory of that name; all are removed after the last test."""
    made: list[Path] = []

    def make(name: str) -> Path:
        made.append(tmp_path_factory.mktemp(name))
        return made[-1]

    yield make
    for directory in made:
        rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def certificates(server_directory: Callable[[str], Path]) -> Certificates:
    """A certificate authority, and a certificate for localhost and 127.0.0.1."""
    from tests.servers.certificates import make_certificates

    return make_certificates(server_directory("certificates"))


@pytest.fixture(scope="session")
async def kafka(server_directory: Callable[[str], Path]) -> AsyncIterator[str]:
    """The bootstrap address of a Kafka that tests share: use topics and groups with names of your own."""
    server = _new_kafka(server_directory("kafka"))
    await server.start()
    yield server.address
    await server.kill()


@pytest.fixture(scope="session")
async def secure_kafka(
    server_directory: Callable[[str], Path], certificates: Certificates
) -> AsyncIterator[KafkaServer]:
    """A shared Kafka with a TLS listener that asks for a password."""
    from tests.servers.kafka_server import KafkaServer

    server = KafkaServer(server_directory("secure-kafka"), certificates=certificates)
    await server.start()
    yield server
    await server.kill()


@pytest.fixture
async def kafka_factory(tmp_path: Path) -> AsyncIterator[Callable[[], Awaitable[KafkaServer | DockerKafka]]]:
    """Start a Kafka of the test's own, to be stopped, killed, paused and started again."""
    made: list[KafkaServer | DockerKafka] = []

    async def start() -> KafkaServer | DockerKafka:
        made.append(_new_kafka(tmp_path / f"kafka-{len(made)}"))
        await made[-1].start()
        return made[-1]

    yield start
    for server in made:
        await server.kill()
    rmtree(tmp_path, ignore_errors=True)


@pytest.fixture(scope="session")
async def mariadb(server_directory: Callable[[str], Path]) -> AsyncIterator[PrivateMariaDB | DockerMariaDB]:
    """A MariaDB that tests share: use schemas and accounts with names of your own."""
    server = _new_mariadb(server_directory("mariadb"))
    await server.start()
    yield server
    await server.remove()


@pytest.fixture
async def mariadb_factory(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Callable[..., Awaitable[PrivateMariaDB | DockerMariaDB]]]:
    """Start a MariaDB of the test's own: `await mariadb_factory(options=("--event-scheduler=ON",))`."""
    made: list[PrivateMariaDB | DockerMariaDB] = []

    async def start(**settings: Any) -> PrivateMariaDB | DockerMariaDB:
        made.append(_new_mariadb(tmp_path_factory.mktemp("own-mariadb"), **settings))
        await made[-1].start()
        return made[-1]

    yield start
    for server in made:
        await server.remove()


@pytest.fixture(scope="session")
async def s3proxy(server_directory: Callable[[str], Path]) -> AsyncIterator[S3Server]:
    """An S3 server that honours If-None-Match."""
    from tests.servers.s3proxy_server import S3ProxyServer

    async for server in _running(S3ProxyServer(server_directory("s3proxy"))):
        yield server


@pytest.fixture(scope="session")
async def versitygw(server_directory: Callable[[str], Path]) -> AsyncIterator[S3Server]:
    """An S3 server that checks checksums and ignores If-None-Match."""
    from tests.servers.versitygw_server import VersityServer

    async for server in _running(VersityServer(server_directory("versitygw"))):
        yield server


@pytest.fixture(scope="session")
async def versitygw_tls(server_directory: Callable[[str], Path], certificates: Certificates) -> AsyncIterator[S3Server]:
    """The same behind TLS."""
    from tests.servers.versitygw_server import VersityServer

    server = VersityServer(server_directory("versitygw-tls"), certificates=certificates)
    async for running in _running(server):
        yield running


@pytest.fixture(scope="session")
async def moto_s3(server_directory: Callable[[str], Path]) -> AsyncIterator[S3Server]:
    """An S3 server in memory."""
    from tests.servers.moto_server import MotoServer

    async for server in _running(MotoServer(server_directory("moto"))):
        yield server


@pytest.fixture(params=["s3proxy", "versitygw", "moto_s3"])
def s3_server(request: pytest.FixtureRequest) -> S3Server:
    """Each S3 server in turn."""
    server: S3Server = request.getfixturevalue(request.param)
    return server


async def _running(server: S3Server) -> AsyncIterator[S3Server]:
    await server.start()
    yield server
    await server.kill()


def _new_kafka(directory: Path) -> KafkaServer | DockerKafka:
    if IN_DOCKER:
        from tests.servers.docker_servers import DockerKafka

        return DockerKafka()
    from tests.servers.kafka_server import KafkaServer

    return KafkaServer(directory)


def _new_mariadb(directory: Path, **settings: Any) -> PrivateMariaDB | DockerMariaDB:
    if IN_DOCKER:
        from tests.servers.docker_servers import DockerMariaDB

        return DockerMariaDB(**settings)
    from tidewind.embedded.mariadb import PrivateMariaDB

    return PrivateMariaDB(directory, **settings)
