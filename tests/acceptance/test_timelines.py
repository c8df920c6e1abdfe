"""Restores to points before, between and after earlier restores, on every timeline there is, and after undos, through
Kafka and all four services; each judged by a native replica that went the same way."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.acceptance import lived_path
from tests.acceptance.deployment import Deployment
from tests.acceptance.lived_path import Step, Walker
from tests.acceptance.plain_client import PlainClient
from tests.acceptance.test_point_in_time import CLUSTER, LOG, captured, ended
from tests.exact_lab import seen
from tests.exact_workload import OPERATIONS, SETUP
from tests.integration.mariadb.snapshot_support import client, rows, run
from tests.oracle import Content
from tests.point_lab import SERVICE
from tests.replay_workload import Interleaved
from tidewind.embedded.mariadb import PrivateMariaDB

SEED = int(os.environ.get("TIDEWIND_SEED", "0")) or int.from_bytes(os.urandom(3), "big")
RESTORES = int(os.environ.get("TIDEWIND_RESTORES", "0")) or 24
EAGER = {
    "TIDEWIND_CAPTURE": "true",
    "TIDEWIND_CAPTURE_MARK_S": "0.3",
    "TIDEWIND_ARCHIVE_EVERY_S": "0.2",
    "TIDEWIND_WINDOW_EVERY_S": "0.3",
    "TIDEWIND_CLUSTERS_EVERY_S": "1",
    "SHOP_LOGIN": f"{SERVICE.user}:{SERVICE.password}",
}


@dataclass
class Lived:
    """A timeline: the way to its opening, where it opened, and where its users ended."""

    name: str
    path: lived_path.Path
    opened: int
    ended: int = 0
    restore: str = ""

    def to(self, number: int) -> lived_path.Path:
        return (*self.path, Step(gtid(self.opened), gtid(number)))


@dataclass
class Story:
    """Everything that was lived, and what is still to be judged."""

    client: PlainClient
    server: PrivateMariaDB
    rng: Random
    timelines: list[Lived]
    told: list[str] = field(default_factory=list)
    restored: list[tuple[str, lived_path.Path, Content]] = field(default_factory=list)

    async def write(self, number: int) -> None:
        """Users write for a while, and are done."""
        working = Interleaved(lambda: client(self.server), SEED * 1000 + number, sessions=4, table=OPERATIONS)
        await asyncio.to_thread(working.advance, self.rng.randint(30, 90))
        working.end()
        self.timelines[-1].ended = head(self.server)

    def archived(self) -> int:
        state = self.client.status(f"window/{CLUSTER}") or {}
        return int(str(state.get("position") or "0-0-0").rpartition("-")[2])

    def targets(self) -> list[tuple[Lived, int]]:
        """Every point that the store holds, of every timeline."""
        upto = self.archived()
        return [
            (one, number)
            for one in self.timelines
            for number in range(one.opened + (one.name == "main"), min(one.ended, upto) + 1)
        ]

    async def restore(self) -> None:
        left = self.timelines[-1]
        found = self.targets()
        elsewhere = [one for one in found if one[0] is not left]
        timeline, number = self.rng.choice(elsewhere if elsewhere and self.rng.random() < 0.7 else found)
        body = {"mode": "point_in_time", "target_position": gtid(number)}
        if self.rng.random() < 0.5:
            body["timeline"] = timeline.name
        done = await ended(self.client, "restores", "tidewind.restore.request.v1", body)
        await self._opened(done, f"{gtid(number)} of {timeline.name} while on {left.name}", timeline.to(number))

    async def undo(self) -> None:
        left, before = self.timelines[-1], self.timelines[-2]
        done = await ended(self.client, "restores", "tidewind.restore.undo.v1", {"restore_id": left.restore})
        await self._opened(done, f"undo of {left.name}, back to {before.name}", before.to(before.ended))

    async def _opened(self, done: dict[str, Any], what: str, path: lived_path.Path) -> None:
        self.told.append(what)
        assert done["type"] == "tidewind.restore.completed.v1", (self.told, done)
        self.restored.append((what, path, await seen(self.server)))
        self.timelines.append(Lived(done["timeline"], path, head(self.server), head(self.server), done["restore_id"]))


def gtid(number: int) -> str:
    return f"0-7-{number}"


def head(server: PrivateMariaDB) -> int:
    connection = client(server)
    found = str(rows(connection, "SELECT @@global.gtid_binlog_pos")[0][0])
    connection.close()
    return int(found.rpartition("-")[2])


@pytest.fixture
async def deployment(kafka: str, tmp_path: Path) -> AsyncIterator[Deployment]:
    made = Deployment(tmp_path / "tidewind", kafka, extra=EAGER)
    await made.make_topics()
    await made.start("scheduler", "snapshotter", "changelog", "restorer")
    yield made
    print(made.logs())
    await made.close()


@pytest.mark.timeout(900)
async def test_every_point_of_every_timeline_is_the_one_its_users_saw(
    deployment: Deployment, mariadb_factory: Callable[..., Awaitable[PrivateMariaDB]], kafka: str
) -> None:
    print(f"TIDEWIND_SEED={SEED}")
    server = await mariadb_factory(options=LOG)
    walker = Walker(await mariadb_factory(server_id=8), server)
    make_service(server)
    run(client(server), *SETUP)
    async with PlainClient(kafka, deployment.prefix) as kafka_client:
        await enrol(kafka_client, server)
        await captured(kafka_client, gtid(head(server)))
        main = Lived("main", (), 0, head(server))
        story = Story(kafka_client, server, Random(SEED), [main])
        begins = main.ended
        await story.write(0)
        await captured(kafka_client, gtid(head(server)))
        main.path, main.opened = (Step("", gtid(begins)),), begins
        judging = asyncio.create_task(judged(walker, story))
        for number in range(1, RESTORES + 1):
            if number % 6 == 0:
                await story.undo()
            else:
                await story.restore()
            await story.write(number)
        story.restored.append(("", (), Content()))
        apart = await judging
        print(*story.told, sep="\n")
    assert apart == {}, f"TIDEWIND_SEED={SEED}: {apart}; lived {story.told}"


async def judged(walker: Walker, story: Story) -> dict[str, list[str]]:
    """Walk every path that was restored, while others still are."""
    apart: dict[str, list[str]] = {}
    number = 0
    while True:
        while number == len(story.restored):
            await asyncio.sleep(0.1)
        what, path, found = story.restored[number]
        number += 1
        if not path:
            return apart
        await asyncio.to_thread(walker.walk, path)
        differing = found.differences(await walker.content())
        if differing:
            apart[f"{number}: {what}"] = differing
            print(what, *differing, sep="\n  ")


def make_service(server: PrivateMariaDB) -> None:
    run(
        client(server),
        "SET sql_log_bin = 0",
        f"CREATE USER '{SERVICE.user}'@'%' IDENTIFIED BY '{SERVICE.password}'",
        f"GRANT ALL ON *.* TO '{SERVICE.user}'@'%' WITH GRANT OPTION",
    )


async def enrol(kafka_client: PlainClient, server: PrivateMariaDB) -> None:
    body = {
        "engine": "mariadb",
        "region": "eu-central-1",
        "endpoints": [{"host": server.host, "port": server.port}],
        "credentials": "env:SHOP_LOGIN",
    }
    enrolled = await ended(kafka_client, "commands", "tidewind.cluster.enroll.v1", body)
    assert enrolled["type"] == "tidewind.cluster.enrolled.v1", enrolled
