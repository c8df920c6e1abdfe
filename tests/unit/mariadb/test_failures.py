"""Why a server could not be reached stands in the message: a closed port, a wrong name, a certificate are told apart."""

import errno
import socket
import ssl

import pymysql
import pytest

from tidewind.engines.mariadb.failures import translate
from tidewind.ports.engine import DatabaseError


def not_connected(why: OSError) -> DatabaseError:
    """As the driver says it: the reason only stands behind it."""
    error = pymysql.err.OperationalError(2003, "Can't connect to MySQL server on 'db-1'")
    error.__cause__ = why
    return translate(error, "db-1:3306", "svc")


@pytest.mark.parametrize(
    ("why", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('10.0.0.1', 3306)"), "Connection refused"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (OSError("Multiple exceptions: [Errno 111] …"), "Multiple exceptions"),
        (TimeoutError(), "no answer in time"),
    ],
)
def test_why_there_is_no_connection(why: OSError, words: str) -> None:
    error = not_connected(why)
    assert error.kind == "database-unreachable"
    assert error.detail.startswith("db-1:3306: no connection: ")
    assert words in error.detail


def test_a_certificate_that_is_not_accepted_is_no_network_fault() -> None:
    fault = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
    fault.verify_message = "self-signed certificate in certificate chain"
    error = not_connected(fault)
    assert error.kind == "database-unreachable"
    assert "certificate is not accepted: self-signed certificate" in error.detail
    assert "tls.ca" in str(error.next_step)


def test_a_login_refused_without_tls_says_that_tls_may_be_demanded() -> None:
    refused = pymysql.err.OperationalError(1045, "Access denied for user 'svc'@'10.0.0.9' (using password: YES)")
    assert "demands TLS" in str(translate(refused, "db-1:3306", "svc", encrypted=False).next_step)
    assert "TLS" not in str(translate(refused, "db-1:3306", "svc").next_step)
