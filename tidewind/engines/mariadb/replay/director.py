"""Replays the feed: routes row events into lanes, and lets everything else be a barrier. Blocking, on a thread.

Order is kept where it counts: within a component (its lane is a queue), and around every statement (all lanes are
drained before it runs, and nothing is sent before it is done).

Invariants
- Whatever lies at or before a component's place, or the barrier's, is never sent again; everything behind it is.
- A transaction is sent only when all its events have been read and their checksums proved, so that damage in the log
  never leaves a part of one; very large ones are read twice for that.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from tidewind.domain.log_stream import Transaction
from tidewind.engines.mariadb.log import events as log
from tidewind.engines.mariadb.log.compression import plain_event
from tidewind.engines.mariadb.log.cursor import EventDamaged
from tidewind.engines.mariadb.log.events import FormatDescription, GtidEvent, Xid
from tidewind.engines.mariadb.log.rows import STATEMENT_END
from tidewind.engines.mariadb.log.statements import Query, parse_query
from tidewind.engines.mariadb.replay import merge, progress
from tidewind.engines.mariadb.replay.classify import Decision, classify
from tidewind.engines.mariadb.replay.counts import Counts
from tidewind.engines.mariadb.replay.merge import Group
from tidewind.engines.mariadb.replay.progress import Progress
from tidewind.engines.mariadb.replay.reading import Batch, Item, Piece, Prepared
from tidewind.engines.mariadb.replay.routing import Route, Routes
from tidewind.engines.mariadb.replay.sender import Sender
from tidewind.engines.mariadb.replay.serial import Steps, is_serial
from tidewind.engines.mariadb.replay.statements import Logged, Statements
from tidewind.engines.mariadb.replay.stream import Raw, SessionStream, forget
from tidewind.engines.mariadb.replay.temporary_keys import ROWS_MIN, TemporaryKeys
from tidewind.ports.engine import DatabaseError

HELD_BYTES: Final = 16 << 20
"""A transaction larger than this is not held in memory."""
STAGE_BYTES: Final = 256 << 20
"""So much log at most lies between two barriers, so that a successor need not read more again."""
_GTID_BODY: Final = struct.Struct("<QIB")
_SPECIAL: Final = log.STANDALONE | log.XA_PREPARED | log.XA_COMPLETED | log.IS_DDL
_WRITES: Final = (log.WRITE_ROWS, log.WRITE_ROWS_V1)
_DUMMY_TABLE: Final = b"\xff\xff\xff\0\0\0"
_PASSED_OVER: Final = frozenset({log.ANNOTATE_ROWS, log.XID, log.XA_PREPARE, log.STOP, log.BINLOG_CHECKPOINT})


@dataclass(frozen=True)
class Place:
    """Where a transaction lies: in which leg, and the segment in which it ends."""

    leg: int
    segment: int
    transaction: Transaction


Reread = Callable[[int, int, Transaction], SessionStream]
"""(leg, segment, transaction): its bytes once more, from the store."""


@dataclass(frozen=True)
class Hands:
    """What a director works with."""

    sender: Sender
    routes: Routes
    statements: Statements
    keys: TemporaryKeys


class Director:
    """One replay, from behind `done` to the feed's end. `pull` gives its items, None at the end."""

    def __init__(
        self,
        pull: Callable[[], Item | None],
        reread: Reread,
        hands: Hands,
        *,
        restore_id: str,
        done: Progress,
        counts: Counts,
    ) -> None:
        self._pull = pull
        self._reread = reread
        self._sender = hands.sender
        self._routes = hands.routes
        self._statements = hands.statements
        self._keys = hands.keys
        self._restore_id = restore_id
        self._done = done
        self._counts = counts
        self._stream = SessionStream(self._piece)
        self._preamble = b""
        self._description: FormatDescription | None = None
        self._maps: dict[bytes, Route] = {}
        self._stage_bytes = 0
        self._barrier_at = done.barrier
        self._prepared: dict[Xid, Place] = {}
        self._unread: list[Place] = []

    def run(self) -> None:
        """Raises DatabaseError, StoreError, EventDamaged."""
        last = 0
        while (item := self._pull()) is not None:
            if isinstance(item, Prepared):
                self._unread.append(Place(item.leg, item.segment, item.transaction))
                continue
            if not isinstance(item, Batch):
                raise EventDamaged("the log goes on where no transaction does")
            self._begin(item)
            for number, transaction in enumerate(item.transactions):
                last = item.first + number
                self._transaction(item, last, transaction)
                self._counts.transactions = last
                self._counts.bytes += transaction.end - transaction.start
                self._stage_bytes += transaction.end - transaction.start
            if self._stage_bytes >= STAGE_BYTES:
                self._barrier(progress.end_of(last))
        if last:
            self._barrier(progress.end_of(last))
        self._keys.drop_all()

    def _piece(self) -> Piece:
        item = self._pull()
        if not isinstance(item, Piece):
            raise EventDamaged("the log ends within a transaction")
        return item

    def _begin(self, item: Batch) -> None:
        self._stream.begin()
        self._routes.begin_leg(item.leg)
        if item.preamble != self._preamble:
            description = log.parse_format_description(item.preamble)
            if description.checksum != log.CHECKSUM_CRC32:
                raise DatabaseError("replay-refused", "the log was written without checksums")
            self._preamble, self._description = item.preamble, description
            self._sender.describe(merge.format_description(item.preamble, description))
            self._statements.describe(merge.format_description(item.preamble, description))

    def _transaction(self, item: Batch, ordinal: int, transaction: Transaction) -> None:
        events: Iterable[Raw] = self._stream.events(transaction.start, transaction.end)
        if transaction.end - transaction.start <= HELD_BYTES:
            events = events if isinstance(events, list) else list(events)
            serial = is_serial(events)
        else:
            serial = is_serial(self._again(Place(item.leg, item.segment, transaction), to_the_end=True))
        iterator = iter(events)
        kind, first = next(iterator)
        sequence, domain, flags = _GTID_BODY.unpack_from(first, log.HEADER_BYTES)
        gtid = f"{domain}-{int.from_bytes(first[5:9], 'little')}-{sequence}"
        if kind != log.GTID or gtid != transaction.gtid:
            raise EventDamaged(f"where {transaction.gtid} should begin stands an event of type {kind} of {gtid}")
        self._maps.clear()
        said = log.parse_gtid(log.parse_header(first), first[19:-4]) if flags & _SPECIAL else None
        if said is not None and said.xid is not None:
            self._xa(Place(item.leg, item.segment, transaction), ordinal, said, iterator)
        elif serial:
            self._serial(ordinal, gtid, iterator)
        else:
            self._events(ordinal, gtid, iterator, said.extra_flags if said is not None else 0)

    def _again(self, place: "Place", *, to_the_end: bool = False) -> Iterator[Raw]:
        """The events of a transaction once more; `to_the_end` also when nobody asks for them."""
        events = iter(
            self._reread(place.leg, place.segment, place.transaction).events(
                place.transaction.start, place.transaction.end
            )
        )
        yield from events
        if to_the_end:
            for _ in events:
                pass

    def _xa(self, here: "Place", ordinal: int, gtid: GtidEvent, events: Iterator[Raw]) -> None:
        """The rows of an XA transaction count from its COMMIT on; until then only its place is remembered."""
        assert gtid.xid is not None
        if gtid.flags & log.XA_PREPARED:
            for _ in events:
                pass
            self._prepared[gtid.xid] = here
            return
        commits = any(
            kind in log.QUERIES and parse_query(kind, event[19:-4]).text[:9].upper() == b"XA COMMIT"
            for kind, event in events
        )
        place = self._prepared.pop(gtid.xid, None) or self._find_unread(gtid)
        if commits and place is None:
            raise DatabaseError("replay-refused", f"{gtid} commits an XA transaction whose rows are not in the log")
        if commits and place is not None:
            self._events(ordinal, str(gtid), self._again(place), 0)

    def _find_unread(self, gtid: GtidEvent) -> "Place | None":
        """Among those that were prepared in what is done already, the newest first."""
        for place in reversed(self._unread):
            kind, first = next(self._again(place))
            if kind == log.GTID and log.parse_gtid(log.parse_header(first), first[19:-4]).xid == gtid.xid:
                self._unread.remove(place)
                return place
        return None

    def _serial(self, ordinal: int, gtid: str, events: Iterator[Raw]) -> None:
        at = progress.end_of(ordinal)
        if at <= self._done.barrier:
            return

        def route(event: memoryview) -> Route | None:
            found = self._routes.of(event)
            return found if found.where == "lane" and not self._routes.skips(found, gtid) else None

        self._barrier(progress.place(ordinal, 0) - 1)
        rows = progress.pass_barrier(self._restore_id, at, self._counts.rows, self._totals())
        self._statements.serial(gtid, at, Steps(gtid, route, self._plain, self._statements.collations).of(events), rows)
        self._barrier_at = at

    def _events(self, ordinal: int, gtid: str, events: Iterator[Raw], alter: int) -> None:
        at = progress.place(ordinal, 0)
        maps = self._maps
        for kind, event in events:
            at += 1
            if kind == log.TABLE_MAP:
                maps[bytes(event[19:25])] = self._routes.of(event)
            elif kind in log.ROWS:
                self._rows(kind, event, at, gtid)
            elif kind in log.QUERIES:
                self._query(kind, event, at, gtid, alter)
            elif kind not in _PASSED_OVER and kind != log.GTID:
                raise DatabaseError("replay-refused", f"{gtid} holds an event of type {kind}, which cannot be replayed")
            del event  # while the next is read

    def _rows(self, kind: int, event: memoryview, at: int, gtid: str) -> None:
        maps = self._maps
        table = bytes(event[19:25])
        route = maps.get(table)
        if route is None:
            if table != _DUMMY_TABLE:
                raise EventDamaged(f"{gtid} changes rows of a table that it does not name")
        elif route.where == "lane" and not self._routes.skips(route, gtid):
            if kind in log.PLAIN_OF_COMPRESSED:
                event = self._plain(event)
            if route.facts.keyless and event[4] not in _WRITES:
                self._index(route)
            self._counts.rows += self._sender.add(event, route, maps, at, gtid)
        if route is not None and route.where == "accounts" and not self._routes.skips(route, gtid):
            self._account_rows(kind, event, route, at)
        if event[25] & STATEMENT_END:
            maps.clear()

    def _index(self, route: Route) -> None:
        facts = route.facts
        if facts.transactional and facts.rows >= ROWS_MIN and not self._keys.has(facts.name):
            self._sender.drain()
            self._keys.add(facts.name)

    def _account_rows(self, kind: int, event: memoryview, route: Route, at: int) -> None:
        if at <= self._done.barrier:
            return
        self._barrier(at - 1)
        group = Group()
        group.name(route.body)
        group.add(self._plain(event) if kind in log.PLAIN_OF_COMPRESSED else event, route.body)
        self._counts.accounts += 1
        self._statements.account_rows(at, group, self._done.intent)
        self._barrier(at)

    def _plain(self, event: memoryview) -> memoryview:
        assert self._description is not None
        header = log.parse_header(event)
        whole = log.Event(header, event, event[19:-4])
        return memoryview(plain_event(whole, self._description, partial(forget, event)))

    def _query(self, kind: int, event: memoryview, at: int, gtid: str, alter: int) -> None:
        query = parse_query(kind, event[19:-4])
        decision = classify(query.text, alter=alter | query.context.extra_flags)
        if decision.action in ("skip", "commit"):
            return
        if decision.action != "run":
            raise DatabaseError("replay-refused", f"{gtid}: {decision.reason} cannot be replayed")
        self._statement(query, decision, event, at, gtid)

    def _statement(self, query: Query, decision: Decision, event: memoryview, at: int, gtid: str) -> None:
        if at <= self._done.barrier:
            return
        if self._barrier_at < at - 1:
            self._barrier(at - 1)
        judged = self._routes.judge(query.text, query.schema, gtid) if decision.kind == "definition" else "run"
        if judged == "refuse":
            raise DatabaseError(
                "replay-refused",
                f"{gtid} defines a table without transactions together with others while the backup was taken",
            )
        if judged == "skip":
            self._barrier(at)
            return
        stamp = int.from_bytes(event[:4], "little")
        self._keys.drop_named(query.text)
        logged = Logged(query=query, decision=decision, stamp=stamp, at=at, gtid=gtid)
        if not (decision.kind == "account" and self._routes.behind("mysql", "global_priv", gtid)):
            self._counts.accounts += decision.kind in ("account", "routine") or b"DATABASE" in query.text.upper()
            self._statements.run(logged, self._done.intent)
        self._counts.ddl += 1
        self._barrier(at)

    def _totals(self) -> Mapping[str, int]:
        return {"ddl": self._counts.ddl, "accounts": self._counts.accounts}

    def _barrier(self, at: int) -> None:
        self._sender.drain()
        self._statements.pass_barrier(progress.pass_barrier(self._restore_id, at, self._counts.rows, self._totals()))
        self._sender.begin_stage()
        self._routes.begin_stage()
        self._barrier_at = at
        self._stage_bytes = 0
