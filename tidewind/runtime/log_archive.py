"""Reads the archived log from the store: histories, how far they reach, segments, transactions and bytes.

Objects are found by listing and trusted by their heads: numbers must run on without a hole, and each segment must say
it is what its key says. What is missing raises LogDamaged, naming the segment, and is never skipped. A single that is
gone when it is read, because a roll-up has taken its place since the listing, is read from there: it stands in it byte
for byte. What a removal has been announced of is gone, whether its objects still are there or only some of them.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tidewind.domain import keys
from tidewind.domain.histories import History, Reach
from tidewind.domain.log_stream import Transaction
from tidewind.domain.records import parse
from tidewind.domain.segments import (
    HEAD_PROBE_BYTES,
    SegmentDamaged,
    SegmentHead,
    SegmentRef,
    SegmentTooNew,
    parse_directory,
    parse_head,
    unpack_frame,
    unpack_table,
)
from tidewind.ports.store import ObjectDamaged, ObjectMissing, Store, StoreRefused

Parsed = TypeVar("Parsed")
Unpacked = TypeVar("Unpacked")

_SINGLE = re.compile(r"(\d{16})\.seg")
_ROLLED = re.compile(r"(\d{16})-(\d{16})\.seg")
_TRIMMED = re.compile(r"trimmed-(\d{16})")
_REMEMBERED = 2048
"""Segments whose heads are kept in memory, each 5 to 14 kB: nearly three hours of a busy cluster."""
_LOOKS = 3
_DAMAGED = "choose a target before it, or after the next backup; examine the store"


class LogDamaged(ObjectDamaged):
    """A segment is missing, or is not what it should be."""


class _Gone(LogDamaged):
    """The object is not there."""


@dataclass(frozen=True, kw_only=True)
class LogObject:
    """One object of a history: a segment, or a roll-up of several. Both numbers are included."""

    key: str
    first: int
    last: int

    @property
    def rolled(self) -> bool:
        return self.last != self.first or "/rollups/" in self.key


@dataclass(frozen=True, kw_only=True)
class Trimmed:
    """What removals left behind: objects of removed segments, and announcements that a later one has replaced."""

    objects: tuple[LogObject, ...]
    superseded: tuple[str, ...]


class LogArchive:
    """`store` as the services see it. Heads of the objects read last are remembered: they are immutable."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._refs: dict[str, tuple[SegmentRef, ...]] = {}
        self._remembered = 0

    async def histories(self, cluster: str) -> list[History]:
        """Oldest first. Raises StoreError."""
        found = [entry.key async for entry in self._store.list(keys.histories_begun(cluster))]
        return [parse(History, await self._store.get(key)) for key in found]

    async def objects(self, cluster: str, history: str) -> list[LogObject]:
        """The history's objects in order, without singles that a roll-up holds. Raises LogDamaged at a hole. A listing
        shows no single moment: one that has a hole is made again, in case a roll-up or removal was under way."""
        looks = 0
        while True:
            rolled, singles, trims = await self._found(cluster, history)
            looks += 1
            try:
                return in_a_row(keys.history(cluster, history), singles, rolled, max(trims, default=0))
            except LogDamaged:
                if looks == _LOOKS:
                    raise

    async def listing(self, cluster: str, history: str) -> tuple[list[LogObject], list[LogObject]]:
        """(roll-ups, singles), each in order, whatever they hold. Raises StoreError."""
        rolled, singles, trims = await self._found(cluster, history)
        through = max(trims, default=0)
        return [one for one in rolled if one.last > through], [one for one in singles if one.last > through]

    async def trimmed(self, cluster: str, history: str) -> Trimmed:
        """What is still to be deleted of what was announced to be removed. Raises StoreError."""
        rolled, singles, trims = await self._found(cluster, history)
        through = max(trims, default=0)
        return Trimmed(
            objects=tuple(one for one in (*rolled, *singles) if one.last <= through),
            superseded=tuple(keys.trimmed(cluster, history, number) for number in trims if number < through),
        )

    async def _found(self, cluster: str, history: str) -> tuple[list[LogObject], list[LogObject], list[int]]:
        """(roll-ups, singles, through which segments removals were announced)"""
        prefix = keys.history(cluster, history)
        trims: list[int] = []
        singles: list[LogObject] = []
        rolled: list[LogObject] = []
        async for entry in self._store.list(prefix):
            name = entry.key.removeprefix(prefix)
            if one := _SINGLE.fullmatch(name):
                singles.append(LogObject(key=entry.key, first=int(one[1]), last=int(one[1])))
            elif several := _ROLLED.fullmatch(name.removeprefix("rollups/")):
                rolled.append(LogObject(key=entry.key, first=int(several[1]), last=int(several[2])))
            elif trim := _TRIMMED.fullmatch(name):
                trims.append(int(trim[1]))
        return rolled, singles, trims

    async def last(self, cluster: str, history: str) -> SegmentRef | None:
        """The newest segment; None if there is none yet. Raises StoreError."""
        for found in await self._newest_first(cluster, history):
            return (await self.refs(cluster, history, found))[-1]
        return None

    async def _newest_first(self, cluster: str, history: str) -> list[LogObject]:
        """Whatever is missing of what lies before: a log that lost a segment is captured on."""
        rolled, singles = await self.listing(cluster, history)
        return sorted((*rolled, *singles), key=lambda one: (one.last, one.rolled), reverse=True)

    async def reach(self, history: History) -> Reach:
        """How far a history goes. Raises StoreError."""
        last = await self.last(history.cluster_id, history.history)
        if last is None:
            return Reach(
                history=history,
                position=history.position,
                complete_us=history.begin_us,
                last_us=None,
                segments=0,
            )
        head = last.head
        return Reach(
            history=history,
            position=head.to_position,
            complete_us=head.complete_us,
            last_us=head.last_us,
            segments=head.number,
            stamped=head.stamped,
        )

    async def reaches(self, cluster: str) -> list[Reach]:
        return [await self.reach(history) for history in await self.histories(cluster)]

    async def refs(self, cluster: str, history: str, found: LogObject) -> tuple[SegmentRef, ...]:
        """The segments of an object. Raises StoreError."""
        known = self._refs.get(found.key)
        if known is None:
            try:
                known = await (self._directory(found) if found.rolled else self._single(found))
            except _Gone:
                moved = await self._moved(cluster, history, found.key, found.first)
                return tuple(ref for ref in moved if found.first <= ref.number <= found.last)
            for ref, number in zip(known, range(found.first, found.last + 1), strict=True):
                _require(ref, cluster, history, number)
            self._remember(found.key, known)
        return known

    def _remember(self, key: str, known: tuple[SegmentRef, ...]) -> None:
        self._remembered -= len(self._refs.pop(key, ()))
        while self._refs and self._remembered + len(known) > _REMEMBERED:
            self._remembered -= len(self._refs.pop(next(iter(self._refs))))
        self._refs[key] = known
        self._remembered += len(known)

    async def segments(
        self, cluster: str, history: str, *, first: int = 1, last: int | None = None
    ) -> AsyncGenerator[SegmentRef, None]:
        """Segments in order, from `first` to `last`, both included. Raises LogDamaged where one is missing, at the end
        too if `last` is asked for and is not there."""
        expected = first
        for found in await self.objects(cluster, history):
            if found.last < first or (last is not None and found.first > last):
                continue
            for ref in await self.refs(cluster, history, found):
                if ref.number < expected or (last is not None and ref.number > last):
                    continue
                if ref.number != expected:
                    raise _missing(keys.segment(cluster, history, expected))
                expected += 1
                yield ref
        if last is not None and expected <= last:
            raise _missing(keys.segment(cluster, history, expected))

    async def first_where(self, cluster: str, history: str, holds: Callable[[SegmentHead], bool]) -> SegmentRef | None:
        """The first segment for which `holds` is true, which must stay true for all that follow. Few objects are read:
        it is looked for by halving."""
        objects = await self.objects(cluster, history)
        low, high = 0, len(objects)
        while low < high:
            middle = (low + high) // 2
            if holds((await self.refs(cluster, history, objects[middle]))[-1].head):
                high = middle
            else:
                low = middle + 1
        if low == len(objects):
            return None
        return next(ref for ref in await self.refs(cluster, history, objects[low]) if holds(ref.head))

    async def last_transaction(self, cluster: str, history: str, *, upto: int | None = None) -> Transaction | None:
        """The last one in segments up to and with number `upto`; None if they hold none. Raises StoreError."""
        for found in await self._newest_first(cluster, history):
            if upto is not None and found.first > upto:
                continue
            for ref in reversed(await self.refs(cluster, history, found)):
                if ref.head.transactions and (upto is None or ref.number <= upto):
                    return (await self.transactions(ref))[-1]
        return None

    async def transactions(self, ref: SegmentRef) -> tuple[Transaction, ...]:
        """Those that end in the segment, in the order of the log. Raises StoreError."""
        found, stored = await self._part(ref, lambda one: one.table_range)
        return unpack(found, lambda data: unpack_table(ref.head, data), stored)

    async def frame(self, ref: SegmentRef, index: int) -> bytes:
        """The session's bytes of one frame. Raises StoreError."""
        found, stored = await self._part(ref, lambda one: one.frame_range(index))
        return await asyncio.to_thread(unpack, found, lambda data: unpack_frame(ref.head, index, data), stored)

    async def _part(self, ref: SegmentRef, where: Callable[[SegmentRef], tuple[int, int]]) -> tuple[SegmentRef, bytes]:
        """A part of a segment, and the segment as it was found: elsewhere by now, perhaps."""
        try:
            return ref, await self._range(ref.key, *where(ref))
        except _Gone:
            moved = await self._moved(ref.head.cluster_id, ref.head.history, ref.key, ref.number)
            (found,) = [one for one in moved if one.number == ref.number]
            return found, await self._range(found.key, *where(found))

    async def _moved(self, cluster: str, history: str, key: str, number: int) -> tuple[SegmentRef, ...]:
        """The segments of the object that holds one now whose object `key` is gone. Raises LogDamaged if none does."""
        for now in await self.objects(cluster, history):
            if now.first <= number <= now.last and now.key != key:
                return await self.refs(cluster, history, now)
        raise _missing(key)

    async def _single(self, found: LogObject) -> tuple[SegmentRef, ...]:
        head, taken = await self._beginning(found.key, parse_head)
        return (SegmentRef(key=found.key, offset=0, head_bytes=taken, head=head),)

    async def _directory(self, found: LogObject) -> tuple[SegmentRef, ...]:
        def parsed(beginning: bytes) -> tuple[SegmentRef, ...] | int:
            return parse_directory(found.key, beginning)

        refs: tuple[SegmentRef, ...] = await self._beginning(found.key, parsed)
        if len(refs) != found.last - found.first + 1:
            raise LogDamaged("read", found.key, f"it holds {len(refs)} segments, not those of its name", _DAMAGED)
        return refs

    async def _beginning(self, key: str, parse: Callable[[bytes], Parsed | int]) -> Parsed:
        wanted = HEAD_PROBE_BYTES
        while True:
            beginning = await self._range(key, 0, wanted)
            try:
                found = parse(beginning)
            except SegmentDamaged as error:
                raise LogDamaged("read", key, str(error), _DAMAGED) from None
            except SegmentTooNew as error:
                raise StoreRefused("read", key, str(error), "upgrade Tidewind to read it") from None
            if not isinstance(found, int):
                return found
            if len(beginning) < wanted or found <= wanted:
                raise LogDamaged("read", key, "it ends before its head does", _DAMAGED)
            wanted = found

    async def _range(self, key: str, start: int, length: int) -> bytes:
        if length == 0:
            return b""
        try:
            return b"".join([piece async for piece in self._store.stream(key, start=start, length=length)])
        except ObjectMissing:
            raise _missing(key) from None
        except ObjectDamaged as error:
            raise LogDamaged(error.operation, key, error.cause, _DAMAGED) from None


