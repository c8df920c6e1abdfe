"""Which stretches of the log a timeline's users wrote, and the ways that lead to their points."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tidewind.domain.histories import History, Reach, gaps, with_live_end
from tidewind.domain.lived import Base, Leg, Lived, Route, instant, microseconds, pieces, reachable_from, route
from tidewind.domain.records import Timeline

DAY = datetime(2026, 11, 23, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return DAY + timedelta(minutes=minutes)


def reach(number: int, *, begins: float, position: str, complete: float, begun_at: str = "") -> Reach:
    history = History(
        cluster_id="shop",
        history=f"hst_{number}",
        number=number,
        position=begun_at,
        begin_us=microseconds(at(begins)),
        cause="first" if number == 1 else "reset",
        after=f"hst_{number - 1}" if number > 1 else None,
        server_identity="1-a",
        server_version="10.11.19",
        started_at=at(begins),
    )
    return Reach(history=history, position=position, complete_us=microseconds(at(complete)), last_us=None, segments=9)


def main() -> Timeline:
    return Timeline(
        cluster_id="shop",
        timeline="main",
        parent=None,
        cut=None,
        parent_end=None,
        history=None,
        start=None,
        started_at=at(0),
    )


def restored(name: str, *, minute: float, **more: object) -> Timeline:
    values: dict[str, object] = {
        "cluster_id": "shop",
        "timeline": f"tl_{name * 10}",
        "parent": "main",
        "cut": "0-1-30",
        "cut_history": "hst_1",
        "parent_end": "0-1-50",
        "end_history": "hst_1",
        "ended_at": at(minute - 2),
        "history": "hst_1",
        "start": "0-1-51",
        "started_at": at(minute),
        "restore_id": f"rst_{name * 10}",
        **more,
    }
    return Timeline.model_validate(values)


def base(name: str, *, minute: float, position: str | None, timeline: str = "main", history: str = "hst_1") -> Base:
    return Base(backup_id=f"bkp_{name * 10}", timeline=timeline, history=history, position=position, at=at(minute))


def way(base: Base, legs: tuple[Leg, ...]) -> Route:
    return Route(base=base.backup_id, legs=legs)


ONE = reach(1, begins=1, position="0-1-90", complete=100)
FIRST = base("A", minute=2, position="0-1-10")


def test_before_any_restore_there_is_one_piece_from_the_first_base_on() -> None:
    lived = Lived(timelines=(main(),), reaches=(ONE,), bases=(FIRST,))
    (piece,) = pieces(lived)
    assert (piece.timeline, piece.floor, piece.upto, piece.end) == ("main", "", None, None)
    assert reachable_from(piece, lived) == at(2)
    assert piece.last_instant == at(100)
    assert route(lived, piece, "0-1-42") == way(FIRST, (Leg(history="hst_1", after="0-1-10", upto="0-1-42"),))
    assert route(lived, piece, "0-1-10") == way(FIRST, ())
    assert route(lived, piece, "0-1-9") is None


def test_the_newest_base_before_the_point_begins_the_route() -> None:
    later = base("B", minute=50, position="0-1-40")
    lived = Lived(timelines=(main(),), reaches=(ONE,), bases=(FIRST, later))
    (piece,) = pieces(lived)
    assert route(lived, piece, "0-1-41") == way(later, (Leg(history="hst_1", after="0-1-40", upto="0-1-41"),))
    assert route(lived, piece, "0-1-39") == way(FIRST, (Leg(history="hst_1", after="0-1-10", upto="0-1-39"),))


def test_no_route_begins_at_a_base_of_which_something_was_read_behind_the_point() -> None:
    """Accounts and tables without transactions would be those of a later moment."""
    later = replace(base("B", minute=50, position="0-1-40"), settled="0-1-44", settled_at=at(52))
    lived = Lived(timelines=(main(),), reaches=(ONE,), bases=(FIRST, later))
    (piece,) = pieces(lived)
    assert route(lived, piece, "0-1-44") == way(later, (Leg(history="hst_1", after="0-1-40", upto="0-1-44"),))
    assert route(lived, piece, "0-1-43") == way(FIRST, (Leg(history="hst_1", after="0-1-10", upto="0-1-43"),))
    alone = Lived(timelines=(main(),), reaches=(ONE,), bases=(later,))
    assert route(alone, piece, "0-1-43") is None
    assert reachable_from(piece, alone) == at(52), "not from the moment its rows show on"


def test_no_route_runs_over_the_log_of_a_restore() -> None:
    child = restored("C", minute=60)
    lived = Lived(timelines=(main(), child), reaches=(ONE,), bases=(FIRST,))
    before, after = pieces(lived)
    assert (before.upto, before.end) == ("0-1-50", at(58))
    assert (after.floor, after.start) == ("0-1-51", at(60))
    assert not before.contains("0-1-51")
    assert not after.contains("0-1-50")
    assert reachable_from(after, lived) == at(60)
    assert route(lived, after, "0-1-70") == way(
        FIRST,
        (Leg(history="hst_1", after="0-1-10", upto="0-1-30"), Leg(history="hst_1", after="0-1-51", upto="0-1-70")),
    )


def test_where_nobody_read_a_clock_at_the_gate_a_timeline_ends_where_users_were_seen_last() -> None:
    child = restored("C", minute=60, ended_at=None)
    seen = base("B", minute=40, position="0-1-40")
    elsewhere = base("D", minute=70, position="0-1-60", timeline=child.timeline)
    before, _ = pieces(Lived(timelines=(main(), child), reaches=(ONE,), bases=(FIRST, seen, elsewhere)))
    assert (before.end, before.last_instant) == (at(40), at(40))
    before, _ = pieces(Lived(timelines=(main(), child), reaches=(ONE,), bases=()))
    assert before.end == main().started_at


def test_a_timeline_that_began_with_a_backup_goes_on_from_it() -> None:
    child = restored("C", minute=60, cut="0-1-10", cut_backup=FIRST.backup_id, cut_history=None)
    lived = Lived(timelines=(main(), child), reaches=(ONE,), bases=(FIRST,))
    _, after = pieces(lived)
    assert route(lived, after, "0-1-70") == way(FIRST, (Leg(history="hst_1", after="0-1-51", upto="0-1-70"),))
    gone = Lived(timelines=(main(), child), reaches=(ONE,), bases=())
    assert reachable_from(pieces(gone)[1], gone) is None


def test_after_an_undo_the_abandoned_stretch_goes_on() -> None:
    child = restored("C", minute=60)
    undone = restored(
        "D",
        minute=80,
        parent="main",
        cut="0-1-50",
        parent_end="0-1-60",
        ended_at=at(78),
        start="0-1-61",
    )
    lived = Lived(timelines=(main(), child, undone), reaches=(ONE,), bases=(FIRST,))
    *_, last = pieces(lived)
    assert route(lived, last, "0-1-80") == way(
        FIRST,
        (Leg(history="hst_1", after="0-1-10", upto="0-1-50"), Leg(history="hst_1", after="0-1-61", upto="0-1-80")),
    )


def test_nothing_leads_across_a_gap() -> None:
    two = reach(2, begins=110, position="0-1-20", complete=200, begun_at="0-1-3")
    second = base("B", minute=120, position="0-1-5", history="hst_2")
    lived = Lived(timelines=(main(),), reaches=(ONE, two), bases=(FIRST, second))
    old, new = pieces(lived)
    assert old.last_instant == at(100)
    assert reachable_from(new, lived) == at(120)
    assert route(lived, new, "0-1-9") == way(second, (Leg(history="hst_2", after="0-1-5", upto="0-1-9"),))
    assert route(lived, new, "0-1-4") is None
    (gap,) = gaps((two, ONE))
    assert (instant(gap.start_us), instant(gap.end_us)) == (at(100), at(110))
    assert (gap.start_position, gap.end_position, gap.cause) == ("0-1-90", "0-1-3", "reset")


@pytest.mark.parametrize(
    "wrong",
    [
        base("B", minute=120, position="0-1-20"),  # its log is not known to be complete up to then: it may be another
        base("B", minute=50, position=None),
        base("B", minute=50, position="0-1-95"),
        base("B", minute=50, position="0-1-40", timeline="tl_CCCCCCCCCC"),
        base("B", minute=50, position="0-1-40", history="hst_2"),
    ],
)
def test_a_backup_that_does_not_stand_in_the_piece_begins_no_route(wrong: Base) -> None:
    lived = Lived(timelines=(main(),), reaches=(ONE,), bases=(wrong,))
    (piece,) = pieces(lived)
    assert reachable_from(piece, lived) is None
    assert route(lived, piece, "0-1-60") is None


def test_a_timeline_nobody_captured_has_no_piece() -> None:
    child = restored("C", minute=60, history=None, start=None, end_history=None)
    lived = Lived(timelines=(main(), child), reaches=(ONE,), bases=(FIRST,))
    assert pieces(lived) == ()


def test_what_was_captured_since_belongs_to_a_timeline_opened_before_capture_began() -> None:
    one = restored("C", minute=60, history=None, start=None, end_history=None, parent_end=None, ended_at=None)
    two = restored("D", minute=80, history=None, start=None, end_history=None, parent_end=None, ended_at=None)
    later = restored("E", minute=150, parent=two.timeline)
    first = reach(1, begins=90, position="0-1-90", complete=200)
    own = base("B", minute=100, position="0-1-20", timeline=two.timeline)
    lived = Lived(timelines=(main(), one, two, later), reaches=(first,), bases=(FIRST, own))
    before, after = pieces(lived)
    assert (before.timeline, before.start, before.begins_timeline) == (two.timeline, at(90), False)
    assert (before.floor, before.upto) == ("", "0-1-50")
    assert reachable_from(before, lived) == at(100)
    assert (after.timeline, after.begins_timeline) == (later.timeline, True)
    assert route(lived, after, "0-1-60") == way(
        own, (Leg(history="hst_1", after="0-1-20", upto="0-1-30"), Leg(history="hst_1", after="0-1-51", upto="0-1-60"))
    )


def test_a_history_that_began_in_the_middle_of_a_timeline_belongs_to_it() -> None:
    two = reach(2, begins=70, position="0-1-20", complete=200, begun_at="")
    child = restored("C", minute=60)
    later = restored("D", minute=150, end_history="hst_2", parent_end="0-1-12", history="hst_2", start="0-1-13")
    lived = Lived(timelines=(main(), child, later), reaches=(ONE, two), bases=())
    assert [(one.timeline, one.history, one.floor, one.upto) for one in pieces(lived)] == [
        ("main", "hst_1", "", "0-1-50"),
        ("tl_CCCCCCCCCC", "hst_1", "0-1-51", None),
        ("tl_CCCCCCCCCC", "hst_2", "", "0-1-12"),
        ("tl_DDDDDDDDDD", "hst_2", "0-1-13", None),
    ]


def test_the_live_end_moves_only_the_newest_history_and_never_back() -> None:
    two = reach(2, begins=110, position="", complete=120)
    moved = with_live_end((ONE, two), microseconds(at(130)))
    assert [one.complete_us for one in moved] == [ONE.complete_us, microseconds(at(130))]
    assert with_live_end((ONE, two), microseconds(at(115))) == (ONE, two)
