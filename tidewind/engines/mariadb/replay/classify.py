"""What is done with a logged statement: one table. Pure.

The statement is known by its first words. Nothing else of it is understood, and what the table does not know is
refused: a replay that guesses is worse than one that stops.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

from tidewind.engines.mariadb.log.events import ALTER_ROLLBACK, ALTER_START

Action = Literal["run", "skip", "refuse", "commit", "rollback", "inside"]
"""`commit` and `rollback` end a group; `inside` is run in the transaction that its group is."""
Kind = Literal[
    "definition", "routine", "event", "account", "rows", "savepoint", "transaction", "maintenance", "unknown"
]


@dataclass(frozen=True)
class Decision:
    """What to do and why."""

    action: Action
    kind: Kind
    reason: str


_WORDS: Final[tuple[tuple[str, Action, Kind, str], ...]] = (
    (r"COMMIT\b", "commit", "transaction", "ends a group"),
    (r"ROLLBACK\s+(?:WORK\s+)?TO\b", "inside", "savepoint", "takes back a part of its transaction"),
    (r"ROLLBACK\b", "rollback", "transaction", "ends a group that never was"),
    (r"(?:BEGIN|START\s+TRANSACTION)\b", "skip", "transaction", "the GTID event begins the group"),
    (r"XA\b", "skip", "transaction", "the GTID event tells what becomes of the XA transaction"),
    (r"(?:SAVEPOINT|RELEASE\s+SAVEPOINT)\b", "inside", "savepoint", "part of its transaction"),
    (r"(?:CREATE|DROP)\s+(?:OR\s+REPLACE\s+)?TEMPORARY\b", "skip", "definition", "temporary tables leave nothing"),
    (r"(?:CREATE|ALTER|DROP){definer}\s+EVENT\b", "run", "event", "defines an event"),
    (r"(?:CREATE|ALTER|DROP){definer}\s+(?:USER|ROLE)\b", "run", "account", "changes accounts"),
    (r"RENAME\s+USER\b", "run", "account", "changes accounts"),
    (r"(?:GRANT|REVOKE)\b", "run", "account", "changes rights"),
    (r"SET\s+(?:PASSWORD|DEFAULT\s+ROLE)\b", "run", "account", "changes accounts"),
    (r"FLUSH\s+(?:NO_WRITE_TO_BINLOG\s+|LOCAL\s+)?PRIVILEGES\b", "run", "account", "makes account tables take effect"),
    (r"FLUSH\b", "skip", "maintenance", "changes nothing that is stored"),
    (r"(?:ANALYZE|OPTIMIZE|REPAIR|CHECK)\b", "skip", "maintenance", "changes no row"),
    (r"(?:RESET|CACHE\s+INDEX|LOAD\s+INDEX)\b", "skip", "maintenance", "changes nothing that is stored"),
    (
        r"(?:CREATE|ALTER|DROP){definer}\s+(?:AGGREGATE\s+)?(?:PROCEDURE|FUNCTION|PACKAGE)\b",
        "run",
        "routine",
        "defines a routine",
    ),
    (r"(?:INSTALL|UNINSTALL)\b", "skip", "maintenance", "libraries are not restored"),
    (r"(?:CREATE|ALTER|DROP)\s+(?:OR\s+REPLACE\s+)?SERVER\b", "skip", "maintenance", "comes with the archived states"),
    (r"(?:CREATE|ALTER|DROP|TRUNCATE|RENAME)\b", "run", "definition", "defines what rows are stored in"),
    (r"COMMENT\b", "run", "definition", "defines what rows are stored in"),
    (
        r"\(*\s*(?:INSERT|UPDATE|DELETE|REPLACE|WITH|SELECT|CALL|DO)\b",
        "inside",
        "rows",
        "row changes logged as a statement",
    ),
)
_DEFINER: Final = (
    r"(?:\s+(?:OR\s+REPLACE|DEFINER\s*=\s*(?:`(?:[^`]|``)*`|'[^']*'|\w+)(?:\s*@\s*(?:`(?:[^`]|``)*`|'[^']*'|[\w.%]+)"
    r"|\(\))?))*"
)
_TABLE: Final = tuple(
    (re.compile(words.replace("{definer}", _DEFINER), re.IGNORECASE), Decision(action, kind, reason))
    for words, action, kind, reason in _WORDS
)
_SKIPPED_PREFIX: Final = re.compile(r"(?:\s+|--[ \t][^\n]*\n|#[^\n]*\n|/\*(?![!M]).*?\*/|/\*M?!\d*)+", re.DOTALL)
_SET_STATEMENT: Final = re.compile(
    r"SET\s+STATEMENT\b(?:'(?:[^'\\]|\\.|'')*'|\"[^\"]*\"|`[^`]*`|.)*?\bFOR\b", re.I | re.S
)
_LOOK_AT: Final = 4096


def classify(text: bytes, *, alter: int = 0) -> Decision:
    """`text` in whatever character set: what counts of it is ASCII. `alter`: the GTID event's flags of an ALTER in two
    phases, which stands in the log twice, and also when it failed."""
    if alter & ALTER_START:
        return Decision("skip", "definition", "an ALTER that has only begun; it is run where it was committed")
    if alter & ALTER_ROLLBACK:
        return Decision("skip", "definition", "an ALTER that failed")
    words = beginning(text)
    for pattern, decision in _TABLE:
        if pattern.match(words):
            return decision
    return Decision("refuse", "unknown", f"a statement that begins with {' '.join(words.split()[:2])[:40]!r}")


def beginning(text: bytes, *, of: int = _LOOK_AT, encoding: str = "latin-1") -> str:
    """The first words behind comments and SET STATEMENT … FOR. `of`: so many bytes are looked at."""
    words = text[:of].decode(encoding, "replace")
    while True:
        prefix = _SKIPPED_PREFIX.match(words) or _SET_STATEMENT.match(words)
        if prefix is None:
            return words
        words = words[prefix.end() :]
