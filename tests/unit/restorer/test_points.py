"""Which point a target means, and what is said of targets that mean none."""

from datetime import timedelta

import pytest

from services.restorer.rules import points
from tests.unit.test_lived import FIRST, ONE, at, base, main, reach, restored
from tidewind.domain.gtids import Gtid
from tidewind.domain.lived import Lived, microseconds
from tidewind.domain.log_stream import Transaction
from tidewind.domain.segments import SegmentHead

SPAN = timedelta(days=90)
NOW = at(101)
CHILD = restored("C", minute=60)
TWO = reach(2, begins=110, position="0-1-20", complete=200, begun_at="0-1-3")
SECOND = base("B", minute=120, position="0-1-5", history="hst_2")
RESTORED = Lived(timelines=(main(), CHILD), reaches=(ONE,), bases=(FIRST,))
BROKEN = Lived(timelines=(main(),), reaches=(ONE, TWO), bases=(FIRST, SECOND))


def name_of(problem):
    return problem.type.rpartition(":")[2]


def refusal(lived, minute, *, now=NOW, timeline=None):
    found = points.spans(lived, now, SPAN)
    assert points.span_at(found, at(minute), timeline) is None
    return points.time_refusal("shop", lived, found, at(minute), now=now, span=SPAN, timeline=timeline)


@pytest.mark.parametrize(
    ("minute", "timeline"), [(2, "main"), (58, "main"), (60, CHILD.timeline), (100, CHILD.timeline)]
)
def test_a_wall_clock_target_means_the_timeline_that_served_then(minute, timeline):
    found = points.spans(RESTORED, NOW, SPAN)
    chosen = points.span_at(found, at(minute), None)
    assert chosen is not None
    assert chosen.piece.timeline == timeline
    assert points.span_at(found, at(minute), timeline) == chosen


@pytest.mark.parametrize(
    ("lived", "minute", "now", "kind", "words"),
    [
        (RESTORED, 102, NOW, "target-outside", "the future"),
        (RESTORED, 100.5, NOW, "target-not-captured", "not been captured yet"),
        (RESTORED, 59, NOW, "target-outside", "a restore was running"),
        (RESTORED, 1, NOW, "target-outside", "the first backup from which the log leads on was taken at"),
        (BROKEN, 105, at(201), "target-outside", "a gap in the log"),
        (BROKEN, 115, at(201), "target-outside", "the first backup from which the log leads on was taken at"),
        (RESTORED, -91 * 1440, NOW, "target-outside", "older than 90 days"),
    ],
)
def test_a_target_outside_is_refused_with_the_nearest_instants(lived, minute, now, kind, words):
    problem = refusal(lived, minute, now=now)
    assert name_of(problem) == kind
    assert words in problem.detail
    assert problem.next_step


def test_the_nearest_instants_are_named_in_words_and_for_programs():
    problem = refusal(RESTORED, 59)
    assert problem.facts["nearest"] == [at(58).isoformat(), at(60).isoformat()]
    assert "2026-11-23 00:58:00.000 UTC and 2026-11-23 01:00:00.000 UTC" in problem.next_step
    assert len(problem.facts["intervals"]) == 2


def test_another_timeline_is_not_what_served_then():
    problem = refusal(RESTORED, 30, timeline=CHILD.timeline)
    assert "was not lived then" in problem.detail


def test_an_unknown_timeline_is_refused_with_those_there_are():
    problem = points.timeline_refusal("shop", RESTORED, "tl_ZZZZZZZZZZ")
    assert name_of(problem) == "unknown-timeline"
    assert CHILD.timeline in problem.next_step
    assert points.timeline_refusal("shop", RESTORED, "main") is None
    assert points.timeline_refusal("shop", RESTORED, None) is None


def test_what_is_no_position_of_the_engine_is_refused_by_field():
    assert points.parse_position("0-1-42") == Gtid(0, 1, 42)
    problem = points.parse_position("449123456789")
    assert problem.errors[0].field == "target_position"


def head(**more):
    values = {
        "cluster_id": "shop",
        "history": "hst_1",
        "number": 3,
        "session": "000000000001",
        "start": 0,
        "end": 30,
        "from_position": "0-1-4",
        "to_position": "0-1-7",
        "first_us": 100,
        "last_us": 300,
        "complete_us": 350,
        "precision": "clock",
        "transactions": 3,
        "preamble": "",
        "table_stored": 0,
        "table_crc": 0,
        "frames": (),
        "sealed_us": 400,
        **more,
    }
    return SegmentHead.model_validate(values)


TABLE = tuple(Transaction(f"0-1-{number}", number * 10, number * 10 + 10, (number - 4) * 100) for number in (5, 6, 7))


@pytest.mark.parametrize(
    ("target_us", "position", "undone"),
    [(99, "0-1-4", "0-1-5"), (100, "0-1-5", "0-1-6"), (299, "0-1-6", "0-1-7"), (300, None, None)],
)
def test_the_cut_is_the_longest_prefix_not_later_than_the_target(target_us, position, undone):
    before = Transaction("0-1-4", 0, 10, 50)
    cut = points.cut_in(head(), TABLE, target_us, before)
    if position is None:
        assert cut is None
        assert not points.begins_after(head(), target_us)
    else:
        assert (cut.position, cut.first_undone.gtid) == (position, undone)
        assert cut.last_kept.gtid == position
        assert points.begins_after(head(), target_us)


def test_a_segment_without_transactions_tells_by_how_far_the_log_is_complete():
    idle = head(transactions=0, first_us=None, last_us=None, complete_us=500)
    assert points.begins_after(idle, 500)
    assert not points.begins_after(idle, 501)


def test_a_cut_in_the_log_of_a_restore_is_the_end_of_what_was_lived():
    before, after = [one.piece for one in points.spans(RESTORED, NOW, SPAN)]
    assert points.within(before, "0-1-51") == "0-1-50"
    assert points.within(after, "0-1-50") == "0-1-51"
    assert points.within(after, "0-1-70") == "0-1-70"


def test_nothing_older_than_the_window_is_promised():
    found = points.spans(RESTORED, at(30) + SPAN, SPAN)
    assert found[0].start == at(30)
    assert microseconds(found[0].start) == microseconds(at(30))


def test_a_cut_is_as_precise_as_the_two_transactions_at_it() -> None:
    """Of the segment only the first transaction has the log's own stamp: what follows it was received."""
    late = head(precision="stamps", stamped=((50, 100),))
    before = Transaction("0-1-4", 0, 10, 50)
    assert points.cut_in(late, TABLE, 99, before).precision == "stamps"
    assert points.cut_in(late, TABLE, 150, before).precision == "stamps", "the last that is kept may have come later"
    assert points.cut_in(late, TABLE, 250, before).precision == "clock"
    assert points.cut_in(head(precision="stamps"), TABLE, 250, before).precision == "stamps", "of an older release"
