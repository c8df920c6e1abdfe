"""Reads the log's legs from the store: which transactions are to be replayed, and the pieces of log they lie in.

The feed is an ordered stream of two kinds of items. A `Batch` names transactions that are to be replayed, in the log's
order; the `Piece`s that follow it hold their bytes, and end before the next batch. Transactions are chosen by the
segments' tables alone: strictly behind `leg.after`, up to and with `leg.upto`. What a session left incomplete when
another one followed is in no table and so never read.

Invariants
- Transactions come exactly once, whole, in the order of the legs and within them of the log.
- Every transaction has an ordinal, counted from 1 over all legs: the same plan gives the same ordinals, whatever
  objects the segments lie in by then. Ordinals are what progress is measured in.
- A hole (a segment that does not begin where its predecessor ended, a leg whose end is not reached) raises LogDamaged.

Memory: one segment's table and the pieces in the queue, whatever the size of a transaction. Of a transaction that began
in earlier segments the pieces are read again when the segment comes that ends it.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from tidewind.domain.gtids import Gtid, GtidList
from tidewind.domain.lived import Leg
from tidewind.domain.log_stream import XA_PREPARE, Transaction
from tidewind.domain.segments import SegmentRef
from tidewind.runtime.log_archive import LogArchive, LogDamaged

_HINT = "choose a target before it, or after the next backup; examine the store"


@dataclass(frozen=True)
class Batch:
    """Transactions that end in one segment. `first` is the ordinal of the first; `preamble` that of their session."""

    first: int
    transactions: tuple[Transaction, ...]
    preamble: bytes
    session: str
    leg: int
    segment: int


@dataclass(frozen=True)
class Piece:
    """Bytes of the session from offset `start` on; consecutive pieces of a batch may leave out what lies between its
    transactions, never any byte of one."""

    start: int
    data: bytes


@dataclass(frozen=True)
class Prepared:
    """An XA transaction that was prepared among what is done, or before the legs: it may be committed later."""

    leg: int
    segment: int
    transaction: Transaction


Item = Batch | Piece | Prepared


@dataclass
class _Chain:
    """The segments of the session that may hold the beginning of a transaction that has not ended yet."""

    session: str = ""
    refs: list[SegmentRef] = field(default_factory=list)


class LegReader:
    """Reads the legs of one plan."""

    def __init__(
        self,
        archive: LogArchive,
        cluster: str,
        legs: Sequence[Leg],
        segments: Sequence[tuple[int, int]],
    ) -> None:
        """`segments` of a leg may begin before it, with those in which XA transactions were prepared that the base knew
        as open."""
        self._archive = archive
        self._cluster = cluster
        self._legs = legs
        self._segments = segments

    async def items(self, skip: int) -> AsyncGenerator[Item, None]:
        """All transactions but the first `skip`. Raises StoreError."""
        ordinal = 0
        for number, (leg, (first, last)) in enumerate(zip(self._legs, self._segments, strict=True)):
            after, upto = GtidList.parse(leg.after), GtidList.parse(leg.upto)
            chain, reached, position = _Chain(), after, None
            async for ref in self._archive.segments(self._cluster, leg.history, first=first, last=last):
                _require_continuous(ref, position, after)
                position = ref.head.to_position
                _extend(chain, ref)
                table = await self._archive.transactions(ref)
                wanted = [one for one in table if chosen(one, after, upto)]
                for one in wanted:
                    reached = reached.advanced(Gtid.parse(one.gtid))
                done = min(max(skip - ordinal, 0), len(wanted))
                left = tuple(wanted[done:])
                for one in table:
                    if one.flags & XA_PREPARE and one not in left and upto.holds(Gtid.parse(one.gtid)):
                        yield Prepared(number, ref.number, one)
                if len(wanted) > done:
                    preamble = bytes.fromhex(ref.head.preamble)
                    yield Batch(ordinal + done + 1, left, preamble, ref.head.session, number, ref.number)
                    async for piece in self._pieces(leg, chain, left[0].start, left[-1].end):
                        yield piece
                ordinal += len(wanted)
                _forget(chain, table)
            _require_reached(leg, after, reached, upto)

    async def bytes_of(self, leg: int, segment: int, transaction: Transaction) -> AsyncGenerator[Piece, None]:
        """The pieces of a transaction that ends in the segment of this number. Raises StoreError."""
        history = self._legs[leg].history
        chain = _Chain()
        async for ref in self._archive.segments(self._cluster, history, first=segment, last=segment):
            _extend(chain, ref)
        async for piece in self._pieces(self._legs[leg], chain, transaction.start, transaction.end):
            yield piece

    async def _pieces(self, leg: Leg, chain: _Chain, start: int, end: int) -> AsyncGenerator[Piece, None]:
        while chain.refs[0].head.start > start:
            await self._step_back(leg, chain)
        for ref in chain.refs:
            for index, frame in enumerate(ref.head.frames):
                if frame.start < end and frame.start + frame.size > start:
                    yield Piece(frame.start, await self._archive.frame(ref, index))

    async def _step_back(self, leg: Leg, chain: _Chain) -> None:
        """A transaction may begin in a segment before the leg's first one."""
        number = chain.refs[0].number - 1
        found = [ref async for ref in self._archive.segments(self._cluster, leg.history, first=number, last=number)]
        if not found or found[0].head.session != chain.session:
            key = chain.refs[0].key
            raise LogDamaged("read", key, "the transaction that ends in it begins in no segment before it", _HINT)
        chain.refs.insert(0, found[0])


def chosen(transaction: Transaction, after: GtidList, upto: GtidList) -> bool:
    """Whether a transaction lies behind `after` and not behind `upto`."""
    gtid = Gtid.parse(transaction.gtid)
    return not after.holds(gtid) and upto.holds(gtid)


def _extend(chain: _Chain, ref: SegmentRef) -> None:
    if chain.session != ref.head.session:
        chain.session, chain.refs = ref.head.session, []
    chain.refs.append(ref)


def _forget(chain: _Chain, table: Sequence[Transaction]) -> None:
    """Segments that hold nothing behind the last whole transaction are needed no longer."""
    if table:
        chain.refs = [ref for ref in chain.refs if ref.head.end > table[-1].end]


def _require_continuous(ref: SegmentRef, before: str | None, after: GtidList) -> None:
    begins = ref.head.from_position
    if before is None:
        if not after.covers(GtidList.parse(begins)):
            raise LogDamaged("read", ref.key, f"it begins at {begins}, behind {after}", _HINT)
    elif begins != before:
        raise LogDamaged("read", ref.key, f"it begins at {begins}, its predecessor ended at {before}", _HINT)


def _require_reached(leg: Leg, after: GtidList, reached: GtidList, upto: GtidList) -> None:
    for gtid in upto.last.values():
        if not after.holds(gtid) and reached.last.get(gtid.domain) != gtid:
            what = f"the log from {leg.after or 'its beginning'} ends at {reached}, not at {leg.upto}"
            raise LogDamaged("read", f"history {leg.history}", what, _HINT)


async def prefetched(source: AsyncGenerator[Item, None], queue: "asyncio.Queue[Item | BaseException | None]") -> None:
    """Move the items of a feed into a bounded queue, then None, or what it raised."""
    try:
        async for item in source:
            await queue.put(item)
    except Exception as error:
        await queue.put(error)
    else:
        await queue.put(None)
