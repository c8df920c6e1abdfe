"""One session's bytes, from what the server sends. Pure: bytes in, bytes and transactions out.

States: *verifying* (the last transaction held must come first, and is not part of the session), *settling* (the
preamble may still be replaced: files without transactions may follow, written by another release), *begun*.

`Session.feed` never loses what came before a failure: it returns that and sets `failure`, which the caller raises when
it has passed the rest on.
"""

from tidewind.domain.gtids import GtidList
from tidewind.domain.log_stream import Transaction
from tidewind.engines.mariadb.log import continuity, events
from tidewind.engines.mariadb.log.continuity import LogFacts
from tidewind.engines.mariadb.log.packets import Unframer
from tidewind.engines.mariadb.log.transactions import Group, Splitter
from tidewind.ports.capture import LogBroken
from tidewind.ports.engine import DatabaseError

Output = tuple[bytes, list[Group]]


class Session:
    """`position` is where the session begins, `verify` the transaction that must come first, `position` holding it.
    `server_id` is the number under which we read."""

    def __init__(self, position: GtidList, verify: Transaction | None, facts: LogFacts, server_id: int) -> None:
        self.preamble = b""
        self.begun = False
        self.failure: DatabaseError | None = None
        self._position = position
        self._verify = verify
        self._facts = facts
        self._server_id = server_id
        self._unframer = Unframer()
        self._splitter = Splitter()
        self._from: int | None = None
        self._last = {gtid.domain: gtid.sequence for gtid in position.last.values()}

    @property
    def verified(self) -> bool:
        return self._verify is None

    @property
    def log_file(self) -> str:
        """The server's file that the last event stands in."""
        return self._splitter.log_file.decode("utf-8", "surrogateescape")

    @property
    def log_offset(self) -> int:
        """Behind the last event, modulo 2^32."""
        return self._splitter.log_offset

    def reached(self, file: str, offset: int) -> bool:
        """Whether the log up to there was read. False until the server said how its events are written."""
        if not self._splitter.description or not self.verified:
            return False
        return continuity.reached(self.log_file, self.log_offset, file, offset)

    def begin(self) -> None:
        """A transaction follows, or nothing is known to: the preamble is the description in force."""
        self.preamble = self._splitter.description
        if events.parse_format_description(self.preamble).checksum != events.CHECKSUM_CRC32:
            self.failure = LogBroken("unreadable", "a part of the log was written without checksums")
        self.begun = True

    def feed(self, wire: bytes) -> Output:
        """The session's bytes behind its preamble, and the transactions that end in them, by offsets in the session.
        Nothing after a failure."""
        try:
            data = self._unframer.feed(wire)
        except ValueError as error:
            self.failure = DatabaseError("database-unreachable", f"{error}: the connection is of no use any more")
            return b"", []
        output = self._events(data)
        if self.failure is None and self._unframer.ended:
            self.failure = self._ended(self._unframer.error)
        return output

    def _events(self, data: bytes) -> Output:
        while True:
            start = self._splitter.length
            kept, groups = self._splitter.feed(data)
            output = self._cut(start, kept, groups)
            if self._splitter.failure is None or self.failure is not None:
                return output
            kind, number, why = self._splitter.failure
            if kind != "header" or self.begun:
                self.failure = self._failed(kind, number, why)
                return output
            data = self._splitter.follower + data[self._splitter.consumed :]
            self._renew()

    def _renew(self) -> None:
        """Another description before the session's first transaction: it becomes the preamble."""
        file, self._splitter = self._splitter.log_file, Splitter()
        self._splitter.feed(_rotation(file))
        self._from = None

    def _cut(self, start: int, kept: bytes, groups: list[Group]) -> Output:
        if self._verify is not None:
            if not groups:
                return b"", []
            gtid, end, checksum = groups[0][0], groups[0][4], groups[0][7]
            self.failure = continuity.differs(self._verify, gtid, checksum, self._facts)
            if self.failure is not None:
                return b"", []
            self._verify, self._from = None, end
            groups = groups[1:]
        size = len(self._splitter.description)
        if self._from is None:
            self._from = size
        if not size or self._splitter.length <= self._from:
            return b"", []
        if not self.begun:
            self.begin()
            if self.failure is not None:
                return b"", []
        before = self._from - size
        data = kept if start >= self._from else kept[self._from - start :]
        return data, self._in_order(groups, before)

    def _in_order(self, groups: list[Group], before: int) -> list[Group]:
        count, broken = continuity.rising(((one[0], one[1], one[2]) for one in groups), self._last)
        if broken is not None:
            self.failure = broken
            groups = groups[:count]
        if not before:
            return groups
        return [(one[0], one[1], one[2], one[3] - before, one[4] - before, *one[5:]) for one in groups]

    def _failed(self, kind: str, number: int, why: str) -> DatabaseError:
        if kind == "header":
            return DatabaseError("database-unreachable", "the server writes its log differently from here on")
        return LogBroken("unreadable", f"an event of type {number} in {self.log_file}: {why}")

    def _ended(self, error: bytes | None) -> DatabaseError:
        if error is None:
            return DatabaseError("database-unreachable", "the server stopped sending its log")
        message = error[2:].decode("utf-8", "replace")
        if message.startswith("#"):
            message = message[6:]
        code = int.from_bytes(error[:2], "little")
        if code == _READING_FAILED or continuity.CLASH in message:
            return continuity.refused(message, self._position, self._facts, self._server_id)
        if code in _RIGHTS:
            return DatabaseError(
                "database-rights-missing",
                f"the account may not read the log: {message}",
                "GRANT REPLICATION SLAVE ON *.* TO the account of backups",
            )
        return DatabaseError("database-unreachable", f"the server ended our reading: {message} (error {code})")


_READING_FAILED = 1236
_RIGHTS = frozenset({1045, 1227, 1142})


def _rotation(file: bytes) -> bytes:
    """An artificial rotation, by which a splitter learns the file's name."""
    size = events.HEADER_BYTES + 8 + len(file)
    header = events.Header(0, events.ROTATE, 0, size, 0, events.ARTIFICIAL)
    return events.pack_header(header) + bytes([4, 0, 0, 0, 0, 0, 0, 0]) + file
