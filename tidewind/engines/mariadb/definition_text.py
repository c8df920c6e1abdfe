"""SHOW CREATE TABLE as text that makes the same table. Pure.

The server writes the defaults of binary columns as raw bytes, which are not text, and characters above the basic plane
in defaults as '?'. Such defaults are written as hexadecimal literals instead: the same default, in plain ASCII.
"""

import re
from collections.abc import Mapping
from typing import Final

from tidewind.engines.mariadb.quoting import quote_name

_STRING: Final = r"'(?:[^'\\]|''|\\.)*'"
_ESCAPED: Final = re.compile(rb"\\(.)|''", re.DOTALL)
_UNESCAPED: Final = {b"0": b"\0", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"Z": b"\x1a", b"b": b"\b"}


def is_text(create: str) -> bool:
    """Whether it is valid UTF-8."""
    return not any("\udc80" <= ch <= "\udcff" for ch in create)


def with_hexadecimal_defaults(create: str) -> str:
    """Defaults that are not text, as X'…'. What else is not text stays: `is_text` then says so."""

    def replaced(found: re.Match[str]) -> str:
        literal = found.group(2)
        return found.group(0) if is_text(literal) else f"{found.group(1)}X'{_bytes(literal).hex()}'"

    return re.sub(rf"(\sDEFAULT )({_STRING})", replaced, create)


def _bytes(literal: str) -> bytes:
    raw = literal[1:-1].encode(errors="surrogateescape")
    return _ESCAPED.sub(lambda m: b"'" if m.group(1) is None else _UNESCAPED.get(m.group(1), m.group(1)), raw)


def with_true_defaults(create: str, defaults: Mapping[str, bytes]) -> str:
    """Replace the default of each column named by exactly these bytes."""
    for column, value in defaults.items():
        line = re.compile(rf"(^  {re.escape(quote_name(column))} [^\n]*?\sDEFAULT ){_STRING}", re.MULTILINE)
        create = line.sub(lambda m, value=value: f"{m.group(1)}X'{value.hex()}'", create, count=1)  # type: ignore[misc]
    return create
