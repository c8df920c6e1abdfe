"""A service killed, or stopped past its lease and woken, in each phase: another instance finishes, and nothing is left.

Two instances of every service run; whoever holds the job when the phase is reached gets the signal. Then the job must end
well, once, the content must equal what it should be, and no account, connection, lock or object of ours may be left
behind.
"""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import shop
from tests.acceptance.deployment import SERVICES, ServiceProcess
from tests.acceptance.protected import CLUSTER, ProtectedShop, problem_name, protected_shop, shop_server
from tests.fakes import until_async
from tests.oracle import Content
from tests.servers.kafka_server import KafkaServer

RESTORE_STEPS = ("gating", "safeguarding", "loading", "defining", "verifying", "opening")
SIGNALS = {"killed": signal.SIGKILL, "stopped": signal.SIGSTOP}


@dataclass
class House(ProtectedShop):
    """Everything running twice, and one backup taken."""

    backup_id: str = ""
    before: Content = field(default_factory=Content)

    async def prepare(self) -> None:
        self.before = await self.content()
        self.backup_id = await self.backup()

    async def ruin(self) -> Content:
        """Make the shop another than was backed up, whatever a case before has left of it: what it holds then. A restore
        that does nothing must not look like one that does."""
        if await self.content() == self.before:
            root = await self.server.connect()
            await shop.oops(root)
            root.close()
        ruined = await self.content()
        assert ruined != self.before
        return ruined

    async def available(self) -> None:
        """Wait until the newest word of the cluster is that it may be used."""

        async def told() -> bool:
            state = self.client.status(f"availability/{CLUSTER}")
            return state is not None and state["state"] == "Available"

        await until_async(told, deadline_s=30)

    def named(self, instance: str) -> ServiceProcess:
        return self.deployment.processes[int(instance.rsplit("-", 1)[1])]

    async def reached(self, job: str, step: str) -> None:
        await self.client.wait_for(
            "progress", lambda record: record["data"]["job_id"] == job and record["data"]["step"] == step
        )

    async def holder(self, job: str) -> ServiceProcess:
        status = await self.client.wait_status(f"job/{CLUSTER}/{job}")
        return self.named(status["holder"])

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

    async def struck(self, job: str, how: str, *, phase: Awaitable[object]) -> dict[str, Any]:
        """The end of a job whose holder is struck in a phase; the house is whole again afterwards."""
        await phase
        victim = await self.holder(job)
        await self.strike(victim, how)
        end = await self.client.terminal(job, deadline_s=150)
        await self.recover(victim, how)
        await self.nothing_left()
        assert len({record["headers"]["ce_id"] for record in self.ends_of(job)}) == 1
        return end

    def ends_of(self, job: str) -> list[dict[str, Any]]:
        ends = (".completed.", ".failed.", ".cancelled.", ".verified.", ".deleted.")
        return [
            record
            for record in self.client.seen["events"]
            if record["data"].get("job_id") == job and any(end in record["headers"]["ce_type"] for end in ends)
        ]

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
    twice = tuple(name for name in SERVICES for _ in range(2))
    async with (
        shop_server(server_directory("kills-mariadb"), customers=4000, orders=60_000) as server,
        protected_shop(server_directory("kills"), kafka, server, services=twice) as made,
    ):
        house = House(made.deployment, made.client, made.server)
        await house.prepare()
        yield house


@pytest.mark.parametrize("how", SIGNALS)
@pytest.mark.parametrize("step", RESTORE_STEPS)
@pytest.mark.timeout(240)
async def test_restorer(house: House, step: str, how: str) -> None:
    await house.ruin()
    wanted = {"mode": "snapshot", "backup_id": house.backup_id, "reason": f"{how} while {step}"}
    answer = await house.accepted("restores", "restore.request", wanted)
    end = await house.struck(answer["job_id"], how, phase=house.reached(answer["job_id"], step))
    assert end["type"] == "tidewind.restore.completed.v1", end
    assert (await house.content()).differences(house.before) == []
    await house.available()


@pytest.mark.parametrize("how", SIGNALS)
@pytest.mark.timeout(240)
async def test_restorer_on_the_way_back(house: House, how: str) -> None:
    """The database stands still while the cancel is given, so that the restore cannot get past it."""
    now = await house.ruin()
    wanted = {"mode": "snapshot", "backup_id": house.backup_id}
    answer = await house.accepted("restores", "restore.request", wanted)
    await house.reached(answer["job_id"], "loading")
    house.server.pause()
    try:
        restore = {"restore_id": answer["answer"]["restore_id"]}
        await house.accepted("restores", "restore.cancel", restore)
    finally:
        house.server.resume()
    end = await house.struck(answer["job_id"], how, phase=house.reached(answer["job_id"], "returning"))
    assert end["type"] == "tidewind.restore.cancelled.v1", end
    assert (await house.content()).differences(now) == []


