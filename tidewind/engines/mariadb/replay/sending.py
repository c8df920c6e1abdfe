"""Sends statements of any size over a blocking connection without ever holding one whole."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import pymysql
from pymysql.constants import COMMAND

from tidewind.engines.mariadb.connection import Access, RawConnection, brief
from tidewind.engines.mariadb.failures import code_of, translate
from tidewind.engines.mariadb.replay.merge import STATEMENT_BYTES_MAX, base64_pieces, too_large
from tidewind.ports.engine import DatabaseError

PACKET_BYTES: Final = 0xFFFFFF
_OPEN: Final = b"BINLOG '"
_CLOSE: Final = b"'"
_FOREIGN_DUPLICATES: Final = frozenset({1761, 1762})
_DATED_TRIES: Final = 1000


def send_binlog(connection: RawConnection, access: Access, parts: Sequence[bytes | memoryview]) -> None:
    """Run one BINLOG statement of these events. Raises DatabaseError."""
    raw = sum(map(len, parts))
    length = len(_OPEN) + 4 * ((raw + 2) // 3) + len(_CLOSE)
    if length > STATEMENT_BYTES_MAX:
        raise DatabaseError("replay-refused", too_large(raw))
    run_pieces(connection, access, _binlog_pieces(parts), length)


def send_group(connection: RawConnection, access: Access, parts: Sequence[bytes | memoryview]) -> None:
    """The same within a transaction. Raises DatabaseError.

    The history that a foreign key writes is dated by the event's second; the server tells what falls into one second
    apart by counting up, on each connection for itself. Where another connection counted before, it meets what that
    one wrote. Every try counts on.
    """
    for _ in range(_DATED_TRIES):
        try:
            return send_binlog(connection, access, parts)
        except DatabaseError as error:
            if code_of(error) not in _FOREIGN_DUPLICATES:
                raise
    return send_binlog(connection, access, parts)


def run_text(connection: RawConnection, access: Access, statement: bytes) -> int:
    """Run a statement given as bytes, which are in the session's client character set; the rows it affected. Raises
    DatabaseError."""
    run_pieces(connection, access, iter((statement,)), len(statement))
    return int(connection.affected_rows())


def run_pieces(connection: RawConnection, access: Access, pieces: Iterator[bytes], length: int) -> None:
    """Run the statement of `length` bytes that the pieces make together. Raises DatabaseError."""
    shown = b""
    try:
        sequence, left, room = 0, length + 1, 0
        held: list[bytes] = [bytes((COMMAND.COM_QUERY,))]
        for piece in _chain(held, pieces):
            if not shown:
                shown = piece[:64] if piece is not held[0] else b""
            view = memoryview(piece)
            while view:
                if room == 0:
                    room = min(left, PACKET_BYTES)
                    connection._sock.sendall(room.to_bytes(3, "little") + bytes((sequence % 256,)))
                    sequence += 1
                taken = view[:room]
                connection._sock.sendall(taken)
                room -= len(taken)
                left -= len(taken)
                view = view[len(taken) :]
        if (length + 1) % PACKET_BYTES == 0:
            connection._sock.sendall(bytes(3) + bytes((sequence % 256,)))
            sequence += 1
        connection._next_seq_id = sequence % 256
        connection._read_query_result()
        while connection._result is not None and connection._result.has_next:
            connection.next_result()
    except (pymysql.err.Error, OSError) as error:
        raise translate(error, access.subject, access.login.user, brief(shown.decode("utf-8", "replace"))) from error


def _chain(first: Iterable[bytes], rest: Iterable[bytes]) -> Iterator[bytes]:
    yield from first
    yield from rest


def _binlog_pieces(parts: Sequence[bytes | memoryview]) -> Iterator[bytes]:
    yield _OPEN
    yield from base64_pieces(parts)
    yield _CLOSE
