"""How several connections come to see one and the same state, and how its position is known.

With a binary log no lock is taken: every reader begins a consistent snapshot at the same instant, and each is told the
log position its snapshot stands at. If they agree, they see the same state, and that is its position; if a commit fell
between them they begin again. After `TRIES` or without a log, commits are held off for as long as the readers need to
begin: by BACKUP STAGE BLOCK_COMMIT, which lets statements run and makes only their commits wait. The lock is given up,
and taken again later, when it does not come within `LOCK_SECONDS`, which is also about the longest a writer waits for
us. While DDL is held off it is not to be had, for a server has one backup stage: then the readers try longer.

What the server says of a snapshot's position is not to be believed at once. SHOW STATUS composes it in one place in
memory for all sessions, behind a lock that does not keep two askers apart: a session may be told the position of
another that asks at the same moment, be it one of our readers or somebody's monitoring (on 10.11, of two sessions that
ask without a pause each got the other's 4 times in 1,000). Readers with different snapshots would then seem to agree.
So our readers ask one after the other, and only what each of them is told in every one of `ROUNDS` rounds counts: it
stands for as long as the snapshot does, while a stranger would have to hit that instant, with the same wrong answer,
every time and in every reader that differs.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tidewind.engines.mariadb.connection import Access, Control
from tidewind.engines.mariadb.messages import Began, Begin, Failed, Locate, Located
from tidewind.engines.mariadb.readers import Reader, failure
from tidewind.engines.mariadb.reading import Spoilt
from tidewind.engines.mariadb.server import LogPlace, gtid_at
from tidewind.ports.engine import DatabaseError

TRIES: Final = 200
TRIES_WITHOUT_LOCK: Final = 2000
ROUNDS: Final = 3
LEAD_SECONDS: Final = 0.002
LOCK_SECONDS: Final = 0.2
LOCK_TRIES: Final = 10
LOCK_PAUSE_SECONDS: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """All readers see one state. `place` is None without a log; `stall_ms` how long commits had to wait for us."""

    place: LogPlace | None
    time: datetime
    stall_ms: float
    tries: int


@dataclass(frozen=True, kw_only=True)
class View:
    """The state all readers see. `position` is a GTID list, None without a log; `stall_ms` how long commits had to wait
    for us."""

    position: str | None
    log_hint: str | None
    time: datetime
    stall_ms: float


async def agree(readers: Sequence[Reader], access: Access, *, may_lock: bool) -> Agreement:
    """Bring all readers to one state. Raises Spoilt if that needs a lock which may not be taken, and DatabaseError."""
    for attempt in range(1, (TRIES if may_lock else TRIES_WITHOUT_LOCK) + 1):
        began = await _begin(readers)
        places = await _places(readers)
        if places == {None}:
            break
        if len(places) == 1 and await _confirmed(readers, places):
            return Agreement(place=places.pop(), time=_time(began), stall_ms=0.0, tries=attempt)
    if not may_lock:
        raise Spoilt(None, "the readers could not agree on a position while DDL was held off")
    return await _agree_locked(readers, access)


async def located(control: Control, agreement: Agreement) -> View:
    """The position as a GTID list, for which the server reads the log's file up to there: this may take seconds.
    Raises DatabaseError."""
    place = agreement.place
    return View(
        position=await gtid_at(control, place) if place is not None else None,
        log_hint=f"{place.file}:{place.offset}" if place is not None else None,
        time=agreement.time,
        stall_ms=agreement.stall_ms,
    )


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


def _time(began: Sequence[Began]) -> datetime:
    return max(datetime.fromisoformat(each.clock) for each in began)


async def _places(readers: Sequence[Reader]) -> set[LogPlace | None]:
    """What the readers are told, one after the other. Ends with the first that differs."""
    found: set[LogPlace | None] = set()
    for reader in readers:
        answer = await reader.ask(Locate())
        if isinstance(answer, Failed):
            raise failure(answer)
        assert isinstance(answer, Located)
        found.add(answer.place)
        if len(found) > 1:
            break
    return found


async def _confirmed(readers: Sequence[Reader], places: set[LogPlace | None]) -> bool:
    """Whether all are told the same in the other rounds too."""
    for _ in range(ROUNDS - 1):
        if await _places(readers) != places:
            return False
    return True


async def _agree_locked(readers: Sequence[Reader], access: Access) -> Agreement:
    """Begin while no commit can pass, then ask where that was. Raises DatabaseError."""
    for _ in range(LOCK_TRIES):
        began, stall_ms = await _begin_locked(readers, access)
        places = await _places(readers)
        if len(places) == 1 and await _confirmed(readers, places):
            return Agreement(place=places.pop(), time=_time(began), stall_ms=stall_ms, tries=TRIES)
    raise DatabaseError(
        "snapshot-inconsistent",
        f"the readers' snapshots stood at different places {LOCK_TRIES} times, though commits were held off",
    )


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
