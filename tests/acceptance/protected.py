"""A deployment that protects a shop, with a client that knows only Kafka: what most acceptance tests begin with."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.acceptance import shop
from tests.acceptance.deployment import SERVICES, Deployment
from tests.acceptance.plain_client import PlainClient
from tests.oracle import Content, content
from tidewind.embedded.mariadb import PrivateMariaDB

CLUSTER = "shop-1"
LOGINS = {
    "SHOP_LOGIN": f"{shop.SERVICE_USER}:{shop.SERVICE_PASSWORD}",
    "WRONG_LOGIN": f"{shop.SERVICE_USER}:not-the-password",
    "POOR_LOGIN": "poor:poor-secret",
}


@dataclass
class ProtectedShop:
    """A shop enrolled as `shop-1`."""

    deployment: Deployment
    client: PlainClient
    server: PrivateMariaDB

    def enrolment(self, cluster: str = CLUSTER, **changes: Any) -> dict[str, Any]:
        return {
            "cluster_id": cluster,
            "engine": "mariadb",
            "region": "eu-central-1",
            "endpoints": [{"host": self.server.host, "port": self.server.port}],
            "credentials": "env:SHOP_LOGIN",
        } | changes

    async def answer(self, topic: str, kind: str, body: dict[str, Any], **more: Any) -> dict[str, Any]:
        """The reply to a command."""
        sent = await self.client.send(topic, f"tidewind.{kind}.v1", {"cluster_id": CLUSTER} | body, **more)
        return await self.client.reply(sent)

    async def refused(self, topic: str, kind: str, body: dict[str, Any], **more: Any) -> dict[str, Any]:
        """The problem a command is rejected with; every rejection says what to do next."""
        reply = await self.answer(topic, kind, body, **more)
        assert reply["type"] == "tidewind.command.rejected.v1", reply
        problem: dict[str, Any] = reply["problem"]
        assert problem["next_step"], problem
        assert len(problem["detail"]) > 10, problem
        return problem

    async def accepted(self, topic: str, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        """The reply to a command that is taken."""
        reply = await self.answer(topic, kind, body)
        assert reply["type"] == "tidewind.command.accepted.v1", reply
        return reply

    async def done(self, topic: str, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        """The terminal event of an accepted command."""
        return await self.client.terminal((await self.accepted(topic, kind, body))["job_id"])

    async def backup(self) -> str:
        end = await self.done("commands", "backup.run", {})
        assert end["type"] == "tidewind.backup.completed.v1", end
        backup: str = end["backup_id"]
        return backup

    async def content(self) -> Content:
        connection = await self.server.connect()
        try:
            return await content(connection, spared_accounts=[shop.SERVICE_USER])
        finally:
            await connection.ensure_closed()


def problem_name(problem: dict[str, Any]) -> str:
    return str(problem["type"]).removeprefix("urn:tidewind:problem:")


@asynccontextmanager
async def shop_server(folder: Path, **size: int) -> AsyncIterator[PrivateMariaDB]:
    """A MariaDB that holds the shop and the service's account."""
    server = PrivateMariaDB(folder, options=("--event-scheduler=ON",))
    try:
        await server.start()
        root = await server.connect()
        await shop.build(root, **size)
        root.close()
        yield server
    finally:
        await server.remove()


@asynccontextmanager
async def protected_shop(
    folder: Path,
    kafka: str,
    server: PrivateMariaDB,
    *,
    services: tuple[str, ...] = SERVICES,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[ProtectedShop]:
    """The shop of that server, enrolled in a deployment of those services. Their logs are printed at the end."""
    async with AsyncExitStack() as stack:
        deployment = Deployment(folder / "tidewind", kafka, extra={**LOGINS, **(environment or {})})
        stack.push_async_callback(deployment.close)
        stack.callback(lambda: print(deployment.logs()))
        await deployment.make_topics()
        await deployment.start(*services)
        client = await stack.enter_async_context(PlainClient(kafka, deployment.prefix))
        made = ProtectedShop(deployment, client, server)
        assert (await made.done("commands", "cluster.enroll", made.enrolment()))["type"].endswith("enrolled.v1")
        yield made
