"""Looks at what lies behind a point: how many transactions a restore undoes, from the heads of segments, and what they
did, from as much of the log as a plan may read.

Nothing of it decides anything: where it cannot be read, the plan says less. Damage behind a point must never stand in
the way of the restore that leads before it.
"""

import asyncio
from dataclasses import dataclass

import structlog

from services.restorer.handlers.sources import Origin
from services.restorer.handlers.tools import RestoreTools
from services.restorer.rules.behind import Behind, Tally, Touched
from tidewind.domain.gtids import Gtid, GtidList
from tidewind.domain.lived import Leg, Lived, Piece, pieces, usable
from tidewind.domain.log_stream import Transaction
from tidewind.domain.records import RegistryEntry
from tidewind.domain.segments import SegmentRef
from tidewind.domain.trails import undone_by
from tidewind.ports.capture import LogDecoder, Summary
from tidewind.ports.store import StoreError, StoreUnavailable
from tidewind.runtime.log_archive import LogArchive
from tidewind.runtime.log_reader import ReadTransaction, Verdict, chosen

log = structlog.get_logger()

_MIB = 1 << 20
_BATCH_BYTES = 256 << 10


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What lies behind, and which names it touches, where that is known."""

    behind: Behind
    touched: Touched | None


async def look_behind(
    tools: RestoreTools, entry: RegistryEntry, lived: Lived, origin: Origin, server_position: str | None
) -> Seen | None:
    """None where no log tells. `server_position` is where the server's log ends now: what is not archived yet is not
    counted. Raises StoreUnavailable."""
    found = _place_of(lived, origin)
    if found is None:
        return None
    trail = undone_by(lived, *found)
    decoder = tools.decoders.get(entry.engine)
    if trail is None or decoder is None:
        return None
    looking = _Looking(tools, entry.cluster_id, decoder)
    await looking.count(trail.legs)
    await looking.read(trail.legs)
    whole = trail.whole and looking.whole
    at_least = not (trail.whole and looking.counted) or _more_on_server(lived, server_position)
    return Seen(
        behind=looking.tally.result(
            max(looking.transactions, looking.tally.looked_into), transactions_at_least=at_least, whole=whole
        ),
        touched=looking.tally.touches(whole=whole),
    )


def _place_of(lived: Lived, origin: Origin) -> tuple[Piece, str] | None:
    """The piece and position that is gone back to."""
    if origin.cut_history is None:
        base = next((one for one in lived.bases if one.backup_id == origin.backup_id), None)
        piece = next((one for one in pieces(lived) if base is not None and usable(base, one)), None)
        return None if base is None or piece is None or base.position is None else (piece, base.position)
    for piece in pieces(lived):
        if (piece.timeline, piece.history) == (origin.timeline, origin.cut_history) and origin.cut is not None:
            return (piece, origin.cut) if piece.contains(origin.cut) else None
    return None


def _more_on_server(lived: Lived, position: str | None) -> bool:
    """Whether the server has written what is not archived yet; a history that is not the server's tells nothing."""
    newest = max(lived.reaches, key=lambda reach: reach.history.number, default=None)
    if newest is None or position is None:
        return True
    return not GtidList.parse(newest.position).covers(GtidList.parse(position))


