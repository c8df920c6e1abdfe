"""How blocks become segments: one cluster's log, put together from whatever order Kafka and crashes leave.

Quantities
- The *place* is the end of the last segment in the store: history, number, session, offset, position. It is the only
  memory: everything here is lost in a crash and comes again from Kafka.
- *Waiting* transactions have no final time yet: the next mark gives it to them (P7). *Final* ones can be sealed.
- `position` holds every transaction taken, sealed or not.

Invariants, checked at each block
- Bytes are taken only where the last taken ended, or from the first transaction of a new session that is not held yet.
- Sessions are numbered by claims in the store. A later one takes over with its first block, and what an earlier one
  sends after that is stale, also after a restart: the later one reads the same log from a place that Kafka or the store
  held, so nothing is lost with it.
- Marks go forward only: one that does not cover the mark before it, or the place, is of another log and says nothing.
- Whatever is missing is a *hole*, until a session begins at or before `position`. Of a session that lacks bytes nothing
  is taken any more. A later session that does not go on from what is held leaves the one in hand as it is: it may be of
  a process that stood still, and what the one in hand sends may soon be nowhere else. A gap is never decided here: only
  capture, which sees the log, may begin a new history.

The tempting wrong idea: let the order in Kafka say which session is the later one. It does, until the archive restarts
behind the first block of the one in hand, and takes a predecessor's beginning for news.
"""

from collections import deque
from dataclasses import replace

from services.changelog.rules.verdicts import Begins, Draft, Hole, Place, SealFirst, Stale, Taken, Verdict
from tidewind.domain.gtids import Gtid, GtidList
from tidewind.domain.log_stream import Block, Mark, State, Transaction, clamp_times
from tidewind.domain.segments import SEGMENT_AGE_S, SEGMENT_BYTES, SegmentHead, with_stamped

TRIM_BYTES = 64 << 20
"""Most bytes kept while looking for the first transaction of a new session that is not held."""
IDLE_MARK_US = 15 * 60 * 1_000_000
"""How often the store hears of an idle log that it is complete up to now: four small objects an hour."""
UNMARKED_S = 15.0
UNMARKED_BYTES = 4 * SEGMENT_BYTES
"""Without a mark for so long or so much, transactions keep the times at which they were received."""


