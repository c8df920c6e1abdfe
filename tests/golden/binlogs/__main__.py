"""Records the logs anew: starts each release, runs the workload, and keeps what its log holds."""

import asyncio
import tempfile
from pathlib import Path

import zstandard

from tests.golden.binlogs import HERE, RELEASES
from tests.servers import binlog_workload, installed
from tidewind.embedded.mariadb import PrivateMariaDB

OWN = "10.11"
"""The release of the system's own server."""


async def record(release: str) -> bytes:
    folder = Path(tempfile.mkdtemp(prefix="tidewind-record-"))
    server = PrivateMariaDB(folder, installation=None if release == OWN else installed.mariadb(release))
    await server.start()
    try:
        connection = await server.connect()
        await binlog_workload.run(connection, binlog_workload.release_of(release))
        connection.close()
        files = sorted(file for file in (folder / "binlog").glob("binlog.*") if file.suffix[1:].isdigit())
        return b"".join(file.read_bytes()[4:] for file in files)
    finally:
        await server.remove()


def main() -> None:
    for release in RELEASES:
        log = asyncio.run(record(release))
        (HERE / f"{release}.zst").write_bytes(zstandard.ZstdCompressor(level=19).compress(log))
        print(release, len(log))


main()
