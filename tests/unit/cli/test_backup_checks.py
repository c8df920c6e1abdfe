"""What `doctor` says of backups: that all is in order now does not make one."""

import pytest

from tidewind.cli.backup_checks import look_at_backups
from tidewind.cli.ports import Statuses
from tidewind.cli.views.findings import exit_code, verdict
from tidewind.domain.problems import problem

FULL = problem("store-full", "the store is full", next_step="Free space").model_dump(mode="json")
WELL = {"state": "completed", "started_at": "2026-11-22T01:00:00Z", "snapshot_time": "2026-11-22T01:00:01Z"}
FAILED = {"state": "failed", "started_at": "2026-11-23T01:00:00Z", "problem": FULL}


def statuses(*backups, cluster="shop", state="protected"):
    found = {
        f"cluster/{cluster}": {"cluster_id": cluster, "state": state, "zone": "UTC"},
        f"setting/{cluster}": {"cluster_id": cluster, "zone": "UTC", "next_backup_at": "2026-11-24T01:00:00Z"},
    }
    for number, one in enumerate(backups):
        # The ids are no order: the newest comes first here.
        name = f"bkp_{9 - number}"
        found[f"backup/{cluster}/{name}"] = {"cluster_id": cluster, "backup_id": name} | one
    return Statuses(found)


def test_a_backup_that_failed_last_is_an_error_until_one_is_completed():
    (found,) = look_at_backups(statuses(WELL, FAILED), None)
    assert (found.group, found.level) == ("backups", "error")
    assert found.text == "the last backup of shop, begun 2026-11-23 01:00:00 UTC, failed: the store is full"
    assert found.fix == "Free space   (tidewind backup show bkp_8)"
    assert verdict([found]).plain == " 1 error. Backups cannot be relied on until the error is gone."
    assert exit_code([found]) == 1
    later = WELL | {"started_at": "2026-11-23T02:00:00Z"}
    (found,) = look_at_backups(statuses(FAILED, later), None)
    assert found.level == "ok"


@pytest.mark.parametrize("more", [{}, {"started_at": "2026-11-21T01:00:00Z"}])
def test_an_attempt_that_failed_and_waits_for_the_next_is_no_success(more):
    waiting = {"state": "pending", "problem": FULL} | more
    (found,) = look_at_backups(statuses(waiting, WELL), None)
    assert (found.level, "the store is full" in found.text) == ("error", True)


def test_what_runs_hides_no_failure():
    running = {"state": "running", "started_at": "2026-11-23T03:00:00Z"}
    assert [one.level for one in look_at_backups(statuses(WELL, FAILED, running), None)] == ["error"]
    assert [one.level for one in look_at_backups(statuses(WELL, running), None)] == ["ok"]


@pytest.mark.parametrize("backups", [(), ({"state": "pending"},), (WELL | {"state": "expired"},)])
def test_a_cluster_without_a_backup_is_warned_of(backups):
    (found,) = look_at_backups(statuses(*backups), None)
    assert (found.level, found.text) == ("warn", "shop has no backup: there is nothing to restore")
    assert (
        found.fix == "the next one begins at 2026-11-24 01:00:00 UTC; see it with  tidewind backup list --cluster shop"
    )
    assert verdict([found]).plain == " 1 warning. Where there is no backup nothing can be restored."
    assert exit_code([found]) == 0


def test_clusters_are_told_apart_and_retired_ones_left_out():
    both = Statuses({**statuses(WELL).states, **statuses(cluster="bank").states})
    assert [(one.group, one.level) for one in look_at_backups(both, None)] == [
        ("bank backups", "warn"),
        ("shop backups", "ok"),
    ]
    assert [one.group for one in look_at_backups(both, "bank")] == ["backups"]
    assert look_at_backups(statuses(state="retired"), None) == []
