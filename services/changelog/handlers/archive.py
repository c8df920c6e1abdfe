"""Archive: turns blocks from Kafka into segments in the store.

Invariant: an offset of `changes.v1` is committed only when everything before it is in a segment, or is not part of the
log (see `rules.assembly`). The store is the only memory: whoever owns a partition reads its clusters' last segments and
begins at the committed offset. Putting segment n + 1 is the claim; who finds it taken goes on from the winner's end.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter

import structlog

from schemas.envelope import Poison
from services.changelog.rules.assembly import Assembly
from services.changelog.rules.places import place_of
from services.changelog.rules.verdicts import Begins, Draft, Hole, SealFirst, Stale, Verdict
from services.changelog.settings import MIB, ChangelogSettings
from tidewind.domain import keys
from tidewind.domain.blocks import BlockDamaged, block_name, unpack_block
from tidewind.domain.histories import History
from tidewind.domain.lived import instant, microseconds
from tidewind.domain.log_stream import Block, SessionStart
from tidewind.domain.records import parse
from tidewind.domain.segments import SegmentHead, build
from tidewind.ports.bus import BinaryRecord
from tidewind.ports.clock import Clock
from tidewind.ports.store import KeyMissing, ObjectDamaged, Seal, Store, StoreError, StoreUnavailable
from tidewind.runtime.log_archive import LogArchive

log = structlog.get_logger()

_PAUSE_S = 0.2


class ClaimLost(Exception):
    """Another archive put the segment. What is in memory is not to be trusted any more."""


@dataclass(frozen=True)
class Unsealed:
    """A record's offset in Kafka, and where its bytes end in its session. `more`: it also holds states, or the
    session's beginning, without which a successor could not go on."""

    offset: int
    session: str
    end: int
    size: int
    more: bool


@dataclass
class ClusterLog:
    """One cluster's log in hand. `unsealed` are records that hold what no segment has yet, oldest first."""

    cluster: str
    partition: int
    assembly: Assembly
    histories: list[History]
    unsealed: deque[Unsealed] = field(default_factory=deque)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    buffered: int = 0
    heard_us: int = 0
    """When, by our clock, the newest block came."""


