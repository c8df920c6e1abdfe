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

DATA_GRANTS: Final = frozenset(
    {
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
    }
)
"""What a restore does to data: held on the server, or on every schema of the cluster."""

_ADMINISTRATION: Final = frozenset(
    {"CREATE USER", "SUPER", "SET USER", "CONNECTION ADMIN", "BINLOG REPLAY", "READ_ONLY ADMIN"}
)

RESTORE_GRANTS: Final = frozenset({*BACKUP_GRANTS, *DATA_GRANTS, *_ADMINISTRATION})

STATEMENT_GRANTS: Final = frozenset({*BACKUP_GRANTS, *_ADMINISTRATION, "FEDERATED ADMIN", "GRANT OPTION"})
"""On the server, for an account that restores without rights on the tables of `mysql`: besides, it needs DATA_GRANTS
with GRANT OPTION on every schema, and whatever else it is to give back."""

_GLOBAL: Final = re.compile(r"^GRANT (.+?) ON \*\.\* TO ", re.IGNORECASE)
_SCHEMA: Final = re.compile(r"^GRANT (.+?) ON `((?:[^`]|``)+)`\.\* TO ", re.IGNORECASE)
_WILD: Final = re.compile(r"\\.|.", re.DOTALL)
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


def schema_grants(show_grants: Iterable[str]) -> dict[str, frozenset[str]]:
    """Rights on schemas in the lines of SHOW GRANTS, by the pattern each grant names."""
    found: dict[str, frozenset[str]] = {}
    for line in show_grants:
        match = _SCHEMA.match(line)
        if match is None:
            continue
        rights = {_SYNONYMS.get(name.strip(), name.strip()) for name in match.group(1).upper().split(",")}
        if line.upper().rstrip().endswith("WITH GRANT OPTION"):
            rights.add("GRANT OPTION")
        pattern = match.group(2).replace("``", "`")
        found[pattern] = found.get(pattern, frozenset()) | rights
    return found


def matches(pattern: str, schema: str) -> bool:
    """Whether a grant on the pattern is one on the schema of this name."""
    return re.fullmatch(_WILD.sub(_as_regex, pattern), schema, re.IGNORECASE | re.DOTALL) is not None


def pattern_of(schema: str) -> str:
    """The pattern that matches the schema of this name and no other."""
    return re.sub(r"[\\%_]", r"\\\g<0>", schema)


def _as_regex(token: re.Match[str]) -> str:
    text = token.group()
    if text in ("%", "_"):
        return ".*" if text == "%" else "."
    return re.escape(text[1:] if len(text) > 1 else text)


def missing(held: frozenset[str], wanted: Iterable[str]) -> list[str]:
    """Those of `wanted` that are not held."""
    return [] if ALL in held else sorted(set(wanted) - held)


def excess(held: frozenset[str]) -> list[str]:
    """What an account that only makes backups never needs."""
    return sorted(held - HARMLESS)
