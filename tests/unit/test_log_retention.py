"""Which segments of a captured log may go."""

from datetime import UTC, datetime, timedelta

from tidewind.domain.lived import microseconds
from tidewind.domain.log_retention import Needed, removable
from tidewind.domain.segments import SegmentHead

NOW = datetime(2026, 11, 23, tzinfo=UTC)
WINDOW = timedelta(days=90)


def head(number: int, to_position: str, *, days_old: float = 100) -> SegmentHead:
    complete = microseconds(NOW - timedelta(days=days_old))
    return SegmentHead(
        cluster_id="shop",
        history="hst_AAAAAAAAAA",
        number=number,
        session="01",
        start=0,
        end=10,
        from_position="",
        to_position=to_position,
        first_us=None,
        last_us=None,
        complete_us=complete,
        precision="clock",
        transactions=0,
        preamble="",
        table_stored=0,
        table_crc=0,
        frames=(),
        sealed_us=complete,
    )


def going(ends: list[str], positions: list[str], *, last_kept: int | None = None) -> list[int]:
    needed = Needed(positions=positions, last_kept=last_kept)
    heads = [head(number, end) for number, end in enumerate(ends, start=1)]
    return [one.number for one in heads if removable(one, needed, NOW, WINDOW)]


def test_a_transaction_that_spans_segments_behind_a_base_stays_whole() -> None:
    """0-1-11 begins in segment 2 and ends in segment 4: until it ends, segments end where the base stands."""
    assert going(["0-1-9", "0-1-10", "0-1-10", "0-1-11"], ["0-1-10"]) == [1]


def test_only_what_ends_before_every_kept_backup_goes() -> None:
    ends = ["0-1-5", "0-1-7", "0-1-7,1-1-3", "0-1-9,1-1-3"]
    assert going(ends, ["0-1-8", "0-1-7,1-1-3"]) == [1, 2]
    assert going(ends, ["0-1-8,1-1-3", ""]) == []
    assert going(ends, []) == [1, 2, 3, 4]
    assert going(ends, [], last_kept=3) == [1, 2]


def test_nothing_younger_than_the_window_goes() -> None:
    assert not removable(head(1, "0-1-1", days_old=89), Needed(positions=(), last_kept=None), NOW, WINDOW)
