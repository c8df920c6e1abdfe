"""Whatever is wrong with a command, its sender is told which field, what is wrong with it, and what to do; nothing is
done, and nothing of it stalls the next good command."""

import json
import time
from typing import Any

import pytest

from schemas.topics import MAX_RECORD_BYTES
from tests.acceptance import shop
from tests.acceptance.protected import CLUSTER, ProtectedShop, problem_name
from tests.poison_corpus import CORPUS


@pytest.mark.parametrize("days", [6, 91, 0, -1, 7.5, "7", None, True])
async def test_retention(protected: ProtectedShop, days: object) -> None:
    before = protected.client.status(f"setting/{CLUSTER}")
    problem = await protected.refused("commands", "backup-setting.set", {"retention_days": days})
    assert problem_name(problem) == "invalid-command"
    assert [error["field"] for error in problem["errors"]] == ["retention_days"]
    assert "7 to 90" in problem["errors"][0]["problem"]
    assert json.dumps(days) in problem["errors"][0]["problem"], "what was sent is shown"
    after = protected.client.status(f"setting/{CLUSTER}")
    assert before is None or after is None or before["setting"] == after["setting"]


@pytest.mark.parametrize("moment", ["24:00", "2am", "2:00", "02:60", "", 200, "02:00\n"])
async def test_backup_time(protected: ProtectedShop, moment: object) -> None:
    problem = await protected.refused("commands", "backup-setting.set", {"backup_time": moment})
    assert [error["field"] for error in problem["errors"]] == ["backup_time"]
    assert "HH:MM" in problem["errors"][0]["problem"]
    assert json.dumps(moment) in problem["errors"][0]["problem"]


ONE_BACKUP = {"backup_id": "bkp_0000000000"}
A_MOMENT = {"target_time": "2026-11-23T10:00:00Z"}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "mode: is missing"),
        (ONE_BACKUP, "mode: is missing"),
        ({"mode": "both", **ONE_BACKUP}, "mode: must be 'snapshot' or 'point_in_time'"),
        ({"mode": "snapshot"}, 'mode "snapshot" needs backup_id'),
        ({"mode": "point_in_time"}, "exactly one of target_time and target_position"),
        ({"mode": "snapshot", **ONE_BACKUP, **A_MOMENT}, "drop target_time and target_position"),
        ({"mode": "point_in_time", **ONE_BACKUP, **A_MOMENT}, "takes no backup_id"),
        ({"mode": "point_in_time", "target_time": "2026-11-23T10:00:00"}, "target_time: must carry its zone"),
        ({"mode": "snapshot", **ONE_BACKUP, "target_cluster": "shop-2"}, "target_cluster: no such field"),
        ({"mode": "snapshot", "backup_id": "../../etc"}, "backup_id: must be a backup's id such as bkp_"),
    ],
)
async def test_restore_needs_exactly_one_target(protected: ProtectedShop, body: dict[str, Any], says: str) -> None:
    problem = await protected.refused("restores", "restore.request", body)
    assert problem_name(problem) == "invalid-command"
    assert says in problem["detail"]


@pytest.mark.parametrize(
    ("topic", "kind", "body"),
    [
        ("commands", "backup-setting.set", {"retention_days": 8}),
        ("commands", "backup.run", {}),
        ("commands", "backup.delete", {"backup_id": "bkp_0000000000"}),
        ("commands", "backup.verify", {"backup_id": "bkp_0000000000"}),
        ("commands", "cluster.retire", {}),
        ("commands", "cluster.update", {"region": "us-east-1"}),
        ("restores", "restore.request", {"mode": "snapshot", "backup_id": "bkp_0000000000"}),
        ("restores", "restore.undo", {"restore_id": "rst_0000000000"}),
        ("restores", "restore.cancel", {"restore_id": "rst_0000000000"}),
    ],
)
async def test_unknown_cluster(protected: ProtectedShop, topic: str, kind: str, body: dict[str, Any]) -> None:
    problem = await protected.refused(topic, kind, body | {"cluster_id": "shpo-1"})
    assert problem_name(problem) == "unknown-cluster"
    assert "shpo-1" in problem["detail"]


