"""A worker of the load: one connection, one store, one task at a time.

Tasks: rows of some objects into a transactional table, together with the progress rows that say so; all rows of a table
without transactions, begun anew; the secondary keys of a filled table; a filled table read back. A chunk whose progress
row exists is left alone, so a task may be given again.
"""

import asyncio
import contextlib
import signal
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Final

from tidewind.domain.manifest import Column
from tidewind.engines.mariadb.connection import Access, RawConnection, open_raw, raw_rows
from tidewind.engines.mariadb.illformed import WARNINGS_MAX, IllFormedWriter, ill_formed_rows, without_rows
from tidewind.engines.mariadb.loading import unexpected_warning
from tidewind.engines.mariadb.quoting import text_literal
from tidewind.engines.mariadb.restore import checker
from tidewind.engines.mariadb.restore.binding import BindingConnection, NotTaken, insert_rows
from tidewind.engines.mariadb.restore.checker import Check, Counted
from tidewind.engines.mariadb.restore.fence import PROGRESS
from tidewind.engines.mariadb.restore.link import SESSION_SETTINGS, logging_settings
from tidewind.engines.mariadb.restore.pool import Pool, pack
from tidewind.engines.mariadb.restore.statements import path
from tidewind.engines.mariadb.restore.text import text_of
from tidewind.engines.mariadb.restore.transfer import Sent, load_data
from tidewind.ports.engine import DatabaseError, StoreFactory
from tidewind.ports.store import Store, StoreError

SAFER: Final = {"unique_checks": "1"}
"""With unique_checks off, MariaDB fills an empty table by a path that lost rows before 10.11.11 (MDEV-34703)."""
INDEX_WAIT_S: Final = 86_400


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a worker is given first. `sql_mode` is the one under which rows are written."""

    access: Access
    open_store: StoreFactory
    restore_id: str
    logged: bool
    sql_mode: str


@dataclass(frozen=True, kw_only=True)
class Rows:
    """One object and the statement that loads it under `settings`; `insert` is another that may be tried before, inside
    a transaction, by array binding. Size and counts are the manifest's. `has_members`: a column is ENUM or SET, whose
    error value the server warns of. `computed`: the table has other columns, which the server computes."""

    key: str
    size: int
    rows: int
    row_bytes: int
    item: str
    schema: str
    table: str
    columns: tuple[Column, ...]
    statement: str
    settings: Mapping[str, str]
    has_members: bool
    computed: bool = False
    insert: str | None = None


@dataclass(frozen=True, kw_only=True)
class LoadChunks:
    """Into a table with transactions. Several small chunks follow each other without a pause, so that the server is not
    idle until the next one was begun."""

    table: str
    parts: tuple[Rows, ...]


@dataclass(frozen=True, kw_only=True)
class LoadWhole:
    """A table without transactions, from the beginning; with an `item`, only if it was not filled before. `unlogged`
    keeps it out of the binary log whatever the cluster's setting, on a connection that ends with the task: while the
    gate is being closed, everybody's connections are ended."""

    table: str
    empty: str
    item: str
    parts: tuple[Rows, ...]
    unlogged: bool = False


@dataclass(frozen=True, kw_only=True)
class AddKeys:
    table: str
    statement: str


LoadTask = LoadChunks | LoadWhole | AddKeys | Check
Outcome = int | Counted
"""Of a check what it counted; of any other task the bytes of rows that are there because of it."""
LoadPool = Pool[LoadTask, Outcome]


def chunk_item(number: int) -> str:
    """The name of a chunk in the progress."""
    return f"chunk {number}"


def table_item(chunks: Sequence[int]) -> str:
    """The name of a whole table in the progress; it has at least one chunk."""
    return f"table {min(chunks)}"


