"""The second connection of a session: what its looks at the log's end may say, and what ends the session."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from tidewind.domain.gtids import GtidList
from tidewind.engines.mariadb.connection import Control
from tidewind.engines.mariadb.log.dump import Dump
from tidewind.engines.mariadb.log.reading import MariaDBLogReading
from tidewind.engines.mariadb.log.session import Session
from tidewind.engines.mariadb.log.times import DatabaseClock
from tidewind.ports.capture import LogBroken
from tidewind.ports.engine import DatabaseError


class ClosableDump:
    closed = False

    def close(self) -> None:
        self.closed = True

    async def read(self) -> bytes:
        raise DatabaseError("database-unreachable", "the connection was closed")


class QuietSession:
    preamble = b"FDE!"
    log_file = "binlog.000007"
    failure = None

    def feed(self, data: bytes) -> tuple[bytes, list[object]]:
        return b"", []


class Ends:
    """A control connection under which the log ends at each of `positions` in turn."""

    def __init__(self, positions: list[str]) -> None:
        self._positions = positions
        self._now = datetime(2026, 11, 23, 10, 0, tzinfo=UTC).replace(tzinfo=None)

    async def rows(self, statement: str) -> list[tuple[Any, ...]]:
        before = self._now
        self._now += timedelta(seconds=1)
        return [(before, self._positions.pop(0), before + timedelta(microseconds=9), "ROW", "FULL", "CRC32")]


def opened(dump: ClosableDump, *ends: str) -> MariaDBLogReading:
    return MariaDBLogReading(
        cast(Dump, dump),
        cast(Session, QuietSession()),
        cast(Control, Ends(list(ends))),
        position=GtidList.parse("0-1-1000,1-1-5"),
        remaining={},
        last=None,
        first=(b"", []),
        server_identity="1-abc",
        server_version="10.11.19",
        opened_us=0,
        clock=DatabaseClock(),
        frozen=False,
    )


@pytest.mark.parametrize("end", ["0-1-3", "0-1-1001", "0-1-1001,1-1-4", ""])
async def test_a_log_that_ends_before_where_it_ended_was_begun_anew(end: str) -> None:
    dump = ClosableDump()
    reading = opened(dump, "0-1-1001,1-1-5", end)
    await reading.mark()
    with pytest.raises(LogBroken) as broken:
        await reading.mark()
    assert broken.value.cause == "reset"
    assert dump.closed
    with pytest.raises(LogBroken):
        _ = [piece async for piece in reading.pieces()]


async def test_a_log_begun_anew_before_the_first_look_is_noticed_too() -> None:
    with pytest.raises(LogBroken):
        await opened(ClosableDump(), "0-1-7").mark()


async def test_marks_go_forward() -> None:
    reading = opened(ClosableDump(), "0-1-1000,1-1-5", "0-1-1000,1-1-5", "0-2-1001,1-1-5,7-1-1")
    assert [(await reading.mark()).position for _ in range(3)][-1] == "0-2-1001,1-1-5,7-1-1"
