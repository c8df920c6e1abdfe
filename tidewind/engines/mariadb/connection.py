"""Connections to MariaDB: the only place that opens any.

`Control` is an asyncio connection for statements with small answers; `open_raw` gives the blocking connection that
worker threads and processes move rows over. Both speak TLS as the address demands and never fall back to plain text,
never hand out a local file unless asked to, never reconnect by themselves, and fix every session setting that could
change what is read or written: character set, zone, sql_mode, limits and timeouts.

A cancelled or overdue statement ends its connection, and the server is told so over a second one, because a server
notices a closed socket only when it next writes to it and would hold locks until then.
"""

import asyncio
import codecs
import contextlib
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import aiomysql
import pymysql
from pymysql.constants import CLIENT

from schemas.commands import Endpoint
from tidewind.engines.mariadb.failures import translate
from tidewind.engines.mariadb.tls import tls_context
from tidewind.ports.engine import Address, DatabaseError, Login

CONNECT_SECONDS: Final = 10.0
STATEMENT_SECONDS: Final = 60.0
RAW_READ_SECONDS: Final = 900
KILL_SECONDS: Final = 5.0
LOCK_WAIT_SECONDS: Final = 10

READ_SQL_MODE: Final = ""
"""Reading depends on no mode: every strictness off, no ANSI_QUOTES, no PAD_CHAR_TO_FULL_LENGTH."""

_UNLIMITED: Final[Mapping[str, str]] = {
    "wait_timeout": "86400",
    "net_read_timeout": "900",
    "net_write_timeout": "900",
    "max_statement_time": "0",
    "idle_transaction_timeout": "0",
    "idle_readonly_transaction_timeout": "0",
    "idle_write_transaction_timeout": "0",
    "sql_select_limit": "DEFAULT",
    "sql_big_selects": "1",
    "sql_quote_show_create": "1",
    "group_concat_max_len": "1048576",
}

LOSSLESS_UTF8: Final = "utf8_lossless"
"""UTF-8 that decodes bytes which are none into lone surrogates: definitions may hold binary defaults as they are."""


def _find_codec(name: str) -> codecs.CodecInfo | None:
    if name != LOSSLESS_UTF8:
        return None
    return codecs.CodecInfo(
        name=LOSSLESS_UTF8,
        encode=lambda text, _errors="strict": codecs.utf_8_encode(text, "surrogateescape"),
        decode=lambda data, _errors="strict": codecs.utf_8_decode(data, "surrogateescape", True),
    )


codecs.register(_find_codec)


@dataclass(frozen=True, kw_only=True)
class Access:
    """An account on a server. Picklable, so that worker processes can be given one."""

    address: Address
    login: Login

    @property
    def subject(self) -> str:
        """`host:port` of the first endpoint, for messages."""
        endpoint = self.address.endpoints[0]
        return f"{endpoint.host}:{endpoint.port}"

    @property
    def encrypted(self) -> bool:
        return self.address.tls is not None and self.address.tls.mode != "disabled"

    def pinned(self, endpoint: Endpoint) -> "Access":
        """The same account on one endpoint only: what must stay on one server uses this."""
        return replace(self, address=replace(self.address, endpoints=(endpoint,)))


def session_statements(
    *,
    sql_mode: str = READ_SQL_MODE,
    lock_wait_s: int = LOCK_WAIT_SECONDS,
    settings: Mapping[str, str] | None = None,
) -> list[str]:
    """What every connection says first. `settings` are further session variables, name to SQL value."""
    assigned = {
        **_UNLIMITED,
        "time_zone": "'+00:00'",
        "sql_mode": f"'{sql_mode}'",
        "lock_wait_timeout": str(lock_wait_s),
        "innodb_lock_wait_timeout": str(max(lock_wait_s, 1)),
        **(settings or {}),
    }
    return [
        "SET NAMES utf8mb4",
        "SET SESSION " + ", ".join(f"{name} = {value}" for name, value in assigned.items()),
    ]


class _AsyncConnection(aiomysql.Connection):  # type: ignore[misc]
    async def _request_authentication(self) -> None:
        _refuse_plain_text(self._ssl_context, self.server_capabilities)
        await super()._request_authentication()

    async def _process_auth(self, plugin_name: bytes, auth_packet: Any) -> Any:
        _refuse_clear_password(plugin_name, self._ssl_context)
        return await super()._process_auth(plugin_name, auth_packet)