class Assembly:
    """`feed` blocks in Kafka's order; `draft` says when there is something to seal, `sealed` that it is in the store.
    No I/O, no clock: `now_s` is monotonic seconds."""

    def __init__(self, cluster: str, place: Place | None) -> None:
        """`place` is None where the cluster has no history yet."""
        self.cluster = cluster
        self._session: str | None = None
        self._reset(place)

    def _reset(self, place: Place | None) -> None:
        self.place = place
        self._position = GtidList.parse(place.position) if place else GtidList()
        if place is not None and place.session is not None:
            self._session = place.session
        self._preamble = place.preamble if place else ""
        self._start = place.offset if place else 0
        self._data = bytearray()
        self._final: list[Transaction] = []
        self._waiting: list[Transaction] = []
        self._states: list[State] = []
        self._marks: deque[Mark] = deque()
        self._mark: Mark | None = None
        self._marked = self._position
        self._trimming = False
        self._skipped = GtidList()
        self._hole: Hole | None = None
        self._broken_off = False
        self._time_us = place.time_us if place else 0
        self._complete_us = place.complete_us if place else 0
        self._stamped_to = self._opened_us = 0
        self._unsealed_since: float | None = None
        self._drafted_at = 0.0
        self._unmarked_since: float | None = None

    @property
    def position(self) -> str:
        """Holds every transaction taken."""
        return str(self._position)

    @property
    def session(self) -> str | None:
        return self._session

    @property
    def hole(self) -> Hole | None:
        """What is missing, while it is."""
        return self._hole

    @property
    def held(self) -> tuple[int, int]:
        """The session's bytes that are here and in no segment: from, to."""
        return self._start, self._start + len(self._data)

    @property
    def trimming(self) -> bool:
        """Whether the first transaction that is not held is still looked for: nothing can be sealed until it is found,
        or until TRIM_BYTES were read in vain."""
        return self._trimming

    @property
    def complete_us(self) -> int:
        """Every transaction of the log up to this time is held by `position`."""
        return self._complete_us

    @property
    def settled(self) -> bool:
        """Whether every transaction taken is sealed; bytes of one that has not ended may be there."""
        return not (self._final or self._waiting or self._states)

    @property
    def committable(self) -> bool:
        """Whether a successor may begin behind what was fed: all of it is sealed, and the store knows the session."""
        return not self._data and self.settled and self.place is not None and self.place.session == self._session

    def feed(self, block: Block, now_s: float) -> Verdict:
        if self._session is not None and block.session < self._session:
            return Stale(f"session {block.session} was followed by {self._session}")
        if block.session != self._session:
            verdict = self._switch(block)
            if verdict is not None:
                return verdict
        elif self._hole is not None and self._broken_off:
            return self._hole
        end = self._start + len(self._data)
        if block.start > end:
            return self._missing(f"bytes {end} to {block.start} of session {block.session} never came")
        return self._take(block, end, now_s)

    def begin(self, place: Place) -> None:
        """A history was claimed; the first block of its session is to be fed again after this."""
        self._reset(place)

    def tick(self, now_s: float) -> None:
        """Time passes: transactions no mark comes for become final as they are."""
        if not self._waiting:
            self._unmarked_since = None
        elif self._unmarked_since is None:
            self._unmarked_since = now_s
        elif now_s - self._unmarked_since > UNMARKED_S:
            self._settle(self._waiting, None)
            self._waiting = []
            self._unmarked_since = None

    def draft(self, now_s: float, *, early: bool = False, everything: bool = False) -> Draft | None:
        """What is due to be sealed now; `early`: also what is final and not due yet; `everything`: whatever can be."""
        if self.place is None or self._trimming:
            return None
        self._drafted_at = now_s
        crowded = len(self._data) >= SEGMENT_BYTES
        if self._waiting and (everything or len(self._data) >= UNMARKED_BYTES):
            self._settle(self._waiting, None)
            self._waiting = []
        old = self._unsealed_since is not None and now_s - self._unsealed_since >= SEGMENT_AGE_S
        limit = self._start + SEGMENT_BYTES
        ended = tuple(one for one in self._final if one.end <= limit)
        if ended and (crowded or old or early or everything):
            return self._drafted(self.place, ended, ended[-1].end)
        pending = self._final or self._waiting
        if crowded and (not pending or pending[0].end > limit):
            return self._drafted(self.place, (), limit)
        idle = self.settled and self._complete_us - self.place.complete_us >= IDLE_MARK_US
        if idle or (self._states and not pending and (old or everything)):
            return self._drafted(self.place, (), self._start + self._waiting_preamble)
        return None

    @property
    def _waiting_preamble(self) -> int:
        """Bytes at the front that belong to no transaction: sealed without one, so that an idle session whose only
        bytes they are holds nothing back."""
        return min(len(self._data), max(0, len(self._preamble) // 2 - self._start))

    def sealed(self, draft: Draft) -> None:
        """The segment is in the store."""
        assert self.place is not None
        head = draft.head
        del self._data[: head.end - self._start]
        self._start = head.end
        self._final = self._final[len(draft.transactions) :]
        self._states = self._states[len(head.states) :]
        self._unsealed_since = self._drafted_at if self._data or not self.settled else None
        self.place = replace(
            self.place,
            number=head.number,
            session=head.session,
            offset=head.end,
            position=head.to_position,
            preamble=head.preamble,
            time_us=head.last_us if head.last_us is not None else self.place.time_us,
            complete_us=head.complete_us,
            stamped=head.stamped,
        )

    def _drafted(self, place: Place, ended: tuple[Transaction, ...], upto: int) -> Draft:
        position = GtidList.parse(place.position)
        for one in ended:
            position = position.advanced(Gtid.parse(one.gtid))
        last_us = ended[-1].time_us if ended else None
        marked = self._mark is not None and position.covers(GtidList.parse(self._mark.position))
        complete_us = self._complete_us if marked else max(place.complete_us, (last_us or 0) - 1)
        stamps, stamped = self._start < self._stamped_to, place.stamped
        late = [one.time_us for one in ended if one.start < self._stamped_to]
        if late:
            # Whatever its stamps say, it was written until the session was opened.
            known = min(max(place.complete_us, place.time_us), late[0])
            stamped = with_stamped(stamped, known, max(late[-1], self._opened_us))
        head = SegmentHead(
            cluster_id=self.cluster,
            history=place.history,
            number=place.number + 1,
            session=self._session or "",
            start=self._start,
            end=upto,
            from_position=place.position,
            to_position=str(position),
            first_us=ended[0].time_us if ended else None,
            last_us=last_us,
            complete_us=complete_us,
            precision="stamps" if stamps else "clock",
            transactions=len(ended),
            preamble=self._preamble,
            table_stored=0,
            table_crc=0,
            frames=(),
            states=tuple(self._states),
            marks=() if self._mark is None else (self._mark,),
            stamped=stamped,
            sealed_us=0,
        )
        return Draft(head=head, transactions=ended, data=bytes(self._data[: upto - self._start]))

    def _switch(self, block: Block) -> Verdict | None:
        """A later session's block. None: it takes over, and the block is to be taken."""
        start = block.begins
        if start is None:
            return self._hole or self._not_following(f"session {block.session} was never seen to begin")
        known = self.place.history if self.place else None
        new_history = start.cause is not None and start.history != known
        follows = start.after_history if new_history else start.history
        if follows != known:
            return self._not_following(f"session {block.session} goes on from history {follows}, not from {known}")
        begun = GtidList.parse(start.position)
        if not new_history and not self._position.covers(begun):
            return self._not_following(f"session {block.session} begins at {start.position}, behind {self.position}")
        self._drop_incomplete()
        if not self.settled:
            return SealFirst()
        if new_history:
            return Begins(start)
        self._session = block.session
        self._preamble = start.preamble
        self._start = self._stamped_to = 0
        self._opened_us = start.opened_us
        self._hole, self._broken_off = None, False
        self._trimming = not begun.covers(self._position)
        self._skipped = begun
        return None

    def _drop_incomplete(self) -> None:
        """What the old session left unfinished is no transaction: its successor begins it anew."""
        whole = self._waiting[-1].end if self._waiting else self._final[-1].end if self._final else self._start
        del self._data[whole - self._start :]
        self._trimming = False

    def _take(self, block: Block, end: int, now_s: float) -> Taken | Hole:
        fresh = False
        if block.end > end:
            self._data += block.data[end - block.start :]
            fresh = True
        arrived = [one for one in block.transactions if one.end > end]
        if self._trimming:
            arrived = self._trim(arrived)
            if self._trimming and len(self._data) > TRIM_BYTES:
                return self._missing(f"{TRIM_BYTES >> 20} MB of session {block.session} and nothing that is not held")
        for one in arrived:
            self._position = self._position.advanced(Gtid.parse(one.gtid))
        self._waiting += arrived
        if block.precision == "stamps":
            self._stamped_to = block.end
        self._states += [state for state in block.states if self._is_new(state)]
        for mark in block.marks:
            if self._newest_mark_us() < mark.before_us and self._goes_on(mark):
                self._marks.append(mark)
                fresh = True
        self._reach_marks()
        if (self._data or self._states) and self._unsealed_since is None:
            self._unsealed_since = now_s
        return Taken(fresh or bool(arrived))

    def _trim(self, arrived: list[Transaction]) -> list[Transaction]:
        """Drop what is held already from a new session's beginning."""
        for index, one in enumerate(arrived):
            if not self._position.holds(Gtid.parse(one.gtid)):
                self._trimming = False
                self._cut(one.start)
                return arrived[index:]
        if arrived:
            self._cut(arrived[-1].end)
            for one in arrived:
                self._skipped = self._skipped.advanced(Gtid.parse(one.gtid))
            self._trimming = not self._skipped.covers(self._position)
        return []

    def _cut(self, offset: int) -> None:
        del self._data[: offset - self._start]
        self._start = offset

    def _is_new(self, state: State) -> bool:
        return all((one.kind, one.time_us) != (state.kind, state.time_us) for one in self._states)

    def _goes_on(self, mark: Mark) -> bool:
        """Whether it looked at this log's end, which never goes back. One of another log (RESET MASTER, before capture
        has noticed it) has numbers that are held long since, and would make a log complete that nobody read."""
        position = GtidList.parse(mark.position)
        if not position.covers(self._marked):
            return False
        self._marked = position
        return True

    def _newest_mark_us(self) -> int:
        newest = self._marks[-1] if self._marks else self._mark
        return newest.before_us if newest else self._complete_us

    def _reach_marks(self) -> None:
        """Every mark whose position is held gives the transactions it holds their times."""
        while self._marks and self._position.covers(GtidList.parse(self._marks[0].position)):
            mark = self._marks.popleft()
            held = GtidList.parse(mark.position)
            count = 0
            while count < len(self._waiting) and held.holds(Gtid.parse(self._waiting[count].gtid)):
                count += 1
            self._settle(self._waiting[:count], mark)
            self._waiting = self._waiting[count:]
            self._mark = mark
            self._complete_us = max(self._complete_us, mark.before_us - 1)

    def _settle(self, transactions: list[Transaction], later: Mark | None) -> None:
        final = clamp_times(transactions, self._mark, later, self._time_us)
        if final:
            self._time_us = final[-1].time_us
            self._final += final

    def _not_following(self, reason: str) -> Hole:
        self._hole = Hole(reason, reread=self.position)
        return self._hole

    def _missing(self, reason: str) -> Hole:
        """Nothing is taken until a session begins at or before what is held. What is whole stays and will be sealed."""
        self._broken_off = True
        self._drop_incomplete()
        self._hole = Hole(reason, reread=self.position)
        return self._hole
