"""How several connections come to see one and the same state, and how its position is known.

With a binary log no lock is taken: every reader begins a consistent snapshot at the same instant, and each is told the
log position its snapshot stands at. If they agree, they see the same state, and that is its position; if a commit fell
between them they begin again. After `TRIES` or without a log, commits are held off for as long as the readers need to
begin: by BACKUP STAGE BLOCK_COMMIT, which lets statements run and makes only their commits wait.

Both are bounded: the lock is given up, and the attempt with it, when it is not there within `LOCK_SECONDS`, which
is also about the longest a writer waits for us.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tidewind.engines.mariadb.connection import Access, Control
from tidewind.engines.mariadb.messages import Began, Begin, Failed
from tidewind.engines.mariadb.quoting import text_literal
from tidewind.engines.mariadb.readers import Reader, failure
from tidewind.ports.engine import DatabaseError

TRIES: Final = 200
LEAD_SECONDS: Final = 0.002
LOCK_SECONDS: Final = 0.2
LOCK_TRIES: Final = 10
LOCK_PAUSE_SECONDS: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class View:
    """The state all readers see. `position` is a GTID list, None without a log; `stall_ms` how long commits had to wait
    for us."""

    position: str | None
    log_hint: str | None
    time: datetime
    stall_ms: float
    tries: int


async def agree(readers: Sequence[Reader], control: Control) -> View:
    """Bring all readers to one state. Raises DatabaseError."""
    for attempt in range(1, TRIES + 1):
        began = await _begin(readers)
        if began[0].log_file is None:
            break
        if len({(each.log_file, each.log_position) for each in began}) == 1:
            return await _view(control, began, stall_ms=0.0, tries=attempt)
    began, stall_ms = await _begin_locked(readers, control.access)
    return await _view(control, began, stall_ms=stall_ms, tries=TRIES)


async def _begin(readers: Sequence[Reader]) -> list[Began]:
    at = time.monotonic() + LEAD_SECONDS
    answers = await asyncio.gather(*(reader.ask(Begin(at=at)) for reader in readers))
    began = []
    for answer in answers:
        if isinstance(answer, Failed):
            raise failure(answer)
        assert isinstance(answer, Began)
        began.append(answer)
    return began


async def _begin_locked(readers: Sequence[Reader], access: Access) -> tuple[list[Began], float]:
    """Begin while no commit can pass. What takes too long ends the locking connection, and the lock with it."""
    for _ in range(LOCK_TRIES):
        began: asyncio.Future[list[Began]] | None = None
        async with await Control.connect(access, lock_wait_s=1) as locking:
            started = time.monotonic()
            try:
                async with asyncio.timeout(LOCK_SECONDS):
                    await locking.execute("BACKUP STAGE START")
                    await locking.execute("BACKUP STAGE BLOCK_COMMIT")
                    began = asyncio.ensure_future(_begin(readers))
                    answers = await asyncio.shield(began)
                    await locking.execute("BACKUP STAGE END")
                return answers, (time.monotonic() - started) * 1000
            except TimeoutError:
                locking.abandon()
        if began is not None:
            await began  # the readers answer to this before they can be asked again
        await asyncio.sleep(LOCK_PAUSE_SECONDS)
    raise DatabaseError(
        "snapshot-inconsistent",
        f"commits could not be held off within {LOCK_SECONDS * 1000:.0f} ms, {LOCK_TRIES} times:"
        " a long commit or another backup stands in the way",
    )


async def _view(control: Control, began: Sequence[Began], *, stall_ms: float, tries: int) -> View:
    first = began[0]
    position = hint = None
    if first.log_file is not None:
        hint = f"{first.log_file}:{first.log_position}"
        position = await control.value(f"SELECT BINLOG_GTID_POS({text_literal(first.log_file)}, {first.log_position})")
        if position is None:
            raise DatabaseError("snapshot-inconsistent", f"the log {hint} was purged while the snapshot began")
    return View(
        position=position,
        log_hint=hint,
        time=max(datetime.fromisoformat(each.clock) for each in began),
        stall_ms=stall_ms,
        tries=tries,
    )


class DdlHold(AbstractAsyncContextManager["DdlHold"]):
    """Holds off DDL, and nothing else, for at most `seconds`: then the hold ends by itself and `lost` turns true."""

    def __init__(self, access: Access, seconds: float) -> None:
        self._access = access
        self._seconds = seconds
        self._control: Control | None = None
        self._timer: asyncio.Task[None] | None = None
        self.lost = False

    async def __aenter__(self) -> "DdlHold":
        self._control = await Control.connect(self._access, lock_wait_s=5)
        try:
            for stage in ("START", "FLUSH", "BLOCK_DDL"):
                await self._control.execute(f"BACKUP STAGE {stage}")
        except BaseException:
            await self._control.close()
            raise
        self._timer = asyncio.create_task(self._limit())
        return self

    async def _limit(self) -> None:
        await asyncio.sleep(self._seconds)
        self.lost = True
        await self._end()

    async def __aexit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._end()

    async def _end(self) -> None:
        if self._control is not None:
            await self._control.close()