class RawConnection(pymysql.connections.Connection):  # type: ignore[misc]
    """A blocking connection. Its thread must not be the event loop's."""

    def _request_authentication(self) -> None:
        _refuse_plain_text(self.ctx if self.ssl else None, self.server_capabilities)
        super()._request_authentication()

    def _process_auth(self, plugin_name: bytes, auth_packet: Any) -> Any:
        _refuse_clear_password(plugin_name, self.ctx if self.ssl else None)
        return super()._process_auth(plugin_name, auth_packet)


def _refuse_plain_text(context: object, capabilities: int) -> None:
    if context is not None and not capabilities & CLIENT.SSL:
        raise DatabaseError(
            "database-unsuitable",
            "the server does not offer TLS, and the cluster is enrolled with TLS",
            "Set ssl_cert and ssl_key on the server, or enrol the cluster with tls.mode disabled",
        )


def _refuse_clear_password(plugin_name: bytes, context: object) -> None:
    if plugin_name == b"mysql_clear_password" and context is None:
        raise DatabaseError(
            "database-unsuitable",
            "the server asks for the password in clear text over a connection without TLS",
            "Enable TLS for this cluster, or give the account another authentication plugin",
        )


class Control:
    """One asyncio connection. Statements run one at a time, in the order in which they were asked for."""

    def __init__(self, connection: Any, access: Access, server_version: str) -> None:
        self._connection = connection
        self._lock = asyncio.Lock()
        self.access = access
        self.server_version = server_version
        self.connection_id: int = connection.thread_id()

    @classmethod
    async def connect(
        cls,
        access: Access,
        *,
        sql_mode: str = READ_SQL_MODE,
        lock_wait_s: int = LOCK_WAIT_SECONDS,
        settings: Mapping[str, str] | None = None,
        autocommit: bool = True,
        deadline_s: float = CONNECT_SECONDS,
    ) -> "Control":
        """Connect to the first endpoint that answers; `access` of the result is pinned to it. Raises DatabaseError."""
        statements = session_statements(sql_mode=sql_mode, lock_wait_s=lock_wait_s, settings=settings)
        failure: DatabaseError | None = None
        for endpoint in access.address.endpoints:
            pinned = access.pinned(endpoint)
            try:
                control = await cls._connect_one(pinned, autocommit, deadline_s)
            except DatabaseError as error:
                failure = error
                if error.kind != "database-unreachable":
                    break
                continue
            try:
                for statement in statements:
                    await control.execute(statement)
            except BaseException:
                control.abandon()
                raise
            return control
        assert failure is not None
        raise failure

    @classmethod
    async def _connect_one(cls, access: Access, autocommit: bool, deadline_s: float) -> "Control":
        endpoint = access.address.endpoints[0]
        connection = _AsyncConnection(
            host=endpoint.host,
            port=endpoint.port,
            user=access.login.user,
            password=access.login.password,
            charset="utf8mb4",
            autocommit=autocommit,
            local_infile=False,
            ssl=await asyncio.to_thread(tls_context, access.address.tls),
            connect_timeout=deadline_s,
            program_name="tidewind",
        )
        try:
            async with asyncio.timeout(deadline_s):
                await connection._connect()
        except DatabaseError:
            connection.close()
            raise
        except (pymysql.err.Error, OSError, TimeoutError) as error:
            raise translate(error, access.subject, access.login.user, encrypted=access.encrypted) from error
        connection._encoding = LOSSLESS_UTF8
        return cls(connection, access, connection.get_server_info())

    async def rows(self, sql: str, *, deadline_s: float = STATEMENT_SECONDS) -> list[tuple[Any, ...]]:
        """All rows of the answer; [] for a statement without one. Raises DatabaseError."""
        async with self._lock:
            return (await self._run(sql, deadline_s))[0]

    async def records(self, sql: str, *, deadline_s: float = STATEMENT_SECONDS) -> list[dict[str, Any]]:
        """All rows of the answer as dictionaries by column name. Raises DatabaseError."""
        async with self._lock:
            rows, names = await self._run(sql, deadline_s)
        return [dict(zip(names, row, strict=True)) for row in rows]

    async def value(self, sql: str, *, deadline_s: float = STATEMENT_SECONDS) -> Any:
        """The first column of the first row, None if there is none. Raises DatabaseError."""
        rows = await self.rows(sql, deadline_s=deadline_s)
        return rows[0][0] if rows else None

    async def execute(self, sql: str, *, deadline_s: float = STATEMENT_SECONDS) -> int:
        """Run it; the number of rows it affected. Raises DatabaseError."""
        async with self._lock:
            await self._run(sql, deadline_s)
            return int(self._connection.affected_rows())

    async def _run(self, sql: str, deadline_s: float) -> tuple[list[tuple[Any, ...]], Sequence[str]]:
        try:
            async with asyncio.timeout(deadline_s):
                await self._connection.query(sql)
                result = self._connection._result
                return list(result.rows or ()), [column[0] for column in result.description or ()]
        except TimeoutError as error:
            await self._end_on_server()
            raise DatabaseError(
                "database-failed", f"{self.access.subject} did not answer within {deadline_s:g} s: {brief(sql)}"
            ) from error
        except asyncio.CancelledError:
            await self._end_on_server()
            raise
        except (pymysql.err.Error, OSError) as error:
            raise translate(error, self.access.subject, self.access.login.user, sql) from error

    async def _end_on_server(self) -> None:
        """Close, and make the server end what it was doing for us; also if we are cancelled a second time."""
        self._connection.close()
        task = asyncio.ensure_future(end_connection(self.access, self.connection_id))
        _ENDING.add(task)
        task.add_done_callback(_ENDING.discard)
        await asyncio.shield(task)

    def streams(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Both ends of the connection, for a command of the protocol that no statement follows."""
        return self._connection._reader, self._connection._writer

    @property
    def closed(self) -> bool:
        return bool(self._connection.closed)

    async def close(self) -> None:
        """Say goodbye; the transaction, if any, is rolled back. A second call does nothing."""
        if not self._connection.closed:
            with contextlib.suppress(pymysql.err.Error, OSError, TimeoutError, RuntimeError):
                async with asyncio.timeout(KILL_SECONDS):
                    await self._connection.ensure_closed()
            self._connection.close()

    def abandon(self) -> None:
        """Drop the socket without a word."""
        self._connection.close()

    async def __aenter__(self) -> "Control":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


_ENDING: set[asyncio.Task[None]] = set()


async def end_connection(access: Access, connection_id: int) -> None:
    """KILL one of our own connections from a fresh one. A connection already gone is what was wanted; a server that
    does not answer has ended it or will when it finds the socket closed."""
    try:
        control = await Control.connect(access, deadline_s=KILL_SECONDS)
    except DatabaseError:
        return
    async with control:
        with contextlib.suppress(DatabaseError):
            await control.execute(f"KILL CONNECTION {int(connection_id)}", deadline_s=KILL_SECONDS)


def open_raw(
    access: Access,
    *,
    sql_mode: str = READ_SQL_MODE,
    lock_wait_s: int = LOCK_WAIT_SECONDS,
    settings: Mapping[str, str] | None = None,
    local_infile: bool = False,
    read_s: int = RAW_READ_SECONDS,
    kind: type[RawConnection] = RawConnection,
) -> RawConnection:
    """A blocking connection to the first endpoint, autocommit on, session settings made. Raises DatabaseError.

    `read_s` bounds every single wait for bytes from the server. With `local_infile` the server may ask for data in
    answer to LOAD DATA LOCAL; the caller answers it from memory and never opens the file the server names.
    """
    endpoint = access.address.endpoints[0]
    context = tls_context(access.address.tls)
    try:
        connection = kind(
            host=endpoint.host,
            port=endpoint.port,
            user=access.login.user,
            password=access.login.password,
            charset="utf8mb4",
            autocommit=True,
            local_infile=local_infile,
            ssl=context,
            ssl_disabled=context is None,
            connect_timeout=int(CONNECT_SECONDS),
            read_timeout=read_s,
            write_timeout=read_s,
            program_name="tidewind",
            defer_connect=True,
        )
        connection.connect()
        connection.encoding = LOSSLESS_UTF8
        connection._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for statement in session_statements(sql_mode=sql_mode, lock_wait_s=lock_wait_s, settings=settings):
            connection.query(statement)
    except (pymysql.err.Error, OSError) as error:
        raise translate(error, access.subject, access.login.user, encrypted=access.encrypted) from error
    return connection


def raw_rows(connection: RawConnection, access: Access, sql: str) -> list[tuple[Any, ...]]:
    """Run a statement on a blocking connection; all rows of its answer. Raises DatabaseError."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())
    except (pymysql.err.Error, OSError) as error:
        raise translate(error, access.subject, access.login.user, sql) from error


def brief(sql: str) -> str:
    """The statement's first words, for messages: never values, never a whole statement."""
    return " ".join(sql.split()[:3])
