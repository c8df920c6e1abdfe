"""Where the log holds the rows of transactions that were prepared and not ended when a snapshot was taken.

XA PREPARE logs the rows; the COMMIT that may come later is a group without any. A snapshot between the two has neither
the rows nor, by its own position, a place in the log from which they could be read. So it also tells the position
before the oldest such PREPARE: whoever keeps the log to replay it onto the snapshot keeps it from there.

The log is looked through backwards, file by file, and only as far as needed: the newest group that begins with a
transaction's id is the one that is open, since an id can be used again only once it has ended.
"""

import re
from collections.abc import Collection
from typing import Final

from tidewind.engines.mariadb.connection import Control
from tidewind.engines.mariadb.failures import code_of
from tidewind.engines.mariadb.log_scan import PAGE_EVENTS, quoted_file
from tidewind.engines.mariadb.server import LogPlace, gtid_at
from tidewind.ports.engine import DatabaseError

_GROUP: Final = re.compile(r"XA START (X'[0-9a-f]*',X'[0-9a-f]*',\d+)\b", re.IGNORECASE)
_PART: Final = re.compile(r"[xX]?'(?:[^']|'')*'|\d+")
_LEFT_OUT: Final = ("", "''", "1")
_QUOTES, _QUOTE = "''", "'"
_NO_SUCH_FILE: Final = frozenset({1220})


async def position_before(control: Control, prepared: Collection[str], end: LogPlace) -> str | None:
    """The GTID list just before the oldest PREPARE of these transactions, given as XA COMMIT takes them, in the log up
    to `end`. None if the log that the server still keeps holds the beginning of none. Raises DatabaseError."""
    wanted = {in_full(one) for one in prepared}
    oldest: LogPlace | None = None
    files = [str(row[0]) for row in await control.rows("SHOW BINARY LOGS")]
    for file in reversed([name for name in files if name <= end.file]):
        if not wanted:
            break
        begun = await _begun_in(control, file, wanted, end)
        if begun:
            oldest = LogPlace(file, min(begun.values()))
            wanted -= begun.keys()
    return None if oldest is None else await gtid_at(control, oldest)


def in_full(xid: str) -> str:
    """A transaction's id as the log writes it: all three parts, the first two in hexadecimal, in lower case. The server
    prints a part as text where all of it is printable."""
    parts = [found.group() for found in _PART.finditer(xid)]
    return ",".join(_as_logged(part) for part in [*parts, *_LEFT_OUT[len(parts) :]])


def _as_logged(part: str) -> str:
    if part.startswith("'"):
        return f"x'{part[1:-1].replace(_QUOTES, _QUOTE).encode().hex()}'"
    return part.lower()


async def _begun_in(control: Control, file: str, wanted: Collection[str], end: LogPlace) -> dict[str, int]:
    """Of the transactions wanted, where the newest group of each begins in one file."""
    found: dict[str, int] = {}
    offset = 4
    while True:
        try:
            events = await control.rows(f"SHOW BINLOG EVENTS IN {quoted_file(file)} FROM {offset} LIMIT {PAGE_EVENTS}")
        except DatabaseError as error:
            if code_of(error) in _NO_SUCH_FILE:  # purged meanwhile
                return {}
            raise
        for _, at, kind, _, _, info in events:
            if file == end.file and int(at) >= end.offset:
                return found
            group = _GROUP.match(str(info)) if str(kind) == "Gtid" else None
            if group is not None and group[1].lower() in wanted:
                found[group[1].lower()] = int(at)
        if len(events) < PAGE_EVENTS:
            return found
        offset = int(events[-1][4])
