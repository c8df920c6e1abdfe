"""A real Apache Kafka: one node, broker and controller (KRaft), from the jars of Maven Central."""

import asyncio
import secrets
import subprocess
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient

from tests.servers import installed
from tests.servers.certificates import Certificates
from tidewind.embedded.processes import (
    LOOPBACK,
    ServerProcess,
    ServerStartError,
    accepts_connections,
    free_port,
)

START_SECONDS = 90
JVM = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
LOGGING = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true")


class KafkaServer:
    """`start` after `stop` or `kill` continues on the same data and ports.

    With `certificates` there is a second listener, `secure_address`: TLS, and SCRAM-SHA-512 or PLAIN for
    `username`."""

    username = "tidewind"

    def __init__(self, directory: Path, *, certificates: Certificates | None = None) -> None:
        self.directory = directory
        self.certificates = certificates
        self.password = secrets.token_urlsafe(12)
        self._port, self._secure_port, self._controller_port = (free_port() for _ in range(3))
        self._process: ServerProcess | None = None

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self._port}"

    @property
    def secure_address(self) -> str:
        if self.certificates is None:
            raise ServerStartError("this Kafka was started without a TLS listener")
        return f"{LOOPBACK}:{self._secure_port}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    async def start(self) -> None:
        settings = self.directory / "server.properties"
        if not settings.exists():
            await asyncio.to_thread(self._format, settings)
        self._process = ServerProcess(
            "kafka", self._java("kafka.Kafka", settings), log=self.directory / "kafka.log", cwd=self.directory
        )
        self._process.start()
        await self._process.wait_ready(self._answers, seconds=START_SECONDS)

    async def stop(self) -> None:
        if self._process is not None:
            await self._process.stop()

    async def kill(self) -> None:
        if self._process is not None:
            await self._process.kill()

    def pause(self) -> None:
        """SIGSTOP: clients stay connected and get no answer."""
        assert self._process is not None
        self._process.pause()

    def resume(self) -> None:
        assert self._process is not None
        self._process.resume()

    def _java(self, main: str, *arguments: str | Path) -> list[str | Path]:
        class_path = installed.jars("kafka")
        return [installed.java(), *JVM, *LOGGING, "-cp", class_path, main, *arguments]

    def _format(self, settings: Path) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        draft = settings.with_suffix(".draft")
        draft.write_text("".join(f"{name}={value}\n" for name, value in self._settings().items()))
        cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        arguments = ["format", "--config", str(draft), f"--cluster-id={cluster_id}"]
        if self.certificates is not None:
            scram = f"SCRAM-SHA-512=[name={self.username},password={self.password}]"
            arguments += ["--add-scram", scram]
        done = subprocess.run(
            self._java("kafka.tools.StorageTool", *arguments),
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise ServerStartError(f"kafka could not format its storage:\n{done.stdout}{done.stderr}")
        draft.rename(settings)

    def _settings(self) -> dict[str, str | int]:
        plain = f"PLAINTEXT://{self.address}"
        settings: dict[str, str | int] = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{LOOPBACK}:{self._controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"{plain},CONTROLLER://{LOOPBACK}:{self._controller_port}",
            "advertised.listeners": plain,
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL",
            "log.dirs": str(self.directory / "logs"),
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1000,
            "default.replication.factor": 1,
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 3,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            # A broker that was killed may register again only when its old session has ended.
            "broker.session.timeout.ms": 2000,
            "broker.heartbeat.interval.ms": 500,
            "log.cleaner.backoff.ms": 1000,
            "log.cleaner.dedupe.buffer.size": 4 * 1024 * 1024,
            "num.network.threads": 2,
            "num.io.threads": 4,
        }
        return {**settings, **self._secure_settings(settings)} if self.certificates else settings

    def _secure_settings(self, settings: dict[str, str | int]) -> dict[str, str | int]:
        assert self.certificates is not None
        key_and_chain = self.directory / "keystore.pem"
        key_and_chain.write_bytes(self.certificates.key.read_bytes() + self.certificates.certificate.read_bytes())
        secure = f"SASL_SSL://{self.secure_address}"
        listener = "listener.name.sasl_ssl"
        module = "org.apache.kafka.common.security"
        return {
            "listeners": f"{settings['listeners']},{secure}",
            "advertised.listeners": f"{settings['advertised.listeners']},{secure}",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
            f"{listener}.scram-sha-512.sasl.jaas.config": f"{module}.scram.ScramLoginModule required;",
            f"{listener}.plain.sasl.jaas.config": (
                f'{module}.plain.PlainLoginModule required user_{self.username}="{self.password}";'
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(key_and_chain),
        }

    async def _answers(self) -> bool:
        if not await accepts_connections(self._port):
            return False
        admin = AIOKafkaAdminClient(bootstrap_servers=self.address, request_timeout_ms=5000)
        try:
            async with asyncio.timeout(10):
                await admin.start()
                cluster = await admin.describe_cluster()
        except TimeoutError:
            return False
        finally:
            await admin.close()
        return len(cluster["brokers"]) == 1
