"""Where the row events of a table go: a lane, nowhere, or the account tables. Asks the catalogue once a stage."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from tidewind.domain.gtids import Gtid, GtidList
from tidewind.engines.mariadb.log.cursor import Cursor
from tidewind.engines.mariadb.log.events import HEADER_BYTES
from tidewind.engines.mariadb.replay.classify import beginning
from tidewind.engines.mariadb.replay.counting import RowCounter
from tidewind.engines.mariadb.replay.lanes import Lanes
from tidewind.engines.mariadb.replay.read_later import Judgement, judge
from tidewind.engines.mariadb.replay.tables import Catalogue, TableFacts
from tidewind.engines.mariadb.restore.names import SWAPPED_TABLES, is_ours

Where = Literal["lane", "accounts", "nowhere"]
_SERVER = "mysql"


@dataclass(frozen=True)
class Route:
    """`body` is the table's map behind its id; `behind`: events up to this position are in the base already."""

    body: bytes
    facts: TableFacts
    lane: int
    where: Where
    behind: GtidList | None
    counter: RowCounter


class Routes:
    """`own_positions`: of tables that the base holds as of a later position than its own, in the first leg."""

    def __init__(
        self, catalogue: Catalogue, lanes: Lanes, untransacted: int, own_positions: Mapping[tuple[str, str], GtidList]
    ) -> None:
        self._catalogue = catalogue
        self._lanes = lanes
        self._untransacted = untransacted
        self._own_positions = dict(own_positions)
        self._known: dict[bytes, Route] = {}

    def begin_stage(self) -> None:
        self._known.clear()
        self._catalogue.begin_stage()
        self._lanes.begin()

    def begin_leg(self, number: int) -> None:
        if number:
            self._own_positions.clear()
            self._known.clear()

    def of(self, event: memoryview) -> Route:
        """The route of a table map. Raises DatabaseError."""
        body = bytes(event[HEADER_BYTES + 6 : -4])
        return self._known.get(body) or self._make(event, body)

    def skips(self, route: Route, gtid: str) -> bool:
        """Whether the base holds this transaction's changes of the route's table."""
        return route.behind is not None and route.behind.holds(Gtid.parse(gtid))

    def behind(self, schema: str, table: str, gtid: str) -> bool:
        """Whether the base holds this transaction's changes of a table."""
        own = self._own_positions.get((schema, table))
        return own is not None and own.holds(Gtid.parse(gtid))

    def judge(self, text: bytes, schema: bytes, gtid: str) -> Judgement:
        """What is to be done with a definition, as to what the base holds of it already."""
        own = {table for table, upto in self._own_positions.items() if upto.holds(Gtid.parse(gtid))}
        if all(where == _SERVER for where, _ in own):
            return "run"
        return judge(
            beginning(text, of=len(text), encoding="utf-8"),
            schema.decode("utf-8", "replace"),
            lambda where, table: (where, table) in own,
            lambda where: any(one == where for one, _ in own),
        )

    def _make(self, event: memoryview, body: bytes) -> Route:
        schema, table = names_of(body)
        facts = self._catalogue.facts(schema, table)
        where = _where(schema, table)
        lane = self._lanes.of(facts.component) if facts.transactional else self._untransacted
        route = Route(body, facts, lane, where, self._own_positions.get((schema, table)), RowCounter(event))
        self._known[body] = route
        return route


def is_dated(route: Route, named: Iterable[Route]) -> bool:
    """Whether a change of the route's table may change rows by foreign key whose history is kept. `named` are the
    tables that the change's statement names. The server dates such history by the statement's time, not by an image of
    the row, so these changes cannot share a statement."""
    return any(one.facts.versioned and (one is not route or one.facts.own_parent) for one in named)


def names_of(body: bytes) -> tuple[str, str]:
    """(schema, table) of a table map behind its id."""
    cursor = Cursor(body, 2)
    schema = cursor.text(cursor.number(1)).decode()
    cursor.take(1)
    return schema, cursor.text(cursor.number(1)).decode()


def _where(schema: str, table: str) -> Where:
    # Where replicas follow, the log holds what restores wrote of themselves. Of a restore it would be another's fence
    # and progress, over those that the running one stands on.
    if is_ours(schema):
        return "nowhere"
    if schema.lower() != _SERVER:
        return "lane"
    return "accounts" if table.lower() in SWAPPED_TABLES else "nowhere"
