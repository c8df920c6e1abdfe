"""What the S3 servers of the tests have in common."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import aioboto3
from botocore.config import Config

from tidewind.embedded.processes import ServerProcess, ServerStartError, accepts_connections

START_SECONDS = 60


@dataclass(frozen=True)
class S3Endpoint:
    """How to reach a server, and what it is known to do differently from AWS."""

    url: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"
    ca: Path | None = None
    checksums: Literal["when_supported", "when_required"] = "when_supported"
    honours_if_none_match: bool = True

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Any]:
        session = aioboto3.Session(
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
        )
        config = Config(
            request_checksum_calculation=self.checksums,
            response_checksum_validation=self.checksums,
            s3={"addressing_style": "path"},
            connect_timeout=5,
            read_timeout=30,
            retries={"max_attempts": 1},
        )
        verify = str(self.ca) if self.ca else None
        async with session.client("s3", endpoint_url=self.url, config=config, verify=verify) as client:
            yield client

    async def new_bucket(self) -> str:
        """Make an empty bucket with a name of its own."""
        name = f"tidewind-{secrets.token_hex(6)}"
        async with self.client() as client:
            await client.create_bucket(Bucket=name)
        return name


class S3Server:
    """One server process; the subclasses say how it is started. The data outlives `stop` and `kill`."""

    def __init__(self, name: str, directory: Path, port: int, endpoint: S3Endpoint) -> None:
        self.name = name
        self.directory = directory
        self.endpoint = endpoint
        self._port = port
        self._process: ServerProcess | None = None

    def _command(self) -> list[str | Path]:
        raise NotImplementedError

    def _environment(self) -> dict[str, str]:
        return {}

    async def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._process = ServerProcess(
            self.name,
            self._command(),
            log=self.directory / "server.log",
            env=self._environment(),
            cwd=self.directory,
        )
        self._process.start()
        await self._process.wait_ready(lambda: accepts_connections(self._port), seconds=START_SECONDS)

    async def stop(self) -> None:
        await self._started().stop()

    async def kill(self) -> None:
        await self._started().kill()

    def pause(self) -> None:
        self._started().pause()

    def resume(self) -> None:
        self._started().resume()

    def _started(self) -> ServerProcess:
        if self._process is None:
            raise ServerStartError(f"{self.name} was not started")
        return self._process
