"""One attempt at a snapshot: look, agree, look again, read.

Everything that is not rows has no past on the server: definitions are read before the snapshot begins and compared
afterwards, and an attempt whose two looks differ is void (`Spoilt`). The tables' own comparison goes on until each is
read to its end (see `reading`).
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from tidewind.domain.manifest import DatabaseObject, SystemTable
from tidewind.engines.mariadb.catalogue import (
    TRANSACTIONAL,
    WITHOUT_ROWS,
    Catalogue,
    TableFacts,
    listing,
    outline,
    read_catalogue,
    read_schemas,
    server_now,
    show_create_table,
)
from tidewind.engines.mariadb.chunking import select_statement, whole
from tidewind.engines.mariadb.connection import Control
from tidewind.engines.mariadb.consistency import View, agree, located
from tidewind.engines.mariadb.ddl_hold import DdlHold
from tidewind.engines.mariadb.definition import Identity, identity, settled
from tidewind.engines.mariadb.failures import DEFINITION_CHANGED, code_of
from tidewind.engines.mariadb.messages import Read, WrittenChunk
from tidewind.engines.mariadb.objects import read_objects, sequence_row
from tidewind.engines.mariadb.open_xa import position_before
from tidewind.engines.mariadb.quoting import quote_names, quote_table
from tidewind.engines.mariadb.readers import ReaderPool
from tidewind.engines.mariadb.reading import Harvest, Path, Spoilt, TableReading
from tidewind.engines.mariadb.server import LogPlace
from tidewind.engines.mariadb.system_tables import KEPT_RULES, rule_of
from tidewind.engines.mariadb.untransacted import OwnReading, read_on_its_own
from tidewind.engines.mariadb.watchdog import watch
from tidewind.ports.engine import DatabaseError

SETTLING_SECONDS: Final = 0.1
_COLUMNS_SQL: Final = (
    "SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'mysql'"
    " AND GENERATION_EXPRESSION IS NULL ORDER BY TABLE_NAME, ORDINAL_POSITION"
)


@dataclass(frozen=True, kw_only=True)
class Look:
    """All definitions at one moment."""

    catalogue: Catalogue
    objects: tuple[DatabaseObject, ...]


@dataclass(frozen=True, kw_only=True)
class AttemptResult:
    look: Look
    view: View
    harvest: Harvest
    own: dict[Path, OwnReading]
    objects: tuple[DatabaseObject, ...]
    system_tables: tuple[SystemTable, ...]
    unknown_system_tables: tuple[str, ...]
    prepared_xa: tuple[str, ...]
    open_xa_position: str | None
    settled_position: str | None
    settled_time: datetime

    @property
    def stall_ms(self) -> float:
        """The longest time for which writers had to wait."""
        return max([self.view.stall_ms, *(reading.stall_ms for reading in self.own.values())])


class Attempt:
    """`control` and `killer` are connections of the snapshot's process; `killer` is used for nothing slow."""

    def __init__(
        self,
        pool: ReaderPool,
        control: Control,
        killer: Control,
        *,
        excluded: Sequence[str],
        chunk_bytes: int,
        first: Collection[Path],
        waste: list[WrittenChunk],
        expect: Callable[[float], None],
    ) -> None:
        self._pool = pool
        self._control = control
        self._killer = killer
        self._excluded = excluded
        self._chunk_bytes = chunk_bytes
        self._first = first
        self._waste = waste
        self._expect = expect

    async def run(self, hold: DdlHold | None = None) -> AttemptResult:
        """Raises Spoilt, DatabaseError, StoreError. Chunks that count for nothing are added to `waste`. `hold` is
        released as soon as all tables are read once: DDL does not wait for the last look at the log."""
        look = await self._first_look()
        await self._pool.ready()
        self._expect(float(sum(table.data_bytes for table in look.catalogue.tables)))
        prepared = await prepared_xa(self._control)
        await self._settle(look.catalogue)
        agreement = await agree(self._pool.readers, self._control.access, may_lock=hold is None or not hold.held)
        await self._second_look(look)
        view = await located(self._control, agreement)
        prepared = tuple(sorted({*prepared, *await prepared_xa(self._control)}))
        harvest = await self._read_transacted(look.catalogue)
        await self._pool.release()
        try:
            own = await self._read_untransacted(look.catalogue)
            system_tables, unknown = await self._read_system_tables(own, hold)
            objects = await self._with_sequence_rows(look.objects)
        except Spoilt:
            self._waste.extend(chunk for path in harvest.chunks for chunk in harvest.of(path))
            raise
        ended, settled_time = (await self._control.rows("SELECT @@global.gtid_binlog_pos, SYSDATE(6)"))[0]
        return AttemptResult(
            look=look,
            view=view,
            harvest=harvest,
            own=own,
            objects=objects,
            system_tables=system_tables,
            unknown_system_tables=unknown,
            prepared_xa=prepared,
            open_xa_position=await self._open_xa_position(prepared, view),
            settled_position=str(ended) if view.position is not None else None,
            settled_time=settled_time.replace(tzinfo=UTC),
        )

    async def _open_xa_position(self, prepared: Sequence[str], view: View) -> str | None:
        if not prepared or view.log_hint is None:
            return None
        file, _, offset = view.log_hint.rpartition(":")
        return await position_before(self._control, prepared, LogPlace(file, int(offset)))

    async def _first_look(self) -> Look:
        catalogue = await read_catalogue(self._control, self._excluded)
        return Look(catalogue=catalogue, objects=await self._objects(catalogue))

    async def _settle(self, catalogue: Catalogue) -> None:
        """Wait until the second is over in which the newest of the definitions was made (see `definition`). One that
        is said to be of the future shows any change at once."""
        looked_at = await server_now(self._control)
        newest = max((entry.made for entry in catalogue.listed if entry.made and entry.made <= looked_at), default=None)
        while True:
            if settled(newest, await server_now(self._control)):
                return
            await asyncio.sleep(SETTLING_SECONDS)

    async def _objects(self, catalogue: Catalogue) -> tuple[DatabaseObject, ...]:
        return await read_objects(
            self._control,
            self._excluded,
            [(entry.schema, entry.name) for entry in catalogue.of_kind("SEQUENCE")],
            [(entry.schema, entry.name) for entry in catalogue.of_kind("VIEW")],
        )

    async def _second_look(self, look: Look) -> None:
        before = outline(look.catalogue.listed)
        after = outline(await listing(self._control, self._excluded))
        if before != after:
            changed = sorted({entry[:2] for entry in before ^ after})
            names = ", ".join(quote_table(*path) for path in changed[:5])
            raise Spoilt(changed[0] if len(changed) == 1 else None, f"definitions changed meanwhile: {names}")
        for table in look.catalogue.tables:
            # Nobody reads these under a lock later on.
            if table.engine in WITHOUT_ROWS:
                await self._look_again(table)
        if look.catalogue.schemas != await read_schemas(self._control, self._excluded):
            raise Spoilt(None, "a schema was made, altered or dropped meanwhile")
        if look.objects != await self._objects(look.catalogue):
            raise Spoilt(None, "a view, routine, trigger, event or sequence was altered meanwhile")

    async def _look_again(self, table: TableFacts) -> None:
        create = await show_create_table(self._control, *table.path)
        if identity(create, table.identity.made, table.identity.stored) != table.identity:
            raise Spoilt(table.path, f"{table.quoted}: its definition changed")

    async def _read_transacted(self, catalogue: Catalogue) -> Harvest:
        reading = TableReading(
            self._pool.readers,
            self._control,
            [table for table in catalogue.tables if table.engine in TRANSACTIONAL],
            killer=self._killer,
            chunk_bytes=self._chunk_bytes,
            first=self._first,
        )
        ended = asyncio.Event()
        watching = asyncio.create_task(watch(self._killer, self._pool.readers, ended))
        running = asyncio.create_task(reading.run())
        try:
            await asyncio.wait([watching, running], return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()
            harvest = await running
            await _end(watching, ended)
        except Spoilt:
            self._waste.extend(reading.harvest.everything())
            await _end(watching, ended)
            raise
        finally:
            for task in (watching, running):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task
        self._waste.extend(harvest.waste)
        return harvest

    async def _read_untransacted(self, catalogue: Catalogue) -> dict[Path, OwnReading]:
        own: dict[Path, OwnReading] = {}
        for table in catalogue.tables:
            if table.engine in TRANSACTIONAL | WITHOUT_ROWS:
                continue
            own[table.path] = await self._on_its_own([_read_whole(table)], table.data_bytes, table.identity)
        return own

    async def _on_its_own(
        self, reads: Sequence[Read], size: int, seen: Identity | None = None, hold: DdlHold | None = None
    ) -> OwnReading:
        reading = await read_on_its_own(
            self._pool.readers[0],
            self._control,
            reads,
            size=size,
            seen=seen,
            once_read=hold.release if hold is not None else None,
        )
        self._waste.extend(reading.waste)
        return reading

    async def _read_system_tables(
        self, own: dict[Path, OwnReading], hold: DdlHold | None
    ) -> tuple[tuple[SystemTable, ...], tuple[str, ...]]:
        """All kept tables of the `mysql` schema in one reading, so that accounts and rights share a position."""
        rows = await self._control.rows(
            "SELECT TABLE_NAME, TABLE_TYPE, DATA_LENGTH FROM information_schema.TABLES"
            " WHERE TABLE_SCHEMA = 'mysql' ORDER BY TABLE_NAME"
        )
        unknown = tuple(str(name) for name, _, _ in rows if rule_of(name) is None)
        kept = [
            (str(name), rule)
            for name, kind, _ in rows
            if (rule := rule_of(name)) is not None and rule.rule in KEPT_RULES and kind == "BASE TABLE"
        ]
        columns: dict[str, list[str]] = {}
        for table, column in await self._control.rows(_COLUMNS_SQL):
            columns.setdefault(table, []).append(column)
        reads = [
            Read(
                schema="mysql",
                table=name,
                statement=f"SELECT {quote_names(columns[name])} FROM {quote_table('mysql', name)}",
                partition=None,
                transactional=False,
                stored_name="",
            )
            for name, _ in kept
        ]
        reading = await self._on_its_own(reads, sum(int(size or 0) for _, _, size in rows), hold=hold)
        found = []
        for name, rule in kept:
            chunks = reading.chunks["mysql", name]
            own["mysql", name] = reading
            create = await self._control.rows(f"SHOW CREATE TABLE {quote_table('mysql', name)}")
            found.append(
                SystemTable(
                    name=name,
                    rule=rule.rule,
                    create=create[0][1],
                    columns=tuple(columns[name]),
                    chunks=tuple(chunk.number for chunk in chunks),
                    rows=sum(chunk.rows for chunk in chunks),
                    position=reading.position,
                )
            )
        return tuple(found), unknown

    async def _with_sequence_rows(self, objects: Sequence[DatabaseObject]) -> tuple[DatabaseObject, ...]:
        found = []
        for entry in objects:
            if entry.kind != "sequence":
                found.append(entry)
                continue
            try:
                row: dict[str, Any] = await sequence_row(self._control, entry.schema_name, entry.name)
            except DatabaseError as error:
                if code_of(error) in DEFINITION_CHANGED:
                    raise Spoilt((entry.schema_name, entry.name), error.detail) from error
                raise
            found.append(entry.model_copy(update={"attributes": {"row": row}}))
        return tuple(found)


def _read_whole(table: TableFacts) -> Read:
    return Read(
        schema=table.schema,
        table=table.name,
        statement=select_statement(table, whole(table)),
        partition=None,
        transactional=False,
        stored_name=table.stored_name,
    )


async def _end(watching: asyncio.Task[None], ended: asyncio.Event) -> None:
    """Between two looks: to cancel one would end the connection, which the next attempt needs. Nothing is on its way
    to the readers afterwards."""
    ended.set()
    await watching


async def prepared_xa(control: Control) -> tuple[str, ...]:
    """Prepared XA transactions as XA COMMIT and XA ROLLBACK take them."""
    return tuple(str(row[3]) for row in await control.rows("XA RECOVER FORMAT='SQL'"))
