"""moto's S3 in memory: answers the corner cases of the protocol, but is no judge of checksums. Optionally behind TLS."""

import sys
from pathlib import Path

from tests.servers.certificates import Certificates
from tests.servers.s3 import S3Endpoint, S3Server
from tidewind.embedded.processes import LOOPBACK, free_port


class MotoServer(S3Server):
    def __init__(self, directory: Path, *, certificates: Certificates | None = None) -> None:
        port = free_port()
        self._certificates = certificates
        endpoint = S3Endpoint(
            url=f"{'https' if certificates else 'http'}://{LOOPBACK}:{port}",
            access_key="tidewind-test",
            secret_key="tidewind-test-secret",
            ca=certificates.ca if certificates else None,
        )
        super().__init__("moto", directory, port, endpoint)

    def _command(self) -> list[str | Path]:
        tls: list[str | Path] = []
        if self._certificates is not None:
            tls = ["-c", self._certificates.certificate, "-k", self._certificates.key]
        return [sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(self._port), *tls]
