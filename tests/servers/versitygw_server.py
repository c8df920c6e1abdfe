"""The Versity S3 gateway on a directory: checks checksums, ignores If-None-Match. Optionally behind TLS."""

import os
from pathlib import Path

from tests.servers import installed
from tests.servers.certificates import Certificates
from tests.servers.s3 import S3Endpoint, S3Server
from tidewind.embedded.processes import LOOPBACK, free_port


class VersityServer(S3Server):
    def __init__(self, directory: Path, *, certificates: Certificates | None = None) -> None:
        port = free_port()
        self._certificates = certificates
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
        data = self.directory / "data"
        data.mkdir(exist_ok=True)
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
            *tls,
            "posix",
            *self._metadata_options(data),
            data,
        ]

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
