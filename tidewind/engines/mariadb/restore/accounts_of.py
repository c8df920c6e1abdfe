"""The accounts of a restore's source: into a set of account tables, and as fingerprints for the plan."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from tidewind.domain.manifest import Chunk, Column, Manifest, SystemTable
from tidewind.engines.mariadb.loading import load_settings, load_statement
from tidewind.engines.mariadb.quoting import quote_name
from tidewind.engines.mariadb.restore.accounts import AccountSets
from tidewind.engines.mariadb.restore.chunk_text import rows_of
from tidewind.engines.mariadb.restore.link import Link
from tidewind.engines.mariadb.restore.names import ACCOUNT_TABLES, SWAPPED_TABLES
from tidewind.engines.mariadb.restore.statements import TablePath, path
from tidewind.engines.mariadb.restore.worker import LoadPool, LoadTask, LoadWhole, Outcome, Rows
from tidewind.ports.restore import SafeguardSource, SnapshotSource, Source

_UNTELLING = frozenset({"timestamp", "grantor", "password_last_changed"})
Row = tuple[bytes | None, ...]


async def fill(link: Link, sets: AccountSets, source: Source, pool: Callable[[SnapshotSource], LoadPool]) -> None:
    """Fill the target set. `pool` gives the workers that load from a backup."""
    if isinstance(source, SafeguardSource):
        origin = AccountSets(link, source.restore_id)
        await sets.copy("target", origin.tables("saved"))
    else:
        held = [one for one in source.manifest.system_tables if one.name in SWAPPED_TABLES]
        await load_rows(pool(source), source.manifest, [(one, sets.table("target", one.name)) for one in held])
        unheld = set(SWAPPED_TABLES) - {one.name for one in held}
        await sets.copy("target", {table: ("mysql", table) for table in sorted(unheld)})


async def load_rows(
    pool: LoadPool,
    manifest: Manifest,
    wanted: Sequence[tuple[SystemTable, TablePath]],
    *,
    spare: str = "FALSE",
) -> None:
    """Put the rows of the server's own tables into tables of the same shape, emptied first but for what `spare`, a
    condition, says."""
    chunks = {chunk.number: chunk for chunk in manifest.chunks}
    await pool.run([_whole(held, target, chunks, spare) for held, target in wanted], _nothing)


def _whole(held: SystemTable, target: TablePath, chunks: Mapping[int, Chunk], spare: str) -> LoadWhole:
    columns = tuple(Column(name=name, kind="text") for name in held.columns)
    parts = tuple(
        Rows(
            key=chunks[number].key,
            size=chunks[number].size,
            rows=chunks[number].rows,
            row_bytes=chunks[number].row_bytes,
            item="",
            schema=target[0],
            table=target[1],
            columns=columns,
            statement=load_statement(*target, columns),
            settings=load_settings(columns),
            has_members=True,
        )
        for number in held.chunks
    )
    empty = f"DELETE FROM {path(target)} WHERE NOT ({spare})"
    return LoadWhole(table=path(target), empty=empty, item="", parts=parts, unlogged=True)


async def held_rows(source: SnapshotSource) -> dict[str, tuple[Sequence[str], list[Row]]]:
    """Columns and rows of the account tables of a backup, by table. Raises StoreError."""
    chunks = {chunk.number: chunk.key for chunk in source.manifest.chunks}
    async with source.open_store() as store:
        return {
            held.name: (held.columns, [row for number in held.chunks for row in await rows_of(store, chunks[number])])
            for held in source.manifest.system_tables
            if held.name in SWAPPED_TABLES
        }


def prints(held: Mapping[str, tuple[Sequence[str], list[Row]]]) -> Mapping[str, str]:
    """Fingerprints of a backup's accounts by name."""
    return digest((table, *held[table]) for table in ACCOUNT_TABLES if table in held)


async def present_prints(link: Link) -> Mapping[str, str]:
    """The same of the accounts on the server."""
    found: list[tuple[str, Sequence[str], Iterable[Row]]] = []
    for table in ACCOUNT_TABLES:
        columns = [str(row[0]) for row in await link.rows(f"SHOW COLUMNS FROM mysql.{quote_name(table)}")]
        shown = ", ".join(f"HEX(CAST({quote_name(column)} AS CHAR))" for column in columns)
        rows = await link.rows(f"SELECT {shown} FROM mysql.{quote_name(table)}")
        values = [tuple(None if one is None else bytes.fromhex(one) for one in row) for row in rows]
        found.append((table, columns, values))
    return digest(found)


def digest(tables: Iterable[tuple[str, Sequence[str], Iterable[Row]]]) -> dict[str, str]:
    """'user'@'host' to a fingerprint of all rows about it; a role stands without a host. Columns that change without
    anybody changing the account do not count."""
    lines: dict[str, list[bytes]] = {}
    for table, columns, rows in tables:
        names = [column.lower() for column in columns]
        user, host = names.index("user"), names.index("host")
        for row in rows:
            name = f"'{_text(row[user])}'" + (f"@'{_text(row[host])}'" if row[host] else "")
            told = [
                b"%s=%s" % (column.encode(), b"NULL" if value is None else value)
                for column, value in sorted(zip(names, row, strict=True))
                if column not in _UNTELLING
            ]
            lines.setdefault(name, []).append(table.encode() + b"\0" + b"\0".join(told))
    return {name: hashlib.sha256(b"\n".join(sorted(own))).hexdigest()[:16] for name, own in lines.items()}


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


async def _nothing(_: LoadTask, __: Outcome) -> Sequence[LoadTask]:
    return ()
