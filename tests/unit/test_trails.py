"""What going back to a point undoes: what the present's trail has and the point's has not."""

from tests.unit.test_lived import FIRST, ONE, base, main, reach, restored
from tidewind.domain.lived import Leg, Lived, Piece, pieces
from tidewind.domain.trails import trail, undone_by

CHILD = restored("C", minute=60)
LIVED = Lived(timelines=(main(), CHILD), reaches=(ONE,), bases=(FIRST,))


def piece(lived: Lived, timeline: str, history: str = "hst_1") -> Piece:
    return next(one for one in pieces(lived) if (one.timeline, one.history) == (timeline, history))


def leg(after: str, upto: str, history: str = "hst_1") -> Leg:
    return Leg(history=history, after=after, upto=upto)


def undone(lived: Lived, timeline: str, position: str, history: str = "hst_1") -> tuple[tuple[Leg, ...], bool] | None:
    found = undone_by(lived, piece(lived, timeline, history), position)
    return None if found is None else (found.legs, found.whole)


def test_without_a_restore_it_is_what_follows() -> None:
    lived = Lived(timelines=(main(),), reaches=(ONE,), bases=(FIRST,))
    assert undone(lived, "main", "0-1-40") == ((leg("0-1-40", "0-1-90"),), True)
    assert undone(lived, "main", "0-1-90") == ((), True)


def test_a_trail_leads_over_the_cut_and_not_over_the_restore() -> None:
    assert trail(LIVED, piece(LIVED, CHILD.timeline), "0-1-70").legs == (leg("", "0-1-30"), leg("0-1-51", "0-1-70"))


def test_what_a_restore_undid_already_is_not_undone_again() -> None:
    """The child was opened at 0-1-30, so that of main only what lies between the point and there is still present."""
    assert undone(LIVED, "main", "0-1-20") == ((leg("0-1-20", "0-1-30"), leg("0-1-51", "0-1-90")), True)
    assert undone(LIVED, "main", "0-1-30") == ((leg("0-1-51", "0-1-90"),), True)


def test_a_point_of_the_abandoned_future_undoes_what_was_lived_since_it_was_abandoned() -> None:
    assert undone(LIVED, "main", "0-1-45") == ((leg("0-1-51", "0-1-90"),), True)


def test_a_point_of_the_present_timeline_undoes_its_rest() -> None:
    assert undone(LIVED, CHILD.timeline, "0-1-70") == ((leg("0-1-70", "0-1-90"),), True)


def test_a_restore_of_a_backup_leads_on_from_where_the_backup_stands() -> None:
    child = restored("C", minute=60, cut=None, cut_history=None, cut_backup=FIRST.backup_id)
    lived = Lived(timelines=(main(), child), reaches=(ONE,), bases=(FIRST,))
    assert undone(lived, "main", "0-1-9") == ((leg("0-1-9", "0-1-10"), leg("0-1-51", "0-1-90")), True)
    gone = Lived(timelines=(main(), child), reaches=(ONE,), bases=())
    assert undone(gone, child.timeline, "0-1-70") == ((leg("0-1-70", "0-1-90"),), True)
    assert undone(gone, "main", "0-1-9") == ((leg("0-1-51", "0-1-90"),), False)


def test_behind_a_gap_it_is_at_least_what_was_captured() -> None:
    two = reach(2, begins=110, position="0-1-20", complete=200, begun_at="0-1-3")
    lived = Lived(timelines=(main(),), reaches=(ONE, two), bases=(FIRST, base("B", minute=120, position="0-1-5")))
    assert undone(lived, "main", "0-1-80") == ((leg("0-1-80", "0-1-90"), leg("0-1-3", "0-1-20", "hst_2")), False)
    assert undone(lived, "main", "0-1-90") == ((leg("0-1-3", "0-1-20", "hst_2"),), False)
    assert undone(lived, "main", "0-1-5", "hst_2") == ((leg("0-1-5", "0-1-20", "hst_2"),), True)


def test_where_the_present_was_not_captured_nothing_is_known() -> None:
    child = restored("C", minute=60, history=None, start=None)
    lived = Lived(timelines=(main(), child), reaches=(ONE,), bases=(FIRST,))
    assert undone(lived, "main", "0-1-20") is None
