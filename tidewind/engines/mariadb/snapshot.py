"""The snapshot engine of MariaDB 10.5 and newer.

A snapshot is one consistent state of all schemas, read by several processes without holding writers up:

1. connections of all readers are opened, definitions are read;
2. the readers' snapshots are brought to agree on one log position (`consistency`);
3. definitions are looked at again; what differs voids the attempt;
4. tables are read in ranges, each under a savepoint, so that its metadata lock lasts no longer than its read, and a
   read that somebody waits for gives way (`watchdog`);
5. what no snapshot covers is read on its own, with its own position (`untransacted`).

DDL voids an attempt only for tables not yet read. After `FREE_ATTEMPTS` void attempts DDL, and only DDL, is held off
for a bounded time (`ddl_hold`).
"""

import contextlib
from collections.abc import Sequence
from typing import Final

from tidewind.engines.mariadb import content
from tidewind.engines.mariadb.attempt import Attempt, AttemptResult
from tidewind.engines.mariadb.catalogue import excluded
from tidewind.engines.mariadb.connection import Access, Control
from tidewind.engines.mariadb.ddl_hold import DdlHold
from tidewind.engines.mariadb.definition_text import is_text, with_hexadecimal_defaults
from tidewind.engines.mariadb.messages import WrittenChunk
from tidewind.engines.mariadb.preflight import look_at
from tidewind.engines.mariadb.quoting import quote_table
from tidewind.engines.mariadb.readers import ReaderPool
from tidewind.engines.mariadb.reading import Path, Spoilt
from tidewind.engines.mariadb.restore.names import is_ours
from tidewind.engines.mariadb.server import server_facts
from tidewind.engines.mariadb.variables import read_variables
from tidewind.ports.engine import (
    Address,
    DatabaseError,
    Login,
    Preflight,
    Report,
    ServerFacts,
    SnapshotContent,
    SnapshotRequest,
)

FREE_ATTEMPTS: Final = 3
HELD_ATTEMPTS: Final = 2
HOLD_SECONDS: Final = 900.0
_SETTINGS: Final = (
    "character_set_server",
    "collation_server",
    "lower_case_table_names",
    "innodb_page_size",
    "explicit_defaults_for_timestamp",
    "default_storage_engine",
    "sql_mode",
    "time_zone",
    "system_time_zone",
    "version_comment",
)


class MariaDBSnapshotEngine:
    """Implements `tidewind.ports.engine.SnapshotEngine`."""

    async def preflight(self, address: Address, login: Login, restore_login: Login | None) -> Preflight:
        return await look_at(address, login, restore_login)

    async def take(self, address: Address, login: Login, request: SnapshotRequest, report: Report) -> SnapshotContent:
        async with contextlib.AsyncExitStack() as stack:
            control = await stack.enter_async_context(await Control.connect(Access(address=address, login=login)))
            killer = await stack.enter_async_context(await Control.connect(control.access))
            await _refuse_unfinished_restore(control)
            facts = await server_facts(control)
            report("connecting", 0, float(request.workers), "readers")
            progress = _Progress(report)
            pool = await stack.enter_async_context(
                ReaderPool(
                    control.access,
                    open_store=request.open_store,
                    prefix=request.prefix,
                    chunk_bytes=request.chunk_bytes,
                    readers=max(request.workers, 1),
                    unlogged=await may_go_unlogged(control),
                    advance=progress.advance,
                )
            )
            waste: list[WrittenChunk] = []
            result = await _attempts(pool, control, killer, request, waste=waste, progress=progress)
            variables, defaults = await read_variables(control)
            settings = await _settings(control)
        await _remove(request, waste)
        return _content(facts, result, variables=variables, defaults=defaults, settings=settings)


async def _refuse_unfinished_restore(control: Control) -> None:
    """A server that a failed restore left closed holds neither what its users had nor what they wanted; a backup of
    it would pass for good while the real ones expire. Raises DatabaseError."""
    found = await control.rows(
        "SELECT 1 FROM information_schema.tables WHERE table_schema = 'tidewind' AND table_name = 'fence'"
    )
    unfinished = await control.rows("SELECT restore_id FROM tidewind.fence WHERE ended = 0") if found else []
    if unfinished:
        raise DatabaseError(
            "operation-running",
            f"restore {unfinished[0][0]} has not ended on this server: its data is in between, and is not backed up",
            "Let the restore end; if it failed, open the server with the SQL in its restore.failed event",
        )


