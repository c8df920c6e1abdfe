"""Holds off DDL, and nothing else, while definitions are looked at and rows are read.

An aid to come to an end, not what makes a snapshot right: all that is checked without a hold is checked under it, so
it may be given up at any moment, and is, where others would suffer.

They do by an ALTER TABLE (or what the server carries out as one) that had begun before. While it copies, the server
lets BACKUP STAGE BLOCK_DDL pass; then it waits for us with its table locked exclusively, and everybody who wants that
table, our own look at it too, waits until we are done [tried on 10.11: a snapshot of a second took 271 s, its DDL as
long]. So a hold that catches one at its start is taken again, and later ones end it.
"""

import asyncio
import re
from contextlib import AbstractAsyncContextManager
from typing import Final

from tidewind.engines.mariadb.connection import Access, Control
from tidewind.engines.mariadb.failures import LOCK_TIMEOUT, code_of
from tidewind.engines.mariadb.reading import Spoilt
from tidewind.ports.engine import DatabaseError

LOCK_WAIT_SECONDS: Final = 5
TRIES: Final = 20
PAUSE_SECONDS: Final = 0.2
LOOK_SECONDS: Final = 0.05
CATCH_SECONDS: Final = 1.0
"""How long a fresh hold is looked at: what copies for longer is left to do so."""

_BACKUP_LOCK: Final = "Waiting for backup lock"
_TABLE_LOCK: Final = "Waiting for table metadata lock"
_OWN_NUMBER: Final = "SELECT QUERY_ID FROM information_schema.PROCESSLIST WHERE ID = CONNECTION_ID()"
_STATEMENTS: Final = (
    "SELECT QUERY_ID, STATE, INFO FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND INFO IS NOT NULL"
)
_ALTERS: Final = re.compile(r"\b(ALTER|INDEX|OPTIMIZE|REPAIR|ANALYZE)\b", re.IGNORECASE)


class DdlHold(AbstractAsyncContextManager["DdlHold"]):
    """DDL waits for at most `seconds`, and for less where others would wait for a table: `held` turns false.

    Raises Spoilt on entering if running DDL does not let it in, and DatabaseError.
    """

    def __init__(self, access: Access, seconds: float) -> None:
        self._access = access
        self._seconds = seconds
        self._control: Control | None = None
        self._guarding: asyncio.Task[None] | None = None

    @property
    def held(self) -> bool:
        return self._control is not None and not self._control.closed

    async def __aenter__(self) -> "DdlHold":
        self._control = control = await Control.connect(self._access, lock_wait_s=LOCK_WAIT_SECONDS)
        try:
            await self._take(control)
        except BaseException as error:
            await control.close()
            if code_of(error) in LOCK_TIMEOUT:
                raise Spoilt(None, f"DDL that runs for over {LOCK_WAIT_SECONDS} s could not be held off") from error
            raise
        self._guarding = asyncio.create_task(self._guard(control))
        return self

    async def _take(self, control: Control) -> None:
        for _ in range(TRIES):
            for stage in ("START", "FLUSH"):
                await control.execute(f"BACKUP STAGE {stage}")
            number = await control.value(_OWN_NUMBER)
            await control.execute("BACKUP STAGE BLOCK_DDL")
            if not await _caught(control, number):
                return
            await control.execute("BACKUP STAGE END")
            await asyncio.sleep(PAUSE_SECONDS)
        raise Spoilt(None, f"DDL could not be held off without locking tables, {TRIES} times")

    async def _guard(self, control: Control) -> None:
        """Ends the hold when its time is up, or when it keeps others from a table."""
        try:
            async with asyncio.timeout(self._seconds):
                while True:
                    await asyncio.sleep(LOOK_SECONDS)
                    states = {state for _, state, _ in await control.rows(_STATEMENTS)}
                    if {_BACKUP_LOCK, _TABLE_LOCK} <= states:
                        break
        except (TimeoutError, DatabaseError):
            pass
        await control.close()

    async def release(self) -> None:
        """Let DDL run. A second call does nothing."""
        guarding, self._guarding = self._guarding, None
        if guarding is not None:
            guarding.cancel()
            await asyncio.wait([guarding])
        if self._control is not None:
            await self._control.close()

    async def __aexit__(self, *_: object) -> None:
        await self.release()


async def _caught(control: Control, number: int) -> bool:
    """Whether a statement older than `number` waits for us: it holds a table, unlike one that waits to begin."""
    loop = asyncio.get_running_loop()
    until = loop.time() + CATCH_SECONDS
    while True:
        older = [
            str(state)
            for query, state, text in await control.rows(_STATEMENTS)
            if query < number and _ALTERS.search(text)
        ]
        if _BACKUP_LOCK in older:
            return True
        if not older or loop.time() > until:
            return False
        await asyncio.sleep(LOOK_SECONDS)
