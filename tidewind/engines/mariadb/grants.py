"""Which rights each account needs, and what it has. Pure."""

import re
from collections.abc import Iterable
from typing import Final

BACKUP_GRANTS: Final[dict[str, str]] = {
    "SELECT": "to read every row and the account tables",
    "SHOW VIEW": "to read the definitions of views",
    "TRIGGER": "to read the definitions of triggers",
    "EVENT": "to read the definitions of events",
    "PROCESS": "to see who waits for a lock of ours, and give way",
    "RELOAD": "to hold off commits for milliseconds, or DDL, where nothing else helps",
    "BINLOG MONITOR": "to know the log position of a snapshot",
    "BINLOG ADMIN": "to keep reads from holding metadata locks (sql_log_bin = 0)",
    "SLAVE MONITOR": "to see whether the server is a replica",
}

CAPTURE_GRANTS: Final[dict[str, str]] = {
    "REPLICATION SLAVE": "to read the log as a replica does; without it no point in time can be restored",
}

HARMLESS: Final = frozenset(
    {*BACKUP_GRANTS, *CAPTURE_GRANTS, "USAGE", "SHOW DATABASES", "LOCK TABLES", "CONNECTION ADMIN"}
)

RESTORE_GRANTS: Final = frozenset(
    {
        *BACKUP_GRANTS,
        "INSERT",
        "UPDATE",
        "DELETE",
        "CREATE",
        "DROP",
        "ALTER",
        "INDEX",
        "REFERENCES",
        "CREATE VIEW",
        "CREATE ROUTINE",
        "ALTER ROUTINE",
        "CREATE USER",
        "SUPER",
        "SET USER",
        "CONNECTION ADMIN",
        "BINLOG REPLAY",
        "READ_ONLY ADMIN",
    }
)

_GLOBAL: Final = re.compile(r"^GRANT (.+?) ON \*\.\* TO ", re.IGNORECASE)
_SYNONYMS: Final = {
    "REPLICA MONITOR": "SLAVE MONITOR",
    "REPLICATION CLIENT": "BINLOG MONITOR",
    "REPLICATION REPLICA": "REPLICATION SLAVE",
    "DELETE VERSIONING ROWS": "DELETE HISTORY",
}
ALL: Final = "ALL PRIVILEGES"


def global_grants(show_grants: Iterable[str]) -> frozenset[str]:
    """Names of the global rights in the lines of SHOW GRANTS, `ALL PRIVILEGES` and `GRANT OPTION` among them."""
    found: set[str] = set()
    for line in show_grants:
        match = _GLOBAL.match(line)
        if match is None:
            continue
        for name in match.group(1).upper().split(","):
            found.add(_SYNONYMS.get(name.strip(), name.strip()))
        if line.upper().rstrip().endswith("WITH GRANT OPTION"):
            found.add("GRANT OPTION")
    return frozenset(found)


def missing(held: frozenset[str], wanted: Iterable[str]) -> list[str]:
    """Those of `wanted` that are not held."""
    return [] if ALL in held else sorted(set(wanted) - held)


def excess(held: frozenset[str]) -> list[str]:
    """What an account that only makes backups never needs."""
    return sorted(held - HARMLESS)
