"""Which tables must be replayed in one row, and which lane takes them. Pure.

Tables that foreign keys join form a *component*: a change of a parent cascades into its children without a row event of
its own, so their order against each other counts. Everything else may be replayed apart: only the state at the end is
promised. A component stays in one lane until the next barrier, where nothing is under way and components may change.

Progress is kept by component, not by lane: how many lanes there are may change from one run to the next.
"""

import hashlib
from collections.abc import Iterable

TableName = tuple[str, str]
"""(schema, table), as the server compares names."""


class Components:
    """The components that foreign keys make, from (child, parent) pairs."""

    def __init__(self, foreign_keys: Iterable[tuple[TableName, TableName]]) -> None:
        self._above: dict[TableName, TableName] = {}
        for child, parent in foreign_keys:
            one, other = sorted((self.root(child), self.root(parent)))
            if one != other:
                self._above[other] = one

    def root(self, table: TableName) -> TableName:
        """The component's name: its first table."""
        while (above := self._above.get(table)) is not None:
            table = above
        return table


def item(root: TableName) -> str:
    """What a component is called in the progress: of bounded length, whatever the names."""
    return "table " + hashlib.sha256(f"{root[0]}\0{root[1]}".encode()).hexdigest()[:40]


class Lanes:
    """Gives components to lanes: each to the one with the fewest when it first appears."""

    def __init__(self, count: int) -> None:
        self._sent = [0] * count
        self._lane: dict[str, int] = {}
        self._held = [0] * count

    def of(self, component: str) -> int:
        lane = self._lane.get(component)
        if lane is None:
            lane = min(range(len(self._sent)), key=lambda one: (self._held[one], self._sent[one]))
            self._lane[component] = lane
            self._held[lane] += 1
        return lane

    def sent(self, lane: int, size: int) -> None:
        """So many bytes more went to a lane."""
        self._sent[lane] += size

    def begin(self) -> None:
        """After a barrier: nothing is under way."""
        self._lane.clear()
        self._held = [0] * len(self._held)
