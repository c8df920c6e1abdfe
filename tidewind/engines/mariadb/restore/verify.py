"""Verification: what is in the cluster now is what the backup holds.

Every table is read back by the SELECT it was taken with, and its rows, bytes and checksum are compared with the
manifest's. Definitions are compared too where the server is of the version that printed them.
"""

import re
from collections.abc import Sequence

from tidewind.domain.manifest import Chunk, Manifest, Table
from tidewind.engines.mariadb.quoting import quote_name, quote_table
from tidewind.engines.mariadb.restore import checker, create_table
from tidewind.engines.mariadb.restore.checker import Check, Counted
from tidewind.engines.mariadb.restore.definitions import Definitions
from tidewind.engines.mariadb.restore.link import Link
from tidewind.engines.mariadb.restore.pool import Pool
from tidewind.engines.mariadb.restore.safeguard import tables_of
from tidewind.engines.mariadb.server import server_facts
from tidewind.ports.engine import DatabaseError, Report
from tidewind.ports.restore import Loaded

_DEFAULT = re.compile(r"(\sDEFAULT )(?:X'[0-9a-f]*'|'(?:[^'\\]|''|\\.)*')", re.DOTALL)
_MASK = (1 << 64) - 1


async def verify(link: Link, manifest: Manifest, *, workers: int, report: Report) -> Loaded:
    """Raises DatabaseError (restore-verification-failed) naming the first difference."""
    expected = {(table.schema_name, table.name): table for table in manifest.tables}
    chunks = {chunk.number: chunk for chunk in manifest.chunks}
    total = sum(table.row_bytes for table in manifest.tables)
    seen = Counted(rows=0, row_bytes=0, checksum=0)
    report("verifying", 0, total, "bytes")

    async def compared(task: Check, counted: Counted) -> Sequence[Check]:
        nonlocal seen
        table = expected[task.schema, task.table]
        compare(table, [chunks[number] for number in table.chunks], counted)
        seen = Counted(rows=seen.rows + counted.rows, row_bytes=seen.row_bytes + counted.row_bytes, checksum=0)
        report("verifying", seen.row_bytes, total, "bytes")
        return ()

    pool: Pool[Check, Counted] = Pool(checker.main, link.access, workers)
    largest_first = sorted(manifest.tables, key=lambda table: -table.row_bytes)
    await pool.run([checker.check_of(table) for table in largest_first], compared)
    if (await server_facts(link.control)).version == manifest.engine_version:
        for table in manifest.tables:
            await _compare_definition(link, table)
    return Loaded(tables=len(manifest.tables), rows=seen.rows, row_bytes=seen.row_bytes)


async def moved(link: Link, kept: Definitions) -> Loaded:
    """Whether everything that was set aside stands where it belongs again."""
    standing = {(schema.name, table) for schema in kept.schemas for table in await tables_of(link, schema.name)}
    missing = [quote_table(*table) for table in kept.tables if table not in standing]
    if missing:
        raise DatabaseError(
            "restore-verification-failed", f"{len(missing)} tables are not back, among them {missing[0]}"
        )
    return Loaded(tables=len(kept.tables), rows=0, row_bytes=0)


def compare(table: Table, chunks: Sequence[Chunk], counted: Counted) -> None:
    """Raises DatabaseError if the table does not hold the rows of its chunks."""
    rows = sum(chunk.rows for chunk in chunks)
    sums = [int(chunk.checksum, 16) for chunk in chunks if chunk.checksum is not None]
    checksum = sum(sums) & _MASK if len(sums) == len(chunks) else counted.checksum
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
