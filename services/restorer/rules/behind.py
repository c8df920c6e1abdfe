"""What lies behind a point: what a restore undoes, table by table, and what that tells of tables and accounts. Pure.

Numbers are exact unless they say `at_least`: then the log behind the point is longer than a plan looks into, a part of
it cannot be read, or something was written that nobody captured.

A backup tells how tables and accounts were when it was taken, not how they were at the point. Where all statements
behind the point are known, they tell what a restore changes: a table or an account that none of them names is at the
point what it is now, also if the backup has it otherwise.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from services.restorer.rules.fates import AccountFates, TableFate, user_of
from tidewind.domain.lived import instant
from tidewind.domain.log_stream import Transaction
from tidewind.ports.capture import Summary, TableChange

LISTED_TABLES = 200
LISTED_STATEMENTS = 50
SHOWN = 200
"""Characters of a statement in a plan."""
_WORD = re.compile(r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.|\"\")*\"|`(?:[^`]|``)*`|[\w$]+")
_OF_SCHEMAS = re.compile(r"\s*(?:CREATE|ALTER|DROP)\s+(?:OR\s+REPLACE\s+)?(?:DATABASE|SCHEMA)\b", re.IGNORECASE)
_OF_ACCOUNTS = re.compile(
    r"\s*(?:(?:CREATE|ALTER|DROP|RENAME)\s+(?:OR\s+REPLACE\s+)?(?:USER|ROLE)|GRANT|REVOKE|SET\s+(?:PASSWORD|DEFAULT))\b",
    re.IGNORECASE,
)
_MAKES_ACCOUNTS = re.compile(
    r"\s*(?:(?:CREATE|RENAME)\s+(?:OR\s+REPLACE\s+)?(?:USER|ROLE)\b|GRANT\b.*\bIDENTIFIED\b)", re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True)
class UndoneTable:
    """Rows that were written behind the point."""

    schema: str
    table: str
    inserted: int
    updated: int
    deleted: int


@dataclass(frozen=True, kw_only=True)
class UndoneStatement:
    """A statement that is no rows, its secrets masked."""

    position: str
    at: datetime
    statement: str


@dataclass(frozen=True, kw_only=True)
class Behind:
    """`transactions` lie behind the point; `transactions_at_least`: there are more. `looked_into` of them were read for
    tables and statements; `rows_at_least`: not all were."""

    transactions: int
    transactions_at_least: bool
    looked_into: int
    rows_at_least: bool
    tables: tuple[UndoneTable, ...]
    tables_not_listed: int
    statements: tuple[UndoneStatement, ...]
    statements_not_listed: int


@dataclass
class Tally:
    """Adds up what transactions did, in the order of the log."""

    looked_into: int = 0
    unread: bool = False
    _rows: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    _statements: list[UndoneStatement] = field(default_factory=list)
    _schemas: list[str] = field(default_factory=list)
    _named: Counter[str] = field(default_factory=Counter)
    _of_accounts: list[str] = field(default_factory=list)
    _told: int = 0
    _cut_off: bool = False

    def add(self, one: Transaction, summary: Summary | None) -> None:
        """`summary` is None for one that was too large to be looked into."""
        if summary is None:
            self.unread = True
            return
        self.looked_into += 1
        for change in summary.tables:
            self._add_rows(change)
        for text, schema in zip(summary.statements, summary.schemas, strict=True):
            self._told += 1
            self._cut_off |= text.endswith("…") or "\ufffd" in text
            self._named.update(words_of(text))
            if _OF_SCHEMAS.match(text):
                self._schemas += words_of(text)
            if _OF_ACCOUNTS.match(text):
                self._of_accounts.append(text)
            if len(self._statements) < LISTED_STATEMENTS:
                shown = text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
                where = "" if _OF_ACCOUNTS.match(text) or not schema else f" (in {schema})"
                self._statements.append(
                    UndoneStatement(position=one.gtid, at=instant(one.time_us), statement=shown + where)
                )

    def _add_rows(self, change: TableChange) -> None:
        counts = self._rows.setdefault((change.schema, change.table), [0, 0, 0])
        for index, count in enumerate((change.inserted, change.updated, change.deleted)):
            counts[index] += count

    def result(self, transactions: int, *, transactions_at_least: bool, whole: bool) -> Behind:
        """`whole`: everything was looked at."""
        ordered = sorted(self._rows.items(), key=lambda item: (-sum(item[1]), item[0]))
        tables = tuple(
            UndoneTable(schema=schema, table=table, inserted=inserted, updated=updated, deleted=deleted)
            for (schema, table), (inserted, updated, deleted) in ordered[:LISTED_TABLES]
        )
        return Behind(
            transactions=transactions,
            transactions_at_least=transactions_at_least,
            looked_into=self.looked_into,
            rows_at_least=not whole or self.unread,
            tables=tables,
            tables_not_listed=len(ordered) - len(tables),
            statements=tuple(self._statements),
            statements_not_listed=self._told - len(self._statements),
        )

    def touches(self, *, whole: bool) -> "Touched | None":
        """Which names the statements say something of; None where not all of them are known."""
        if not whole or self.unread or self._cut_off:
            return None
        of_accounts = {word for text in self._of_accounts for word in words_of(text)}
        made = {word for text in self._of_accounts if _MAKES_ACCOUNTS.match(text) for word in words_of(text)}
        system = any(schema == "mysql" for schema, _ in self._rows)
        return Touched(
            names=frozenset(self._named),
            schemas=frozenset(self._schemas),
            accounts=None if system else frozenset(of_accounts),
            made=frozenset(made),
        )


@dataclass(frozen=True, kw_only=True)
class Touched:
    """Names in the statements behind a point, in small letters. `schemas` are of statements about whole schemas.
    `accounts` is None where account tables were written directly; `made` stand in statements that make accounts."""

    names: frozenset[str]
    schemas: frozenset[str]
    accounts: frozenset[str] | None
    made: frozenset[str]


def words_of(text: str) -> Iterator[str]:
    """Every name a statement may hold, in small letters and without quotes."""
    for found in _WORD.findall(text):
        quote = found[0]
        yield (found[1:-1].replace(quote * 2, quote) if quote in "'\"`" else found).lower()


def tables_at_point(fates: Iterable[TableFate], touched: Touched | None) -> list[TableFate]:
    """What becomes of tables, told by a backup, corrected by what the log says behind the point; those that come and go
    first."""
    if touched is None:
        return list(fates)
    corrected = []
    for one in fates:
        named = _plain(one.table) in touched.names or _plain(one.schema) in touched.schemas
        if named or one.fate == "replaced":
            corrected.append(one)
        elif one.fate == "disappears":  # it came after the backup and before the point
            corrected.append(replace(one, fate="replaced"))
        # What would return was dropped before the point as well: at the point there is no such table.
    return sorted(corrected, key=lambda one: one.fate == "replaced")


def accounts_at_point(fates: AccountFates, touched: Touched | None) -> AccountFates:
    """What becomes of accounts, told by a backup, corrected by what the log says behind the point."""
    if touched is None or touched.accounts is None:
        return fates
    known = touched.accounts

    def named(accounts: Iterable[str]) -> tuple[str, ...]:
        return tuple(one for one in accounts if _plain(user_of(one)) in known)

    newer = named(fates.disappear)
    kept = tuple(one for one in newer if _plain(user_of(one)) not in touched.made)
    return AccountFates(
        appear=named(fates.appear),
        disappear=tuple(one for one in newer if one not in kept),
        change=tuple(sorted((*named(fates.change), *kept))),
    )


def _plain(name: str) -> str:
    """As it stands among the names of a statement that was put on one line."""
    return " ".join(name.split()).lower()
