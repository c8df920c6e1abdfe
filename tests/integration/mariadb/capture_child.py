"""Reads a log up to a position and says how much memory that took: a process of its own, so that nothing else counts.

python -m tests.integration.mariadb.capture_child HOST PORT PASSWORD POSITION
"""

import asyncio
import json
import sys
from pathlib import Path

from schemas.commands import Endpoint
from tidewind.domain.gtids import Gtid, GtidList
from tidewind.engines.mariadb.capture import MariaDBCaptureEngine
from tidewind.ports.capture import Resume
from tidewind.ports.engine import Address, Login


def memory_mb(field: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


async def main(host: str, port: str, password: str, position: str) -> None:
    end = GtidList.parse(position)
    address = Address(cluster_id="child", endpoints=(Endpoint(host=host, port=int(port)),), tls=None)
    size = count = largest = 0
    at = GtidList()
    before = memory_mb("VmRSS")
    engine = MariaDBCaptureEngine()
    login = Login(user="root", password=password)
    async with engine.read(address, login, Resume(position=""), server_id=4_200_000_000) as reading:
        async for piece in reading.pieces():
            size += len(piece.data)
            largest = max(largest, len(piece.data))
            count += len(piece.transactions)
            for one in piece.transactions:
                at = at.advanced(Gtid.parse(one.gtid))
            if at.covers(end):
                break
    sys.stdout.write(
        json.dumps({"bytes": size, "transactions": count, "largest": largest, "grown_mb": memory_mb("VmHWM") - before})
    )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
