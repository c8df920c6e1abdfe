"""One deployment with one protected shop that the acceptance tests of a module share."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import shop
from tests.acceptance.deployment import Deployment
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
    """A shop enrolled as `shop-1`, with a client that knows only Kafka."""

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

    async def done(self, topic: str, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        """The terminal event of an accepted command."""
        reply = await self.answer(topic, kind, body)
        assert reply["type"] == "tidewind.command.accepted.v1", reply
        return await self.client.terminal(reply["job_id"])

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


@pytest.fixture(scope="module")
async def protected(kafka: str, server_directory: Callable[[str], Path]) -> AsyncIterator[ProtectedShop]:
    server = PrivateMariaDB(server_directory("protected-mariadb"), options=("--event-scheduler=ON",))
    await server.start()
    root = await server.connect()
    await shop.build(root)
    root.close()
    deployment = Deployment(server_directory("protected") / "tidewind", kafka, extra=LOGINS)
    try:
        await deployment.make_topics()
        await deployment.start()
        async with PlainClient(kafka, deployment.prefix) as client:
            shop_1 = ProtectedShop(deployment, client, server)
            assert (await shop_1.done("commands", "cluster.enroll", shop_1.enrolment()))["type"].endswith("enrolled.v1")
            yield shop_1
    finally:
        print(deployment.logs())
        await deployment.close()
        await server.remove()
