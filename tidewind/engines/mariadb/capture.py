"""Change capture of MariaDB 10.5 and newer: implements `tidewind.ports.capture.CaptureEngine`.

Reading is entered in this order, so that each refusal has its own name: the settings, the server's own account of its
log, then the log itself, of which the last transaction held must come first. What cannot be told from the numbers is
told from the bytes (`continuity`).
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from tidewind.domain.gtids import GtidList
from tidewind.domain.log_stream import StateKind
from tidewind.engines.mariadb.connection import Access, Control
from tidewind.engines.mariadb.log import continuity, settings, unlogged
from tidewind.engines.mariadb.log.dump import CLIENT_NAME, Dump
from tidewind.engines.mariadb.log.reading import MariaDBLogReading, microseconds
from tidewind.engines.mariadb.log.session import Session
from tidewind.engines.mariadb.log.times import DatabaseClock
from tidewind.engines.mariadb.log.transactions import Group
from tidewind.engines.mariadb.preflight import filtered_schemas, filters, log_variables, rights_of
from tidewind.engines.mariadb.server import server_facts
from tidewind.ports.capture import LogBroken, LogUnsuitable, Resume
from tidewind.ports.engine import Address, DatabaseError, Finding, Login

ENTER_SECONDS: Final = 600.0
"""Until the last transaction held has come: the server looks for it from the beginning of its file, and it may be
large."""


@dataclass(frozen=True, kw_only=True)
class LogEnd:
    """What a server says of its log at one moment."""

    position: GtidList
    file: str
    offset: int
    facts: continuity.LogFacts


class MariaDBCaptureEngine:
    """Implements `tidewind.ports.capture.CaptureEngine`."""

    state_kinds: tuple[StateKind, ...] = unlogged.KINDS

    async def examine(self, address: Address, login: Login) -> tuple[Finding, ...]:
        async with await Control.connect(Access(address=address, login=login)) as control:
            variables = await log_variables(control)
            filtered = await filtered_schemas(control)
            held, account = await rights_of(control)
        return (*settings.findings(variables, filtered), *settings.rights(held.on_server, account))

    async def log_end(self, address: Address, login: Login) -> str:
        async with await Control.connect(Access(address=address, login=login)) as control:
            end = await _log_end(control)
        return str(end.position)

    @asynccontextmanager
    async def read(
        self, address: Address, login: Login, resume: Resume, *, server_id: int
    ) -> AsyncIterator[MariaDBLogReading]:
        control = await Control.connect(Access(address=address, login=login))
        reading: MariaDBLogReading | None = None
        try:
            reading = await _open(control, resume, server_id)
            yield reading
        finally:
            await (reading or control).close()


async def _open(control: Control, resume: Resume, server_id: int) -> MariaDBLogReading:
    facts = await server_facts(control)
    end = await _log_end(control)
    await _require_free(control, end, server_id)
    position = GtidList.parse(resume.position)
    broken = continuity.missing(position, end.facts)
    if broken is not None:
        raise broken
    clock = DatabaseClock()
    opened_us, frozen = await _observe(control, clock)
    async with contextlib.AsyncExitStack() as opened:
        dump, session, first = await _begin(control.access, resume, end, server_id, opened)
        reading = MariaDBLogReading(
            dump,
            session,
            control,
            position=position,
            remaining=continuity.still_to_come(position, end.position),
            last=resume.last,
            first=first,
            server_identity=facts.identity,
            server_version=facts.version,
            opened_us=opened_us,
            clock=clock,
            frozen=frozen,
        )
        opened.pop_all()
    return reading


async def _begin(
    access: Access, resume: Resume, end: LogEnd, server_id: int, opened: contextlib.AsyncExitStack
) -> tuple[Dump, Session, tuple[bytes, list[Group]]]:
    """Read until the session has begun. Where the file of the last transaction is purged and nothing else, the server
    still vouches for its number in the list that the next file begins with: that is taken."""
    position = GtidList.parse(resume.position)
    if resume.last is not None:
        session = Session(position, resume.last, end.facts, server_id)
        dump = await Dump.open(access, continuity.start_before(position, resume.last), server_id)
        opened.callback(dump.close)
        try:
            return dump, session, await _until_begun(dump, session, end)
        except LogBroken as error:
            if error.cause != "purged":
                raise
        dump.close()
    session = Session(position, None, end.facts, server_id)
    dump = await Dump.open(access, position, server_id)
    opened.callback(dump.close)
    return dump, session, await _until_begun(dump, session, end)


async def _until_begun(dump: Dump, session: Session, end: LogEnd) -> tuple[bytes, list[Group]]:
    try:
        async with asyncio.timeout(ENTER_SECONDS):
            while True:
                first = session.feed(await dump.read())
                if session.begun:
                    return first
                if session.failure is not None:
                    raise session.failure
                if session.reached(end.file, end.offset):
                    session.begin()
                    if session.failure is not None:
                        raise session.failure
                    return first
    except TimeoutError as error:
        raise DatabaseError(
            "database-unreachable", f"the server did not find our place in its log within {ENTER_SECONDS:g} s"
        ) from error


async def _log_end(control: Control) -> LogEnd:
    """Raises LogUnsuitable, DatabaseError."""
    variables = await log_variables(control)
    refused = settings.refusal(variables)
    if refused is not None:
        raise refused
    status = await control.rows("SHOW MASTER STATUS")
    files = await control.rows("SHOW BINARY LOGS")
    if not status or not files:
        raise LogUnsuitable("the binary log is off", "Start the server with --log-bin")
    filtered = filters(status)
    refused = settings.refusal(variables, filtered)
    if refused is not None:
        raise refused
    position, state, own = (
        await control.rows("SELECT @@global.gtid_binlog_pos, @@global.gtid_binlog_state, @@global.server_id")
    )[0]
    return LogEnd(
        position=GtidList.parse(position or ""),
        file=str(status[0][0]),
        offset=int(status[0][1]),
        facts=continuity.LogFacts(
            state=continuity.parse_state(state or ""), server_id=int(own), oldest_file=str(files[0][0])
        ),
    )


async def _require_free(control: Control, end: LogEnd, server_id: int) -> None:
    """Two readings with one number end each other in turn, without end. Raises DatabaseError."""
    fix = f"Give it another server_id, or Tidewind another range of ids that holds no {server_id}"
    if end.facts.server_id == server_id:
        raise DatabaseError(
            "database-unsuitable", f"the server's own server_id is {server_id}, under which we would read its log", fix
        )
    try:
        replicas = await control.rows("SHOW SLAVE HOSTS")
    except DatabaseError as error:
        if error.kind == "database-rights-missing":
            return
        raise
    for number, host, port, *_ in replicas:
        if int(number) == server_id and host != CLIENT_NAME:
            raise DatabaseError(
                "database-unsuitable",
                f"the replica {host or 'without a name'}:{port} reads the log as server {server_id}, as we would",
                fix,
            )


async def _observe(control: Control, clock: DatabaseClock) -> tuple[int, bool]:
    """(the database's clock now, whether a statement sees one moment only)."""
    first, _, second = (await control.rows("SELECT SYSDATE(6), SLEEP(0.005), SYSDATE(6)"))[0]
    sent = time.monotonic()
    now_us = microseconds(await control.value("SELECT SYSDATE(6)"))
    clock.observe(now_us, now_us, sent, time.monotonic())
    return now_us, first == second
