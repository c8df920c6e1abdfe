"""Which segments are rolled up into one object, and which singles a roll-up has made superfluous. Pure.

Roll-ups keep the number of objects low: a busy cluster seals 17,000 segments a day, and 90 days of them must be listed
and planned with in a moment. Only segments older than two hours are rolled up, an hour at a time, so that what is read
most, the newest, is never touched.
"""

from collections.abc import Sequence

from tidewind.domain.segments import SegmentHead

HOUR_US = 3600 * 1_000_000
LARGEST_BYTES = 2 << 30
"""So that even 8 MB of segments every five seconds are not more than three objects an hour."""
FEWEST = 2


def groups(singles: Sequence[tuple[SegmentHead, int]], older_than_us: int) -> tuple[tuple[SegmentHead, ...], ...]:
    """Runs of single segments, each with its size, that are to become one object each: of one hour, in a row, not too
    large. `older_than_us`: by when a segment must have been sealed. The hour in which that lies is left alone."""
    found: list[tuple[SegmentHead, ...]] = []
    run: list[SegmentHead] = []
    size = 0
    for head, bytes_ in sorted(singles, key=lambda one: one[0].number):
        if is_too_new(head, older_than_us):
            break
        fits = (
            bool(run)
            and head.number == run[-1].number + 1
            and head.sealed_us // HOUR_US == run[-1].sealed_us // HOUR_US
            and size + bytes_ <= LARGEST_BYTES
        )
        if not fits:
            found.append(tuple(run))
            run, size = [], 0
        run.append(head)
        size += bytes_
    found.append(tuple(run))
    return tuple(one for one in found if len(one) >= FEWEST)


def is_too_new(head: SegmentHead, older_than_us: int) -> bool:
    """Whether a segment, and with it all that follow, is left alone for now."""
    return head.sealed_us // HOUR_US >= older_than_us // HOUR_US


def pinned(first: int, last: int, pins: Sequence[tuple[int, int]]) -> bool:
    """Whether a restore reads any of these segments."""
    return any(first <= upper and lower <= last for lower, upper in pins)
