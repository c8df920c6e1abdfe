"""Runs logged statements, each under the context it ran in, on a connection of its own.

A statement that commits by itself cannot share a transaction with its progress. So the intent to run it is stored
first, with a fingerprint of what it names: after a crash, unchanged means run it, changed means it was run. An account
statement leaves no such trace and is instead run again, in a form that does no harm when part of it was run before.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pymysql

from tidewind.engines.mariadb.connection import RawConnection, raw_rows
from tidewind.engines.mariadb.failures import code_of
from tidewind.engines.mariadb.log.statements import Query
from tidewind.engines.mariadb.replay import context, progress, rewrite
from tidewind.engines.mariadb.replay.classify import Decision
from tidewind.engines.mariadb.replay.fingerprint import fingerprint
from tidewind.engines.mariadb.replay.lane import Applying
from tidewind.engines.mariadb.replay.merge import Group
from tidewind.engines.mariadb.replay.routine_rights import made_by
from tidewind.engines.mariadb.replay.sending import run_text, send_binlog, send_group
from tidewind.engines.mariadb.replay.serial import Step
from tidewind.engines.mariadb.replay.tables import Catalogue
from tidewind.engines.mariadb.replay.user_variables import Collations
from tidewind.engines.mariadb.restore.names import WORK_SCHEMA
from tidewind.ports.engine import DatabaseError

_NO_SUCH_SCHEMA: Final = 1049
_ROWS_DONE_BEFORE: Final = frozenset({1032, 1062})
_DONE_BEFORE: Final = frozenset({1141, 1147, 1396, 1403, 1449, 4151, 1961, 1962, 1963})
"""What an account statement meets that was run before."""


@dataclass(frozen=True, kw_only=True)
class Logged:
    """A statement of the log. `at` is its place, `stamp` its event's."""

    query: Query
    decision: Decision
    stamp: int
    at: int
    gtid: str

    @property
    def schema(self) -> str:
        return self.query.schema.decode("utf-8", "replace")


