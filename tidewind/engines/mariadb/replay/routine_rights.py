"""The rights that the server gives by itself to whoever makes a routine.

It gives EXECUTE and ALTER ROUTINE to an account that lacks one of them, and logs nothing of it; a replica gives them to
the definer when it meets the statement. Replayed under an account that has every right, nobody would get them. Pure.
"""

import re
from dataclasses import dataclass
from typing import Final

from tidewind.engines.mariadb.quoting import account_name, quote_table, text_literal

EXECUTE: Final = 1 << 18
ALTER_ROUTINE: Final = 1 << 24
BOTH: Final = EXECUTE | ALTER_ROUTINE
_NAME: Final = r"(`(?:[^`]|``)+`|[\w$]+)"
_PART: Final = r"(`(?:[^`]|``)*`|'(?:[^']|'')*'|[\w.%$]+)"
_MADE: Final = re.compile(
    rf"\s*CREATE\s+(?:OR\s+REPLACE\s+)?DEFINER\s*=\s*{_PART}\s*@\s*{_PART}\s+(?:AGGREGATE\s+)?"
    rf"(PROCEDURE|FUNCTION|PACKAGE(?:\s+BODY)?)\s+(?:IF\s+NOT\s+EXISTS\s+)?{_NAME}(?:\s*\.\s*{_NAME})?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Made:
    """A routine that a statement makes, and for whom."""

    user: str
    host: str
    kind: str
    schema: str
    name: str

    @property
    def lacking(self) -> str:
        """A query with one row if the definer is an account that lacks one of the rights on the routine."""
        account = f"User = {text_literal(self.user)} AND Host = {text_literal(self.host)}"
        return (
            f"SELECT 1 FROM mysql.global_priv p WHERE {account} "
            f"AND COALESCE(JSON_VALUE(Priv, '$.access'), 0) & {BOTH} <> {BOTH} "
            f"AND NOT EXISTS (SELECT 1 FROM mysql.db d WHERE d.User = p.User AND d.Host = p.Host "
            f"AND {text_literal(self.schema)} LIKE d.Db AND d.Execute_priv = 'Y' AND d.Alter_routine_priv = 'Y')"
        )

    @property
    def grant(self) -> str:
        where = quote_table(self.schema, self.name)
        return f"GRANT EXECUTE, ALTER ROUTINE ON {self.kind} {where} TO {account_name(self.user, self.host)}"


def made_by(text: bytes, schema: str) -> Made | None:
    """The routine that a statement makes, which runs in a schema; None if it makes none."""
    found = _MADE.match(text.decode("utf-8", "replace"))
    if found is None:
        return None
    user, host, kind, first, second = found.groups()
    return Made(
        user=_bare(user),
        host=_bare(host),
        kind=" ".join(kind.upper().split()),
        schema=schema if second is None else _bare(first),
        name=_bare(first if second is None else second),
    )


def _bare(name: str) -> str:
    quote = name[0]
    return name[1:-1].replace(quote * 2, quote) if quote in "`'" else name