def in_a_row(
    where: str, singles: Sequence[LogObject], rolled: Sequence[LogObject], through: int = 0
) -> list[LogObject]:
    """Objects in order, each number once. Roll-ups win over the singles they hold; numbers begin behind `through`, to
    which old ones were removed, and run on. Raises LogDamaged at a hole."""
    row: list[LogObject] = []
    last = through
    for found in sorted((*rolled, *singles), key=lambda one: (one.first, -one.last)):
        if found.last <= last:
            continue
        if found.first > last + 1:
            raise LogDamaged("list", where, f"segment {last + 1} is missing", _DAMAGED)
        row.append(found)
        last = found.last
    return row


def held_twice(singles: Sequence[LogObject], rolled: Sequence[LogObject]) -> list[tuple[LogObject, LogObject]]:
    """Singles that a roll-up holds too, each with it. Both are in order."""
    found: list[tuple[LogObject, LogObject]] = []
    widest, at = None, 0
    for one in singles:
        while at < len(rolled) and rolled[at].first <= one.first:
            widest = rolled[at] if widest is None or rolled[at].last > widest.last else widest
            at += 1
        if widest is not None and one.last <= widest.last:
            found.append((one, widest))
    return found


def unpack(ref: SegmentRef, call: Callable[[bytes], Unpacked], stored: bytes) -> Unpacked:
    """Raises LogDamaged naming the object."""
    try:
        return call(stored)
    except SegmentDamaged as error:
        raise LogDamaged("read", ref.key, str(error), _DAMAGED) from None


def _require(ref: SegmentRef, cluster: str, history: str, number: int) -> None:
    head = ref.head
    if (head.cluster_id, head.history, head.number) != (cluster, history, number):
        what = f"it says it is segment {head.number} of history {head.history} of {head.cluster_id}"
        raise LogDamaged("read", ref.key, what, _DAMAGED)


def _missing(key: str) -> "_Gone":
    return _Gone("read", key, "the segment is missing", _DAMAGED)