@pytest.mark.parametrize("how", SIGNALS)
@pytest.mark.timeout(360)
async def test_snapshotter(house: House, how: str) -> None:
    """While it reads a snapshot, while it verifies it, and while it removes it."""
    taken = await house.accepted("commands", "backup.run", {"reason": how})
    end = await house.struck(taken["job_id"], how, phase=house.reached(taken["job_id"], "reading"))
    assert end["type"] == "tidewind.backup.completed.v1", end
    backup = {"backup_id": end["backup_id"]}
    verifying = await house.accepted("commands", "backup.verify", backup)
    end = await house.struck(verifying["job_id"], how, phase=house.reached(verifying["job_id"], "verifying"))
    assert end["type"] == "tidewind.backup.verified.v1", end
    removing = await house.accepted("commands", "backup.delete", backup | {"confirm_shorter_window": True})
    begun = house.client.wait_status(
        f"backup/{CLUSTER}/{backup['backup_id']}", lambda data: data["state"] == "deleting"
    )
    end = await house.struck(removing["job_id"], how, phase=begun)
    assert end["type"] == "tidewind.backup.deleted.v1", end
    gone = await house.refused("restores", "restore.request", {"mode": "snapshot", **backup})
    assert problem_name(gone) == "backup-deleted"
    store = house.deployment.directory / "store"
    assert [path for path in store.glob(f"*/{CLUSTER}/{backup['backup_id']}*") if path.parts[-3] != "tombstones"] == []


@pytest.mark.parametrize("how", SIGNALS)
@pytest.mark.timeout(240)
async def test_scheduler(house: House, how: str) -> None:
    """In the middle of many commands: each is answered once, and the last one stands."""
    kind = "tidewind.backup-setting.set.v1"

    async def ask(days: int) -> str:
        return await house.client.send("commands", kind, {"cluster_id": CLUSTER, "retention_days": days})

    def answers(sent: str) -> list[dict[str, Any]]:
        seen = house.client.seen["replies"]
        return [record for record in seen if record["headers"].get("correlation-id") == sent]

    first = await ask(8)
    await house.client.reply(first)
    victim = house.named(answers(first)[0]["headers"]["ce_source"])
    asked = [await ask(days) for days in range(10, 60)]
    await house.strike(victim, how)
    for sent in asked:
        answer = await house.client.reply(sent, deadline_s=60)
        assert answer["type"] == "tidewind.command.accepted.v1", answer
    await house.recover(victim, how)
    last = await ask(90)
    await house.client.terminal((await house.client.reply(last))["job_id"])
    await house.client.wait_status(f"setting/{CLUSTER}", lambda data: data["setting"]["retention_days"] == 90)
    for sent in asked:
        assert len({record["headers"]["ce_id"] for record in answers(sent)}) == 1
    registry = house.deployment.directory / "store" / "registry" / CLUSTER
    changes = {record["data"]["job_id"] for sent in (first, *asked, last) for record in answers(sent)}
    assert len(changes) == len(asked) + 2
    assert len(list(registry.iterdir())) >= len(changes), "one revision for each"


@pytest.mark.timeout(240)
async def test_kafka_stopped_for_the_middle_of_a_restore(
    tmp_path: Path, kafka_factory: Callable[[], Awaitable[KafkaServer]]
) -> None:
    broker = await kafka_factory()
    async with (
        shop_server(tmp_path / "mariadb", customers=2000, orders=30_000) as server,
        protected_shop(tmp_path, broker.address, server) as made,
    ):
        house = House(made.deployment, made.client, made.server)
        await house.prepare()
        await house.ruin()
        wanted = {"mode": "snapshot", "backup_id": house.backup_id}
        answer = await house.accepted("restores", "restore.request", wanted)
        await house.reached(answer["job_id"], "gating")
        await broker.kill()

        async def restored() -> bool:
            try:
                return (await house.content()).differences(house.before) == []
            except Exception:
                return False

        await until_async(restored, deadline_s=60)
        await broker.start()
        end = await house.client.terminal(answer["job_id"], deadline_s=60)
        assert end["type"] == "tidewind.restore.completed.v1", end
        await house.nothing_left()
