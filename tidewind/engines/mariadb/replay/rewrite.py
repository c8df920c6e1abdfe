"""Statements whose meaning depends on who runs them, rewritten so that it is whoever ran them then. Pure.

The server takes the session's account where a statement names none: CREATE ROLE makes it the role's administrator,
CREATE and ALTER make it the definer. Replayed as they stand, they would make it ours.
"""

import re
from typing import Final

from tidewind.engines.mariadb.quoting import account_name, quote_name

_ROLE: Final = re.compile(rb"\s*CREATE\s+(?:OR\s+REPLACE\s+)?ROLE\b", re.I)
_ADMIN: Final = re.compile(rb"\bWITH\s+ADMIN\b", re.I)
_HAS_DEFINER: Final = re.compile(
    rb"\s*(CREATE(?:\s+OR\s+REPLACE)?|ALTER)(?=\s+(?:ALGORITHM\s*=\s*\w+\s+)?(?:SQL\s+SECURITY\s+\w+\s+)?"
    rb"(?:VIEW|TRIGGER|EVENT)\b|\s+(?:AGGREGATE\s+)?(?:PROCEDURE|FUNCTION|PACKAGE)\b)",
    re.I,
)
_ALTER_ROUTINE: Final = re.compile(rb"\s*ALTER\s+(?:PROCEDURE|FUNCTION|PACKAGE)\b", re.I)
_ALGORITHM: Final = re.compile(rb"\s+ALGORITHM\s*=\s*\w+", re.I)
_ACCOUNT_LOCK: Final = re.compile(rb"\bACCOUNT\s+(?:UN)?LOCK\b", re.I)
_CREATE_USER: Final = re.compile(rb"\s*CREATE\s+(USER|ROLE)\s+(?!IF\s)", re.I)
_DROP_USER: Final = re.compile(rb"\s*DROP\s+(USER|ROLE)\s+(?!IF\s)", re.I)


def as_invoker(text: bytes, invoker: tuple[bytes, bytes] | None) -> bytes:
    """The statement with what it leaves to the session spelled out; unchanged where it leaves nothing, or where the
    log does not say who it was."""
    if invoker is None or not invoker[0]:
        return text
    user, host = (part.decode("utf-8", "replace") for part in invoker)
    account = (account_name(user, host) if host else quote_name(user)).encode()
    if _ROLE.match(text):
        return text if _ADMIN.search(text) else text.rstrip().rstrip(b";") + b" WITH ADMIN " + account
    found = None if _ALTER_ROUTINE.match(text) else _HAS_DEFINER.match(text)
    if found is None:
        return text
    at = found.end()
    algorithm = _ALGORITHM.match(text, at)
    if algorithm is not None:
        at = algorithm.end()
    return text[:at] + b" DEFINER=" + account + text[at:]


def locks_accounts(text: bytes) -> bool:
    """Whether a statement may say of an account whether it is locked."""
    return _ACCOUNT_LOCK.search(text) is not None


def again(text: bytes) -> bytes:
    """A statement that makes or drops accounts, so that it may be run when it was run in part before."""
    made = _CREATE_USER.match(text)
    if made:
        return text[: made.start(1)] + b"OR REPLACE " + text[made.start(1) :]
    dropped = _DROP_USER.match(text)
    if dropped:
        return text[: dropped.end(1)] + b" IF EXISTS" + text[dropped.end(1) :]
    return text
