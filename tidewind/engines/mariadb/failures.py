"""What an error of the server or the network means to an operator. Messages hold no secret and no statement values."""

import os
import ssl
from typing import Final

import pymysql

from tidewind.ports.engine import DatabaseError

UNREACHABLE: Final = frozenset({2002, 2003, 2005, 2006, 2013, 2055, 1040, 1053, 1129, 1130, 1203, 1226, 1927, 4031})
LOGIN_REFUSED: Final = frozenset({1044, 1045, 1251, 1275, 1524, 1698, 1820, 1862, 3118, 4150, 4151, 2059})
RIGHTS_MISSING: Final = frozenset({1142, 1143, 1227, 1370, 1419, 1095, 1403, 1410, 1045})
FULL: Final = frozenset({1021, 1114, 1041, 3, 28})
DEFINITION_CHANGED: Final = frozenset({1412, 1146, 1049, 1054, 1051, 1735, 1176, 1356, 1305, 1347, 4091, 1033, 1017})
"""What a read meets when somebody changed the table while it was being read."""
INTERRUPTED: Final = frozenset({1317, 1028, 1969, 3024})
_PLAIN: Final = "; if the account or the server demands TLS, enrol the cluster with tls"
"""A server that demands TLS answers everybody without it as if the password were wrong."""
LOCK_TIMEOUT: Final = frozenset({1205})


def code_of(error: BaseException) -> int | None:
    """The server's or client's error number, if it has one; also of a DatabaseError that was made of one."""
    if isinstance(error, DatabaseError):
        return code_of(error.__cause__) if error.__cause__ is not None else None
    if isinstance(error, pymysql.err.Error) and error.args and isinstance(error.args[0], int):
        return error.args[0]
    return None


def translate(error: BaseException, subject: str, user: str, sql: str = "", *, encrypted: bool = True) -> DatabaseError:
    """The DatabaseError for a driver's error. `subject` is host:port, `sql` the statement that failed, if any;
    `encrypted` is whether the connection was to use TLS."""
    if isinstance(error, DatabaseError):
        return error
    code = code_of(error)
    text = _text(error)
    if (untrusted := _certificate_fault(error)) is not None:
        return DatabaseError(
            "database-unreachable",
            f"{subject}: the server's certificate is not accepted: {untrusted}",
            "Name the authority that signed it in tls.ca, and the server by a name that its certificate holds",
        )
    if not isinstance(error, pymysql.err.Error) or code in UNREACHABLE or code in (0, None):
        what = "the connection was lost" if sql or code in (2006, 2013) else "no connection"
        return DatabaseError("database-unreachable", f"{subject}: {what}: {text}")
    if code in LOGIN_REFUSED and not sql:
        check = "Check the account, its host part and the password that the reference names"
        return DatabaseError(
            "database-refused-login",
            f"{subject} refused the account {user!r}: {text}",
            check if encrypted else check + _PLAIN,
        )
    if code in RIGHTS_MISSING or code in LOGIN_REFUSED:
        return DatabaseError("database-rights-missing", f"{subject}: the account {user!r} lacks a right: {text}")
    if code in FULL:
        return DatabaseError("database-full", f"{subject}: no space left on the server: {text}")
    words = " ".join(sql.split()[:3])
    return DatabaseError("database-failed", f"{subject}: {words + ': ' if words else ''}{text} (error {code})")


def _certificate_fault(error: BaseException) -> str | None:
    """What is wrong with a certificate, if that is what the error, or the one it was raised from, is about."""
    for one in (error, error.__cause__, error.__context__):
        if isinstance(one, ssl.SSLCertVerificationError):
            return one.verify_message
    return None


def _text(error: BaseException) -> str:
    """The message without the driver's tuple around it, one line, bounded. Where the driver says only that it could not
    connect, why is added: a closed port, a wrong name and a firewall are mended in different places."""
    message = str(error.args[1]) if len(error.args) > 1 else str(error) or type(error).__name__
    below = error.__cause__
    if isinstance(below, OSError):
        known = os.strerror(below.errno) if (below.errno or 0) > 0 and below.errno else below.strerror
        message += f" ({known or str(below) or 'no answer in time'})"
    return " ".join(message.split())[:300]
