"""The replay's progress on the server: a table next to the fence's, each row written in the transaction it describes.

A successor that finds the row `open` begins anew from the base: see `start_over`.

    barrier    everything up to `place` is done, in every lane; totals of what was done
    table …    everything of this component up to `place` is done
    open       row changes of tables without transactions are under way: nobody can tell how many of them were made
    intent     a statement that commits by itself is about to be run at `place`; `facts` is the fingerprint before it

A *place* is (ordinal of the transaction, number of the event in it), as one number. Places of components count only
where they lie behind the barrier's.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tidewind.engines.mariadb.quoting import quote_table, text_literal
from tidewind.engines.mariadb.restore.names import WORK_SCHEMA

REPLAY: Final = (WORK_SCHEMA, "replay")
MAKE: Final = (
    f"CREATE TABLE IF NOT EXISTS {quote_table(*REPLAY)} (restore_id VARCHAR(32) NOT NULL, item VARCHAR(64) NOT NULL, "
    "place BIGINT UNSIGNED NOT NULL, changes BIGINT NOT NULL, facts LONGTEXT NOT NULL, "
    "PRIMARY KEY (restore_id, item)) ENGINE=InnoDB"
)
DROP: Final = f"DROP TABLE IF EXISTS {quote_table(*REPLAY)}"
"""At a restore's end: the fence lets one restore at a time onto a server, so that the rows are all its own."""
BARRIER: Final = "barrier"
INTENT: Final = "intent"
OPEN: Final = "open"
_EVENT_BITS: Final = 32


def place(ordinal: int, event: int) -> int:
    """The place of an event; `event` counts from 0 in its transaction."""
    return ordinal << _EVENT_BITS | event


def end_of(ordinal: int) -> int:
    """The place behind every event of a transaction."""
    return place(ordinal + 1, 0) - 1


def ordinal_of(at: int) -> int:
    return at >> _EVENT_BITS


@dataclass(frozen=True)
class Progress:
    """What stands on the server. `totals` are what the barrier's row says was done."""

    barrier: int
    components: Mapping[str, int]
    intent: tuple[int, Mapping[str, Any]] | None
    rows: int
    totals: Mapping[str, int]
    begun: bool
    uncertain: bool

    @property
    def complete(self) -> int:
        """So many transactions are done in every lane."""
        return ordinal_of(self.barrier + 1) - 1 if self.barrier else 0


def select(restore_id: str) -> str:
    where = f"restore_id = {text_literal(restore_id)}"
    return f"SELECT item, place, changes, facts FROM {quote_table(*REPLAY)} WHERE {where}"


def read(rows: Iterable[tuple[Any, ...]]) -> Progress:
    """From the rows of `select`."""
    barrier, changes, begun = 0, 0, False
    totals: Mapping[str, int] = {}
    intent: tuple[int, Mapping[str, Any]] | None = None
    uncertain = False
    components: dict[str, int] = {}
    for name, at, done, facts in rows:
        if name == BARRIER:
            barrier, totals = int(at), json.loads(facts or "{}")
            changes += int(done)
            begun = True
        elif name == OPEN:
            uncertain = True
        elif name == INTENT:
            intent = (int(at), json.loads(facts))
        else:
            components[str(name)] = int(at)
            changes += int(done)
    ahead = {name: at for name, at in components.items() if at > barrier}
    return Progress(barrier, ahead, intent, changes, totals, begun, uncertain)


def note(restore_id: str, places: Mapping[str, tuple[int, int]]) -> str:
    """Write where components are: item to (place, row changes more)."""
    rows = ", ".join(f"({text_literal(restore_id)}, '{name}', {at}, {more}, '')" for name, (at, more) in places.items())
    return (
        f"INSERT INTO {quote_table(*REPLAY)} (restore_id, item, place, changes, facts) VALUES {rows} "
        "ON DUPLICATE KEY UPDATE place = VALUE(place), changes = changes + VALUE(changes)"
    )


def open_up(restore_id: str, at: int) -> str:
    """Before row changes that no transaction holds together."""
    return _replace(restore_id, OPEN, at, 0, {})


def close_up(restore_id: str) -> str:
    """Behind them, in the transaction that writes how far they went."""
    return f"DELETE FROM {quote_table(*REPLAY)} WHERE restore_id = {text_literal(restore_id)} AND item = '{OPEN}'"


def intend(restore_id: str, at: int, facts: Mapping[str, Any]) -> str:
    return _replace(restore_id, INTENT, at, 0, facts)


def pass_barrier(restore_id: str, at: int, changes: int, totals: Mapping[str, int]) -> tuple[str, str]:
    """Everything up to `at` is done: the statements of one transaction. `changes` of all so far."""
    return (
        f"DELETE FROM {quote_table(*REPLAY)} WHERE restore_id = {text_literal(restore_id)}",
        _replace(restore_id, BARRIER, at, changes, totals),
    )


def forget(restore_id: str) -> str:
    return f"DELETE FROM {quote_table(*REPLAY)} WHERE restore_id = {text_literal(restore_id)}"


def _replace(restore_id: str, name: str, at: int, changes: int, facts: Mapping[str, Any]) -> str:
    told = text_literal(json.dumps(facts))
    return (
        f"REPLACE INTO {quote_table(*REPLAY)} (restore_id, item, place, changes, facts) "
        f"VALUES ({text_literal(restore_id)}, '{name}', {at}, {changes}, {told})"
    )
