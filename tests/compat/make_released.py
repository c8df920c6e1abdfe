"""Make the folder of a release: `python -m tests.compat.make_released v2`. Never over one that is there."""

import asyncio
import sys
import tempfile
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

from tests.acceptance import shop
from tests.acceptance.conftest import CLUSTER, LOGINS, ProtectedShop
from tests.acceptance.deployment import Deployment
from tests.acceptance.plain_client import PlainClient
from tests.compat.released import AUDITOR, AUDITOR_PASSWORD, Released
from tests.oracle import content
from tests.servers.kafka_server import KafkaServer
from tidewind.embedded.mariadb import PrivateMariaDB


async def make(name: str, folder: Path) -> None:
    released = Released(name)
    if released.folder.exists():
        raise SystemExit(f"{released.folder} is there already, and is never changed")
    kafka = KafkaServer(folder / "kafka")
    server = PrivateMariaDB(folder / "mariadb", options=("--event-scheduler=ON",))
    deployment = Deployment(folder / "tidewind", kafka.address, extra=LOGINS)
    try:
        await kafka.start()
        await server.start()
        root = await server.connect()
        await shop.build(root, customers=40, orders=60)
        async with root.cursor() as cursor:
            await cursor.execute(f"CREATE USER '{AUDITOR}'@'%' IDENTIFIED BY '{AUDITOR_PASSWORD}'")
            await cursor.execute(f"GRANT ALL ON *.* TO '{AUDITOR}'@'%'")
        held = await content(root, spared_accounts=[shop.SERVICE_USER])
        root.close()
        await deployment.make_topics()
        await deployment.start()
        async with PlainClient(kafka.address, deployment.prefix) as client:
            made = ProtectedShop(deployment, client, server)
            await made.done("commands", "cluster.enroll", made.enrolment())
            backup = await made.backup()
            await made.done("commands", "backup.verify", {"backup_id": backup})
            await made.done("commands", "backup-setting.set", {"backup_time": "03:30", "retention_days": 90})
            await client.wait_status(f"setting/{CLUSTER}", lambda data: data["setting"]["retention_days"] == 90)
            for process in deployment.processes:
                await process.stop()
            messages: list[dict[str, Any]] = [
                {"topic": topic, **one} for topic in client.seen for one in client.seen[topic]
            ]
        copytree(deployment.directory / "store", released.store, ignore=ignore_patterns(".*"))
        released.write(deployment.environment["TEST_KEYRING"], held, messages)
    finally:
        print(deployment.logs())
        await deployment.close()
        await server.remove()
        await kafka.kill()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        asyncio.run(make(sys.argv[1], Path(temporary)))
