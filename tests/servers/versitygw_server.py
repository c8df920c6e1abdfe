"""The Versity S3 gateway on a directory: checks checksums, ignores If-None-Match. Optionally behind TLS, or with
accounts that can be taken away."""

import asyncio
import os
import subprocess
from dataclasses import replace
from pathlib import Path

from tests.servers import installed
from tests.servers.certificates import Certificates
from tests.servers.s3 import S3Endpoint, S3Server
from tidewind.embedded.processes import LOOPBACK, free_port


class VersityServer(S3Server):
    """`data` is where the objects lie, below `directory` unless it is named."""

    def __init__(self, directory: Path, *, certificates: Certificates | None = None, data: Path | None = None) -> None:
        port = free_port()
        self._certificates = certificates
        self._data = data or directory / "data"
        endpoint = S3Endpoint(
            url=f"{'https' if certificates else 'http'}://{LOOPBACK}:{port}",
            access_key="tidewind-test",
            secret_key="tidewind-test-secret",
            ca=certificates.ca if certificates else None,
            honours_if_none_match=False,
        )
        super().__init__("versitygw", directory, port, endpoint)

    def _environment(self) -> dict[str, str]:
        return {"ROOT_ACCESS_KEY": self.endpoint.access_key, "ROOT_SECRET_KEY": self.endpoint.secret_key}

    def _command(self) -> list[str | Path]:
        data = self._data
        data.mkdir(exist_ok=True)
        accounts = self.directory / "accounts"
        accounts.mkdir(exist_ok=True)
        tls: list[str | Path] = []
        if self._certificates is not None:
            tls = ["--cert", self._certificates.certificate, "--key", self._certificates.key]
        return [
            installed.versitygw(),
            "--port",
            f"{LOOPBACK}:{self._port}",
            "--region",
            self.endpoint.region,
            "--quiet",
            "--iam-dir",
            accounts,
            "--iam-cache-disable",
            *tls,
            "posix",
            *self._metadata_options(data),
            data,
        ]

    async def add_account(self, name: str, secret: str) -> S3Endpoint:
        """Make an account that may make buckets; returns the endpoint as it sees it."""
        await self._administer("create-user", "--access", name, "--secret", secret, "--role", "userplus")
        return replace(self.endpoint, access_key=name, secret_key=secret)

    async def remove_account(self, name: str) -> None:
        """From the next request on its key is unknown."""
        await self._administer("delete-user", "--access", name)

    async def _administer(self, *words: str) -> None:
        root = ("--access", self.endpoint.access_key, "--secret", self.endpoint.secret_key)
        command = [installed.versitygw(), "admin", *root, "--endpoint-url", self.endpoint.url, *words]
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, timeout=20)

    def _metadata_options(self, data: Path) -> list[str | Path]:
        """Extended attributes where the file system has them: beside the data it keeps stale checksums."""
        try:
            os.setxattr(data, "user.tidewind", b"probe")
        except OSError:
            metadata = self.directory / "metadata"
            metadata.mkdir(exist_ok=True)
            return ["--sidecar", metadata]
        os.removexattr(data, "user.tidewind")
        return []
