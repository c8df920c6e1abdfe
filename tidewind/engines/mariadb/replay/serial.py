"""Transactions that must be replayed as they were: on one connection, in order, with their own savepoints.

A log in row format holds statements within transactions where savepoints are taken back after tables without
transactions were written, where a group ends in ROLLBACK for the same reason, and where a table is not logged by row.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from tidewind.engines.mariadb.log import events as log
from tidewind.engines.mariadb.log.rows import STATEMENT_END
from tidewind.engines.mariadb.log.statements import (
    Query,
    parse_intvar,
    parse_query,
    parse_rand,
    parse_user_var,
)
from tidewind.engines.mariadb.replay.classify import Decision, classify
from tidewind.engines.mariadb.replay.merge import Group
from tidewind.engines.mariadb.replay.routing import Route, is_dated
from tidewind.engines.mariadb.replay.stream import Raw
from tidewind.engines.mariadb.replay.user_variables import Collations, user_variable
from tidewind.ports.engine import DatabaseError

VARIABLES: Final = frozenset({log.INTVAR, log.RAND, log.USER_VAR})
_SERIAL: Final = VARIABLES | {log.EXECUTE_LOAD_QUERY, log.BEGIN_LOAD_QUERY, log.APPEND_BLOCK, log.DELETE_FILE}
_ORDINARY: Final = log.ROWS | {log.GTID, log.TABLE_MAP, log.XID}
GROUP_BYTES: Final = 1 << 20
"""Row events of so much are run before more are read, however many a transaction has."""
_LAST_INSERT_ID: Final = 1


@dataclass(frozen=True)
class Statement:
    """A statement of the log within its transaction. `before` are SET statements of ours."""

    query: Query
    decision: Decision
    stamp: int
    before: tuple[bytes, ...]


Step = Group | Statement


def is_serial(events: Iterable[Raw]) -> bool:
    """Whether a transaction holds what can only be replayed in order."""
    for kind, event in events:
        if kind not in _ORDINARY:
            if kind in _SERIAL:
                return True
            if kind in log.QUERIES and classify(parse_query(kind, event[19:-4]).text).action in ("inside", "rollback"):
                return True
        del event  # while the next is read
    return False


class Steps:
    """What to do with the events of one transaction, in order. `route` is None for a table whose rows go nowhere;
    `plain` unpacks a compressed event; `collations` are the server's, by number."""

    def __init__(
        self,
        gtid: str,
        route: Callable[[memoryview], Route | None],
        plain: Callable[[memoryview], memoryview],
        collations: Collations,
    ) -> None:
        self._gtid = gtid
        self._collations = collations
        self._route = route
        self._plain = plain
        self._maps: dict[bytes, Route | None] = {}
        self._group = Group()
        self._before: list[bytes] = []

    def of(self, events: Iterable[Raw]) -> Iterator[Step]:
        """Raises DatabaseError (replay-refused)."""
        for kind, event in events:
            if kind == log.TABLE_MAP:
                self._maps[bytes(event[19:25])] = self._route(event)
            elif kind in log.ROWS:
                yield from self._rows(kind, event)
            elif kind in VARIABLES:
                self._before.append(_set(kind, event, self._collations))
            elif kind in log.QUERIES:
                yield from self._query(kind, event)
            elif kind in _SERIAL:
                raise DatabaseError("replay-refused", f"{self._gtid} is a LOAD DATA that was logged as a statement")
            del event  # while the next is read
        yield from self._cut()

    def _rows(self, kind: int, event: memoryview) -> Iterator[Step]:
        own = self._maps.get(bytes(event[19:25]))
        if own is not None:
            whole = self._plain(event) if kind in log.PLAIN_OF_COMPRESSED else event
            named = [one for one in self._maps.values() if one is not None]
            if not self._group.fits(event[25] | event[26] << 8) or is_dated(own, named):
                yield from self._cut()
            for one in named:
                self._group.name(one.body)
            self._group.add(whole, own.body)
            if self._group.size >= GROUP_BYTES:
                yield from self._cut()
        if event[25] & STATEMENT_END:
            self._maps.clear()

    def _query(self, kind: int, event: memoryview) -> Iterator[Step]:
        query = parse_query(kind, event[19:-4])
        decision = classify(query.text)
        if decision.action in ("inside", "rollback"):
            yield from self._cut()
            yield Statement(query, decision, int.from_bytes(event[:4], "little"), tuple(self._before))
        elif decision.action not in ("skip", "commit"):
            raise DatabaseError("replay-refused", f"{self._gtid} holds a definition among savepoints")
        self._before.clear()

    def _cut(self) -> Iterator[Step]:
        if self._group.events:
            group, self._group = self._group, Group()
            yield group


def _set(kind: int, event: memoryview, collations: Collations) -> bytes:
    body = event[19:-4]
    if kind == log.INTVAR:
        which, value = parse_intvar(body)
        return b"SET SESSION %s = %d" % (b"last_insert_id" if which == _LAST_INSERT_ID else b"insert_id", value)
    if kind == log.RAND:
        first, second = parse_rand(body)
        return b"SET SESSION rand_seed1 = %d, SESSION rand_seed2 = %d" % (first, second)
    return user_variable(parse_user_var(body), collations)
