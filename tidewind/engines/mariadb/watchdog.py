"""Gives way: whoever waits for a metadata lock that one of our reads holds does not wait for the read to end.

An ALTER that waits for our read makes every later statement on its table queue behind it, writers too. So the process
list is looked at twenty times a second, and our read of a table that a waiting statement names is ended.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

from tidewind.engines.mariadb.connection import Control
from tidewind.engines.mariadb.failures import code_of
from tidewind.engines.mariadb.readers import Reader
from tidewind.ports.engine import DatabaseError

LOOK_SECONDS: Final = 0.05
PATIENCE_MS: Final = 1000
"""How long a waiting statement that names none of our tables is left waiting: most likely it waits for others."""

_NO_SUCH_THREAD: Final = 1094
_WAITERS: Final = (
    "SELECT ID, STATE, INFO, TIME_MS FROM information_schema.PROCESSLIST"
    " WHERE STATE IN ('Waiting for table metadata lock', 'Waiting for schema metadata lock',"
    " 'Waiting for table flush', 'Waiting for table level lock')"
)


async def watch(control: Control, readers: Sequence[Reader], ended: asyncio.Event) -> None:
    """Runs until `ended`. `control` is a connection of its own, so that nothing holds it up."""
    given_way: set[tuple[int, str]] = set()
    while not ended.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await ended.wait()
        busy = [reader for reader in readers if reader.reading is not None]
        if not busy:
            continue
        own = {reader.connection_id for reader in readers}
        for waiter, state, info, waited_ms in await control.rows(_WAITERS):
            if waiter in own:
                continue
            named = [reader for reader in busy if _names(info or "", reader.reading)]
            if not named and state != "Waiting for table flush":
                # Once for each statement: if it was not for us it waits, our reads must still come to an end.
                if waited_ms < PATIENCE_MS or (waiter, info or "") in given_way:
                    continue
                given_way.add((waiter, info or ""))
            for reader in named or busy:
                await _end_read(control, reader)


def _names(statement: str, path: tuple[str, str] | None) -> bool:
    """Whether a statement mentions the table, or its schema as DROP DATABASE does."""
    if path is None:
        return False
    text = statement.casefold()
    schema, table = (name.casefold() for name in path)
    return table in text or table.replace("`", "``") in text or (" database " in text and schema in text)


async def _end_read(control: Control, reader: Reader) -> None:
    try:
        await control.execute(f"KILL QUERY {reader.connection_id}")
    except DatabaseError as error:
        if code_of(error) != _NO_SUCH_THREAD:
            raise
