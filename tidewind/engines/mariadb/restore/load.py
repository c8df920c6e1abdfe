"""The load: schemas, sequences, empty tables, rows by worker processes, keys, the reading back, foreign keys.

Largest tables first, and the chunks of one table not all at once while others wait: two connections that fill one table
meet at its pages, and where they use LOAD DATA (`binding` says when) they queue for its counter. Secondary keys that
are neither unique nor FULLTEXT are added when the rows are in, where a table is large enough for that to be faster. A
table that is whole is read back at once, by the SELECT it was taken with, and its rows and checksum are compared with
the backup's: a load that ends without an error has been compared. Foreign keys come last.

Everything is found again after a crash: an existing table is not made again, a chunk's progress row is written in the
chunk's own transaction, a table without transactions is begun anew, and keys are compared with the catalogue. Every
table is read back again by a load that goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tidewind.domain.manifest import Chunk, Manifest, Table
from tidewind.engines.mariadb.catalogue import TRANSACTIONAL
from tidewind.engines.mariadb.loading import computes, insert_statement, load_settings, load_statement
from tidewind.engines.mariadb.quoting import quote_name, quote_table
from tidewind.engines.mariadb.restore import create_table
from tidewind.engines.mariadb.restore.checker import Check, Counted, check_of
from tidewind.engines.mariadb.restore.create_table import Definition
from tidewind.engines.mariadb.restore.link import Link
from tidewind.engines.mariadb.restore.objects import create_objects, create_schemas
from tidewind.engines.mariadb.restore.session import set_session
from tidewind.engines.mariadb.restore.verify import compare
from tidewind.engines.mariadb.restore.worker import (
    AddKeys,
    LoadChunks,
    LoadPool,
    LoadTask,
    LoadWhole,
    Outcome,
    Rows,
    chunk_item,
    table_item,
)
from tidewind.ports.engine import DatabaseError, Report
from tidewind.ports.restore import Loaded

KEYS_LATER_ROWS = 20_000
TASK_BYTES = 16 * 1024 * 1024
"""Text of rows in one transaction, where chunks are smaller: long enough that beginning and committing do not count,
short enough for progress that is seen and a rollback that is not felt."""


@dataclass
class _Filling:
    """A table on its way: what is left of it before its keys are added."""

    table: Table
    definition: Definition
    later: tuple[str, ...]
    waiting: set[str] = field(default_factory=set)

    @property
    def where(self) -> str:
        return quote_table(self.table.schema_name, self.table.name)


async def load(link: Link, manifest: Manifest, pool: LoadPool, report: Report) -> Loaded:
    """Raises StoreError, DatabaseError; restore-verification-failed names the first table that differs."""
    total = sum(table.row_bytes for table in manifest.tables)
    report("loading", 0, total, "bytes")
    await create_schemas(link, manifest.schemas)
    sequences = [one for one in manifest.objects if one.kind == "sequence"]
    refused = await create_objects(link, sequences, manifest.schemas)
    if refused:
        raise DatabaseError("database-failed", "; ".join(refused)[:2000])
    filling = await _make_tables(link, manifest)
    chunks = {chunk.number: chunk for chunk in manifest.chunks}
    loaded = compared = 0

    async def finished(task: LoadTask, outcome: Outcome) -> Sequence[LoadTask]:
        nonlocal loaded, compared
        if isinstance(outcome, Counted):
            compare(filling[task.table].table, chunks, outcome)
            compared += outcome.row_bytes
        else:
            loaded += outcome
        report("loading", (loaded + compared) // 2, total, "bytes")
        return _what_follows(filling[task.table], task)

    await pool.run(order(manifest, filling), finished)
    await _add_foreign_keys(link, list(filling.values()))
    return Loaded(tables=len(manifest.tables), rows=sum(table.rows for table in manifest.tables), row_bytes=total)


def order(manifest: Manifest, filling: dict[str, _Filling]) -> list[LoadTask]:
    """Tasks in the order they are given out: rounds over the tables, largest first, so that the workers spread over
    tables and the largest table still begins first. Notes in `filling` what each table waits for."""
    chunks = {chunk.number: chunk for chunk in manifest.chunks}
    lanes: list[list[LoadTask]] = []
    for table in sorted(manifest.tables, key=lambda one: -one.row_bytes):
        own = filling[quote_table(table.schema_name, table.name)]
        tasks = _tasks_of(own, [chunks[number] for number in table.chunks])
        own.waiting = {item for task in tasks for item in _items(task)}
        lanes.append(tasks or [check_of(own.where, table)])
    longest = max((len(lane) for lane in lanes), default=0)
    return [lane[place] for place in range(longest) for lane in lanes if place < len(lane)]


def keys_for_later(table: Table, definition: Definition) -> tuple[str, ...]:
    """The keys to add when the rows are in; none where AUTO_INCREMENT needs one of them, or where it does not pay."""
    if table.rows < KEYS_LATER_ROWS or table.engine not in TRANSACTIONAL:
        return ()
    counter = definition.auto_increment_column
    if counter is not None and not definition.leads_a_kept_key(counter):
        return ()
    return definition.plain_keys


def _tasks_of(own: _Filling, chunks: Sequence[Chunk]) -> list[LoadTask]:
    table, where = own.table, own.where
    parts = tuple(_rows(table, chunk) for chunk in chunks)
    if table.engine in TRANSACTIONAL:
        return [LoadChunks(table=where, parts=group) for group in _grouped(parts)]
    item = table_item(table.chunks) if parts else ""
    # ARCHIVE takes rows away in no other way.
    empty = own.definition.anew(where) if table.engine == "ARCHIVE" else f"TRUNCATE TABLE {where}"
    return [LoadWhole(table=where, empty=empty, item=item, parts=parts)] if parts else []


def _grouped(parts: Sequence[Rows]) -> list[tuple[Rows, ...]]:
    """Neighbours together, up to TASK_BYTES."""
    groups: list[tuple[Rows, ...]] = []
    for part in parts:
        if groups and sum(one.row_bytes for one in groups[-1]) + part.row_bytes <= TASK_BYTES:
            groups[-1] = (*groups[-1], part)
        else:
            groups.append((part,))
    return groups


def _rows(table: Table, chunk: Chunk) -> Rows:
    computed = computes(table.create)
    return Rows(
        key=chunk.key,
        size=chunk.size,
        rows=chunk.rows,
        row_bytes=chunk.row_bytes,
        item=chunk_item(chunk.number),
        schema=table.schema_name,
        table=table.name,
        columns=table.columns,
        statement=load_statement(table.schema_name, table.name, table.columns),
        settings=load_settings(table.columns, computed=computed),
        has_members=any(column.kind.lower().startswith(("enum", "set")) for column in table.columns),
        computed=computed,
        insert=insert_statement(table.schema_name, table.name, table.columns),
    )


def _items(task: LoadTask) -> tuple[str, ...]:
    if isinstance(task, LoadChunks):
        return tuple(rows.item for rows in task.parts)
    return (task.item,) if isinstance(task, LoadWhole) else ()


def _what_follows(own: _Filling, task: LoadTask) -> Sequence[LoadTask]:
    own.waiting -= set(_items(task))
    if isinstance(task, Check) or own.waiting:
        return ()
    if own.later and not isinstance(task, AddKeys):
        added = ", ".join(f"ADD {item}" for item in own.later)
        return [AddKeys(table=own.where, statement=f"ALTER TABLE {own.where} {added}")]
    return [check_of(own.where, own.table)]


async def _make_tables(link: Link, manifest: Manifest) -> dict[str, _Filling]:
    standing = await _standing(link)
    filling: dict[str, _Filling] = {}
    for table in manifest.tables:
        definition = create_table.parse(table.create)
        own = _Filling(table, definition, keys_for_later(table, definition))
        filling[own.where] = own
        if (table.schema_name, table.name) in standing:
            own.later = await _missing_keys(link, own)
            continue
        await link.run(f"USE {quote_name(table.schema_name)}")
        await set_session(link, table.session)
        await link.run(definition.without((*definition.foreign_keys, *own.later)))
    await set_session(link, {})
    return filling


async def _standing(link: Link) -> set[tuple[str, str]]:
    found = await link.rows("SELECT table_schema, table_name FROM information_schema.tables")
    return {(str(schema), str(table)) for schema, table in found}


async def _missing_keys(link: Link, own: _Filling) -> tuple[str, ...]:
    """Of the keys for later, those that are not there yet: they are added in one statement, so all or none."""
    present = create_table.parse(await _show_create(link, own.table)).plain_keys
    return tuple(item for item in own.later if item not in present)


async def _add_foreign_keys(link: Link, filled: Sequence[_Filling]) -> None:
    for own in filled:
        if not own.definition.foreign_keys:
            continue
        present = create_table.parse(await _show_create(link, own.table)).foreign_keys
        missing = [item for item in own.definition.foreign_keys if item not in present]
        if missing:
            added = ", ".join(f"ADD {item}" for item in missing)
            await link.run(f"ALTER TABLE {own.where} {added}", deadline_s=3600)


async def _show_create(link: Link, table: Table) -> str:
    await link.run(f"USE {quote_name(table.schema_name)}")
    rows = await link.rows(f"SHOW CREATE TABLE {quote_table(table.schema_name, table.name)}")
    return str(rows[0][1])
