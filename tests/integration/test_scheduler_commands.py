"""Commands against a real scheduler process, real Kafka and a directory store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from schemas import topics
from schemas.commands import BackupSetting
from tests.integration.scheduler_support import Deployment, deployment


@pytest.fixture(scope="module")
async def world(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    async with deployment(kafka, Path(tmp_path_factory.mktemp("scheduler"))) as made:
        await made.scheduler()
        yield made


ENROLL = {
    "cluster_id": "shop",
    "engine": "mariadb",
    "region": "eu-central-1",
    "endpoints": [{"host": "db-1", "port": 3306}],
    "credentials": "env:SHOP",
}


async def test_a_sound_enrolment_goes_to_the_snapshotter_unchanged(world: Deployment) -> None:
    sent = await world.command("cluster.enroll", ENROLL, idempotency_key="first", actor="ada")
    await world.until(lambda: world.seen.messages(topics.BACKUPS, key="shop"), what="the routed command")
    routed = world.seen.messages(topics.BACKUPS, key="shop")[0]
    assert (routed.id, routed.type, routed.source) == (sent.id, sent.type, sent.source)
    assert (routed.data, routed.idempotency_key, routed.actor) == (ENROLL, "first", "ada")
    assert world.seen.replies_to(sent) == []


@pytest.mark.parametrize(
    ("change", "kind", "field"),
    [
        ({"region": "eu-middle-7"}, "unknown-region", "region"),
        ({"engine": "tidb"}, "unsupported-engine", "engine"),
        ({"engine": "oracle"}, "invalid-command", "engine"),
        ({"endpoints": []}, "invalid-command", "endpoints"),
        ({"credentials": "secret123"}, "invalid-command", "credentials"),
        ({"setting": {"retention_days": 6}}, "invalid-command", "setting.retention_days"),
        ({"colour": "blue"}, "invalid-command", "colour"),
    ],
)
async def test_a_faulty_enrolment_is_refused_by_field(
    world: Deployment, change: dict[str, object], kind: str, field: str
) -> None:
    sent = await world.command("cluster.enroll", {**ENROLL, "cluster_id": "faulty", **change})
    reply = await world.reply(sent)
    assert reply.data is not None
    assert reply.type == "tidewind.command.rejected.v1"
    assert reply.data["problem"]["type"] == f"urn:tidewind:problem:{kind}"
    assert [error["field"] for error in reply.data["problem"]["errors"]] == [field]
    assert world.seen.messages(topics.BACKUPS, key="faulty") == []


@pytest.mark.parametrize("state", ["protected", "retired"])
async def test_an_id_is_never_used_again(world: Deployment, state: str) -> None:
    await world.enrolled(f"taken-{state}", state=state)
    sent = await world.command("cluster.enroll", {**ENROLL, "cluster_id": f"taken-{state}"})
    reply = await world.reply(sent)
    assert reply.data is not None
    assert reply.data["problem"]["type"] == "urn:tidewind:problem:cluster-exists"


async def test_a_setting_is_answered_recorded_and_published(world: Deployment) -> None:
    entry = await world.enrolled("books")
    sent = await world.command("backup-setting.set", {"cluster_id": "books", "backup_time": "03:15"}, actor="ada")
    reply = await world.reply(sent)
    assert reply.data is not None
    answer = reply.data["answer"]
    assert reply.type == "tidewind.command.accepted.v1"
    assert answer["setting"] == {"backup_time": "03:15", "retention_days": 7}
    assert answer["filled_in"] == {"retention_days": "7 days, because none were given"}
    assert answer["zone"] == entry.zone
    assert answer["next_backup_at"] is not None
    ended = await world.terminal(reply.data["job_id"])
    assert ended.type == "tidewind.backup-setting.changed.v1"
    assert ended.correlation_id == sent.id
    newest = await world.registry.newest("books")
    assert newest is not None
    assert (newest.revision, newest.setting) == (2, BackupSetting(backup_time="03:15", retention_days=7))
    assert (newest.changed_by, newest.job_id) == ("ada", reply.data["job_id"])
    await world.until(
        lambda: (world.seen.status("setting/books") or {}).get("setting") == answer["setting"], what="the status"
    )


@pytest.mark.parametrize("retention", [6, 91, 0, -1, 7.5, "7", None])
async def test_a_wrong_retention_leaves_the_setting_as_it_was(world: Deployment, retention: object) -> None:
    cluster = f"keep-{retention}".replace(".", "-").replace("--", "-").lower()
    await world.enrolled(cluster)
    sent = await world.command("backup-setting.set", {"cluster_id": cluster, "retention_days": retention})
    reply = await world.reply(sent)
    assert reply.data is not None
    assert [error["field"] for error in reply.data["problem"]["errors"]] == ["retention_days"]
    newest = await world.registry.newest(cluster)
    assert newest is not None
    assert newest.revision == 1


@pytest.mark.parametrize("time", ["24:00", "2am", "02:60", ""])
async def test_a_wrong_time_is_refused(world: Deployment, time: str) -> None:
    sent = await world.command("backup-setting.set", {"cluster_id": "books", "backup_time": time})
    reply = await world.reply(sent)
    assert reply.data is not None
    assert [error["field"] for error in reply.data["problem"]["errors"]] == ["backup_time"]


async def test_an_unknown_cluster_is_refused(world: Deployment) -> None:
    for kind, body in (
        ("backup-setting.set", {}),
        ("cluster.retire", {}),
        ("cluster.update", {"replicas": "attached"}),
        ("backup.delete", {"backup_id": "bkp_0000000000"}),
        ("backup.verify", {"backup_id": "bkp_0000000000"}),
        ("backup.run", {}),
    ):
        reply = await world.reply(await world.command(kind, {"cluster_id": "nobody", **body}))
        assert reply.data is not None
        assert reply.data["problem"]["type"] == "urn:tidewind:problem:unknown-cluster", kind


async def test_a_manual_backup_is_refused_by_default(world: Deployment) -> None:
    await world.enrolled("manual")
    reply = await world.reply(await world.command("backup.run", {"cluster_id": "manual"}))
    assert reply.data is not None
    assert reply.data["problem"]["type"] == "urn:tidewind:problem:manual-backup-unsupported"


async def test_a_region_is_changed_here_and_endpoints_are_tried_elsewhere(world: Deployment) -> None:
    await world.enrolled("mover")
    reply = await world.reply(await world.command("cluster.update", {"cluster_id": "mover", "region": "us-east-1"}))
    assert reply.data is not None
    ended = await world.terminal(reply.data["job_id"])
    assert ended.type == "tidewind.cluster.updated.v1"
    newest = await world.registry.newest("mover")
    assert newest is not None
    assert (newest.region, newest.zone) == ("us-east-1", "America/New_York")
    sent = await world.command("cluster.update", {"cluster_id": "mover", "endpoints": [{"host": "db-2", "port": 3306}]})
    await world.until(lambda: any(one.id == sent.id for one in world.seen.messages(topics.BACKUPS, key="mover")))
    wrong = await world.reply(await world.command("cluster.update", {"cluster_id": "mover", "region": "moon"}))
    assert wrong.data is not None
    assert wrong.data["problem"]["type"] == "urn:tidewind:problem:unknown-region"


async def test_a_retired_cluster_takes_no_more_settings(world: Deployment) -> None:
    await world.enrolled("old")
    last = await world.backed_up("old", 1)
    reply = await world.reply(await world.command("cluster.retire", {"cluster_id": "old", "reason": "closed"}))
    assert reply.data is not None
    ended = await world.terminal(reply.data["job_id"])
    assert ended.type == "tidewind.cluster.retired.v1"
    assert ended.data is not None
    assert ended.data["backups_kept"] == [last.backup_id]
    await world.until(lambda: (world.seen.status("cluster/old") or {}).get("state") == "retired")
    again = await world.reply(await world.command("cluster.retire", {"cluster_id": "old"}))
    setting = await world.reply(await world.command("backup-setting.set", {"cluster_id": "old"}))
    for refusal in (again, setting):
        assert refusal.data is not None
        assert refusal.data["problem"]["type"] == "urn:tidewind:problem:cluster-retired"


async def test_a_hundred_times_the_same_command_has_one_effect_and_one_answer(world: Deployment) -> None:
    await world.enrolled("often")
    body = {"cluster_id": "often", "backup_time": "04:00", "retention_days": 30}
    for _ in range(100):
        sent = await world.command("backup-setting.set", body, id="the-same-command")
    await world.until(lambda: len(world.seen.replies_to(sent)) == 100, what="an answer to each")
    replies = world.seen.replies_to(sent)
    assert len({reply.id for reply in replies}) == 1
    assert len({str(reply.data) for reply in replies}) == 1
    events = [one for one in world.seen.messages(topics.EVENTS, key="often") if one.correlation_id == sent.id]
    assert len({event.id for event in events}) == 1
    history = await world.registry.history("often")
    assert [entry.revision for entry in history] == [1, 2]
