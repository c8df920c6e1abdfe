"""A connection on which the server sends its log, over the replication protocol.

The login is that of every other connection; then the server is told what we understand and where we stand, and from
then on it only sends. Reads are large, so that a busy log costs one call for many events. A heartbeat every second
says that the server lives and how far its log goes: a connection that says nothing for longer is dead.
"""

import asyncio
import contextlib
import struct
from typing import Final

from tidewind.domain.gtids import GtidList
from tidewind.engines.mariadb.connection import Access, Control
from tidewind.engines.mariadb.quoting import text_literal
from tidewind.ports.engine import DatabaseError

READ_BYTES: Final = 512 << 10
HEARTBEAT_SECONDS: Final = 1
SILENCE_SECONDS: Final = 30.0
CLIENT_NAME: Final = "tidewind"
"""The host name under which we stand in SHOW SLAVE HOSTS: by it we tell ourselves from other replicas."""

_REGISTER: Final = 0x15
_DUMP: Final = 0x12
_CAPABILITY: Final = 4
"""Of a replica that knows GTIDs and tolerates events that are left out."""


class Dump:
    """One reading of the log. Neither annotations nor anything before the position are sent."""

    def __init__(self, control: Control, reader: asyncio.StreamReader) -> None:
        self._control = control
        self._reader = reader

    @classmethod
    async def open(cls, access: Access, position: GtidList, server_id: int) -> "Dump":
        """Ask for everything behind `position`. Raises DatabaseError; a refusal comes with the first reading."""
        control = await Control.connect(access)
        try:
            await control.execute(
                f"SET @mariadb_slave_capability = {_CAPABILITY}, @master_binlog_checksum = @@global.binlog_checksum,"
                f" @master_heartbeat_period = {HEARTBEAT_SECONDS * 10**9}, @slave_gtid_strict_mode = 0,"
                f" @slave_gtid_ignore_duplicates = 0, @slave_connect_state = {text_literal(str(position))}"
            )
            reader, writer = control.streams()
            # Twice of this much is buffered at most before the server is made to wait.
            reader._limit = READ_BYTES // 2  # type: ignore[attr-defined]
            writer.write(_packet(_register(server_id)))
            await _answered(reader)
            writer.write(_packet(struct.pack("<BIHI", _DUMP, 4, 0, server_id)))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError) as error:
            control.abandon()
            raise _lost(access) from error
        except BaseException:
            control.abandon()
            raise
        return cls(control, reader)

    async def read(self) -> bytes:
        """What came in, up to `READ_BYTES`. Raises DatabaseError when the connection ended or went silent."""
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                data = await self._reader.read(READ_BYTES)
        except TimeoutError as error:
            raise DatabaseError(
                "database-unreachable",
                f"{self._control.access.subject} sent nothing, not even a heartbeat, for {SILENCE_SECONDS:g} s",
            ) from error
        except OSError as error:
            raise _lost(self._control.access) from error
        if not data:
            raise _lost(self._control.access)
        return data

    def close(self) -> None:
        """Drop the connection; a reading that waits ends as if the server had gone."""
        with contextlib.suppress(OSError):
            self._control.abandon()


async def _answered(reader: asyncio.StreamReader) -> None:
    """The answer to a command that has none but success. Raises DatabaseError."""
    async with asyncio.timeout(SILENCE_SECONDS):
        head = await reader.readexactly(4)
        payload = await reader.readexactly(int.from_bytes(head[:3], "little"))
    if payload[0] == 0xFF:
        message = payload[3:].decode("utf-8", "replace")
        raise DatabaseError(
            "database-rights-missing",
            f"the account may not read the log: {message[6:] if message.startswith('#') else message}",
            "GRANT REPLICATION SLAVE ON *.* TO the account of backups",
        )


def _packet(payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "little") + b"\0" + payload


def _register(server_id: int) -> bytes:
    name = CLIENT_NAME.encode()
    head = struct.pack("<BIB", _REGISTER, server_id, len(name)) + name
    return head + b"\0\0" + struct.pack("<HII", 0, 0, 0)


def _lost(access: Access) -> DatabaseError:
    return DatabaseError("database-unreachable", f"{access.subject}: the connection was lost while reading the log")
