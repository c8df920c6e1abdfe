"""Who a server is and where its log stands."""

import re
from dataclasses import dataclass
from datetime import UTC
from hashlib import sha256
from typing import Final

from tidewind.engines.mariadb.connection import Control
from tidewind.engines.mariadb.quoting import text_literal, text_literals
from tidewind.engines.mariadb.restore.names import SWAPPED_TABLES
from tidewind.ports.engine import DatabaseError, ServerFacts

OLDEST: Final = (10, 5)
ATOMIC_RENAME: Final = (10, 6)
"""First release on which a RENAME of several tables is whole or not at all after a crash of the server."""
HISTORY_INSERT: Final = (10, 11)
"""First release that takes the history of system-versioned tables back."""


def version_of(text: str) -> tuple[int, ...]:
    """(10, 11, 19) of "10.11.19-MariaDB-log". ValueError if it is not a MariaDB version."""
    found = re.search(r"(\d+)\.(\d+)\.(\d+)-MariaDB", text)
    if found is None:
        raise ValueError(f"{text!r} is not a version of MariaDB")
    return tuple(int(part) for part in found.groups())


async def server_facts(control: Control) -> ServerFacts:
    """Raises DatabaseError, kind database-unsuitable if the server is not MariaDB.

    `identity` is the server id and a digest of the time at which the oldest Aria table of the `mysql` schema that no
    restore replaces was made, that is when the data directory was: it lasts through restarts, upgrades and moves, and
    a new data directory on the same host and port has another (@@server_uid does not tell those two apart).
    """
    rows = await control.rows(
        "SELECT VERSION(), @@server_id, @@global.time_zone, @@system_time_zone, @@gtid_current_pos, @@log_bin,"
        " SYSDATE(6), (SELECT MIN(CREATE_TIME) FROM information_schema.TABLES"
        f" WHERE TABLE_SCHEMA = 'mysql' AND ENGINE = 'Aria' AND TABLE_NAME NOT IN ({text_literals(SWAPPED_TABLES)}))"
    )
    version, server_id, zone, system_zone, position, logs, now, made = rows[0]
    try:
        numbers = version_of(version)
    except ValueError as error:
        raise DatabaseError(
            "database-unsuitable", f"{control.access.subject} is enrolled as MariaDB and says it is {version}"
        ) from error
    digest = sha256(f"{server_id}/{made}".encode()).hexdigest()[:16]
    return ServerFacts(
        engine="mariadb",
        version=".".join(map(str, numbers)),
        identity=f"{server_id}-{digest}",
        zone=system_zone if zone == "SYSTEM" else zone,
        position=(position or "") if logs else None,
        now=now.replace(tzinfo=UTC),
    )


@dataclass(frozen=True, order=True)
class LogPlace:
    """An end of the log. Compared within one history only; `gtid` is what lasts."""

    file: str
    offset: int


async def log_place(control: Control) -> LogPlace | None:
    """Where the log ends now; None without a log."""
    rows = await control.rows("SHOW MASTER STATUS")
    return LogPlace(rows[0][0], int(rows[0][1])) if rows else None


async def gtid_at(control: Control, place: LogPlace) -> str:
    """The GTID list at a place. Raises DatabaseError if the file is gone."""
    position = await control.value(f"SELECT BINLOG_GTID_POS({text_literal(place.file)}, {place.offset})")
    if position is None:
        raise DatabaseError("snapshot-inconsistent", f"the log {place.file} was purged while it was needed")
    return str(position)
