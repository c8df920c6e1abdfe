"""A whole Tidewind as users run it: its services as processes, settings from the environment, on real servers."""

import asyncio
import base64
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from tidewind.bus.admin import TopicAdmin
from tidewind.bus.connection import Connection
from tidewind.bus.settings import BusSettings
from tidewind.embedded.processes import free_port
from tidewind.runtime.secrets import resolve

SERVICES = ("scheduler", "snapshotter", "restorer")
REPOSITORY_ROOT = Path(__file__).parents[2]


class ServiceProcess:
    """One instance of one service. `kill` is SIGKILL, `stop` SIGTERM, `pause` SIGSTOP."""

    def __init__(self, name: str, environment: dict[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self.health_port = free_port()
        self._environment = environment | {"TIDEWIND_HEALTH_PORT": str(self.health_port)}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"services.{self.name}"],
                env=self._environment,
                stdout=sink,
                stderr=sink,
                cwd=REPOSITORY_ROOT,
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        assert self._process is not None
        return self._process.poll()

    async def ready(self, deadline_s: float = 60) -> None:
        """Wait until `/readyz` says so; AssertionError with the log's end otherwise."""
        until = time.monotonic() + deadline_s
        while time.monotonic() < until:
            if not self.running:
                raise AssertionError(f"{self.name} ended with {self.exit_code}:\n{self.tail()}")
            if await asyncio.to_thread(self._is_ready):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{self.name} is not ready after {deadline_s} s:\n{self.tail()}")

    def signal(self, number: int) -> None:
        if self.running:
            os.kill(self.pid, number)

    async def stop(self, deadline_s: float = 30) -> None:
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        assert self._process is not None
        try:
            await asyncio.to_thread(self._process.wait, deadline_s)
        except subprocess.TimeoutExpired:
            await self.kill()
            raise AssertionError(f"{self.name} did not stop within {deadline_s} s:\n{self.tail()}") from None

    async def ended(self, deadline_s: float) -> int:
        """The exit code of a process that ends by itself; AssertionError with the log's end if it does not."""
        assert self._process is not None
        try:
            return await asyncio.to_thread(self._process.wait, deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} runs on:\n{self.tail()}") from None

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        if self._process is not None:
            await asyncio.to_thread(self._process.wait, 10)

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


class Deployment:
    """Settings shared by its services; topics under a prefix of its own, so that tests share one Kafka."""

    def __init__(
        self,
        directory: Path,
        bootstrap: str,
        *,
        store: dict[str, str] | None = None,
        extra: dict[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.bootstrap = bootstrap
        self.prefix = f"t{uuid.uuid4().hex[:10]}."
        (directory / "store").mkdir(parents=True)
        keyring = f"test-1: {base64.b64encode(secrets.token_bytes(32)).decode()}\n"
        self.environment = (
            os.environ
            | {
                "TIDEWIND_KAFKA_BOOTSTRAP": bootstrap,
                "TIDEWIND_KAFKA_PREFIX": self.prefix,
                "TIDEWIND_KAFKA_REPLICATION_FACTOR": "1",
                "TIDEWIND_KAFKA_SESSION_TIMEOUT_S": "6",
                "TIDEWIND_STORE_URL": f"file://{directory / 'store'}",
                "TIDEWIND_KEYRING": "env:TEST_KEYRING",
                "TEST_KEYRING": keyring,
                "TIDEWIND_LEASE_S": "4",
                "TIDEWIND_HEARTBEAT_S": "0.5",
                "TIDEWIND_CANCEL_POLL_S": "0.3",
                "TIDEWIND_DELETE_GRACE_S": "0.2",
                "TIDEWIND_ALLOW_MANUAL_BACKUPS": "true",
                "TIDEWIND_TICK_S": "1",
                "TIDEWIND_STATUSES_EVERY_S": "1",
            }
            | (store or {})
            | (extra or {})
        )
        self.processes: list[ServiceProcess] = []

    async def start(self, *names: str) -> list[ServiceProcess]:
        """Start one instance of each service named (all by default) and wait until they are ready."""
        started = []
        for name in names or SERVICES:
            number = len(self.processes)
            environment = self.environment | {"TIDEWIND_INSTANCE": f"{name}-{number}"}
            process = ServiceProcess(name, environment, self.directory / f"{name}-{number}.log")
            process.start()
            self.processes.append(process)
            started.append(process)
        for process in started:
            await process.ready()
        return started

    async def refused_start(self, name: str, *, deadline_s: float = 60) -> tuple[int, str]:
        """Exit code and last words of a service that cannot start."""
        process = ServiceProcess(name, self.environment, self.directory / f"{name}-refused.log")
        process.start()
        self.processes.append(process)
        code = await process.ended(deadline_s)
        return code, process.tail(3)

    async def close(self) -> None:
        for process in self.processes:
            await process.kill()

    def logs(self) -> str:
        return "\n".join(f"== {process.name} {process.pid}\n{process.tail()}" for process in self.processes)

    async def make_topics(self) -> None:
        """What `tidewind topics apply` does."""
        named = {
            name.removeprefix("TIDEWIND_KAFKA_").lower(): value
            for name, value in self.environment.items()
            if name.startswith("TIDEWIND_KAFKA_")
        }
        await TopicAdmin(Connection(BusSettings.model_validate(named), resolve)).apply()
