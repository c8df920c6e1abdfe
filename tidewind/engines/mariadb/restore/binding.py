"""Rows by array binding (COM_STMT_BULK_EXECUTE, MariaDB 10.2 and newer): one prepared INSERT, many rows a message.

Beside LOAD DATA the server saves looking at every byte for delimiters, and does not lock the table's AUTO_INCREMENT
counter for the whole statement, so that several connections fill one table at once. Values are sent as binary strings
and go through the same conversion into the column as those of LOAD DATA, which stays the judge: whatever this way
cannot do, or the server does with a warning, is `NotTaken`, and the caller rolls back and takes LOAD DATA instead.
"""

import contextlib
import struct
from collections.abc import Iterator
from typing import Any, Final

import pymysql

from tidewind.engines.mariadb.connection import Access, RawConnection
from tidewind.engines.mariadb.failures import translate
from tidewind.engines.mariadb.params import bound

BLOCK_BYTES: Final = 256 * 1024
"""Text in one message: larger ones fall out of the processor's cache, smaller ones are answered too often."""
_UNDER_WAY: Final = 8
"""Messages sent and not answered. The server takes them in turn; the network's buffers hold what it has not read."""
_PREPARE, _CLOSE, _EXECUTE_MANY = 0x16, 0x19, 0xFA
_WITH_TYPES: Final = 128
_BINARY_STRING: Final = 252
_CLIENT_MYSQL: Final = 1
_EXTENDED_AT: Final = 28
_BULK_OPERATIONS: Final = 1 << 2
_MESSAGE_BYTES_MAX: Final = 0xFFFFFF - 1
_GROWS: Final = 2
"""A field and its delimiter become at most twice as many bytes of parameters."""
_SHRINKS: Final = 3
"""And at least a third: NULL is one byte."""
_TOO_LONG: Final = "a row is longer than a message may be (max_allowed_packet)"
_HEADER: Final = struct.Struct("<IH")
_PACKET: Final = struct.Struct("<IB")


class NotTaken(Exception):
    """These rows want LOAD DATA; says why. The connection is in step, and what was sent is to be rolled back."""


class BindingConnection(RawConnection):
    """Tells the server that it may bind arrays: a client of MariaDB leaves out the first flag of MySQL's and has its
    own flags in the last of the bytes that MySQL reserves."""

    _greeted = False

    def _request_authentication(self) -> None:
        super()._request_authentication()
        self._greeted = True

    def write_packet(self, payload: bytes) -> None:
        flags = self.client_flag.to_bytes(4, "little")[:1]
        if not self._greeted and len(payload) >= _EXTENDED_AT + 4 and payload[:1] == flags:
            extended = _BULK_OPERATIONS.to_bytes(4, "little")
            own = bytes((payload[0] & ~_CLIENT_MYSQL,))
            payload = own + payload[1:_EXTENDED_AT] + extended + payload[_EXTENDED_AT + 4 :]
        super().write_packet(payload)


def insert_rows(
    connection: RawConnection, access: Access, sql: str, columns: int, pieces: Iterator[bytes], *, packet_bytes: int
) -> int:
    """Run the INSERT for all rows in the pieces of text; the number of rows. `packet_bytes` is max_allowed_packet.
    Autocommit must be off: messages under way follow one that the server answers by rolling everything back.

    Raises NotTaken, DatabaseError if the connection is lost, and what `pieces` raises, which ends the connection.
    """
    try:
        with _Statement(connection, sql, columns, packet_bytes) as statement:
            for block in blocks(pieces, statement.most):
                statement.send(block)
            return statement.finish()
    except pymysql.err.MySQLError as error:
        if not connection.open:
            raise translate(error, access.subject, access.login.user, "INSERT") from error
        raise NotTaken(str(error)) from error
    except OSError as error:
        raise translate(error, access.subject, access.login.user, "INSERT") from error
    except NotTaken:
        raise
    except BaseException:
        connection._force_close()
        raise


def blocks(pieces: Iterator[bytes], most: int) -> Iterator[memoryview]:
    """The text again, cut at row ends into blocks of about BLOCK_BYTES, of at least one row each; smaller where `most`,
    the bytes of parameters in a message, demands it. Raises NotTaken of a row that cannot be within `most`."""
    size = max(min(BLOCK_BYTES, most // _GROWS), 1)
    rest = b""
    for piece in pieces:
        text = rest + piece
        view = memoryview(text)
        start = 0
        while len(text) - start >= size:
            end = text.rfind(b"\n", start, start + size) + 1 or text.find(b"\n", start + size) + 1
            if not end:
                break
            yield view[start:end]
            start = end
        rest = text[start:]
        if len(rest) > most * _SHRINKS:
            raise NotTaken(_TOO_LONG)
    if rest:
        yield memoryview(rest)


class _Statement:
    """The prepared INSERT. Some messages are under way while the next is made, so that neither side sleeps until the
    other has woken up: on a busy machine, or a distant one, that costs more than the rows."""

    def __init__(self, connection: RawConnection, sql: str, columns: int, packet_bytes: int) -> None:
        self._connection = connection
        self._columns = columns
        self._unanswered = 0
        self._rows = 0
        connection._execute_command(_PREPARE, sql)
        self._id, _, params = struct.unpack_from("<IHH", connection._read_packet().get_all_data(), 1)
        for _ in range(params + 1):  # their descriptions, and the mark behind them
            connection._read_packet()
        self._head = _HEADER.pack(self._id, _WITH_TYPES) + struct.pack("<H", _BINARY_STRING) * columns
        self.most = min(packet_bytes, _MESSAGE_BYTES_MAX) - len(self._head) - 1

    def __enter__(self) -> "_Statement":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Leaves the connection in step, unless it is about to be ended."""
        if self._connection.open and (kind is None or issubclass(kind, (NotTaken, pymysql.err.MySQLError))):
            while self._unanswered:
                with contextlib.suppress(NotTaken, pymysql.err.MySQLError):
                    self._answer()
                if not self._connection.open:
                    return
            self._connection._execute_command(_CLOSE, self._id.to_bytes(4, "little"))

    def send(self, block: memoryview) -> None:
        """Rows of text."""
        try:
            message = bound(block, self._columns)
        except ValueError as error:
            raise NotTaken(str(error)) from error
        if len(message) > self.most:
            raise NotTaken(_TOO_LONG)
        if self._unanswered == _UNDER_WAY:
            self._answer()
        size = 1 + len(self._head) + len(message)
        self._connection._write_bytes(_PACKET.pack(size, _EXECUTE_MANY) + self._head)
        self._connection._write_bytes(message)  # by itself: it is long, and joining would copy it
        self._unanswered += 1

    def finish(self) -> int:
        """The number of rows that the server took."""
        while self._unanswered:
            self._answer()
        return self._rows

    def _answer(self) -> None:
        self._unanswered -= 1
        self._connection._next_seq_id = 1  # each command and its answer are counted by themselves
        ok: Any = pymysql.connections.OKPacketWrapper(self._connection._read_packet())
        if ok.warning_count:
            raise NotTaken(f"the server warned {ok.warning_count} times")
        self._rows += int(ok.affected_rows)
