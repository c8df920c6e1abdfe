"""How names and values become SQL text. Nothing else in this engine builds quoted text.

Names are quoted by doubling backticks, which no sql_mode changes. Values are written as hexadecimal literals, so that
neither NO_BACKSLASH_ESCAPES nor a multi-byte character set can turn data into syntax.
"""

from collections.abc import Iterable

NAME_CHARACTERS_MAX = 64


def quote_name(name: str) -> str:
    """`na``me` in backticks. ValueError for what no MariaDB name can be: empty, holding NUL, or outside the BMP."""
    if not name:
        raise ValueError("a name must not be empty")
    if "\0" in name or any(ord(ch) > 0xFFFF for ch in name):
        raise ValueError(f"{name!r} cannot be a name: it holds NUL or a character outside the basic plane")
    return "`" + name.replace("`", "``") + "`"


def quote_table(schema: str, table: str) -> str:
    """`schema`.`table`"""
    return f"{quote_name(schema)}.{quote_name(table)}"


def quote_names(names: Iterable[str]) -> str:
    """`a`, `b`, `c`"""
    return ", ".join(quote_name(name) for name in names)


def bytes_literal(value: bytes) -> str:
    """A binary string."""
    return f"X'{value.hex()}'"


def text_literal(value: str) -> str:
    """A utf8mb4 string. Its collation gives way to that of the column it is compared with."""
    return f"_utf8mb4 X'{value.encode().hex()}'"


def text_value(value: str) -> str:
    """The same in quotes, for where the grammar takes no introducer: passwords and the options of accounts. Needs a
    session without NO_BACKSLASH_ESCAPES."""
    escaped = value.replace("\\", "\\\\").replace("'", "''").replace("\0", "\\0")
    return f"'{escaped}'"


def text_literals(values: Iterable[str]) -> str:
    """A list for IN (…); an empty one matches nothing."""
    return ", ".join(text_literal(value) for value in values) or "NULL"


def charset_literal(charset: str, value: bytes) -> str:
    """A string of a character set the server named itself, of exactly these bytes. The server refuses bytes that are
    not well formed in it (error 1300)."""
    if not charset.isidentifier():
        raise ValueError(f"{charset!r} is not the name of a character set")
    return f"_{charset} X'{value.hex()}'"


def account_name(user: str, host: str) -> str:
    """'user'@'host' as GRANT, KILL and SHOW GRANTS take it. The quotes are backticks: every mode knows them."""
    return f"{_account_part(user)}@{_account_part(host)}"


def _account_part(part: str) -> str:
    if "\0" in part:
        raise ValueError(f"{part!r} cannot be part of an account's name")
    return "`" + part.replace("`", "``") + "`"
