"""Memory is bounded, whatever a user writes."""

import asyncio
import json
import sys
from typing import Any

from tests.integration.mariadb.capture_lab import Lab

MB = 1 << 20
GROWTH_MB = 60
PIECE_BYTES = 1 << 20


async def read_alone(lab: Lab) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.integration.mariadb.capture_child"]
    server = lab.server
    process = await asyncio.create_subprocess_exec(
        *command, server.host, str(server.port), server.password, await lab.end(), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(said)
    return found


async def test_a_row_of_64_megabytes_and_a_transaction_of_200(mariadb_factory: Any) -> None:
    lab = Lab(await mariadb_factory(options=("--max-allowed-packet=1G", "--innodb-log-file-size=256M")))
    await lab.sql(
        "CREATE DATABASE a",
        "CREATE TABLE a.t (i INT PRIMARY KEY, b LONGBLOB) ENGINE=InnoDB",
        f"INSERT INTO a.t VALUES (0, REPEAT('x', {64 * MB}))",
        f"INSERT INTO a.t SELECT seq, REPEAT('y', {MB}) FROM a.seq_1_to_200",
        "INSERT INTO a.t VALUES (1000, 'last')",
    )
    found = await read_alone(lab)
    assert found["transactions"] == 5
    assert found["bytes"] > 264 * MB
    assert found["largest"] <= PIECE_BYTES
    assert found["grown_mb"] < GROWTH_MB, found
    captured = await lab.capture()
    captured.whole()
