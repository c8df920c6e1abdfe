"""The process that replays: reads the log from the store, and applies it over connections of its own.

It is begun by the first `Advance` and goes on by itself; every `Advance` is answered after a moment with what was done
so far. So its parent needs no second channel, and a replay that stands still is seen to.
"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any, Final

from tidewind.domain.gtids import GtidList
from tidewind.domain.lived import Leg
from tidewind.domain.log_stream import Transaction
from tidewind.engines.mariadb.connection import Access
from tidewind.engines.mariadb.log.cursor import EventDamaged
from tidewind.engines.mariadb.replay import progress
from tidewind.engines.mariadb.replay.accounts_kept_shut import KeptShut
from tidewind.engines.mariadb.replay.counts import Counts
from tidewind.engines.mariadb.replay.director import Director, Hands
from tidewind.engines.mariadb.replay.lane import Applying, connect
from tidewind.engines.mariadb.replay.reading import Item, LegReader, Piece, prefetched
from tidewind.engines.mariadb.replay.routing import Routes
from tidewind.engines.mariadb.replay.sender import Sender
from tidewind.engines.mariadb.replay.statements import Statements
from tidewind.engines.mariadb.replay.stream import SessionStream
from tidewind.engines.mariadb.replay.tables import Catalogue
from tidewind.engines.mariadb.replay.temporary_keys import TemporaryKeys
from tidewind.engines.mariadb.restore.pool import Pool, pack
from tidewind.ports.engine import DatabaseError, StoreFactory
from tidewind.ports.store import Store
from tidewind.runtime.log_archive import LogArchive

ANSWER_S: Final = 0.5
PIECES_WAITING: Final = 8
PIECE_DEADLINE_S: Final = 900.0


@dataclass(frozen=True, kw_only=True)
class Start:
    """`own_positions`: (schema, table) to the position as of which the base holds it, where that is not the base's.
    `spared`: user names whose rows in the account tables stay as they are."""

    access: Access
    open_store: StoreFactory
    restore_id: str
    cluster: str
    legs: tuple[Leg, ...]
    segments: tuple[tuple[int, int], ...]
    own_positions: Mapping[tuple[str, str], str]
    spared: tuple[str, ...]
    settings: Mapping[str, str]
    lanes: int


@dataclass(frozen=True)
class Advance:
    """Tell how far it is."""


@dataclass(frozen=True)
class Advanced:
    """What was done so far, by predecessors too; `ended`: all of it."""

    transactions: int
    rows: int
    ddl: int
    bytes: int
    accounts: int
    ended: bool


ReplayPool = Pool[Advance, Advanced]


def main(pipe: Connection) -> None:
    """Runs in the worker process until the pipe closes. Interrupts of the terminal are its parent's affair."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(_serve(pipe))


async def _serve(pipe: Connection) -> None:
    try:
        start: Start = await asyncio.to_thread(pipe.recv)
        await asyncio.to_thread(pipe.recv)
        async with start.open_store() as store:
            replay = _Replay(start, store)
            while True:
                answer = await replay.advance()
                pipe.send(("done", answer))
                await asyncio.to_thread(pipe.recv)
    except (EOFError, OSError):
        return
    except Exception as error:
        with contextlib.suppress(OSError):
            pipe.send(("failed", pack(in_words(error))))


def in_words(error: Exception) -> Exception:
    """Damage that only a look at the events shows."""
    if isinstance(error, EventDamaged):
        return DatabaseError(
            "replay-refused", f"the log is damaged: {error}", "Choose a target before it; examine the store"
        )
    return error


class _Replay:
    """The event loop's side: fetches; the director runs on a thread."""

    def __init__(self, start: Start, store: Store) -> None:
        self._start = start
        self._reader = LegReader(LogArchive(store), start.cluster, start.legs, start.segments)
        self._counts = Counts()
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Item | BaseException | None] = asyncio.Queue(PIECES_WAITING)
        self._feeding: asyncio.Task[None] | None = None
        self._directing: Future[None] | None = None

    async def advance(self) -> Advanced:
        """Raises what the replay failed with."""
        if self._directing is None:
            self._directing = Future()
            threading.Thread(target=self._direct, args=(self._directing,), name="director", daemon=True).start()
        waited = asyncio.wrap_future(self._directing)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waited), ANSWER_S)
        counts = self._counts
        return Advanced(
            counts.transactions, counts.rows, counts.ddl, counts.bytes, counts.accounts, self._directing.done()
        )

    def _direct(self, ended: "Future[None]") -> None:
        try:
            self._run()
        except BaseException as error:
            ended.set_exception(error)
        else:
            ended.set_result(None)

    def _run(self) -> None:
        start = self._start
        applying = Applying(access=start.access, restore_id=start.restore_id, settings=start.settings)
        with contextlib.ExitStack() as stack:
            unlogged = replace(applying, settings={**start.settings, "sql_log_bin": "0"})
            asking = stack.enter_context(contextlib.closing(connect(unlogged)))
            running = stack.enter_context(contextlib.closing(connect(applying)))
            catalogue = Catalogue(asking, start.access)
            catalogue.rows(progress.MAKE)
            done = progress.read(catalogue.rows(progress.select(start.restore_id)))
            self._counts.transactions = done.complete
            self._counts.rows, self._counts.ddl = done.rows, int(done.totals.get("ddl", 0))
            self._counts.accounts = int(done.totals.get("accounts", 0))
            sender = Sender(applying, start.lanes, done)
            stack.callback(sender.close)
            own = {table: GtidList.parse(position) for table, position in start.own_positions.items()}
            routes = Routes(catalogue, sender.lanes, sender.untransacted, own)
            shut = KeptShut(catalogue.rows, start.restore_id, start.spared)
            statements = Statements(running, applying, catalogue, shut.around)
            keys = TemporaryKeys(catalogue.rows)
            keys.find()
            self._feed(done.complete)
            director = Director(
                self._pull,
                self._reread,
                Hands(sender, routes, statements, keys),
                restore_id=start.restore_id,
                done=done,
                counts=self._counts,
            )
            director.run()

    def _feed(self, skip: int) -> None:
        async def begin() -> None:
            self._feeding = asyncio.create_task(prefetched(self._reader.items(skip), self._queue))

        asyncio.run_coroutine_threadsafe(begin(), self._loop).result()

    def _pull(self) -> Item | None:
        item = asyncio.run_coroutine_threadsafe(self._queue.get(), self._loop).result(PIECE_DEADLINE_S)
        if isinstance(item, BaseException):
            raise item
        return item

    def _reread(self, leg: int, segment: int, transaction: Transaction) -> SessionStream:
        pieces = self._reader.bytes_of(leg, segment, transaction)

        def pull() -> Piece:
            found: Any = asyncio.run_coroutine_threadsafe(anext(pieces, None), self._loop).result(PIECE_DEADLINE_S)
            if found is None:
                raise EventDamaged("the log ends within a transaction")
            assert isinstance(found, Piece)
            return found

        return SessionStream(pull)