class _Progress:
    """Bytes written so far of those the server's estimates promise."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._done = 0
        self._total: float | None = None

    def begin(self, total: float) -> None:
        self._done, self._total = 0, total
        self.advance(0, 0)

    def advance(self, _rows: int, row_bytes: int) -> None:
        self._done += row_bytes
        self._report("reading", float(self._done), self._total, "bytes")


async def may_go_unlogged(control: Control) -> bool:
    """Whether the account may turn the log off for its sessions (BINLOG ADMIN)."""
    try:
        await control.execute("SET SESSION sql_log_bin = 0")
    except DatabaseError as error:
        if error.kind == "database-rights-missing":
            return False
        raise
    return True


async def _attempts(
    pool: ReaderPool,
    control: Control,
    killer: Control,
    request: SnapshotRequest,
    *,
    waste: list[WrittenChunk],
    progress: _Progress,
) -> AttemptResult:
    altered: set[Path] = set()
    why = ""
    found = await control.rows("SELECT SCHEMA_NAME FROM information_schema.SCHEMATA")
    set_aside = tuple(str(name) for (name,) in found if is_ours(str(name)))
    for number in range(FREE_ATTEMPTS + HELD_ATTEMPTS):
        attempt = Attempt(
            pool,
            control,
            killer,
            excluded=excluded((*request.excluded_schemas, *set_aside)),
            chunk_bytes=request.chunk_bytes,
            first=altered,
            waste=waste,
            expect=progress.begin,
        )
        try:
            if number < FREE_ATTEMPTS:
                return await attempt.run()
            async with DdlHold(control.access, HOLD_SECONDS) as hold:
                return await attempt.run(hold)
        except Spoilt as spoilt:
            why = spoilt.detail
            if spoilt.path is not None:
                altered.add(spoilt.path)
    raise DatabaseError(
        "snapshot-inconsistent",
        f"definitions kept changing through {FREE_ATTEMPTS + HELD_ATTEMPTS} attempts; the last: {why}",
        "Take the backup at a time without DDL",
    )


async def _settings(control: Control) -> dict[str, str]:
    columns = ", ".join(f"@@global.{name}" for name in _SETTINGS)
    rows = await control.rows(f"SELECT {columns}")
    return {name: str(value) for name, value in zip(_SETTINGS, rows[0], strict=True)}


async def _remove(request: SnapshotRequest, waste: Sequence[WrittenChunk]) -> None:
    """Objects of void reads. They are named nowhere; what remains if this fails goes with the backup."""
    if waste:
        async with request.open_store() as store:
            await store.delete([chunk.key for chunk in waste])


def _content(
    facts: ServerFacts,
    result: AttemptResult,
    *,
    variables: dict[str, str | None],
    defaults: dict[str, str | None],
    settings: dict[str, str],
) -> SnapshotContent:
    catalogue = result.look.catalogue
    tables = []
    groups = [
        chunks for reading in {id(r): r for r in result.own.values()}.values() for chunks in reading.chunks.values()
    ]
    unsupported = [*catalogue.unsupported, *content.inexact(result.own)]
    unsupported.extend(f"table mysql.{name}: no rule for it in this release" for name in result.unknown_system_tables)
    for table in catalogue.tables:
        if not is_text(with_hexadecimal_defaults(table.create)):
            unsupported.append(f"table {quote_table(*table.path)}: its definition holds bytes that are no text")
            continue
        own = result.own.get(table.path)
        chunks = list(own.chunks[table.path]) if own is not None else result.harvest.of(table.path)
        tables.append(content.manifest_table(table, chunks, own))
        if own is None:
            groups.append(tuple(chunks))
    return SnapshotContent(
        facts=facts,
        snapshot_time=result.view.time,
        position=result.view.position,
        log_hint=result.view.log_hint,
        schemas=catalogue.schemas,
        tables=tuple(tables),
        objects=result.objects,
        system_tables=result.system_tables,
        variables=variables,
        variable_defaults=defaults,
        prepared_xa=result.prepared_xa,
        open_xa_position=result.open_xa_position,
        settled_position=result.settled_position,
        settled_time=result.settled_time,
        chunks=content.in_number_order(groups),
        settings=settings,
        writer_stall_ms=result.stall_ms,
        unsupported=tuple(unsupported),
    )
