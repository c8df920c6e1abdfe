"""How a session's pieces are cut into blocks, and how far Kafka's acknowledgements reach. Pure."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from tidewind.domain.gtids import Gtid, GtidList
from tidewind.domain.log_stream import BLOCK_DATA_BYTES, Block, Mark, SessionStart, State, Transaction
from tidewind.ports.capture import Piece


class Cutter:
    """Collects pieces, marks and states; `cut` makes blocks of them. Blocks come out in order, numbered from 0."""

    def __init__(self, cluster: str, session: str, begins: SessionStart) -> None:
        self._cluster = cluster
        self._session = session
        self._begins: SessionStart | None = begins
        self._sequence = 0
        self._start = 0
        self._data = bytearray()
        self._transactions: deque[Transaction] = deque()
        self._marks: list[Mark] = []
        self._states: list[State] = []
        self._stamped_to = 0

    @property
    def waiting_bytes(self) -> int:
        return len(self._data)

    @property
    def full(self) -> bool:
        return len(self._data) >= BLOCK_DATA_BYTES

    @property
    def empty(self) -> bool:
        return not (self._data or self._marks or self._states or self._begins)

    def add(self, piece: Piece) -> None:
        self._data += piece.data
        self._transactions += piece.transactions
        if not piece.live:
            self._stamped_to = self._start + len(self._data)

    def mark(self, mark: Mark) -> None:
        self._marks.append(mark)

    def state(self, state: State) -> None:
        self._states.append(state)

    def cut(self, *, full_only: bool = False) -> Iterator[Block]:
        """Blocks of all that waits, or only those that are full. What is no bytes travels in the last block."""
        while len(self._data) >= BLOCK_DATA_BYTES:
            yield self._block(BLOCK_DATA_BYTES, last=False)
        if not full_only and not self.empty:
            yield self._block(len(self._data), last=True)

    def _block(self, size: int, *, last: bool) -> Block:
        end = self._start + size
        ended = []
        while self._transactions and self._transactions[0].end <= end:
            ended.append(self._transactions.popleft())
        block = Block(
            cluster_id=self._cluster,
            session=self._session,
            sequence=self._sequence,
            start=self._start,
            data=bytes(self._data[:size]),
            transactions=tuple(ended),
            marks=tuple(self._marks) if last else (),
            states=tuple(self._states) if last else (),
            begins=self._begins,
            precision="stamps" if self._start < self._stamped_to else "clock",
        )
        del self._data[:size]
        self._start = end
        self._sequence += 1
        self._begins = None
        if last:
            self._marks, self._states = [], []
        return block


@dataclass
class Acknowledged:
    """What Kafka holds of a history: everything up to `position`. `complete_us`: of the log up to that time."""

    position: GtidList
    last: Transaction | None
    complete_us: int
    precision: str = "clock"
    _marks: deque[Mark] = field(default_factory=deque)

    def block(self, block: Block) -> None:
        """A block was acknowledged, and all before it."""
        for one in block.transactions:
            self.position = self.position.advanced(Gtid.parse(one.gtid))
            self.last = one
        self._marks += block.marks
        if block.data:
            self.precision = block.precision
        while self._marks and self.position.covers(GtidList.parse(self._marks[0].position)):
            self.complete_us = max(self.complete_us, self._marks.popleft().before_us)