def main(pipe: Connection) -> None:
    """Runs in the worker process until the pipe closes. Interrupts of the terminal are its parent's affair."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(_serve(pipe))


async def _serve(pipe: Connection) -> None:
    try:
        start: Start = await asyncio.to_thread(pipe.recv)
    except EOFError:
        return
    try:
        async with start.open_store() as store:
            await _work(pipe, _Worker(start, store))
    except StoreError as error:
        with contextlib.suppress(EOFError, OSError):
            await asyncio.to_thread(pipe.recv)
            pipe.send(("failed", pack(error)))


async def _work(pipe: Connection, worker: "_Worker") -> None:
    while True:
        try:
            task = await asyncio.to_thread(pipe.recv)
        except (EOFError, OSError):
            break
        try:
            outcome = await worker.do(task)
        except Exception as error:
            await asyncio.to_thread(worker.close)  # whatever was begun is rolled back
            pipe.send(("failed", pack(error)))
        else:
            pipe.send(("done", outcome))
    await asyncio.to_thread(worker.close)


class _Worker:
    def __init__(self, start: Start, store: Store) -> None:
        self._start = start
        self._store = store
        self._logged = start.logged
        self._raw: BindingConnection | None = None
        self._reading: RawConnection | None = None
        self._settings: Mapping[str, str] = {}
        self._writer: IllFormedWriter | None = None
        self._packet_bytes = 0
        self._not_bound: set[tuple[str, str]] = set()

    async def do(self, task: LoadTask) -> Outcome:
        if isinstance(task, LoadChunks):
            return await self._chunks(task.parts)
        if isinstance(task, LoadWhole):
            return await (self._unlogged(task) if task.unlogged else self._whole(task))
        if isinstance(task, Check):
            return await asyncio.to_thread(self._check, task)
        await asyncio.to_thread(self._query, task.statement)
        return 0

    def close(self) -> None:
        if self._raw is not None:
            self._raw.close()
            self._raw = None
            self._writer = None
            self._settings = {}
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def _check(self, task: Check) -> Counted:
        if self._reading is None:
            self._reading = checker.open_for_reading(self._start.access)
        return checker.count(self._reading, self._start.access, task)

    async def _unlogged(self, task: LoadWhole) -> int:
        await asyncio.to_thread(self.close)
        self._logged = False
        try:
            return await self._whole(task)
        finally:
            self._logged = self._start.logged
            await asyncio.to_thread(self.close)

    async def _chunks(self, parts: tuple[Rows, ...]) -> int:
        missing = await asyncio.to_thread(lambda: [rows for rows in parts if not self._is_done(rows.item)])
        if missing and not await self._inserted(missing):
            for rows in missing:
                await self._loaded(rows)
        return sum(rows.row_bytes for rows in parts)

    async def _loaded(self, rows: Rows) -> None:
        """One chunk by LOAD DATA, in a transaction of its own."""
        await asyncio.to_thread(self._begin, rows)
        aside = await self._send(rows, frozenset())
        if aside:
            await asyncio.to_thread(self._query, "ROLLBACK")
            await self._again(rows, aside)
        await asyncio.to_thread(self._commit, [rows])

    def _begin(self, rows: Rows) -> None:
        """With autocommit off rather than in one explicit transaction: what is under way when the server itself rolls
        back, after a deadlock, must not be committed by itself."""
        self._settle(rows.settings)
        self._query("SET SESSION autocommit = 0")

    def _commit(self, parts: Sequence[Rows]) -> None:
        for rows in parts:
            self._note(rows.item, rows.rows)
        self._query("COMMIT")
        self._query("SET SESSION autocommit = 1")
        self._forget_writer()

    async def _inserted(self, parts: Sequence[Rows]) -> bool:
        """Whether these chunks of a table went in by array binding, in one transaction. If not, all was rolled back,
        and LOAD DATA is to say what is wrong with them, if anything is; the table's other objects are not tried."""
        table = (parts[0].schema, parts[0].table)
        if parts[0].insert is None or table in self._not_bound or not self._packet_bytes:
            return False
        await asyncio.to_thread(self._begin, parts[0])
        try:
            await asyncio.to_thread(self._bind, parts, parts[0].insert, asyncio.get_running_loop())
        except NotTaken:
            self._not_bound.add(table)
            await asyncio.to_thread(self._query, "ROLLBACK")
            return False
        await asyncio.to_thread(self._commit, parts)
        return True

    def _bind(self, parts: Sequence[Rows], insert: str, loop: asyncio.AbstractEventLoop) -> None:
        width, limit = len(parts[0].columns), self._packet_bytes
        with contextlib.closing(self._texts(parts, loop)) as texts:
            taken = insert_rows(self._connection(), self._start.access, insert, width, texts, packet_bytes=limit)
        wanted = sum(rows.rows for rows in parts)
        if taken != wanted:
            raise NotTaken(f"the server took {taken} of {wanted} rows")

    async def _again(self, rows: Rows, ill_formed: frozenset[int]) -> None:
        """In a new transaction, the rows LOAD DATA takes as they are, then one by one those it would change."""
        await asyncio.to_thread(self._prepare_writer, rows)
        await asyncio.to_thread(self._query, "START TRANSACTION")
        await self._send(rows, ill_formed)

    async def _whole(self, task: LoadWhole) -> int:
        """Rows that LOAD DATA would change are known only after it did, so a table may be begun anew for each part."""
        if not task.item or not await asyncio.to_thread(self._is_done, task.item):
            known: dict[str, frozenset[int]] = {}
            while not await self._fill(task, known):
                pass
            if task.item:
                await asyncio.to_thread(self._note, task.item, sum(part.rows for part in task.parts))
        return sum(part.row_bytes for part in task.parts)

    async def _fill(self, task: LoadWhole, known: dict[str, frozenset[int]]) -> bool:
        await asyncio.to_thread(self._query, task.empty)
        for part in task.parts:
            if part.key in known:
                await asyncio.to_thread(self._prepare_writer, part)
            aside = await self._send(part, known.get(part.key, frozenset()))
            await asyncio.to_thread(self._forget_writer)
            if aside:
                known[part.key] = aside
                return False
        return True

    async def _send(self, rows: Rows, without: frozenset[int]) -> frozenset[int]:
        """Load one object; `without` are rows that the writer writes instead. Returns rows that the server changed
        because their text is not well formed: then what was loaded must be taken back.

        Raises StoreError, DatabaseError if the server did anything else to the rows than to take them."""
        await asyncio.to_thread(self._settle, rows.settings)
        aside: list[bytes] = []
        sent = await asyncio.to_thread(self._load_data, rows, without, aside, asyncio.get_running_loop())
        ill_formed, other = await asyncio.to_thread(self._judge_warnings, rows) if sent.warnings else (frozenset(), "")
        if ill_formed and not without:
            return ill_formed
        for line in aside:
            await asyncio.to_thread(self._written, line)
        if (sent.rows + len(aside), sent.skipped) != (rows.rows, 0) or other or ill_formed:
            raise DatabaseError(
                "restore-verification-failed",
                f"{rows.key}: the server took {sent.rows + len(aside)} of {rows.rows} rows, "
                f"skipped {sent.skipped}{other}",
            )
        return frozenset()

    def _load_data(
        self, rows: Rows, without: frozenset[int], aside: list[bytes], loop: asyncio.AbstractEventLoop
    ) -> Sent:
        with contextlib.closing(self._texts([rows], loop)) as text:
            pieces = without_rows(text, without, aside) if without else text
            return load_data(self._connection(), self._start.access, rows.statement, pieces)

    def _texts(self, parts: Sequence[Rows], loop: asyncio.AbstractEventLoop) -> Generator[bytes, None, None]:
        for rows in parts:
            yield from text_of(self._store, rows.key, size=rows.size, row_bytes=rows.row_bytes, loop=loop)

    def _judge_warnings(self, rows: Rows) -> tuple[frozenset[int], str]:
        """Rows whose text is not well formed, and the first warning that should not be, in words."""
        warnings = raw_rows(self._connection(), self._start.access, "SHOW WARNINGS")
        other = unexpected_warning(warnings, rows.columns, has_members=rows.has_members, computed=rows.computed)
        return frozenset(ill_formed_rows(warnings)), f"; {other}" if other else ""

    def _prepare_writer(self, rows: Rows) -> None:
        self._writer = IllFormedWriter(self._connection(), self._start.access, rows.schema, rows.table, rows.columns)
        self._writer.prepare()

    def _written(self, line: bytes) -> None:
        assert self._writer is not None
        self._writer.write(line)

    def _forget_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _settle(self, settings: Mapping[str, str]) -> None:
        if settings != self._settings:
            for name, value in {**settings, **SAFER}.items():
                self._query(f"SET SESSION {name} = {value}")
            self._settings = settings

    def _connection(self) -> BindingConnection:
        if self._raw is None or not self._raw.open:
            settings = {
                **SESSION_SETTINGS,
                **logging_settings(logged=self._logged),
                "innodb_lock_wait_timeout": str(INDEX_WAIT_S),
                "max_error_count": str(WARNINGS_MAX),
            }
            self._raw = open_raw(
                self._start.access,
                sql_mode=self._start.sql_mode,
                lock_wait_s=INDEX_WAIT_S,
                settings=settings,
                local_infile=True,
                read_s=INDEX_WAIT_S,
                kind=BindingConnection,
            )
            (packet_bytes, log_format), *_ = self._query("SELECT @@max_allowed_packet, @@binlog_format")
            by_row = not self._logged or log_format == "ROW"  # otherwise the log would repeat the statement
            self._packet_bytes = int(str(packet_bytes)) if by_row else 0
        return self._raw

    def _query(self, sql: str) -> Sequence[tuple[object, ...]]:
        return raw_rows(self._connection(), self._start.access, sql)

    def _is_done(self, item: str) -> bool:
        return bool(self._query(f"SELECT 1 FROM {path(PROGRESS)} WHERE {self._mine(item)}"))

    def _note(self, item: str, rows: int) -> None:
        self._query(
            f"INSERT INTO {path(PROGRESS)} (restore_id, item, rows_done) "
            f"VALUES ({text_literal(self._start.restore_id)}, {text_literal(item)}, {rows})"
        )

    def _mine(self, item: str) -> str:
        return f"restore_id = {text_literal(self._start.restore_id)} AND item = {text_literal(item)}"
