"""Reads all transactional tables of one attempt with all readers, largest ranges first.

Invariant: every chunk that comes out was read inside the snapshot from a table whose definition, under the read's own
metadata lock, was still the one seen before the snapshot began. Anything else spoils the attempt.
"""

import asyncio
import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from tidewind.engines.mariadb.catalogue import TableFacts
from tidewind.engines.mariadb.chunking import Range, select_statement
from tidewind.engines.mariadb.connection import Control
from tidewind.engines.mariadb.failures import DEFINITION_CHANGED, code_of
from tidewind.engines.mariadb.messages import Answer, Done, Failed, Read, WrittenChunk
from tidewind.engines.mariadb.planning import plan_table
from tidewind.engines.mariadb.quoting import quote_table
from tidewind.engines.mariadb.readers import Reader, failure
from tidewind.ports.engine import DatabaseError

INTERRUPTIONS_MAX: Final = 3
_PAUSE_SECONDS: Final = 0.2

Path = tuple[str, str]


class Spoilt(Exception):
    """The attempt is void: `path` is the table whose definition changed, None if it was something else."""

    def __init__(self, path: Path | None, detail: str) -> None:
        super().__init__(detail)
        self.path = path
        self.detail = detail


@dataclass
class Harvest:
    """What was written: chunks by table in the order of reading, and those that count for nothing."""

    chunks: dict[Path, list[tuple[int, WrittenChunk]]] = field(default_factory=lambda: defaultdict(list))
    waste: list[WrittenChunk] = field(default_factory=list)

    def of(self, path: Path) -> list[WrittenChunk]:
        return [chunk for _, chunk in sorted(self.chunks.get(path, ()), key=lambda pair: (pair[0], pair[1].number))]

    def everything(self) -> list[WrittenChunk]:
        return [*self.waste, *(chunk for pairs in self.chunks.values() for _, chunk in pairs)]


class TableReading:
    def __init__(
        self,
        readers: Sequence[Reader],
        control: Control,
        tables: Sequence[TableFacts],
        *,
        killer: Control,
        chunk_bytes: int,
        first: Collection[Path],
    ) -> None:
        self.harvest = Harvest()
        self._readers = readers
        self._killer = killer
        self._control = control
        self._tables = {table.path: table for table in tables}
        self._chunk_bytes = chunk_bytes
        self._first = first
        self._waiting: list[tuple[bool, int, int, Range]] = []
        self._numbers = itertools.count()
        self._planned = False
        self._changed = asyncio.Condition()
        self._interruptions: Counter[int] = Counter()
        self._spoilt: Spoilt | None = None

    async def run(self) -> Harvest:
        """Raises Spoilt, DatabaseError, StoreError. After Spoilt the readers are idle and can be asked again."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._plan())
                for reader in self._readers:
                    group.create_task(self._work(reader))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        if self._spoilt is not None:
            raise self._spoilt
        return self.harvest

    async def _plan(self) -> None:
        """Tables that were altered under an earlier attempt go first, then the largest."""
        order = sorted(self._tables.values(), key=lambda t: (t.path not in self._first, -t.data_bytes))
        for table in order:
            try:
                async for piece in plan_table(
                    self._control, table, chunk_bytes=self._chunk_bytes, readers=len(self._readers)
                ):
                    await self._offer(piece, next(self._numbers))
            except DatabaseError as error:
                if code_of(error) not in DEFINITION_CHANGED:
                    raise
                await self._spoil(table.path, error.detail)
            if self._spoilt is not None:
                break
        async with self._changed:
            self._planned = True
            self._changed.notify_all()

    async def _offer(self, piece: Range, number: int) -> None:
        later = (piece.schema, piece.table) not in self._first
        async with self._changed:
            heapq.heappush(self._waiting, (later, -piece.bytes, number, piece))
            self._changed.notify()

    async def _take(self) -> tuple[int, Range] | None:
        async with self._changed:
            while not self._waiting and not self._planned and self._spoilt is None:
                await self._changed.wait()
            if self._spoilt is not None or not self._waiting:
                return None
            _, _, number, piece = heapq.heappop(self._waiting)
            return number, piece

    async def _work(self, reader: Reader) -> None:
        while (taken := await self._take()) is not None:
            number, piece = taken
            table = self._tables[piece.schema, piece.table]
            reader.reading = table.path
            try:
                answer = await reader.ask(
                    Read(
                        schema=table.schema,
                        table=table.name,
                        statement=select_statement(table, piece),
                        partition=piece.partition,
                        transactional=True,
                        stored_name=table.stored_name,
                        expected=table.identity if number in self._interruptions else None,
                    )
                )
            finally:
                reader.reading = None
            await self._settle(table, number, piece, answer)

    async def _settle(self, table: TableFacts, number: int, piece: Range, answer: Answer) -> None:
        if isinstance(answer, Done):
            if answer.identity == table.identity:
                self.harvest.chunks[table.path].extend((number, chunk) for chunk in answer.chunks)
            else:
                self.harvest.waste.extend(answer.chunks)
                await self._spoil(table.path, "its definition changed")
            return
        assert isinstance(answer, Failed)
        self.harvest.waste.extend(answer.chunks)
        if answer.reason == "changed":
            await self._spoil(table.path, answer.detail)
        elif answer.reason == "interrupted":
            await self._again(table, number, piece)
        else:
            raise failure(answer)

    async def _again(self, table: TableFacts, number: int, piece: Range) -> None:
        """Our read gave way to somebody; if that was no DDL, it can be read again in the same snapshot."""
        self._interruptions[number] += 1
        if self._spoilt is None and self._interruptions[number] > INTERRUPTIONS_MAX:
            await self._spoil(table.path, f"its read gave way to others {INTERRUPTIONS_MAX + 1} times")
        elif self._spoilt is None:
            await asyncio.sleep(_PAUSE_SECONDS)
            await self._offer(piece, number)

    async def _spoil(self, path: Path, why: str) -> None:
        async with self._changed:
            if self._spoilt is None:
                self._spoilt = Spoilt(path, f"{quote_table(*path)}: {why}")
            self._changed.notify_all()
        for reader in self._readers:
            if reader.reading is not None and reader.connection_id is not None:
                await self._killer.execute(f"KILL QUERY {reader.connection_id}")
