"""Collects row events into batches and hands them to the lanes."""

import threading
from collections.abc import Mapping
from typing import Final

from tidewind.engines.mariadb.replay.lane import Applying, Batch, Lane
from tidewind.engines.mariadb.replay.lanes import Lanes
from tidewind.engines.mariadb.replay.merge import Group
from tidewind.engines.mariadb.replay.progress import Progress
from tidewind.engines.mariadb.replay.routing import Route, is_dated

BATCH_BYTES: Final = 1 << 20
"""Raw bytes of row events that are committed together."""
HELD_BYTES: Final = 32 << 20
"""So much is in the hands of all lanes together, or one batch if that is larger."""
ALONE_BYTES: Final = 8 << 20
"""What follows a batch larger than this is read when it is done, so that the largest is in memory alone."""


class Held:
    """Counts bytes up to a limit, which a single taking may exceed when nothing else is held."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._changed = threading.Condition()

    def take(self, size: int) -> None:
        """Wait until there is room for so much, and take it."""
        with self._changed:
            self._changed.wait_for(lambda: not self._size or self._size + size <= self._limit)
            self._size += size

    def give_back(self, size: int) -> None:
        with self._changed:
            self._size -= size
            self._changed.notify_all()


class Sender:
    """Lanes for tables with transactions, and behind them one for those without."""

    def __init__(self, applying: Applying, count: int, done: Progress) -> None:
        self.untransacted = count
        self.lanes = Lanes(count)
        self._held = Held(HELD_BYTES)
        self._lanes = [Lane(number, applying, self._held.give_back) for number in range(count + 1)]
        self._open = [Batch() for _ in self._lanes]
        self._done = dict(done.components)
        self._barrier = done.barrier

    def describe(self, format_description: bytes) -> None:
        """What follows is of another format. Raises what a lane failed with."""
        for number, lane in enumerate(self._lanes):
            self._send(number)
            lane.describe(format_description)

    def add(self, event: memoryview, route: Route, named: Mapping[bytes, Route], at: int, gtid: str) -> int:
        """A plain row event at a place; `named` are the tables that its statement's maps name. Returns how many rows it
        changes, 0 if that was done before. Raises what a lane failed with, EventDamaged."""
        component = route.facts.component
        if at <= self._barrier or (self._done and at <= self._done.get(component, 0)):
            return 0
        rows = route.counter.count(event)
        batch = self._open[route.lane]
        flags = event[25] | event[26] << 8
        dated = is_dated(route, named.values())
        if not batch.groups or not batch.groups[-1].fits(flags) or dated:
            batch.groups.append(Group())
        group = batch.groups[-1]
        before = group.size
        for other in named.values():
            if other.facts.component == component and other.lane == route.lane:
                group.name(other.body)
        group.add(event, route.body)
        batch.first = batch.first or gtid
        batch.last = gtid
        batch.places[component] = (at, batch.places.get(component, (0, 0))[1] + rows)
        batch.rows += rows
        batch.counted = batch.counted and route.facts.counted and not dated
        batch.size += group.size - before
        if batch.size >= BATCH_BYTES:
            self._send(route.lane)
        return rows

    def drain(self) -> None:
        """Return when everything sent is committed. Raises what a lane failed with."""
        for number in range(len(self._lanes)):
            self._send(number)
        for lane in self._lanes:
            lane.drain()

    def begin_stage(self) -> None:
        """A barrier stands behind everything that components had done."""
        self._done.clear()

    def close(self) -> None:
        for lane in self._lanes:
            lane.close()

    def _send(self, number: int) -> None:
        batch = self._open[number]
        if not batch.groups:
            return
        self._open[number] = Batch()
        batch.untransacted = number == self.untransacted
        self._held.take(batch.size)
        self._lanes[number].give(batch)
        self.lanes.sent(min(number, self.untransacted - 1), batch.size)
        if batch.size > ALONE_BYTES:
            self._lanes[number].drain()
