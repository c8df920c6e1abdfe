"""When a transaction was committed, on the database's clock. Pure.

Live, that is the moment at which it was received, and `DatabaseClock` turns ours into the database's. What was written
before the session was opened has the log's stamps alone, which clients set as they like: a stamp above the least of the
next thousand is ignored, as is one below what is known already, and what remains never goes backwards.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from tidewind.domain.log_stream import Transaction
from tidewind.engines.mariadb.log.transactions import Group

LOOK_AHEAD: Final = 1000
HELD_BYTES: Final = 4 << 20
_REMEMBERED: Final = 60
_SECOND: Final = 1_000_000


class DatabaseClock:
    """Our monotonic clock against the database's. An observation is exact to half of its round trip; the best of the
    last minute counts, unless the newest contradicts it, as when somebody sets the database's clock."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)
        self._offset_us = 0.0

    def observe(self, before_us: int, after_us: int, sent_s: float, received_s: float) -> None:
        """The database said `before_us` and `after_us` between two instants of our clock, in seconds."""
        lowest = after_us - received_s * _SECOND
        highest = before_us - sent_s * _SECOND
        newest = ((lowest + highest) / 2, abs(highest - lowest) / 2)
        self._seen = deque((one for one in self._seen if _agree(one, newest)), maxlen=_REMEMBERED)
        self._seen.append(newest)
        self._offset_us = min(self._seen, key=lambda one: one[1])[0]

    def at(self, monotonic_s: float) -> int:
        """The database's clock, in microseconds since 1970, at an instant of ours."""
        return int(monotonic_s * _SECOND + self._offset_us)


def _agree(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return abs(one[0] - other[0]) <= one[1] + other[1]


def transactions(groups: list[Group], time_us: int) -> tuple[Transaction, ...]:
    """With one time for all: that of their receipt."""
    return tuple(
        Transaction(gtid, start, end, time_us, flags, checksum) for gtid, _, _, start, end, _, flags, checksum in groups
    )


@dataclass(frozen=True, slots=True)
class Stamped:
    data: bytes
    transactions: tuple[Transaction, ...]


class StampedTimes:
    """Holds pieces back until the stamps behind them are known: up to `LOOK_AHEAD` transactions or `HELD_BYTES`.
    `floor_us` is the time of the transaction before; no time is later than `ceiling_us`."""

    def __init__(self, floor_us: int, ceiling_us: int) -> None:
        self._floor_us = floor_us
        self._ceiling_us = ceiling_us
        self._held: deque[tuple[bytes, list[Group]]] = deque()
        self._bytes = 0
        self._groups = 0

    def push(self, data: bytes, groups: list[Group]) -> list[Stamped]:
        """What can be given out now, in order."""
        self._held.append((data, groups))
        self._bytes += len(data)
        self._groups += len(groups)
        if self._groups < 2 * LOOK_AHEAD and self._bytes < HELD_BYTES:
            return []
        return self._release(LOOK_AHEAD if self._bytes < HELD_BYTES else 0)

    def flush(self) -> list[Stamped]:
        """All that is held: nothing with a stamp of this kind follows."""
        return self._release(0)

    def _release(self, keep: int) -> list[Stamped]:
        times = self._times([group[5] * _SECOND for _, groups in self._held for group in groups])
        ready, at = [], 0
        while self._held and (not keep or self._groups - len(self._held[0][1]) >= keep):
            data, groups = self._held.popleft()
            self._bytes -= len(data)
            self._groups -= len(groups)
            timed = tuple(
                Transaction(one[0], one[3], one[4], time_us, one[6], one[7])
                for one, time_us in zip(groups, times[at : at + len(groups)], strict=True)
            )
            at += len(groups)
            if timed:
                self._floor_us = timed[-1].time_us
            ready.append(Stamped(data, timed))
        return ready

    def _times(self, stamps: list[int]) -> list[int]:
        """The least of what follows is taken over all that is held, a thousand at least if there are as many."""
        floor = self._floor_us
        least_after = self._ceiling_us
        leasts = [0] * len(stamps)
        for at in range(len(stamps) - 1, -1, -1):
            leasts[at] = least_after
            if stamps[at] >= floor:
                least_after = min(least_after, stamps[at])
        times = []
        for stamp, least in zip(stamps, leasts, strict=True):
            if floor < stamp <= least:
                floor = stamp
            times.append(floor)
        return times
