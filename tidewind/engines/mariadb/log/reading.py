"""One session of reading a server's log: the dump, and a second connection that looks at its end and at its settings.

Both stay on the server that the session began with: behind a name, another may answer tomorrow. Whichever notices that
the log cannot be trusted any more ends the session for both.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from operator import itemgetter
from typing import Final

from tidewind.domain.gtids import Gtid, GtidList
from tidewind.domain.log_stream import Mark, State, StateKind, Transaction
from tidewind.engines.mariadb.connection import Control
from tidewind.engines.mariadb.log import log_files, settings, times
from tidewind.engines.mariadb.log.dump import Dump
from tidewind.engines.mariadb.log.session import Session
from tidewind.engines.mariadb.log.transactions import Group
from tidewind.engines.mariadb.log.unlogged import Unlogged
from tidewind.ports.capture import LogBroken, Piece
from tidewind.ports.engine import DatabaseError

_WATCHED: Final = ("binlog_format", "binlog_row_image", "binlog_checksum")
_MARK: Final = "SELECT SYSDATE(6), @@global.gtid_binlog_pos, SYSDATE(6), " + ", ".join(
    f"@@global.{name}" for name in _WATCHED
)
_DOMAIN_AND_GTID: Final = itemgetter(1, 0)
_DOMAIN_AND_NUMBER: Final = itemgetter(1, 2)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class MariaDBLogReading:
    """Implements `tidewind.ports.capture.LogReading`. `remaining` is what the log held beyond `position` when the
    session was opened, by domain; `first` is what came in then; `frozen` says that the server runs with sysdate_is_now,
    under which a statement sees one moment only."""

    def __init__(
        self,
        dump: Dump,
        session: Session,
        control: Control,
        *,
        position: GtidList,
        remaining: dict[int, int],
        last: Transaction | None,
        first: tuple[bytes, list[Group]],
        server_identity: str,
        server_version: str,
        opened_us: int,
        clock: times.DatabaseClock,
        frozen: bool,
    ) -> None:
        self.position = str(position)
        self.preamble = session.preamble
        self.opened_us = opened_us
        self.server_identity = server_identity
        self.server_version = server_version
        self._dump = dump
        self._session = session
        self._control = control
        self._clock = clock
        self._frozen = frozen
        self._first = first
        self._remaining = remaining
        self._floor_us = last.time_us if last is not None else 0
        self._at = position
        self._marked = position
        self._files = log_files.FilesRead()
        self._files.note(session.log_file, position, self._floor_us)
        self._unlogged: Unlogged | None = None
        self._second: Control | None = None
        self._opening = asyncio.Lock()
        self._ended: DatabaseError | None = None
        """Why the second connection ended the session."""
        self._size_seen: tuple[float, int] | None = None

    async def pieces(self) -> AsyncIterator[Piece]:
        """The preamble first, then everything behind `position`: see the port."""
        yield Piece(data=self.preamble, live=not self._remaining)
        stamped = times.StampedTimes(self._floor_us, self.opened_us)
        data, groups = self._first
        self._first = (b"", [])
        while True:
            if data:
                for piece in self._timed(data, groups, stamped):
                    yield piece
            if self._session.failure is not None:
                for piece in self._release(stamped.flush()):
                    yield piece
                raise self._ended or self._session.failure
            try:
                data, groups = self._session.feed(await self._dump.read())
            except DatabaseError as error:
                raise self._ended or error from None

    def _timed(self, data: bytes, groups: list[Group], stamped: times.StampedTimes) -> list[Piece]:
        now_us = max(self._clock.at(time.monotonic()), self._floor_us)
        if groups:
            self._advance(groups)
        self._files.note(self._session.log_file, self._at, now_us)
        if not self._remaining:
            self._floor_us = now_us if groups else self._floor_us
            return [Piece(data=data, transactions=times.transactions(groups, now_us))]
        pieces = self._release(stamped.push(data, groups))
        for domain, sequence in dict(map(_DOMAIN_AND_NUMBER, groups)).items():
            if sequence >= self._remaining.get(domain, sequence + 1):
                del self._remaining[domain]
        if not self._remaining:
            pieces += self._release(stamped.flush())
        return pieces

    def _release(self, ready: list[times.Stamped]) -> list[Piece]:
        for one in ready:
            if one.transactions:
                self._floor_us = max(self._floor_us, one.transactions[-1].time_us)
        return [Piece(data=one.data, transactions=one.transactions, live=False) for one in ready]

    def _advance(self, groups: list[Group]) -> None:
        newest = dict(map(_DOMAIN_AND_GTID, groups))
        self._at = GtidList({**self._at.last, **{domain: Gtid.parse(gtid) for domain, gtid in newest.items()}})

    async def mark(self) -> Mark:
        """See the port. Raises LogUnsuitable too where a setting was changed, and LogBroken where the log's end went
        back: RESET MASTER began another log, whose numbers would pass for ones that are held. Both end the reading."""
        sent = time.monotonic()
        before, position, after, *values = (await self._control.rows(_MARK))[0]
        if self._frozen:
            after = await self._control.value("SELECT SYSDATE(6)")
        received = time.monotonic()
        mark = Mark(position=position or "", before_us=microseconds(before), after_us=microseconds(after))
        end = GtidList.parse(mark.position)
        if not end.covers(self._marked):
            raise self._end(
                LogBroken(
                    "reset", f"the log was begun anew: it ends at '{end}' and had reached '{self._marked}' before"
                )
            )
        self._marked = end
        self._clock.observe(mark.before_us, mark.after_us, sent, received)
        refused = settings.refusal(dict(zip(_WATCHED, map(str, values), strict=True)))
        if refused is not None:
            raise self._end(refused)
        return mark

    def _end(self, reason: DatabaseError) -> DatabaseError:
        self._ended = reason
        self._dump.close()
        return reason

    async def state(self, kind: StateKind) -> State | None:
        control = await self._other()
        if self._unlogged is None:
            self._unlogged = Unlogged(control)
        return await self._unlogged.look(kind)

    async def headroom_s(self, position: str) -> float | None:
        control = await self._other()
        names = ", ".join(f"'{name}'" for name in settings.VARIABLES)
        found = await control.rows(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})")
        variables = {str(name).lower(): str(value) for name, value in found}
        kept_s, kept_bytes = settings.kept_seconds(variables), settings.kept_bytes(variables)
        if kept_s is None and kept_bytes is None:
            return None
        files = [(str(row[0]), int(row[1])) for row in await control.rows("SHOW BINARY LOGS")]
        held = GtidList.parse(position)
        self._files.forget_before(held)
        holding = self._files.holding(held)
        if holding is None:
            return None
        name, last_write_us = holding
        return log_files.headroom_s(
            files,
            name,
            last_write_us,
            self._clock.at(time.monotonic()),
            kept_s=kept_s,
            kept_bytes=kept_bytes,
            bytes_per_s=self._growth(files),
        )

    def _growth(self, files: list[tuple[str, int]]) -> float:
        """Bytes a second between the last look and this one. Files that were purged in between do not count."""
        now, size = time.monotonic(), sum(size for _, size in files)
        earlier, self._size_seen = self._size_seen, (now, size)
        if earlier is None or now <= earlier[0]:
            return 0.0
        return max(0.0, (size - earlier[1]) / (now - earlier[0]))

    async def _other(self) -> Control:
        """A connection beside that of the marks, which nothing may hold up."""
        async with self._opening:
            if self._second is None or self._second.closed:
                self._second, self._unlogged = await Control.connect(self._control.access), None
            return self._second

    async def close(self) -> None:
        self._dump.close()
        await self._control.close()
        if self._second is not None:
            await self._second.close()


def microseconds(clock: datetime) -> int:
    """Since 1970, of a time of the server, whose session speaks UTC."""
    since = clock.replace(tzinfo=UTC) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
