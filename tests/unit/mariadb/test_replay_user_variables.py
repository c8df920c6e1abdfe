"""User variables of the log keep their type and every bit of their value."""

import struct

import pytest

from tidewind.engines.mariadb.log.statements import UserVar
from tidewind.engines.mariadb.replay.user_variables import decimal, user_variable
from tidewind.ports.engine import DatabaseError

COLLATIONS = {8: ("latin1", "latin1_swedish_ci")}
STRING, REAL, INTEGER, ROW, DECIMAL = range(5)


@pytest.mark.parametrize(
    ("stored", "precision", "scale", "expected"),
    [
        ("810DFB38D204D2", 14, 4, "1234567890.1234"),
        ("7EF204C72DFB2D", 14, 4, "-1234567890.1234"),
        ("80", 1, 0, "0"),
        ("8000000001", 10, 9, "0.000000001"),
        ("8001", 4, 4, "0.0001"),
        ("7FFE", 4, 4, "-0.0001"),
    ],
)
def test_decimals_are_read_as_the_server_stores_them(stored: str, precision: int, scale: int, expected: str) -> None:
    assert decimal(precision, scale, bytes.fromhex(stored)) == expected


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (REAL, struct.pack("<d", 0.1 + 0.2), b"0.30000000000000004e0"),
        (REAL, struct.pack("<d", -5e-324), b"-5e-324"),
        (REAL, struct.pack("<d", 1e300), b"1e+300"),
        (REAL, struct.pack("<d", 3.0), b"3.0e0"),
        (INTEGER, (-7).to_bytes(8, "little", signed=True), b"-7"),
        (STRING, b"\xe4", b"_latin1 X'e4' COLLATE latin1_swedish_ci"),
        (DECIMAL, bytes.fromhex("0e04810dfb38d204d2"), b"1234567890.1234"),
        (STRING, None, b"NULL"),
    ],
)
def test_each_type_is_set_as_itself(kind: int, value: bytes | None, expected: bytes) -> None:
    assert user_variable(UserVar(b"a`b", kind, 8, value, False), COLLATIONS) == b"SET @`a``b` := " + expected


@pytest.mark.parametrize(("kind", "charset"), [(ROW, 8), (STRING, 4711)])
def test_what_this_server_does_not_know_is_refused(kind: int, charset: int) -> None:
    with pytest.raises(DatabaseError, match="cannot be replayed"):
        user_variable(UserVar(b"a", kind, charset, b"x", False), COLLATIONS)
