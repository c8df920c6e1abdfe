"""The captured log as it travels and rests: a stream of raw events, cut into blocks and segments at any byte.

Quantities
- A *session* is one unbroken reading of a cluster's log. Its bytes are events as the server sent them, heartbeats and
  artificial rotations left out. It begins at offset 0 with its *preamble*, what a reader must know to read any of it
  (MariaDB: the format description event; one that differs in more than its time begins a new session), and right
  behind it with the first event of a transaction. What belongs to no transaction is left out; bytes that no transaction
  claims may still lie between two (MariaDB: what a crash of the server cut off), so readers go by places.
- A *place* is (session, byte offset). Transactions are found by place; bounds of blocks and segments are bounds of
  nothing: a transaction, even an event, may span them, so that memory is bounded whatever a user writes.
- A *mark* says that at the time `before` the log's end was not yet beyond `position`, and at `after` it had reached it,
  both by the database's clock: see `clamp_times`.

Invariant: the transactions of a history, in the order of their places, are those of the log, each exactly once. What a
session left incomplete when another follows it is no transaction: the follower begins again at its first byte.

The tempting wrong idea: order by the events' own stamps. A client sets them as it likes, and they go backwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

BLOCK_DATA_BYTES = 700_000
"""Most raw bytes of a block: with its table of transactions, sealed, it stays below what a Kafka record may hold."""
BLOCK_AGE_MS = 500

Precision = Literal["clock", "stamps"]
"""`clock`: the database's clock as a live capture saw it. `stamps`: from the log's own stamps, read after an outage."""

DDL = 1
XA_PREPARE = 2
XA_END = 4
UNTRANSACTED = 8


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Transaction(NamedTuple):
    """One group of the log, whole. `start` and `end` are offsets in its session: of its first event, and behind its
    last. `time_us`: microseconds since 1970, UTC, by the database's clock. `flags` are DDL, XA_PREPARE, XA_END,
    UNTRANSACTED. `checksum` is a CRC-32 of all its bytes, as the engine takes it, by which it is known again after a
    reconnect. A tuple, because a log brings hundreds of thousands in a second."""

    gtid: str
    start: int
    end: int
    time_us: int
    flags: int = 0
    checksum: int = 0


class Mark(_Value):
    """A look at the log's end. What `position` holds was committed before `after_us`; what it does not, after
    `before_us`."""

    position: str
    before_us: int
    after_us: int


StateKind = Literal["variables", "servers", "plugins"]


class State(_Value):
    """What no log holds, whole, as it was found: from `position` on. Exact to the interval at which it is looked at."""

    kind: StateKind
    position: str
    time_us: int
    content: dict[str, Any]


HistoryCause = Literal["first", "purged", "reset", "diverged", "replaced", "unreadable"]


class SessionStart(_Value):
    """How a session begins. `history` is continued from `position` if `cause` is None; otherwise it is a new one, and
    whatever lies between the end of `after_history` and this is a gap. `preamble` is in hexadecimal."""

    history: str
    position: str
    cause: HistoryCause | None = None
    detail: str = ""
    after_history: str | None = None
    server_identity: str
    server_version: str
    opened_us: int
    preamble: str


@dataclass(frozen=True, kw_only=True)
class Block:
    """A byte range of a session: what one record on `changes.v1` holds. `sequence` counts from 0 in the session.

    `transactions` are those that end in it, with the times at which they were received; `begins` stands in the first
    block of a session alone. A block may hold marks or states alone."""

    cluster_id: str
    session: str
    sequence: int
    start: int
    data: bytes
    transactions: tuple[Transaction, ...] = ()
    marks: tuple[Mark, ...] = ()
    states: tuple[State, ...] = ()
    begins: SessionStart | None = None
    precision: Precision = "clock"

    @property
    def end(self) -> int:
        return self.start + len(self.data)


def clamp_times(
    transactions: Sequence[Transaction], earlier: Mark | None, later: Mark | None, floor_us: int
) -> tuple[Transaction, ...]:
    """Final times of the transactions between two marks: not before the earlier mark was begun, not after the later one
    was ended, and never going backwards (`floor_us` is the time of the transaction before)."""
    final = []
    for one in transactions:
        time_us = one.time_us
        if later is not None:
            time_us = min(time_us, later.after_us)
        if earlier is not None:
            time_us = max(time_us, earlier.before_us)
        floor_us = max(floor_us, time_us)
        final.append(Transaction(one.gtid, one.start, one.end, floor_us, one.flags, one.checksum))
    return tuple(final)
