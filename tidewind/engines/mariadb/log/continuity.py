"""Whether a log goes on from what is held, and if not, why. Pure.

Within one log a transaction is known again by its number and its bytes. So reading is resumed one transaction early:
the last one held must come first, byte for byte. The numbers alone would not tell: after RESET MASTER, or after a crash
that lost the log's tail, a server gives the same numbers to other transactions.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from tidewind.domain.gtids import Gtid, GtidList
from tidewind.domain.log_stream import HistoryCause, Transaction
from tidewind.ports.capture import LogBroken
from tidewind.ports.engine import DatabaseError

_PURGED: Final = ("could not find gtid state", "purged")
_MISSING: Final = ("not in the master", "not in the primary", "missing the gtid")
CLASH: Final = "same server_uuid/server_id"
_UNREADABLE: Final = (
    "bogus data",
    "checksum",
    "corrupt",
    "could not find first log file",
    "could not open log file",
    "could not read",
    "error reading",
    "exceeded max_allowed_packet",
    "i/o error",
    "read error",
    "truncated",
    "decrypt",
)


@dataclass(frozen=True, kw_only=True)
class LogFacts:
    """What a server says of its log: the newest transaction of each domain and server (@@gtid_binlog_state), the
    server's own id, and the name of the oldest file it still has."""

    state: tuple[Gtid, ...]
    server_id: int
    oldest_file: str

    @property
    def restarted(self) -> bool:
        """Whether the oldest file is the first that a log begins with."""
        digits = self.oldest_file.rpartition(".")[2]
        return digits.isdigit() and int(digits) == 1

    def newest(self, domain: int) -> int:
        return max((one.sequence for one in self.state if one.domain == domain), default=0)

    def has(self, gtid: Gtid) -> bool:
        return any(
            (one.domain, one.server) == (gtid.domain, gtid.server) and one.sequence >= gtid.sequence
            for one in self.state
        )


def parse_state(text: str) -> tuple[Gtid, ...]:
    """Of @@gtid_binlog_state: several GTIDs of a domain may stand in it."""
    return tuple(Gtid.parse(part) for part in text.split(",") if part.strip())


def missing(position: GtidList, facts: LogFacts) -> LogBroken | None:
    """Why the server's log cannot hold the position, if its own account of it shows that already."""
    for gtid in position.last.values():
        if not facts.has(gtid):
            return _lacks(gtid, facts)
    return None


def start_before(position: GtidList, last: Transaction) -> GtidList:
    """Where to ask from so that `last` is sent first: the number before it, which need not exist."""
    gtid = Gtid.parse(last.gtid)
    return position.advanced(Gtid(gtid.domain, gtid.server, gtid.sequence - 1))


def differs(last: Transaction, gtid: str, checksum: int, facts: LogFacts) -> LogBroken | None:
    """Compares the first transaction that the server sent with the last one held."""
    if gtid == last.gtid and checksum == last.checksum:
        return None
    held = Gtid.parse(last.gtid)
    if gtid == last.gtid:
        detail = f"the log's transaction {gtid} holds other bytes than the one captured before"
    else:
        detail = f"the log goes on with {gtid} where {last.gtid} was captured before"
    cause: HistoryCause = "diverged" if held.server == facts.server_id else "replaced"
    return LogBroken(cause, detail)


def refused(message: str, position: GtidList, facts: LogFacts, server_id: int) -> DatabaseError:
    """What the server's error 1236 means."""
    text = message.casefold()
    if CLASH in text:
        return DatabaseError(
            "database-unreachable",
            f"another replica reads the log as server {server_id} and ended our reading",
            f"Give that replica another server_id, or Tidewind another range of ids that holds no {server_id}",
        )
    if any(words in text for words in _MISSING):
        return missing(position, facts) or LogBroken("diverged", f"the server refuses the position: {message}")
    if any(words in text for words in _PURGED):
        return LogBroken("purged", f"the server purged the log behind {position or 'its beginning'}")
    if any(words in text for words in _UNREADABLE):
        return LogBroken("unreadable", f"the server cannot read its log: {message}")
    return DatabaseError("database-failed", f"the server stopped sending its log: {message}")


def out_of_order(gtid: str, last: int) -> LogBroken:
    return LogBroken("diverged", f"{gtid} came after number {last} of its domain: numbers must rise")


def reached(file: str, offset: int, end_file: str, end_offset: int) -> bool:
    """Whether a place in the server's files is not before another. `offset` is known modulo 2^32."""
    if not end_file or (len(file), file) > (len(end_file), end_file):
        return True
    return file == end_file and (offset == end_offset % (1 << 32) or (end_offset < 1 << 32 and offset >= end_offset))


def rising(groups: Iterable[tuple[str, int, int]], last: dict[int, int]) -> tuple[int, LogBroken | None]:
    """How many of (GTID, domain, number) rise within their domains, and why the next does not. Notes them in `last`."""
    count = 0
    for gtid, domain, sequence in groups:
        if sequence <= last.get(domain, 0):
            return count, out_of_order(gtid, last[domain])
        last[domain] = sequence
        count += 1
    return count, None


def still_to_come(position: GtidList, end: GtidList) -> dict[int, int]:
    """By domain, the number that must be reached until everything in `end` is read."""
    held: Mapping[int, Gtid] = position.last
    return {
        gtid.domain: gtid.sequence
        for gtid in end.last.values()
        if gtid.domain not in held or held[gtid.domain].sequence < gtid.sequence
    }


def _lacks(gtid: Gtid, facts: LogFacts) -> LogBroken:
    newest = facts.newest(gtid.domain)
    if newest >= gtid.sequence:
        detail = f"the log has numbers up to {newest} in domain {gtid.domain}, but not {gtid}"
        return LogBroken("diverged" if gtid.server == facts.server_id else "replaced", detail)
    said = f"its newest number is {newest}" if newest else f"it holds nothing of domain {gtid.domain}"
    if facts.restarted:
        return LogBroken("reset", f"the log was begun anew: {said}, and {gtid} was captured before")
    cause: HistoryCause = "diverged" if gtid.server == facts.server_id else "replaced"
    return LogBroken(cause, f"the log lost {gtid}: {said}")
