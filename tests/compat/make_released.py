"""Make the folder of a release: `python -m tests.compat.make_released v2`. Never over one that is there."""

import asyncio
import sys
import tempfile
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

from tests.acceptance import shop
from tests.acceptance.protected import CLUSTER, ProtectedShop, protected_shop, shop_server
from tests.compat.released import AUDITOR, AUDITOR_PASSWORD, Released
from tests.oracle import Content, content
from tests.servers.kafka_server import KafkaServer
from tidewind.embedded.mariadb import PrivateMariaDB


async def make(name: str, folder: Path) -> None:
    released = Released(name)
    if released.folder.exists():
        raise SystemExit(f"{released.folder} is there already, and is never changed")
    kafka = KafkaServer(folder / "kafka")
    try:
        await kafka.start()
        async with shop_server(folder / "mariadb", customers=40, orders=60) as server:
            held = await _audited(server)
            async with protected_shop(folder, kafka.address, server) as made:
                messages = await _a_day(made)
                copytree(made.deployment.directory / "store", released.store, ignore=ignore_patterns(".*"))
                released.write(made.deployment.environment["TEST_KEYRING"], held, messages)
    finally:
        await kafka.kill()


async def _audited(server: PrivateMariaDB) -> Content:
    root = await server.connect()
    async with root.cursor() as cursor:
        await cursor.execute(f"CREATE USER '{AUDITOR}'@'%' IDENTIFIED BY '{AUDITOR_PASSWORD}'")
        await cursor.execute(f"GRANT ALL ON *.* TO '{AUDITOR}'@'%'")
    held = await content(root, spared_accounts=[shop.SERVICE_USER])
    root.close()
    return held


async def _a_day(made: ProtectedShop) -> list[dict[str, Any]]:
    """A backup, its verification, another setting; then everybody goes home. All that was said."""
    backup = await made.backup()
    await made.done("commands", "backup.verify", {"backup_id": backup})
    await made.done("commands", "backup-setting.set", {"backup_time": "03:30", "retention_days": 90})
    await made.client.wait_status(f"setting/{CLUSTER}", lambda data: data["setting"]["retention_days"] == 90)
    for process in made.deployment.processes:
        await process.stop()
    return [{"topic": topic, **one} for topic, seen in made.client.seen.items() for one in seen]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        asyncio.run(make(sys.argv[1], Path(temporary)))
