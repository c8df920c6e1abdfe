"""Puts together what an attempt has read. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from tidewind.domain.manifest import Chunk, Table
from tidewind.engines.mariadb.catalogue import TRANSACTIONAL, TableFacts
from tidewind.engines.mariadb.definition import auto_increment
from tidewind.engines.mariadb.definition_text import with_hexadecimal_defaults
from tidewind.engines.mariadb.messages import WrittenChunk
from tidewind.engines.mariadb.untransacted import OwnReading


def manifest_chunk(written: WrittenChunk) -> Chunk:
    """The checksum is the sum that `rows` describes, as 16 hexadecimal digits."""
    return Chunk(
        number=written.number,
        key=written.key,
        size=written.size,
        sha256=written.sha256,
        rows=written.rows,
        row_bytes=written.row_bytes,
        checksum=f"{written.checksum:016x}",
        partition=written.partition,
    )


def manifest_table(table: TableFacts, chunks: Sequence[WrittenChunk], own: OwnReading | None) -> Table:
    """`own` is how a table without transactions was read."""
    attributes = {"versioned": table.versioned}
    if own is not None and not own.exact:
        attributes["exact"] = False
    return Table(
        schema_name=table.schema,
        name=table.name,
        engine=table.engine,
        create=with_hexadecimal_defaults(table.create),
        columns=tuple(column.column for column in table.columns),
        chunks=tuple(chunk.number for chunk in chunks),
        rows=sum(chunk.rows for chunk in chunks),
        row_bytes=sum(chunk.row_bytes for chunk in chunks),
        keyless=not table.key and table.engine in TRANSACTIONAL,
        auto_increment=auto_increment(table.create),
        position=own.position if own is not None else None,
        attributes=attributes,
    )


def in_number_order(groups: Iterable[Sequence[WrittenChunk]]) -> tuple[Chunk, ...]:
    chunks = [manifest_chunk(chunk) for group in groups for chunk in group]
    return tuple(sorted(chunks, key=lambda chunk: chunk.number))


def inexact(own: Mapping[tuple[str, str], OwnReading]) -> tuple[str, ...]:
    """What the operator is told of tables that somebody wrote to through every reading of them."""
    return tuple(
        f"table {schema}.{name}: it has no transactions and was written to while it was read; its rows may be of"
        " different moments"
        for (schema, name), reading in own.items()
        if not reading.exact
    )