@pytest.mark.parametrize("cluster", ["Shop", "a'b", "a\nb", "../etc", "shop-🐙", "-a", "a" * 64, 'x";--'])
async def test_cluster_ids_that_cannot_be(protected: ProtectedShop, cluster: str) -> None:
    problem = await protected.refused("commands", "cluster.enroll", protected.enrolment(cluster))
    assert problem_name(problem) == "invalid-command"
    if "\n" in cluster:  # refused with the record's key already, before the body is looked at
        assert "control characters" in problem["detail"]
    else:
        assert [error["field"] for error in problem["errors"]] == ["cluster_id"]
        assert "must be lower-case letters, digits and hyphens" in problem["detail"]


@pytest.mark.parametrize(
    ("changes", "name", "says"),
    [
        ({"region": "eu-centrall-1"}, "unknown-region", "eu-central-1"),
        ({"engine": "tidb"}, "unsupported-engine", "tidb cannot be protected yet, but mariadb can"),
        ({"credentials": "tidewind:the-password"}, "invalid-command", "never the secret"),
        ({"credentials": "env:NO_SUCH_VARIABLE"}, "secret-unavailable", "NO_SUCH_VARIABLE"),
        ({"credentials": "file:/no/such/file"}, "secret-unavailable", "/no/such/file"),
        ({"credentials": "env:WRONG_LOGIN"}, "database-refused-login", "tidewind"),
        ({"endpoints": [{"host": "127.0.0.1", "port": 1}]}, "database-unreachable", "Connection refused"),
        (
            {"endpoints": [{"host": "no-such-host.invalid", "port": 3306}]},
            "database-unreachable",
            "no-such-host.invalid:3306",
        ),
        ({"credentials": "env:POOR_LOGIN"}, "database-rights-missing", "GRANT"),
    ],
)
async def test_enrolment(protected: ProtectedShop, changes: dict[str, Any], name: str, says: str) -> None:
    root = await protected.server.connect()
    async with root.cursor() as cursor:
        await cursor.execute("CREATE USER IF NOT EXISTS 'poor'@'%' IDENTIFIED BY 'poor-secret'")
    root.close()
    problem = await protected.refused("commands", "cluster.enroll", protected.enrolment("shop-9", **changes))
    assert problem_name(problem) == name, problem
    assert says in problem["detail"] + str(problem["next_step"]) + str(problem["errors"])
    assert shop.SERVICE_PASSWORD not in json.dumps(problem)
    assert protected.client.status("cluster/shop-9") is None


async def test_a_taken_id(protected: ProtectedShop) -> None:
    problem = await protected.refused("commands", "cluster.enroll", protected.enrolment())
    assert problem_name(problem) == "cluster-exists"


async def test_an_instant_that_no_log_reaches(protected: ProtectedShop) -> None:
    body = {"mode": "point_in_time", "target_time": "2026-11-23T10:00:00Z"}
    problem = await protected.refused("restores", "restore.request", body)
    assert problem_name(problem) == "target-outside"


@pytest.mark.parametrize("topic", ["commands", "restores"])
async def test_poison_stalls_nobody(protected: ProtectedShop, topic: str) -> None:
    assert len(CORPUS) >= 110
    for key, value, headers in CORPUS.values():
        if (key, value) == (None, None) or len(value or b"") > MAX_RECORD_BYTES:
            continue  # this client, or the broker, refuses to take it
        await protected.client.send_raw(topic, key, value, headers)
    good = {
        "commands": ("backup-setting.set", {"retention_days": 14}),
        "restores": ("restore.undo", {"restore_id": "rst_0000000000"}),
    }[topic]
    # The first good command waits behind the poison of its own partition; the next shows that nothing is left of it.
    await protected.answer(topic, *good)
    began = time.monotonic()
    await protected.answer(topic, *good)
    usual = time.monotonic() - began
    await protected.client.send_raw(topic, CLUSTER.encode(), b"{", [("ce_id", b"x")])
    await protected.answer(topic, *good)
    assert time.monotonic() - began - usual < 1 + 5 * usual
