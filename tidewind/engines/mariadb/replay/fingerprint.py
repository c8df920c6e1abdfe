"""What the server knows of the objects that a statement names, as one value: taken before the statement is run and
stored with the intent to run it, it tells a successor whether it was.

Objects are found by looking for the names of what exists in the statement's text: one too many does no harm, because
nothing but the statement changes anything between the two looks. Ids of InnoDB tables tell a swap by RENAME or EXCHANGE
PARTITION, which leaves every definition as it was.
"""

import hashlib
from collections.abc import Callable, Iterable

from tidewind.engines.mariadb.quoting import quote_name, quote_table, text_literals
from tidewind.ports.engine import DatabaseError

Ask = Callable[[str], list[tuple[object, ...]]]
_SERVER = ("information_schema", "performance_schema", "mysql", "sys")


def fingerprint(ask: Ask, text: bytes, schema: str) -> str:
    """`ask` runs a query; `schema` is the statement's default."""
    words = text.decode("utf-8", "replace").casefold()
    seen = hashlib.sha256()
    for line in _lines(ask, words, schema):
        seen.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return seen.hexdigest()


def _lines(ask: Ask, words: str, schema: str) -> Iterable[str]:
    schemas = {str(row[0]) for row in ask("SHOW DATABASES")}
    named = [one for one in sorted(schemas) if _in(one, words) or one == schema]
    for one in named:
        yield f"schema {one} {ask(f'SHOW CREATE DATABASE {quote_name(one)}')[0][1]}"
    for number, name in ask("SELECT TABLE_ID, NAME FROM information_schema.INNODB_SYS_TABLES ORDER BY 1"):
        if any(_in(part, words) for part in _parts(str(name))) or _parts(str(name))[0] in named:
            yield f"innodb {number} {name}"
    listing = "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES"
    for where, table in ask(f"{listing} WHERE TABLE_SCHEMA NOT IN ({text_literals(_SERVER)}) ORDER BY 1, 2"):
        if _in(str(table), words):
            yield f"table {where}.{table} {_definition(ask, str(where), str(table))}"
    if "rename" in words or "exchange" in words:
        yield from _contents(ask, words)
    for routine in ask("SELECT db, name, type, MD5(CONCAT(body_utf8, param_list, comment)), definer FROM mysql.proc"):
        if _in(str(routine[1]), words):
            yield f"routine {routine}"
    for event in ask("SELECT db, name, MD5(body_utf8), definer, status, interval_value, execute_at FROM mysql.event"):
        if _in(str(event[1]), words):
            yield f"event {event}"
    if "trigger" in words:
        for trigger in ask(
            "SELECT TRIGGER_SCHEMA, TRIGGER_NAME, MD5(ACTION_STATEMENT), ACTION_ORDER, CREATED "
            f"FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA IN ({text_literals(named)})"
        ):
            yield f"trigger {trigger}"


def _contents(ask: Ask, words: str) -> Iterable[str]:
    """Of tables that have no number: where two of one definition change places, only what they hold tells them apart,
    and where they hold the same, it does not matter."""
    listing = "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE'"
    for where, table in ask(f"{listing} AND ENGINE <> 'InnoDB' AND TABLE_SCHEMA NOT IN ({text_literals(_SERVER)})"):
        if _in(str(table), words):
            yield f"content {where}.{table} {ask(f'CHECKSUM TABLE {quote_table(str(where), str(table))}')[0][1]}"


def _definition(ask: Ask, schema: str, table: str) -> str:
    try:
        return str(ask(f"SHOW CREATE TABLE {quote_table(schema, table)}")[0][1])
    except DatabaseError as error:
        if error.kind == "database-unreachable":
            raise
        return "cannot be shown"


def _in(name: str, words: str) -> bool:
    return name.casefold().replace("`", "``") in words


def _parts(file_name: str) -> list[str]:
    """Of `schema/table#P#part`, the names; those with special characters stand encoded and are found by definition."""
    return file_name.replace("#P#", "/").replace("#p#", "/").split("/")
