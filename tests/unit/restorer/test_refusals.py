"""Every reason to refuse a command about a restore, each with its name."""

from datetime import timedelta

import pytest

from services.restorer.rules import refusals
from services.restorer.rules.refusals import BackupFound
from tests.unit.restorer.bench import BACKUP, NOW, RESTORE, entry, manifest, outcome, timeline, tombstone
from tidewind.domain.ids import timeline_id
from tidewind.domain.problems import PREFIX


def name_of(problem):
    return None if problem is None else problem.type.removeprefix(PREFIX)


def found(**more):
    return BackupFound(**({"outcome": None, "tombstone": None} | more))


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (found(), "unknown-backup"),
        (found(elsewhere="bank"), "backup-of-another-cluster"),
        (found(begun=True), "backup-incomplete"),
        (found(outcome=outcome(result="failed")), "backup-incomplete"),
        (found(outcome=outcome(), tombstone=tombstone("manual")), "backup-deleted"),
        (found(tombstone=tombstone("manual")), "backup-deleted"),
        (found(outcome=outcome(), tombstone=tombstone("retention")), "backup-expired"),
        (found(outcome=outcome()), None),
    ],
)
def test_backups(given, name):
    problem = refusals.backup_refusal(given, "shop", BACKUP)
    assert name_of(problem) == name
    assert problem is None or BACKUP in problem.detail


def test_manifests():
    assert refusals.manifest_refusal(manifest(), "shop", None) is None
    assert refusals.manifest_refusal(manifest(), "shop", "main") is None
    assert name_of(refusals.manifest_refusal(manifest(), "bank", None)) == "backup-of-another-cluster"
    wrong = refusals.manifest_refusal(manifest(), "shop", "tl_0123456789")
    assert name_of(wrong) == "invalid-command"
    assert wrong.errors[0].field == "timeline"


def test_a_plan_is_confirmed_by_any_prefix_of_its_hash():
    assert refusals.hash_refusal(None, "abcdef0123") is None
    assert refusals.hash_refusal("abcdef", "abcdef0123") is None
    changed = refusals.hash_refusal("abcdee", "abcdef0123")
    assert name_of(changed) == "plan-changed"
    assert "abcdef" in changed.detail


def test_a_second_restore_is_told_the_first_and_how_to_end_it():
    assert refusals.second_restore_refusal("shop", None) is None
    problem = refusals.second_restore_refusal("shop", RESTORE)
    assert name_of(problem) == "operation-running"
    assert RESTORE in problem.detail
    assert RESTORE in problem.next_step


@pytest.mark.parametrize(
    ("known", "ended", "verdict", "name"),
    [
        (False, False, None, "unknown-restore"),
        (True, True, "open", "restore-ended"),
        (True, True, None, "restore-ended"),
        (True, False, "open", "restore-too-late"),
        (True, False, "return", None),
        (True, False, None, None),
    ],
)
def test_cancels(known, ended, verdict, name):
    assert name_of(refusals.cancel_refusal(RESTORE, known=known, ended=ended, verdict=verdict)) == name


def lived(*restores):
    began = NOW - timedelta(days=30)
    return [
        timeline("main", began),
        *(
            timeline(timeline_id(restore), began + timedelta(days=number), restore)
            for number, restore in enumerate(restores, start=1)
        ),
    ]


def undo(restore, timelines, **more):
    values = {"undos": {}, "undo_until": NOW + timedelta(days=1), "expired": False, "now": NOW}
    return refusals.undo_refusal(restore, timelines, **(values | more))


def test_the_newest_restore_can_be_undone_until_its_time_is_up():
    assert undo(RESTORE, lived(RESTORE)) is None
    late = undo(RESTORE, lived(RESTORE), undo_until=NOW)
    assert name_of(late) == "undo-unavailable"
    assert name_of(undo(RESTORE, lived(RESTORE), expired=True)) == "undo-unavailable"


def test_a_restore_that_did_not_complete_cannot_be_undone():
    assert "did not complete" in undo(RESTORE, lived()).detail


def test_an_older_restore_is_told_which_undo_comes_first():
    later = "rst_ABCDEFGHJK"
    problem = undo(RESTORE, lived(RESTORE, later))
    assert name_of(problem) == "undo-unavailable"
    assert problem.next_step == f"tidewind restore undo {later}"
    assert undo(later, lived(RESTORE, later)) is None


def test_a_restore_that_was_undone_is_not_undone_by_undoing_its_undo():
    other, third = "rst_ABCDEFGHJK", "rst_MNPQRSTVWX"
    done = undo(RESTORE, lived(RESTORE, other), undos={other: RESTORE})
    assert name_of(done) == "undo-unavailable"
    assert done.detail == f"Restore {RESTORE} was undone already at 2026-10-26 12:00:00 UTC by {other}"
    assert done.next_step == "There is nothing to do"
    later = undo(RESTORE, lived(RESTORE, other, third), undos={other: RESTORE})
    assert later.detail == done.detail, "also when another restore followed"
    again = undo(RESTORE, lived(RESTORE, other, third), undos={other: RESTORE, third: other})
    assert again.next_step == f"tidewind restore undo {third}", "the undo was undone"
    assert undo(other, lived(RESTORE, other), undos={other: RESTORE}) is None, "an undo can be undone"


def test_clusters():
    assert name_of(refusals.cluster_refusal(None, "shop", ["mariadb"])) == "unknown-cluster"
    assert name_of(refusals.cluster_refusal(entry(engine="tidb"), "shop", ["mariadb"])) == "unsupported-engine"
    assert name_of(refusals.cluster_refusal(entry(state="retired"), "shop", ["mariadb"])) == "cluster-retired"
    assert refusals.cluster_refusal(entry(), "shop", ["mariadb"]) is None
