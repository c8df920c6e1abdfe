"""moto's S3 in memory: answers the corner cases of the protocol, but is no judge of checksums."""

import sys
from pathlib import Path

from tests.servers.s3 import S3Endpoint, S3Server
from tidewind.embedded.processes import LOOPBACK, free_port


class MotoServer(S3Server):
    def __init__(self, directory: Path) -> None:
        port = free_port()
        endpoint = S3Endpoint(
            url=f"http://{LOOPBACK}:{port}", access_key="tidewind-test", secret_key="tidewind-test-secret"
        )
        super().__init__("moto", directory, port, endpoint)

    def _command(self) -> list[str | Path]:
        return [sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(self._port)]