class Archive:
    """`take` every record of `changes.v1`, in order; `run` as a part of the service. `commit_soon` is called whenever
    less is held back."""

    def __init__(
        self,
        store: Store,
        seal: Seal,
        archived: LogArchive,
        *,
        clock: Clock,
        settings: ChangelogSettings,
        commit_soon: Callable[[], None],
    ) -> None:
        self._store = store
        self._seal = seal
        self._archived = archived
        self._clock = clock
        self._settings = settings
        self._commit_soon = commit_soon
        self.logs: dict[str, ClusterLog] = {}

    async def lost(self, partitions: frozenset[int]) -> None:
        """Forget the clusters of partitions that another instance has now."""
        for cluster in [one.cluster for one in self.logs.values() if one.partition in partitions]:
            del self.logs[cluster]

    def held_back(self, partition: int) -> int | None:
        """The lowest offset of a partition whose record no segment holds yet."""
        return min(
            (one.unsealed[0].offset for one in self.logs.values() if one.partition == partition and one.unsealed),
            default=None,
        )

    async def take(self, record: BinaryRecord) -> None:
        """One block. Waits while too much of its cluster is in memory. Raises Poison, StoreError."""
        block = await self._opened(record)
        if block.data:
            await self._make_room(len(block.data))
        known = await self._log_of(record)
        try:
            while known.buffered >= self._settings.archive_buffer_mib * MIB and not known.assembly.trimming:
                await self._seal_due(known)
                await self._clock.sleep(_PAUSE_S)
            async with known.lock:
                await self._feed(known, block, record.offset)
        except ClaimLost as lost:
            # The record is given again: what is in memory would lose the same claim again, for ever.
            log.warning(str(lost), action="segment-claim-lost", cluster=known.cluster)
            await self._start_over(known)
            raise

    async def run(self) -> None:
        """Seal what is due, until cancelled."""
        while True:
            await self._clock.sleep(self._settings.archive_every_s)
            for known in list(self.logs.values()):
                await self._guarded(known, partial(self._seal_due, known))

    async def _guarded(self, known: ClusterLog, seal: Callable[[], Awaitable[None]]) -> None:
        """What fails for one cluster is tried again, and no other waits for it."""
        try:
            await seal()
        except ClaimLost as lost:
            log.warning(str(lost), action="segment-claim-lost", cluster=known.cluster)
            await self._start_over(known)
        except StoreUnavailable as error:
            log.warning(str(error), action="archive-store-unavailable", cluster=known.cluster)
        except StoreError:
            log.exception("The store refused a segment", action="archive-store-refused", cluster=known.cluster)

    async def flush(self) -> None:
        """Seal all that can be, at the end of the service."""
        for known in list(self.logs.values()):
            async with known.lock:
                await self._seal_all(known)

    async def _opened(self, record: BinaryRecord) -> Block:
        session, _, sequence = record.name.rpartition("/")
        if not sequence.isdigit():
            raise Poison("not-a-block", "the record names no session and sequence", None)
        name = block_name(record.key, session, int(sequence))
        try:
            packed = await self._seal.unseal(name, record.value)
            block = await asyncio.to_thread(unpack_block, packed)
        except KeyMissing:
            raise
        except (ObjectDamaged, BlockDamaged) as error:
            raise Poison("not-a-block", f"{name}: {error}", None) from None
        if (block.cluster_id, block.session, block.sequence) != (record.key, session, int(sequence)):
            raise Poison("not-a-block", f"{name} holds another block", None)
        return block

    async def _log_of(self, record: BinaryRecord) -> ClusterLog:
        known = self.logs.get(record.key)
        if known is None:
            histories = await self._archived.histories(record.key)
            place = None
            if histories:
                last = await self._archived.last(record.key, histories[-1].history)
                place = place_of(histories[-1], last)
            known = ClusterLog(record.key, record.partition, Assembly(record.key, place), histories)
            self.logs[record.key] = known
        return known

    async def _start_over(self, known: ClusterLog) -> None:
        """Read the place anew; what was in memory is a hole for capture to read again."""
        self.logs.pop(known.cluster, None)
        histories = await self._archived.histories(known.cluster)
        last = await self._archived.last(known.cluster, histories[-1].history) if histories else None
        place = place_of(histories[-1], last) if histories else None
        self.logs[known.cluster] = ClusterLog(known.cluster, known.partition, Assembly(known.cluster, place), histories)
        self._commit_soon()

    async def _feed(self, known: ClusterLog, block: Block, offset: int) -> None:
        now, trimming = self._clock.monotonic(), known.assembly.trimming
        verdict: Verdict = known.assembly.feed(block, now)
        while isinstance(verdict, SealFirst | Begins):
            await self._seal_all(known)
            if isinstance(verdict, Begins):
                await self._begin(known, verdict.start)
            verdict = known.assembly.feed(block, now)
        if isinstance(verdict, Stale):
            log.info(verdict.reason, action="block-stale", cluster=known.cluster, session=block.session)
            return
        if isinstance(verdict, Hole):
            log.error(verdict.reason, action="block-missing", cluster=known.cluster, reread=verdict.reread)
            self._let_go(known)
            return
        known.heard_us = microseconds(self._clock.now())
        if (block.data or block.states) and not known.assembly.committable:
            more = bool(block.states or block.begins)
            known.unsealed.append(Unsealed(offset, block.session, block.end, len(block.data), more))
            known.buffered += len(block.data)
        if trimming or known.assembly.trimming:
            self._let_go(known)

    def _let_go(self, known: ClusterLog) -> None:
        """What the assembly has dropped, because it was held already or comes again behind a hole, takes no room. No
        segment would ever tell that it is gone, and the next session would wait for the room."""
        begin, end = known.assembly.held
        kept = deque[Unsealed]()
        for one in known.unsealed:
            size = 0
            if one.session == known.assembly.session:
                size = max(0, min(one.end, end) - max(one.end - one.size, begin))
            if size or one.more:
                kept.append(replace(one, end=min(one.end, end), size=size))
        if kept != known.unsealed:
            known.unsealed, known.buffered = kept, sum(one.size for one in kept)
            self._commit_soon()

    async def _begin(self, known: ClusterLog, start: SessionStart) -> None:
        """Claim the history the session begins. Raises ClaimLost if another one was begun."""
        number = known.histories[-1].number + 1 if known.histories else 1
        wanted = History(
            cluster_id=known.cluster,
            history=start.history,
            number=number,
            position=start.position,
            begin_us=start.opened_us,
            cause=start.cause or "first",
            detail=start.detail,
            after=start.after_history,
            server_identity=start.server_identity,
            server_version=start.server_version,
            started_at=instant(start.opened_us),
        )
        key = keys.history_claim(known.cluster, number)
        if not await self._store.put_if_absent(key, wanted.to_bytes()):
            standing = parse(History, await self._store.get(key))
            if standing.history != start.history:
                raise ClaimLost(f"history {number} of {known.cluster} is {standing.history}, not {start.history}")
            wanted = standing
        known.histories.append(wanted)
        known.assembly.begin(place_of(wanted, None))
        log.info("A history begins", action="history-begun", cluster=known.cluster, cause=wanted.cause)

    async def _make_room(self, size: int) -> None:
        """All clusters together may hold so much: what is whole is sealed before its time, of those that hold most
        first; only if that does not do, also what still waits for a mark. Bytes of transactions that have not ended
        stay: of each cluster they are less than a segment."""
        limit = self._settings.archive_total_mib * MIB - size
        for everything in (False, True):
            for known in sorted(self.logs.values(), key=attrgetter("buffered"), reverse=True):
                if sum(one.buffered for one in self.logs.values()) <= limit:
                    return
                await self._guarded(known, partial(self._seal_whole, known, everything=everything))

    async def _seal_whole(self, known: ClusterLog, *, everything: bool) -> None:
        async with known.lock:
            now = self._clock.monotonic()
            while (draft := known.assembly.draft(now, early=True, everything=everything)) is not None:
                await self._put(known, draft)

    async def _seal_due(self, known: ClusterLog) -> None:
        async with known.lock:
            known.assembly.tick(self._clock.monotonic())
            while (draft := known.assembly.draft(self._clock.monotonic())) is not None:
                await self._put(known, draft)

    async def _seal_all(self, known: ClusterLog) -> None:
        while (draft := known.assembly.draft(self._clock.monotonic(), everything=True)) is not None:
            await self._put(known, draft)

    async def _put(self, known: ClusterLog, draft: Draft) -> None:
        head = draft.head.model_copy(update={"sealed_us": microseconds(self._clock.now())})
        data = await asyncio.to_thread(build, head, draft.transactions, draft.data)
        key = keys.segment(known.cluster, head.history, head.number)
        if not await self._store.put_if_absent(key, data):
            raise ClaimLost(f"segment {head.number} of {known.cluster} is somebody else's")
        known.assembly.sealed(draft)
        while known.unsealed and _in_segment(known.unsealed[0], head):
            known.buffered -= known.unsealed.popleft().size
        self._commit_soon()


def _in_segment(record: Unsealed, head: SegmentHead) -> bool:
    """Whether all of the record is in this segment or an earlier one."""
    return record.session < head.session or (record.session == head.session and record.end <= head.end)