class _Looking:
    """Counts and reads within the bounds of the settings. `counted`, `whole`: whether all was."""

    def __init__(self, tools: RestoreTools, cluster: str, decoder: LogDecoder) -> None:
        self._archived = tools.archived
        self._clock = tools.clock
        self._cluster = cluster
        self._decoder = decoder
        self._deadline = tools.clock.monotonic() + tools.settings.plan_read_s
        self._bytes_left = tools.settings.plan_read_mib * _MIB
        self._batch: list[ReadTransaction] = []
        self._batch_bytes = 0
        self.tally = Tally()
        self.transactions = 0
        self.counted = self.whole = True

    async def count(self, legs: tuple[Leg, ...]) -> None:
        """How many transactions the legs hold, from heads; tables are read only of segments that lie across a bound."""
        try:
            for leg in legs:
                await self._count(leg)
        except StoreUnavailable:
            raise
        except StoreError as error:
            log.warning(str(error), action="behind-unreadable", cluster=self._cluster)
            self.counted = False

    async def _count(self, leg: Leg) -> None:
        after, upto = GtidList.parse(leg.after), GtidList.parse(leg.upto)
        first = await self._first_segment(leg, after)
        if first is None:
            return
        async for ref in self._archived.segments(self._cluster, leg.history, first=first):
            if self._clock.monotonic() > self._deadline:
                self.counted = False
                return
            self.transactions += await count_in(self._archived, ref, after, upto)
            if GtidList.parse(ref.head.to_position).covers(upto):
                return

    async def read(self, legs: tuple[Leg, ...]) -> None:
        """What they did, from the point on until a bound is reached."""
        try:
            for leg in legs:
                if not await self._read(leg):
                    self.whole = False
                    break
        except StoreUnavailable:
            raise
        except (StoreError, ValueError) as error:
            log.warning(str(error), action="behind-unreadable", cluster=self._cluster)
            self.whole = False
        await self._add_batch()

    async def _read(self, leg: Leg) -> bool:
        """Whether all of the leg was read."""
        after, upto = GtidList.parse(leg.after), GtidList.parse(leg.upto)
        first = await self._first_segment(leg, after)
        if first is None:
            return True
        complete = True

        def verdict(one: Transaction) -> Verdict:
            nonlocal complete
            if after.holds(Gtid.parse(one.gtid)):
                return "skip"
            if not upto.holds(Gtid.parse(one.gtid)):
                return "end"
            self._bytes_left -= one.end - one.start
            if self._bytes_left < 0 or self._clock.monotonic() > self._deadline:
                complete = False
                return "end"
            return "read"

        async for read in chosen(self._archived, self._cluster, leg.history, first=first, verdict=verdict):
            self._batch.append(read)
            self._batch_bytes += read.transaction.end - read.transaction.start
            if self._batch_bytes >= _BATCH_BYTES:
                await self._add_batch()
        return complete

    async def _first_segment(self, leg: Leg, after: GtidList) -> int | None:
        """The segment in which the leg's first transaction begins, which may be one before that in which it ends."""
        ends = await self._archived.first_where(
            self._cluster, leg.history, lambda head: not after.covers(GtidList.parse(head.to_position))
        )
        if ends is None:
            return None
        needed = next(
            (one for one in await self._archived.transactions(ends) if not after.holds(Gtid.parse(one.gtid))), None
        )
        if needed is None or needed.start >= ends.head.start:
            return ends.number
        begins = await self._archived.first_where(
            self._cluster, leg.history, lambda head: (head.session, head.end) > (ends.head.session, needed.start)
        )
        return ends.number if begins is None else begins.number

    async def _add_batch(self) -> None:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        for read, summary in await asyncio.to_thread(self._summaries, batch):
            self.tally.add(read.transaction, summary)

    def _summaries(self, batch: list[ReadTransaction]) -> list[tuple[ReadTransaction, Summary | None]]:
        return [
            (read, None if read.data is None else self._decoder.summary(read.preamble, read.data)) for read in batch
        ]


async def count_in(archived: LogArchive, ref: SegmentRef, after: GtidList, upto: GtidList) -> int:
    """How many transactions behind `after` up to `upto` end in a segment: its head tells, and its table where it lies
    across one of the two. Raises StoreError."""
    begin, end = GtidList.parse(ref.head.from_position), GtidList.parse(ref.head.to_position)
    if begin.covers(after) and upto.covers(end):
        return ref.head.transactions
    gtids = [Gtid.parse(one.gtid) for one in await archived.transactions(ref)]
    return sum(upto.holds(gtid) and not after.holds(gtid) for gtid in gtids)
