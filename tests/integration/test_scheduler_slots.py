"""Slots, bases and removals on real Kafka: what is due is said under one id, whoever dies meanwhile."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from schemas import topics
from schemas.commands import BackupSetting
from schemas.envelope import Message
from tests.integration.bus_support import connection
from tests.integration.scheduler_support import Deployment, deployment
from tests.servers.kafka_server import KafkaServer
from tidewind.bus.admin import TopicAdmin
from tidewind.bus.connection import Connection
from tidewind.bus.settings import BusSettings
from tidewind.domain import ids, keys
from tidewind.domain.records import Terminal, Timeline
from tidewind.runtime.secrets import resolve

RUN = "tidewind.backup.run.v1"


@pytest.fixture
async def world(kafka: str, tmp_path: Path) -> AsyncIterator[Deployment]:
    async with deployment(kafka, tmp_path) as made:
        yield made


def runs(world: Deployment, cluster: str) -> list[Message]:
    return world.seen.messages(topics.BACKUPS, RUN, cluster)


def slot_state(world: Deployment, cluster: str) -> object:
    return (world.seen.status(f"slot/{cluster}") or {}).get("state")


async def test_a_due_slot_is_said_under_one_id_until_taken_in(world: Deployment) -> None:
    await world.enrolled("due", setting=world.due(5))
    await world.enrolled("later", setting=BackupSetting(backup_time="23:00"))
    await world.scheduler()
    await world.until(lambda: runs(world, "due"), what="the slot's command")
    today = world.today().isoformat()
    first = runs(world, "due")[0]
    assert first.data == {"cluster_id": "due", "cause": "slot", "slot_date": today}
    assert first.idempotency_key == f"slot:{today}"
    await world.until(lambda: slot_state(world, "due") == "due")
    accepted = await world.take_in("due", world.today())
    await world.until(lambda: slot_state(world, "due") == "running")
    await world.ledger.finish(
        "due",
        Terminal(job_id=accepted.job_id, event="tidewind.backup.completed.v1", data={}, at=datetime.now(UTC), epoch=1),
    )
    await world.ledger.close("snapshotter", "due", accepted.job_id)
    await world.until(lambda: slot_state(world, "due") == "completed")
    status = world.seen.status("slot/due")
    assert status is not None
    assert status["backup_id"] == ids.backup_id(accepted.job_id)
    setting = world.seen.status("setting/due")
    assert setting is not None
    assert datetime.fromisoformat(setting["next_backup_at"]) > datetime.now(UTC)
    assert len({one.id for one in runs(world, "due")}) == 1
    assert runs(world, "later") == []


async def test_days_of_downtime_are_missed_once_each_and_today_is_caught_up(world: Deployment) -> None:
    today = world.today()
    since = datetime.now(UTC) - timedelta(days=4)
    await world.enrolled(
        "down",
        setting=world.due(60),
        created_at=since,
        changed_at=since,
        first_slot_date=(today - timedelta(days=3)).isoformat(),
    )
    await world.scheduler()
    await world.until(lambda: runs(world, "down"), what="the catch-up")
    missed = world.seen.messages(topics.EVENTS, "tidewind.backup.missed.v1", "down")
    assert [one.data and one.data["slot_date"] for one in missed] == [
        (today - timedelta(days=days)).isoformat() for days in (3, 2, 1)
    ]
    assert {one.data and one.data["slot_date"] for one in runs(world, "down")} == {today.isoformat()}


async def test_a_backup_that_comes_too_late_is_missed_and_cannot_begin_any_more(world: Deployment) -> None:
    await world.enrolled("late", setting=world.due(30))
    await world.scheduler(TIDEWIND_GRACE_H="0.4")
    await world.until(lambda: slot_state(world, "late") == "missed")
    standing = await world.take_in("late", world.today())
    assert standing.rejected is not None, "the day was settled as missed: the snapshotter finds the refusal"
    missed = world.seen.messages(topics.EVENTS, "tidewind.backup.missed.v1", "late")
    assert len({one.id for one in missed}) == 1
    assert runs(world, "late") == []


async def test_what_does_not_begin_or_end_is_reported(world: Deployment) -> None:
    await world.enrolled("stuck", setting=world.due(10))
    await world.enrolled("slow", setting=world.due(10))
    await world.take_in("slow", world.today())
    await world.scheduler(TIDEWIND_OVERDUE_BEGIN_MIN="5", TIDEWIND_OVERDUE_END_H="0.001")
    await world.until(
        lambda: (
            {one.key for one in world.seen.messages(topics.EVENTS, "tidewind.backup.overdue.v1")} == {"stuck", "slow"}
        ),
        what="both alarms",
    )


async def test_a_backup_waits_for_a_restore_and_follows_it(world: Deployment) -> None:
    await world.enrolled("closed", setting=world.due(5))
    marker = keys.job_open("restorer", "closed", str(uuid.uuid4()))
    await world.store.put_if_absent(marker, b"{}")
    await world.scheduler()
    await world.until(lambda: slot_state(world, "closed") == "deferred")
    assert runs(world, "closed") == []
    await world.store.delete([marker])
    await world.until(lambda: runs(world, "closed"), what="the deferred backup")


async def test_a_timeline_without_a_base_orders_one(world: Deployment) -> None:
    await world.enrolled("rewound")
    await world.backed_up("rewound", 1.0)
    opened = Timeline(
        cluster_id="rewound",
        timeline="tl_ABCDEFGHJK",
        parent="main",
        cut=None,
        parent_end=None,
        history=None,
        start=None,
        started_at=datetime.now(UTC),
    )
    await world.store.put(keys.timeline("rewound", opened.timeline), opened.to_bytes())
    await world.scheduler()
    await world.until(lambda: runs(world, "rewound"), what="the base")
    assert runs(world, "rewound")[0].idempotency_key == "base:tl_ABCDEFGHJK"
    assert {(one.data or {})["cause"] for one in runs(world, "rewound")} == {"base"}


async def test_expired_backups_are_removed_but_never_the_newest(world: Deployment) -> None:
    await world.enrolled("aged")
    old = [await world.backed_up("aged", days) for days in (20, 12, 9)]
    await world.enrolled("kept")
    await world.backed_up("kept", 3)
    await world.enrolled("gone", state="retired")
    last = await world.backed_up("gone", 9)
    await world.scheduler()
    await world.until(lambda: len(world.seen.messages(topics.BACKUPS)) >= 3, what="the removals")
    await world.until(lambda: world.seen.status("cluster/kept"), what="a full round")
    ordered = {
        (one.key, (one.data or {})["backup_id"], (one.data or {})["cause"])
        for one in world.seen.messages(topics.BACKUPS, "tidewind.backup.delete.v1")
    }
    assert ordered == {
        ("aged", old[0].backup_id, "retention"),
        ("aged", old[1].backup_id, "retention"),
        ("gone", last.backup_id, "retention"),
    }


async def test_the_statuses_of_a_retired_cluster_go_with_its_last_backup(world: Deployment) -> None:
    await world.enrolled("leaving")
    last = await world.backed_up("leaving", 3)
    await world.scheduler(TIDEWIND_RETENTION_EVERY_MIN="0.01")
    await world.until(lambda: world.seen.status("cluster/leaving"))
    await world.reply(await world.command("cluster.retire", {"cluster_id": "leaving"}))
    await world.until(lambda: (world.seen.status("cluster/leaving") or {}).get("state") == "retired")
    await world.store.delete([keys.outcome("leaving", last.backup_id)])
    await world.until(lambda: world.seen.status("cluster/leaving") is None, what="the end of its status")


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_two_schedulers_one_struck_say_each_slot_under_one_id(world: Deployment, how: str) -> None:
    """Killed, or stopped until the other has taken its partitions, and woken."""
    first = await world.scheduler()
    second = await world.scheduler()
    clusters = [f"fleet-{number}" for number in range(30)]
    await world.until(lambda: len(world.logged("assigned")) >= 3, what="a rebalance to two instances")
    for cluster in clusters[:15]:
        await world.enrolled(cluster, setting=world.due(5))
    await world.until(lambda: any(runs(world, cluster) for cluster in clusters[:15]), what="the first slot")
    if how == "killed":
        await world.kill(first)
    else:
        first.pause()
    for cluster in clusters[15:]:
        await world.enrolled(cluster, setting=world.due(5))
    await world.until(
        lambda: all(runs(world, cluster) for cluster in clusters), within_s=60, what="every slot's command"
    )
    if how == "stopped":
        first.resume()
        rejoined = len(world.logged("assigned"))
        await world.until(lambda: len(world.logged("assigned")) > rejoined, what="the return of the one that woke")
        await world.enrolled("after", setting=world.due(5))
        await world.until(lambda: runs(world, "after"), what="a slot after it woke")
    for cluster in clusters:
        assert len({one.id for one in runs(world, cluster)}) == 1
        assert len({(one.data or {})["slot_date"] for one in runs(world, cluster)}) == 1
    assert second.running


async def test_statuses_are_rebuilt_from_the_store_when_all_topics_are_lost(kafka: str, tmp_path: Path) -> None:
    def facts(world: Deployment) -> dict[str, object]:
        kinds = [f"{kind}/{cluster}" for kind in ("cluster", "setting", "slot") for cluster in ("alpha", "beta")]
        found = {key: world.seen.status(key) for key in kinds}
        return {
            key: status and {name: value for name, value in status.items() if name not in ("at", "revision")}
            for key, status in found.items()
        }

    async with deployment(kafka, tmp_path) as before:
        await before.enrolled("alpha", setting=before.due(5))
        await before.enrolled("beta", setting=before.due(500))
        await before.take_in("alpha", before.today())
        await before.scheduler(TIDEWIND_GRACE_H="1")
        await before.until(lambda: all(facts(before).values()) and slot_state(before, "beta") == "missed")
        known = facts(before)
        lost = f"{(await TopicAdmin(before.link).broker()).cluster_id}/{before.link.settings.prefix}"
    async with deployment(kafka, tmp_path, link=connection(kafka)) as after:
        await after.scheduler(TIDEWIND_GRACE_H="1", TIDEWIND_ADOPT_STORE_FROM=lost)
        await after.until(lambda: facts(after) == known, what="the same statuses on new topics")


async def test_sigterm_stops_it_within_seconds(world: Deployment) -> None:
    process = await world.scheduler()
    await world.until(lambda: world.logged("assigned"), what="an assignment")
    began = asyncio.get_running_loop().time()
    await process.stop()
    assert asyncio.get_running_loop().time() - began < 10
    assert world.logged("stopped")


async def test_it_works_over_tls_with_a_password(secure_kafka: KafkaServer, tmp_path: Path) -> None:
    assert secure_kafka.certificates is not None
    password = tmp_path / "password"
    password.write_text(secure_kafka.password)
    settings = BusSettings(
        bootstrap=secure_kafka.secure_address,
        prefix=f"t{uuid.uuid4().hex[:8]}.",
        security_protocol="SASL_SSL",
        sasl_username=secure_kafka.username,
        sasl_password=f"file:{password}",
        ca=f"file:{secure_kafka.certificates.ca}",
        replication_factor=1,
    )
    async with deployment("", tmp_path, link=Connection(settings, resolve)) as world:
        await world.enrolled("hidden", setting=world.due(5))
        await world.scheduler()
        await world.until(lambda: runs(world, "hidden"), what="the slot's command")
        sent = await world.command("backup-setting.set", {"cluster_id": "hidden"})
        await world.reply(sent)


async def test_it_goes_on_when_kafka_comes_back(
    kafka_factory: Callable[[], Awaitable[KafkaServer]], tmp_path: Path
) -> None:
    server = await kafka_factory()
    async with deployment(server.address, tmp_path) as world:
        process = await world.scheduler(TIDEWIND_GRACE_H="20")
        await world.enrolled("before", setting=world.due(5))
        await world.until(lambda: runs(world, "before"), what="the first slot")
        await server.kill()
        await world.enrolled("after", setting=world.due(5))
        await world.until(lambda: world.logged("tick-unsent"), what="a tick that cannot be sent")
        await server.start()
        await world.until(lambda: runs(world, "after"), within_s=120, what="the slot that fell due meanwhile")
        sent = await world.command("backup-setting.set", {"cluster_id": "after"})
        await world.reply(sent, within_s=60)
        assert process.running


async def test_it_stops_in_time_and_without_a_traceback_while_kafka_is_gone(
    kafka_factory: Callable[[], Awaitable[KafkaServer]], tmp_path: Path
) -> None:
    server = await kafka_factory()
    async with deployment(server.address, tmp_path) as world:
        process = await world.scheduler(TIDEWIND_STOP_DEADLINE_S="5")
        await world.enrolled("shop")
        await world.until(lambda: world.seen.status("cluster/shop"), within_s=90, what="the scheduler at work")
        await server.kill()
        await world.until(lambda: world.logged("tick-unsent"), within_s=90, what="a tick that cannot be sent")
        world.killed.add(process.name)
        began = time.monotonic()
        await process.stop(seconds=90)
        assert time.monotonic() - began < 90, "it had to be killed"
        assert "Traceback" not in (tmp_path / "scheduler-1.log").read_text()
