"""Verification: what is in the cluster now is what the backup holds.

The load has read every table back and compared it (`compare`). Between then and the opening nobody but the restore is
on the server; what a crash of the server could have taken meanwhile is asked again: the progress rows, which share
their transactions with the rows of their chunks, and the rows of tables without transactions. Definitions are compared
where the server is of the version that printed them.
"""

import re
from collections.abc import Mapping, Sequence

from tidewind.domain.manifest import Chunk, Manifest, Table
from tidewind.engines.mariadb.catalogue import TRANSACTIONAL
from tidewind.engines.mariadb.quoting import quote_name, quote_table, text_literal
from tidewind.engines.mariadb.restore import create_table
from tidewind.engines.mariadb.restore.checker import Counted, check_of
from tidewind.engines.mariadb.restore.definitions import Definitions
from tidewind.engines.mariadb.restore.fence import PROGRESS
from tidewind.engines.mariadb.restore.link import Link
from tidewind.engines.mariadb.restore.safeguard import tables_of
from tidewind.engines.mariadb.restore.statements import path
from tidewind.engines.mariadb.restore.worker import LoadPool, LoadTask, Outcome, chunk_item, table_item
from tidewind.engines.mariadb.server import server_facts
from tidewind.ports.engine import DatabaseError
from tidewind.ports.restore import Loaded

_DEFAULT = re.compile(r"(\sDEFAULT )(?:X'[0-9a-f]*'|'(?:[^'\\]|''|\\.)*')", re.DOTALL)
_MASK = (1 << 64) - 1


async def verify(link: Link, manifest: Manifest, restore_id: str, pool: LoadPool) -> Loaded:
    """What the load compared still stands. Raises DatabaseError (restore-verification-failed) naming what differs."""
    await _require_progress(link, manifest, restore_id)
    await require_readable(link, manifest)
    await _read_again(manifest, pool)
    if (await server_facts(link.control)).version == manifest.engine_version:
        for table in manifest.tables:
            await _compare_definition(link, table)
    return Loaded(
        tables=len(manifest.tables),
        rows=sum(table.rows for table in manifest.tables),
        row_bytes=sum(table.row_bytes for table in manifest.tables),
    )


async def _require_progress(link: Link, manifest: Manifest, restore_id: str) -> None:
    found = await link.rows(
        f"SELECT item, rows_done FROM {path(PROGRESS)} WHERE restore_id = {text_literal(restore_id)}"
    )
    lost = lost_since_loading(manifest, {str(item): int(rows) for item, rows in found})
    if lost is not None:
        raise DatabaseError("restore-verification-failed", lost)


def lost_since_loading(manifest: Manifest, progress: Mapping[str, int]) -> str | None:
    """What was loaded and has no progress row of its size any more, in words. `progress`: rows by item."""
    rows_of = {chunk.number: chunk.rows for chunk in manifest.chunks}
    for table in manifest.tables:
        if table.engine in TRANSACTIONAL:
            wanted = {chunk_item(number): rows_of[number] for number in table.chunks}
        else:
            wanted = {table_item(table.chunks): table.rows} if table.chunks else {}
        for item, rows in wanted.items():
            if progress.get(item) != rows:
                where = quote_table(table.schema_name, table.name)
                return f"table {where}: the server has lost {item} of {rows} rows since it was loaded"
    return None


async def require_readable(link: Link, manifest: Manifest) -> None:
    """Raises DatabaseError: restore-verification-failed for a table that cannot be read, unless the connection died."""
    for table in manifest.tables:
        where = quote_table(table.schema_name, table.name)
        try:
            await link.rows(f"SELECT 1 FROM {where} LIMIT 1")
        except DatabaseError as error:
            if link.control.closed:
                raise
            raise DatabaseError(
                "restore-verification-failed", f"table {where} cannot be read after loading: {error.detail}"
            ) from error


async def _read_again(manifest: Manifest, pool: LoadPool) -> None:
    chunks = {chunk.number: chunk for chunk in manifest.chunks}
    again = {
        quote_table(table.schema_name, table.name): table
        for table in manifest.tables
        if table.engine not in TRANSACTIONAL
    }

    async def compared(task: LoadTask, outcome: Outcome) -> Sequence[LoadTask]:
        table = again[task.table]
        assert isinstance(outcome, Counted)
        compare(table, chunks, outcome)
        return ()

    await pool.run([check_of(where, table) for where, table in again.items()], compared)


async def moved(link: Link, kept: Definitions) -> Loaded:
    """Whether everything that was set aside stands where it belongs again."""
    standing = {(schema.name, table) for schema in kept.schemas for table in await tables_of(link, schema.name)}
    missing = [quote_table(*table) for table in kept.tables if table not in standing]
    if missing:
        raise DatabaseError(
            "restore-verification-failed", f"{len(missing)} tables are not back, among them {missing[0]}"
        )
    return Loaded(tables=len(kept.tables), rows=0, row_bytes=0)


def compare(table: Table, chunks: Mapping[int, Chunk], counted: Counted) -> None:
    """Raises DatabaseError if the table does not hold the rows of its chunks; `chunks` are the backup's, by number."""
    own = [chunks[number] for number in table.chunks]
    rows = sum(chunk.rows for chunk in own)
    sums = [int(chunk.checksum, 16) for chunk in own if chunk.checksum is not None]
    checksum = sum(sums) & _MASK if len(sums) == len(own) else counted.checksum
    if (counted.rows, counted.checksum) != (rows, checksum):
        what = f"{counted.rows} rows instead of {rows}" if counted.rows != rows else f"{rows} rows that differ"
        where = quote_table(table.schema_name, table.name)
        raise DatabaseError("restore-verification-failed", f"table {where} holds {what} after loading")


async def _compare_definition(link: Link, table: Table) -> None:
    where = quote_table(table.schema_name, table.name)
    await link.run(f"USE {quote_name(table.schema_name)}")
    present = str((await link.rows(f"SHOW CREATE TABLE {where}"))[0][1])
    if _comparable(present) != _comparable(table.create):
        raise DatabaseError("restore-verification-failed", f"table {where} has another definition than in the backup")


def _comparable(create: str) -> str:
    """A definition without its counter, and without the text of defaults, which backups hold as hexadecimal where the
    server prints something else."""
    return _DEFAULT.sub(r"\1", create_table.parse(create).shape())
