"""What the assembly of a log is told and tells: its place, what it makes of a block, and what is to be sealed."""

from dataclasses import dataclass

from tidewind.domain.log_stream import SessionStart, Transaction
from tidewind.domain.segments import SegmentHead


@dataclass(frozen=True, kw_only=True)
class Place:
    """The end of the last segment, or the beginning of a history that has none (`number` 0, no session)."""

    history: str
    number: int
    session: str | None
    offset: int
    position: str
    preamble: str
    time_us: int
    complete_us: int
    stamped: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Taken:
    """The block belongs to the log; `fresh` if any of it was new."""

    fresh: bool = True


@dataclass(frozen=True)
class Stale:
    reason: str


@dataclass(frozen=True)
class Hole:
    """Something before this block never came. `reread` is the position from which capture must read again."""

    reason: str
    reread: str


@dataclass(frozen=True)
class SealFirst:
    """Another session takes over: seal everything that is whole, then feed the block again."""


@dataclass(frozen=True)
class Begins:
    """The session begins a history; the one before it ends as it is sealed. Claim it, `begin`, feed the block again."""

    start: SessionStart


Verdict = Taken | Stale | Hole | SealFirst | Begins


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A segment to be put: its head (without what `segments.build` fills in), its transactions, its bytes."""

    head: SegmentHead
    transactions: tuple[Transaction, ...]
    data: bytes
