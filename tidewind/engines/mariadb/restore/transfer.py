"""LOAD DATA LOCAL from memory: the rows of one object of the store into one table, without touching a file.

The server's request for a file is answered from a stream of bytes and from nothing else; the name it sends is never
looked at. If the stream fails, the connection is closed, so that the server rolls the statement back: ending the answer
early would commit what had arrived.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pymysql
from pymysql.constants import COMMAND

from tidewind.engines.mariadb.connection import Access, RawConnection
from tidewind.engines.mariadb.failures import translate
from tidewind.ports.engine import DatabaseError

PACKET_BYTES: Final = 1 << 20
_MESSAGE = re.compile(rb"Records: (\d+)\s+Deleted: (\d+)\s+Skipped: (\d+)\s+Warnings: (\d+)")


@dataclass(frozen=True)
class Sent:
    """What the server says it did."""

    rows: int
    skipped: int
    warnings: int


def load_data(connection: RawConnection, access: Access, sql: str, pieces: Iterator[bytes]) -> Sent:
    """Run a LOAD DATA LOCAL statement, answering it with the pieces. Raises DatabaseError, and what `pieces` raises."""
    try:
        connection._execute_command(COMMAND.COM_QUERY, sql)
        packet = connection._read_packet()
        if not packet.is_load_local_packet():
            raise DatabaseError("database-failed", "the server did not ask for the rows of a LOAD DATA statement")
        try:
            _answer(connection, pieces)
        except BaseException:
            connection._force_close()
            raise
        return _outcome(connection._read_packet())
    except (pymysql.err.Error, OSError) as error:
        raise translate(error, access.subject, access.login.user, "LOAD DATA") from error


def _answer(connection: RawConnection, pieces: Iterator[bytes]) -> None:
    sequence = connection._next_seq_id
    for piece in pieces:
        for start in range(0, len(piece), PACKET_BYTES):
            sequence = _send(connection, sequence, piece[start : start + PACKET_BYTES])
    connection._next_seq_id = _send(connection, sequence, b"")


def _send(connection: RawConnection, sequence: int, payload: bytes) -> int:
    connection._sock.sendall(len(payload).to_bytes(3, "little") + bytes((sequence,)) + payload)
    return (sequence + 1) % 256


def _outcome(packet: Any) -> Sent:
    ok = pymysql.connections.OKPacketWrapper(packet)
    found = _MESSAGE.search(bytes(ok.message))
    if found is None:
        return Sent(rows=int(ok.affected_rows), skipped=0, warnings=int(ok.warning_count))
    records, _, skipped, warnings = (int(number) for number in found.groups())
    return Sent(rows=records - skipped, skipped=skipped, warnings=warnings)
