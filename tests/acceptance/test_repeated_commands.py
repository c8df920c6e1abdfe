"""The same command a hundred times, and a hundred times more after its service was restarted: one effect, one answer.

A job's ids follow from its command, so a second execution would speak under the ids of the first. What tells them apart
is what they do: claims of the job in the store, attempts, backups, timelines, and the data itself.
"""

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import shop
from tests.acceptance.protected import CLUSTER, ProtectedShop

TIMES = 100


class Repeated:
    """One command, sent again and again under one id."""

    def __init__(self, protected: ProtectedShop, topic: str, kind: str, body: dict[str, Any]) -> None:
        self._protected = protected
        self._topic = topic
        self._kind = f"tidewind.{kind}.v1"
        self._body = {"cluster_id": CLUSTER, **body}
        self._id = str(uuid.uuid4())
        self._sent = 0

    async def send(self) -> dict[str, Any]:
        """Send it `TIMES` times; the answer, once there is one to each."""
        client = self._protected.client
        for _ in range(TIMES):
            await client.send(self._topic, self._kind, self._body, message_id=self._id)
        self._sent += TIMES
        await client.wait_for("replies", lambda _: len(self._replies()) >= self._sent, deadline_s=90)
        answers = {json.dumps([one["headers"]["ce_id"], one["data"]], sort_keys=True) for one in self._replies()}
        assert len(answers) == 1, answers
        reply: dict[str, Any] = self._replies()[0]["data"]
        return reply

    async def restart(self, *services: str) -> None:
        """Stop the services that it passes through, and start others in their place."""
        for process in [one for one in self._protected.deployment.processes if one.name in services and one.running]:
            await process.stop()
        await self._protected.deployment.start(*services)

    def _replies(self) -> list[dict[str, Any]]:
        seen = self._protected.client.seen["replies"]
        return [record for record in seen if record["headers"].get("correlation-id") == self._id]


class Effects:
    """What jobs have left in the deployment's store and said on its topics."""

    def __init__(self, protected: ProtectedShop) -> None:
        self._protected = protected
        self._store = protected.deployment.directory / "store"

    def names(self, pattern: str) -> set[str]:
        """Of what there is in the store; folders also, without what is in them."""
        return {str(path.relative_to(self._store)) for path in self._store.glob(pattern)}

    def events(self, job: str, kind: str) -> list[dict[str, Any]]:
        """Every record of an event, also the same one again."""
        return [
            record
            for record in self._protected.client.seen["events"]
            if record["headers"]["ce_type"] == f"tidewind.{kind}.v1" and record["data"].get("job_id") == job
        ]


WATCHED = {
    "jobs": f"jobs/{CLUSTER}/*",
    "backups": f"outcomes/{CLUSTER}/*",
    "snapshots": f"snapshots/{CLUSTER}/*",
    "attempts": f"snapshots/{CLUSTER}/*/*",
    "operations": f"operations/{CLUSTER}/*",
    "timelines": f"timelines/{CLUSTER}/*",
}


@pytest.fixture
def effects(protected: ProtectedShop) -> Callable[[], dict[str, set[str]]]:
    """What has come into the store since the test began."""
    found = Effects(protected)
    before = {name: found.names(pattern) for name, pattern in WATCHED.items()}
    return lambda: {name: found.names(pattern) - before[name] for name, pattern in WATCHED.items()}


def counts(of: dict[str, set[str]]) -> dict[str, int]:
    return {name: len(found) for name, found in of.items()}


@pytest.mark.timeout(240)
async def test_a_backup(protected: ProtectedShop, effects: Callable[[], dict[str, set[str]]]) -> None:
    once = {"jobs": 1, "backups": 1, "snapshots": 1, "attempts": 1, "operations": 1, "timelines": 0}
    if not Effects(protected).names(f"timelines/{CLUSTER}/*"):
        once["timelines"] = 1  # the first backup of all puts the root
    repeated = Repeated(protected, "commands", "backup.run", {"reason": "a hundred times"})
    reply = await repeated.send()
    job = reply["job_id"]
    assert (await protected.client.terminal(job))["type"] == "tidewind.backup.completed.v1"
    await repeated.restart("scheduler", "snapshotter")
    assert await repeated.send() == reply
    assert counts(effects()) == once, effects()
    # Another job of the same service is done from beginning to end: what had been begun before it would show.
    backup = {"backup_id": reply["answer"]["backup_id"]}
    assert (await protected.done("commands", "backup.verify", backup))["type"] == "tidewind.backup.verified.v1"
    assert counts(effects()) == once | {"jobs": 2}, effects()
    one = Effects(protected)
    assert [Path(name).name for name in one.names(f"jobs/{CLUSTER}/{job}/epoch-*")] == ["epoch-00000001"]
    assert len(one.events(job, "backup.started")) == 1
    assert len({record["headers"]["ce_id"] for record in one.events(job, "backup.completed")}) == 1


@pytest.mark.timeout(240)
async def test_a_restore(protected: ProtectedShop, effects: Callable[[], dict[str, set[str]]]) -> None:
    backup = await protected.backup()
    good = await protected.content()
    root = await protected.server.connect()
    await shop.oops(root)
    root.close()
    wanted = {"mode": "snapshot", "backup_id": backup, "reason": "a hundred times"}
    repeated = Repeated(protected, "restores", "restore.request", wanted)
    reply = await repeated.send()
    job = reply["job_id"]
    assert (await protected.client.terminal(job))["type"] == "tidewind.restore.completed.v1"
    assert (await protected.content()).differences(good) == []
    # What is written from here on, a second restore would take away.
    root = await protected.server.connect()
    async with root.cursor() as cursor:
        await cursor.execute("UPDATE shop.customers SET note = 'written after the restore' WHERE id < 50")
    root.close()
    written = await protected.content()
    assert written != good
    await repeated.restart("restorer")
    assert await repeated.send() == reply
    # A backup waits for whatever restore of its cluster has begun: after it, a second one would have ended.
    await protected.backup()
    assert (await protected.content()).differences(written) == []
    found = Effects(protected)
    assert [Path(name).name for name in found.names(f"jobs/{CLUSTER}/{job}/epoch-*")] == ["epoch-00000001"]
    assert len(effects()["timelines"]) == 1, effects()
    assert len(found.events(job, "restore.started")) == 1
    assert len({record["headers"]["ce_id"] for record in found.events(job, "restore.completed")}) == 1
