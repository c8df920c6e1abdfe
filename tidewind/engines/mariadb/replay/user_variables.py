"""User variables that a logged statement needs, as SET statements that give them the value and type they had. Pure."""

import struct
from collections.abc import Mapping
from typing import Final

from tidewind.engines.mariadb.log.statements import UserVar
from tidewind.engines.mariadb.quoting import quote_name
from tidewind.ports.engine import DatabaseError

Collations = Mapping[int, tuple[str, str]]
"""Number to (character set, collation)."""

_STRING, _REAL, _INTEGER, _DECIMAL = 0, 1, 2, 4
_DIGITS: Final = 9
"""So many decimal digits of a DECIMAL are one number of four bytes."""
_BYTES: Final = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
"""What fewer digits take."""


def user_variable(variable: UserVar, collations: Collations) -> bytes:
    """SET @name := value. Raises DatabaseError (replay-refused) for a type that no server writes, and a collation that
    this one does not know."""
    name = quote_name(variable.name.decode("utf-8", "replace")).encode()
    return b"SET @" + name + b" := " + _value(variable, collations)


def _value(variable: UserVar, collations: Collations) -> bytes:
    value = variable.value
    if value is None:
        return b"NULL"
    if variable.kind == _STRING and variable.charset in collations:
        charset, collation = collations[variable.charset]
        return f"_{charset} X'{value.hex()}' COLLATE {collation}".encode()
    if variable.kind == _INTEGER:
        return b"%d" % int.from_bytes(value, "little", signed=not variable.unsigned)
    if variable.kind == _REAL:
        shown = repr(struct.unpack("<d", value)[0])
        return (shown if "e" in shown else shown + "e0").encode()
    if variable.kind == _DECIMAL:
        return decimal(value[0], value[1], value[2:]).encode()
    raise DatabaseError("replay-refused", "a user variable has a type or a collation that cannot be replayed")


def decimal(precision: int, scale: int, stored: bytes) -> str:
    """A DECIMAL as the server stores it: groups of digits from the point outwards, the first bit turned over, and all
    bits of a negative one."""
    negative = not stored[0] & 0x80
    data = bytes((stored[0] ^ 0x80, *stored[1:]))
    if negative:
        data = bytes(byte ^ 0xFF for byte in data)
    whole, fraction, at = "", "", 0
    for digits in _groups(precision - scale, first=True):
        whole += str(int.from_bytes(data[at : at + _BYTES[digits]], "big")).zfill(digits)
        at += _BYTES[digits]
    for digits in _groups(scale, first=False):
        fraction += str(int.from_bytes(data[at : at + _BYTES[digits]], "big")).zfill(digits)
        at += _BYTES[digits]
    return ("-" if negative else "") + (whole.lstrip("0") or "0") + ("." + fraction if fraction else "")


def _groups(digits: int, *, first: bool) -> list[int]:
    """How many digits each group holds; the odd one is the first before the point, the last behind it."""
    full = [_DIGITS] * (digits // _DIGITS)
    odd = [digits % _DIGITS] if digits % _DIGITS else []
    return [*odd, *full] if first else [*full, *odd]
