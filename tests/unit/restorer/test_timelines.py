"""Timelines: which is being lived, and where it came from."""

from datetime import timedelta

from services.restorer.rules.refusals import undo_refusal
from services.scheduler.handlers.survey import Survey
from tests.fakes import ManualClock
from tests.unit.restorer.bench import JOB, NOW, RESTORE, timeline
from tidewind.domain import keys, timelines
from tidewind.domain.ids import timeline_id
from tidewind.runtime.catalogue import Catalogue
from tidewind.store.directory import DirectoryStore


def test_the_newest_timeline_is_lived_and_the_root_without_any():
    assert timelines.present([]) == "main"
    one = timeline("main", NOW)
    other = timeline(timeline_id(RESTORE), NOW + timedelta(hours=1), RESTORE)
    assert timelines.present([other, one]) == other.timeline


def test_later_is_who_held_the_cluster_later_whatever_the_clocks_said():
    """The machine that opened the second restore is an hour behind the first one's."""
    root = timeline("main", NOW)
    first = timeline("tl_0123456789", NOW + timedelta(hours=2), RESTORE, operation=4)
    second = timeline("tl_ABCDEFGHJK", NOW + timedelta(hours=1), RESTORE, operation=7)
    lived = [second, root, first]
    assert [one.timeline for one in timelines.in_order(lived)] == ["main", first.timeline, second.timeline]
    assert timelines.newest(lived) is second
    assert timelines.present(lived) == second.timeline
    assert timelines.lived_before(lived, second) == first.timeline
    assert timelines.lived_before(lived, first) == timelines.lived_before(lived, root) == "main"


def test_documents_without_a_number_come_first_in_the_order_of_their_clocks():
    early = timeline("tl_0123456789", NOW + timedelta(hours=5), RESTORE)
    late = timeline("tl_ABCDEFGHJK", NOW + timedelta(hours=6), RESTORE)
    numbered = timeline("tl_MNPQRSTVWX", NOW, RESTORE, operation=2)
    lived = [numbered, late, timeline("main", NOW), early]
    assert [one.timeline for one in timelines.in_order(lived)] == [
        "main", early.timeline, late.timeline, numbered.timeline,
    ]  # fmt: skip


async def test_everybody_who_asks_the_store_gets_the_same_answer(tmp_path):
    """Snapshots, the scheduler's bases and undo each looked for themselves once."""
    store = DirectoryStore(tmp_path)
    first = timeline(timeline_id(RESTORE), NOW + timedelta(hours=2), RESTORE, operation=4)
    second = timeline("tl_ABCDEFGHJK", NOW + timedelta(hours=1), "rst_ABCDEFGHJK", operation=7)
    for one in (timeline("main", NOW), first, second):
        await store.put_if_absent(keys.timeline("shop", one.timeline), one.to_bytes())
    lived = await Catalogue(store).timelines("shop")
    assert lived[-1] == second
    survey = Survey(store, ManualClock(), max_age_s=1)
    await survey.refresh()
    assert await survey.newest_timeline("shop") == second
    refused = undo_refusal(RESTORE, lived, undos={}, undo_until=None, expired=False, now=NOW)
    assert refused is not None
    assert "followed by" in refused.detail


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
