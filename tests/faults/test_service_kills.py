"""A service killed, or stopped past its lease and woken, in each phase: another instance finishes, and nothing is left.

Two instances of each job-working service run; whoever holds the job when the phase is reached gets the signal. Then the
job must end well, the content must equal what it should be, and no account, connection, lock or object of ours may be
left behind.
"""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import shop
from tests.acceptance.deployment import Deployment, ServiceProcess
from tests.acceptance.plain_client import PlainClient
from tests.fakes import until_async
from tests.oracle import Content, content
from tests.servers.kafka_server import KafkaServer
from tidewind.embedded.mariadb import PrivateMariaDB

CLUSTER = "shop-1"
RESTORE_STEPS = ("gating", "safeguarding", "loading", "defining", "verifying", "opening")
SIGNALS = {"killed": signal.SIGKILL, "stopped": signal.SIGSTOP}


@dataclass
class House:
    """Everything running, one backup taken, the shop ruined after it."""

    deployment: Deployment
    client: PlainClient
    server: PrivateMariaDB
    backup: str
    before: Content

    async def content(self) -> Content:
        connection = await self.server.connect()
        try:
            return await content(connection, spared_accounts=[shop.SERVICE_USER])
        finally:
            await connection.ensure_closed()

    async def accepted(self, topic: str, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await self.client.reply(await self.client.send(topic, kind, {"cluster_id": CLUSTER, **body}))
        assert answer["type"] == "tidewind.command.accepted.v1", answer
        return answer

    async def holder(self, job: str, step: str) -> ServiceProcess:
        """Whoever holds the job once it has reached a step."""
        await self.client.wait_for(
            "progress", lambda record: record["data"]["job_id"] == job and record["data"]["step"] == step
        )
        status = await self.client.wait_status(f"job/{CLUSTER}/{job}")
        number = int(status["holder"].rsplit("-", 1)[1])
        return self.deployment.processes[number]

    async def strike(self, process: ServiceProcess, how: str) -> None:
        process.signal(SIGNALS[how])
        if how == "killed":
            await process.kill()

    async def recover(self, process: ServiceProcess, how: str) -> None:
        """Bring the house back to two instances of the service."""
        if how == "stopped":
            process.signal(signal.SIGCONT)
            await process.ready()
        else:
            await self.deployment.start(process.name)

    async def leftovers(self) -> list[str]:
        """What of ours is still on the database, but for the safety schemas of completed restores."""
        connection = await self.server.connect()
        async with connection.cursor() as cursor:
            await cursor.execute("SELECT User FROM mysql.global_priv WHERE User LIKE 'tw\\_%'")
            found = [f"account {row[0]}" for row in await cursor.fetchall()]
            await cursor.execute(
                "SELECT ID, USER, COMMAND FROM information_schema.PROCESSLIST WHERE USER = %s OR USER LIKE 'tw\\_%%'",
                (shop.SERVICE_USER,),
            )
            found += [f"connection {row}" for row in await cursor.fetchall()]
            await cursor.execute("SELECT @@global.init_connect, @@global.read_only")
            settings = await cursor.fetchone()
            if settings[0] or settings[1]:
                found.append(f"settings {settings}")
        connection.close()
        return found

    async def nothing_left(self) -> None:
        async def clean() -> bool:
            return await self.leftovers() == []

        try:
            await until_async(clean, deadline_s=15)
        except TimeoutError:
            raise AssertionError(await self.leftovers()) from None


@pytest.fixture(scope="module")
async def house(server_directory: Callable[[str], Path], kafka: str) -> AsyncIterator[House]:
    folder = server_directory("kills")
    server = PrivateMariaDB(server_directory("kills-mariadb"), options=("--event-scheduler=ON",))
    await server.start()
    deployment = Deployment(
        folder / "tidewind", kafka, extra={"SHOP_LOGIN": f"{shop.SERVICE_USER}:{shop.SERVICE_PASSWORD}"}
    )
    root = await server.connect()
    await shop.build(root, customers=4000, orders=60_000)
    await deployment.make_topics()
    try:
        await deployment.start("scheduler", "snapshotter", "snapshotter", "restorer", "restorer")
        async with PlainClient(kafka, deployment.prefix) as client:
            house = House(deployment, client, server, "", Content())
            enrolled = await house.accepted(
                "commands",
                "tidewind.cluster.enroll.v1",
                {
                    "engine": "mariadb",
                    "region": "eu-central-1",
                    "endpoints": [{"host": server.host, "port": server.port}],
                    "credentials": "env:SHOP_LOGIN",
                },
            )
            await client.terminal(enrolled["job_id"])
            house.before = await house.content()
            run = await house.accepted("commands", "tidewind.backup.run.v1", {})
            assert (await client.terminal(run["job_id"]))["type"] == "tidewind.backup.completed.v1"
            house.backup = run["answer"]["backup_id"]
            await shop.oops(root)
            yield house
    finally:
        print(deployment.logs())
        await deployment.close()
        await server.remove()


@pytest.mark.parametrize("how", SIGNALS)
@pytest.mark.parametrize("step", RESTORE_STEPS)
@pytest.mark.timeout(240)
async def test_restorer(house: House, step: str, how: str) -> None:
    wanted = {"mode": "snapshot", "backup_id": house.backup, "reason": f"{how} while {step}"}
    answer = await house.accepted("restores", "tidewind.restore.request.v1", wanted)
    victim = await house.holder(answer["job_id"], step)
    await house.strike(victim, how)
    end = await house.client.terminal(answer["job_id"], deadline_s=150)
    await house.recover(victim, how)
    assert end["type"] == "tidewind.restore.completed.v1", end
    await house.nothing_left()
    assert (await house.content()).differences(house.before) == []
    state = await house.client.wait_status(f"availability/{CLUSTER}", lambda _: True)
    assert state["state"] in ("Available", "Restoring")
    terminal = [
        record
        for record in house.client.seen["events"]
        if record["data"].get("job_id") == answer["job_id"] and ".completed." in record["headers"]["ce_type"]
    ]
    assert len({record["headers"]["ce_id"] for record in terminal}) == 1


@pytest.mark.parametrize("how", SIGNALS)
@pytest.mark.timeout(240)
async def test_snapshotter(house: House, how: str) -> None:
    answer = await house.accepted("commands", "tidewind.backup.run.v1", {"reason": how})
    victim = await house.holder(answer["job_id"], "reading")
    await house.strike(victim, how)
    end = await house.client.terminal(answer["job_id"], deadline_s=150)
    await house.recover(victim, how)
    assert end["type"] == "tidewind.backup.completed.v1", end
    await house.nothing_left()
    verify = await house.accepted("commands", "tidewind.backup.verify.v1", {"backup_id": answer["answer"]["backup_id"]})
    assert (await house.client.terminal(verify["job_id"]))["type"] == "tidewind.backup.verified.v1"


@pytest.mark.timeout(240)
async def test_kafka_stopped_for_the_middle_of_a_restore(
    tmp_path: Path,
    kafka_factory: Callable[[], Awaitable[KafkaServer]],
    mariadb_factory: Callable[..., Awaitable[PrivateMariaDB]],
) -> None:
    broker = await kafka_factory()
    server = await mariadb_factory(options=("--event-scheduler=ON",))
    root = await server.connect()
    await shop.build(root, customers=2000, orders=30_000)
    deployment = Deployment(
        tmp_path / "tidewind", broker.address, extra={"SHOP_LOGIN": f"{shop.SERVICE_USER}:{shop.SERVICE_PASSWORD}"}
    )
    try:
        await deployment.make_topics()
        await deployment.start("scheduler", "snapshotter", "restorer")
        async with PlainClient(broker.address, deployment.prefix) as client:
            house = House(deployment, client, server, "", Content())
            enrolled = await house.accepted(
                "commands",
                "tidewind.cluster.enroll.v1",
                {
                    "engine": "mariadb",
                    "region": "eu-central-1",
                    "endpoints": [{"host": server.host, "port": server.port}],
                    "credentials": "env:SHOP_LOGIN",
                },
            )
            await client.terminal(enrolled["job_id"])
            house.before = await house.content()
            run = await house.accepted("commands", "tidewind.backup.run.v1", {})
            await client.terminal(run["job_id"])
            await shop.oops(root)
            answer = await house.accepted(
                "restores",
                "tidewind.restore.request.v1",
                {"mode": "snapshot", "backup_id": run["answer"]["backup_id"]},
            )
            await house.holder(answer["job_id"], "gating")
            await broker.kill()

            async def restored() -> bool:
                try:
                    return (await house.content()).differences(house.before) == []
                except Exception:
                    return False

            await until_async(restored, deadline_s=60)
            await broker.start()
            end = await client.terminal(answer["job_id"], deadline_s=60)
            assert end["type"] == "tidewind.restore.completed.v1", end
            await house.nothing_left()
    finally:
        print(deployment.logs())
        await deployment.close()
