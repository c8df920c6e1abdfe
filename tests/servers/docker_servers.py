"""Kafka and MariaDB from container images, chosen by TIDEWIND_SERVERS=docker.

They offer what `KafkaServer` and `PrivateMariaDB` offer. Needs a Docker engine; where there is none the
tests fail. This way of supplying the servers is written for machines with an engine and is not part of
`make test`."""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any

import aiomysql
import pymysql
from testcontainers.core.container import DockerContainer

from tidewind.embedded.processes import LOOPBACK, ServerStartError, accepts_connections, free_port

KAFKA_IMAGE = "apache/kafka:4.1.0"
MARIADB_IMAGE = "mariadb:10.11"
START_SECONDS = 180


class _Container:
    """A container that can be stopped, killed, paused and started again on the same port and data."""

    def __init__(self, container: DockerContainer, inner_port: int) -> None:
        self.host = LOOPBACK
        self.port = free_port()
        self._container = container.with_bind_ports(inner_port, self.port)
        self._created = False

    async def start(self) -> None:
        if self._created:
            await asyncio.to_thread(self._engine.start)
        else:
            await asyncio.to_thread(self._container.start)
            self._created = True
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await self._answers():
                    await asyncio.sleep(0.2)
        except TimeoutError as error:
            out, err = await asyncio.to_thread(self._container.get_logs)
            raise ServerStartError(f"{self._container.image} was not ready:\n{out!r}\n{err!r}") from error

    async def stop(self) -> None:
        await asyncio.to_thread(self._engine.stop)

    async def kill(self) -> None:
        await asyncio.to_thread(self._engine.kill)

    def pause(self) -> None:
        self._engine.pause()

    def resume(self) -> None:
        self._engine.unpause()

    async def remove(self) -> None:
        await asyncio.to_thread(self._container.stop)

    @property
    def _engine(self) -> Any:
        return self._container.get_wrapped_container()

    async def _answers(self) -> bool:
        return await accepts_connections(self.port)


class DockerKafka(_Container):
    """One KRaft node of the Apache image."""

    def __init__(self) -> None:
        super().__init__(DockerContainer(KAFKA_IMAGE), 9092)
        settings = {
            "KAFKA_NODE_ID": "1",
            "KAFKA_PROCESS_ROLES": "broker,controller",
            "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
            "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
            "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{self.address}",
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
            "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
            "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
            "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        }
        for name, value in settings.items():
            self._container.with_env(name, value)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


class DockerMariaDB(_Container):
    """MariaDB's own image with the log settings of `PrivateMariaDB`."""

    user = "root"

    def __init__(self, *, server_id: int = 1, options: Sequence[str] = ()) -> None:
        super().__init__(DockerContainer(MARIADB_IMAGE), 3306)
        self.password = secrets.token_urlsafe(12)
        self._container.with_env("MARIADB_ROOT_PASSWORD", self.password).with_command(
            [
                f"--server-id={server_id}",
                "--log-bin=binlog",
                "--binlog-format=ROW",
                "--binlog-row-image=FULL",
                "--gtid-strict-mode=ON",
                *options,
            ]
        )

    async def connect(
        self, *, user: str | None = None, password: str | None = None, database: str | None = None
    ) -> aiomysql.Connection:
        return await aiomysql.connect(
            host=self.host,
            port=self.port,
            user=user or self.user,
            password=self.password if password is None else password,
            db=database,
            autocommit=True,
            connect_timeout=10,
            charset="utf8mb4",
            local_infile=True,
        )

    async def _answers(self) -> bool:
        try:
            connection = await self.connect()
        except (pymysql.err.OperationalError, OSError):
            return False
        connection.close()
        return True
