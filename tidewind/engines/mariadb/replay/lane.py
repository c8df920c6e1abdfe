"""A lane: a thread with a connection of its own that applies batches of row events in order.

A batch is one transaction on the server: START TRANSACTION, BINLOG statements, the progress rows of the components it
touched, COMMIT. So after a crash of whoever, a component is at a place that its progress row tells exactly.

Threads, not processes: a lane waits for the server nearly all the time, and what it does besides is encoding in C.
"""

import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tidewind.engines.mariadb.connection import Access, RawConnection, open_raw, raw_rows
from tidewind.engines.mariadb.failures import code_of
from tidewind.engines.mariadb.replay.merge import Group
from tidewind.engines.mariadb.replay.progress import close_up, note, open_up
from tidewind.engines.mariadb.replay.sending import send_binlog, send_group
from tidewind.ports.engine import DatabaseError

BATCHES_WAITING: Final = 3
_TRIES: Final = 5
_ROLLED_BACK: Final = frozenset({1205, 1213})
READ_SECONDS: Final = 86_400
"""A statement may take as long as it takes; the restore's own time limit ends it."""


@dataclass
class Batch:
    """What one commit applies. `places`: component to (place of its last event, row events). `first` and `last` are
    GTIDs, for messages. `rows` are the row changes that it must make, `counted` if the server counts each as one."""

    groups: list[Group] = field(default_factory=list)
    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    first: str = ""
    last: str = ""
    size: int = 0
    untransacted: bool = False
    rows: int = 0
    counted: bool = True


@dataclass(frozen=True, kw_only=True)
class Applying:
    """How a lane connects and what it says first."""

    access: Access
    restore_id: str
    settings: Mapping[str, str]


def connect(applying: Applying) -> RawConnection:
    """Raises DatabaseError."""
    return open_raw(applying.access, settings=applying.settings, lock_wait_s=READ_SECONDS, read_s=READ_SECONDS)


class Lane:
    """`give` waits while enough is waiting already; the first failure is raised by the next call."""

    def __init__(self, number: int, applying: Applying, done_with: Callable[[int], None]) -> None:
        """`done_with` is told the size of each batch that is in memory no longer, applied or not."""
        self._applying = applying
        self._done_with = done_with
        self._waiting: queue.Queue[Batch | bytes | None] = queue.Queue(BATCHES_WAITING)
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._serve, name=f"lane-{number}", daemon=True)
        self._thread.start()

    def describe(self, format_description: bytes) -> None:
        """Events that follow are of this format."""
        self._put(format_description)

    def give(self, batch: Batch) -> None:
        """Raises what an earlier batch failed with."""
        self._put(batch)

    def drain(self) -> None:
        """Return when everything given is committed. Raises what failed."""
        self._waiting.join()
        self._raise()

    def close(self) -> None:
        """End the thread; what it does at this moment is finished first."""
        self._waiting.put(None)
        self._thread.join()

    def _put(self, what: "Batch | bytes") -> None:
        self._raise()
        self._waiting.put(what)

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _serve(self) -> None:
        connection: RawConnection | None = None
        try:
            while (given := self._waiting.get()) is not None:
                try:
                    if self._failure is None:
                        connection = connection or connect(self._applying)
                        self._do(connection, given)
                except Exception as error:
                    self._failure = error
                finally:
                    size = given.size if isinstance(given, Batch) else 0
                    del given  # who waits for its end counts on its memory
                    self._done_with(size)
                    self._waiting.task_done()
        finally:
            if connection is not None:
                connection.close()

    def _do(self, connection: RawConnection, given: "Batch | bytes") -> None:
        if isinstance(given, bytes):
            send_binlog(connection, self._applying.access, [given])
            return
        for attempt in range(1, _TRIES + 1):
            try:
                apply(connection, self._applying, given)
            except DatabaseError as error:
                if code_of(error) not in _ROLLED_BACK or given.untransacted or attempt == _TRIES:
                    raise refused(error, given) from error
                raw_rows(connection, self._applying.access, "ROLLBACK")
            else:
                return


def apply(connection: RawConnection, applying: Applying, batch: Batch) -> None:
    """One transaction. Raises DatabaseError."""
    if batch.untransacted:
        at = max(at for at, _ in batch.places.values())
        raw_rows(connection, applying.access, open_up(applying.restore_id, at))
    raw_rows(connection, applying.access, "START TRANSACTION")
    before = _changes(connection, applying)
    for group in batch.groups:
        send_group(connection, applying.access, list(group.parts()))
    _require_all(batch, _changes(connection, applying) - before)
    raw_rows(connection, applying.access, note(applying.restore_id, batch.places))
    if batch.untransacted:
        raw_rows(connection, applying.access, close_up(applying.restore_id))
    raw_rows(connection, applying.access, "COMMIT")


def _changes(connection: RawConnection, applying: Applying) -> int:
    """Row changes that the session has made in tables since it began."""
    found = raw_rows(
        connection,
        applying.access,
        "SHOW SESSION STATUS WHERE Variable_name IN ('Handler_write', 'Handler_update', 'Handler_delete')",
    )
    return sum(int(value) for _, value in found)


def _require_all(batch: Batch, made: int) -> None:
    """BINLOG drops what it does not understand without an error. Partitions and histories count more than once, as does
    what had to be tried again."""
    if made < batch.rows or (batch.counted and made != batch.rows):
        raise DatabaseError(
            "restore-verification-failed",
            f"of the row changes of {batch.first} to {batch.last} the server made {made} instead of {batch.rows}",
        )


def refused(error: DatabaseError, batch: Batch) -> DatabaseError:
    """The error with the transactions it happened in."""
    if error.kind != "database-failed":
        return error
    span = batch.first if batch.first == batch.last else f"{batch.first} to {batch.last}"
    return DatabaseError("replay-refused", f"row changes of {span} cannot be applied: {error.detail}")