class Statements:
    """`around` wraps an account statement, so that the server stays closed whatever it does."""

    def __init__(
        self,
        connection: RawConnection,
        applying: Applying,
        catalogue: Catalogue,
        around: Callable[[bytes], contextlib.AbstractContextManager[None]],
    ) -> None:
        self._connection = connection
        self._applying = applying
        self._catalogue = catalogue
        self._around = around
        self._knows = what_is_known(catalogue)
        self.collations = collations_of(catalogue)

    def run(self, logged: Logged, intent: tuple[int, Mapping[str, Any]] | None) -> None:
        """Run a statement that commits by itself. `intent` is what a predecessor stored. Raises DatabaseError."""
        text = rewrite.as_invoker(logged.query.text, logged.query.context.invoker)
        if logged.decision.kind == "account":
            begun = intent is not None and intent[0] == logged.at
            self._intend(logged, {"account": True})
            with self._around(text):
                self._account(logged, text, begun)
            return
        before = fingerprint(self._catalogue.rows, logged.query.text, logged.schema)
        if intent is not None and intent[0] == logged.at:
            if intent[1].get("fingerprint") == before:
                self.execute(logged, text)
        else:
            self._intend(logged, {"fingerprint": before})
            self.execute(logged, text)
        if logged.decision.kind == "routine":
            self._give_rights(logged, text)

    def _give_rights(self, logged: Logged, text: bytes) -> None:
        made = made_by(text, logged.schema)
        automatic = self._catalogue.rows("SELECT @@GLOBAL.automatic_sp_privileges")[0][0]
        if made is not None and str(automatic) == "1" and self._catalogue.rows(made.lacking):
            with self._around(b""):
                self._catalogue.rows(made.grant)

    def execute(self, logged: Logged, text: bytes) -> None:
        """Run it under its context. An error that the log expects is no error. Raises DatabaseError."""
        self._settle(logged)
        try:
            run_text(self._connection, self._applying.access, text)
        except DatabaseError as error:
            if error.kind == "database-unreachable" or code_of(error) == logged.query.error_code:
                if error.kind == "database-unreachable":
                    raise
                return
            raise DatabaseError(
                "replay-refused", f"the statement of {logged.gtid} fails here and did not there: {error.detail}"
            ) from error

    def describe(self, format_description: bytes) -> None:
        """What follows is of another format. Raises DatabaseError."""
        send_binlog(self._connection, self._applying.access, [format_description])

    def serial(self, gtid: str, at: int, steps: Iterable[Step], progress_rows: tuple[str, ...]) -> None:
        """One transaction with its savepoints; progress is written in it. What it does to tables without transactions
        is not, so a successor must know that it was begun. Raises DatabaseError."""
        self._catalogue.rows(progress.open_up(self._applying.restore_id, at))
        self._run("START TRANSACTION")
        for step in steps:
            if isinstance(step, Group):
                send_group(self._connection, self._applying.access, list(step.parts()))
                continue
            for setting in step.before:
                run_text(self._connection, self._applying.access, setting)
            logged = Logged(query=step.query, decision=step.decision, stamp=step.stamp, at=at, gtid=gtid)
            self.execute(logged, step.query.text)
            if step.decision.action == "rollback":
                self._run("START TRANSACTION")
        for statement in progress_rows:
            self._run(statement)
        self._run("COMMIT")

    def account_rows(self, at: int, group: Group, intent: tuple[int, Mapping[str, Any]] | None) -> None:
        """Row events of account tables. They share no transaction with anything, so they may meet what they did
        themselves before a crash. Raises DatabaseError."""
        begun = intent is not None and intent[0] == at
        self._catalogue.rows(progress.intend(self._applying.restore_id, at, {"account": True}))
        with self._around(b""):
            try:
                send_binlog(self._connection, self._applying.access, list(group.parts()))
            except DatabaseError as error:
                if not begun or code_of(error) not in _ROWS_DONE_BEFORE:
                    raise

    def _run(self, statement: str) -> None:
        raw_rows(self._connection, self._applying.access, statement)

    def pass_barrier(self, statements: tuple[str, ...]) -> None:
        """Store in one transaction that everything up to a place is done. Raises DatabaseError."""
        for statement in ("START TRANSACTION", *statements, "COMMIT"):
            self._catalogue.rows(statement)

    def _account(self, logged: Logged, text: bytes, begun: bool) -> None:
        if not begun:
            self.execute(logged, text)
            return
        self._settle(logged)
        try:
            run_text(self._connection, self._applying.access, rewrite.again(text))
        except DatabaseError as error:
            if code_of(error) not in _DONE_BEFORE:
                raise

    def _intend(self, logged: Logged, facts: Mapping[str, Any]) -> None:
        self._catalogue.rows(progress.intend(self._applying.restore_id, logged.at, facts))

    def _settle(self, logged: Logged) -> None:
        try:
            wanted = context.settings(logged.query, stamp=logged.stamp, knows=self._knows)
        except ValueError as error:
            raise DatabaseError("replay-refused", f"the statement of {logged.gtid}: {error}") from error
        run_text(self._connection, self._applying.access, wanted)
        self._use(logged.query.schema)

    def _use(self, schema: bytes) -> None:
        """The default schema may be gone: a statement that does without it does so everywhere."""
        name = schema.decode("utf-8", "surrogateescape") or WORK_SCHEMA
        try:
            self._connection.select_db(name)
        except pymysql.err.Error as error:
            if code_of(error) != _NO_SUCH_SCHEMA:
                raise DatabaseError("database-failed", f"the schema {name!r} cannot be used: {error}") from error
            self._connection.select_db(WORK_SCHEMA)


def collations_of(catalogue: Catalogue) -> Collations:
    """Every collation that has a number of its own. Raises DatabaseError."""
    found = catalogue.rows(
        "SELECT ID, CHARACTER_SET_NAME, COLLATION_NAME FROM information_schema.COLLATIONS "
        "WHERE ID IS NOT NULL AND CHARACTER_SET_NAME IS NOT NULL"
    )
    return {int(str(number)): (str(charset), str(name)) for number, charset, name in found}


def what_is_known(catalogue: Catalogue) -> context.Knows:
    """Raises DatabaseError."""
    found = catalogue.rows(
        "SELECT LOWER(VARIABLE_NAME) FROM information_schema.SYSTEM_VARIABLES "
        "WHERE VARIABLE_NAME IN ('SYSTEM_VERSIONING_INSERT_HISTORY', 'CHARACTER_SET_COLLATIONS')"
    )
    names = {str(row[0]) for row in found}
    collations = None
    if "character_set_collations" in names:
        listed = catalogue.rows(
            "SELECT ID, CHARACTER_SET_NAME, FULL_COLLATION_NAME "
            "FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY"
        )
        collations = {int(str(number)): (str(charset), str(name)) for number, charset, name in listed}
    return context.Knows(insert_history="system_versioning_insert_history" in names, collations=collations)
