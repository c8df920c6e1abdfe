"""Timelines: which is being lived, and where it came from."""

from datetime import timedelta

from tests.unit.restorer.bench import JOB, NOW, RESTORE, timeline
from tidewind.domain import timelines
from tidewind.domain.ids import timeline_id


def test_the_newest_timeline_is_lived_and_the_root_without_any():
    assert timelines.present([]) == "main"
    one = timeline("main", NOW)
    other = timeline(timeline_id(RESTORE), NOW + timedelta(hours=1), RESTORE)
    assert timelines.present([other, one]) == other.timeline


def test_lineage_ends_at_the_root_and_never_loops():
    root = timeline("main", NOW)
    child = timeline("tl_0123456789", NOW, parent="main")
    grandchild = timeline("tl_ABCDEFGHJK", NOW, parent="tl_0123456789")
    assert timelines.lineage([root, child, grandchild], "tl_ABCDEFGHJK") == ["tl_ABCDEFGHJK", "tl_0123456789", "main"]
    loop = timeline("tl_0123456789", NOW, parent="tl_0123456789")
    assert timelines.lineage([loop], "tl_0123456789") == ["tl_0123456789"]
    assert timelines.lineage([], "tl_0123456789") == ["tl_0123456789"]


def test_an_opened_timeline_holds_both_ends_of_the_restore():
    made = timelines.opened(
        cluster_id="shop",
        restore_id=RESTORE,
        job_id=JOB,
        parent="main",
        cut="0-1-100",
        cut_backup="bkp_0123456789",
        parent_end="0-1-150",
        start="0-1-151",
        started_at=NOW,
    )
    assert made.timeline == timeline_id(RESTORE)
    assert (made.parent_end, made.start, made.cut) == ("0-1-150", "0-1-151", "0-1-100")
