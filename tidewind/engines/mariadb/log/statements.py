"""Statements in the log, the session under which they ran, and the values that stand before them. No I/O."""

from dataclasses import dataclass
from typing import Final

from tidewind.engines.mariadb.log.compression import decompress
from tidewind.engines.mariadb.log.cursor import Cursor, Data, EventDamaged
from tidewind.engines.mariadb.log.events import ALTER_COMMIT, ALTER_ROLLBACK, QUERY_COMPRESSED

AUTO_IS_NULL: Final = 1 << 14
NOT_AUTOCOMMIT: Final = 1 << 19
NO_FOREIGN_KEY_CHECKS: Final = 1 << 26
RELAXED_UNIQUE_CHECKS: Final = 1 << 27
"""Bits of `QueryContext.flags2`, the options of the session that wrote the statement."""

_QUERY_HEADER_BYTES: Final = 13
_LOAD_QUERY_HEADER_BYTES: Final = 26


@dataclass(frozen=True, slots=True)
class QueryContext:
    """Under what a statement ran: the status variables. None: the event does not say. Character sets and collations are
    numbers; `charset` is (client, connection, server)."""

    flags2: int | None = None
    sql_mode: int | None = None
    catalog: bytes = b""
    auto_increment: tuple[int, int] = (1, 1)
    charset: tuple[int, int, int] | None = None
    time_zone: str | None = None
    lc_time_names: int = 0
    charset_database: int | None = None
    table_map_for_update: int = 0
    master_data_written: int | None = None
    invoker: tuple[bytes, bytes] | None = None
    microseconds: int | None = None
    xid: int | None = None
    extra_flags: int = 0
    alter_start: int | None = None
    charset_collations: tuple[tuple[int, int], ...] = ()
    unknown: int | None = None
    """The first code that is not known here; what follows it is not decoded."""


@dataclass(frozen=True, slots=True)
class Query:
    """A statement. `schema` is the session's default, which may be gone; `text` is in the client's character set."""

    thread_id: int
    seconds: int
    schema: bytes
    error_code: int
    context: QueryContext
    text: bytes


@dataclass(frozen=True, slots=True)
class LoadQuery:
    """A LOAD DATA that was logged as a statement: `text` names the file between the two places."""

    query: Query
    file_id: int
    name_start: int
    name_end: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class UserVar:
    """`kind` is 0 string, 1 real, 2 integer, 4 decimal; `value` is None for NULL, else as the server stores it."""

    name: bytes
    kind: int
    charset: int
    value: bytes | None
    unsigned: bool


def parse_query(kind: int, body: Data) -> Query:
    """Of QUERY or QUERY_COMPRESSED; the text comes out plain. Raises EventDamaged."""
    return _query(Cursor(body), _QUERY_HEADER_BYTES, compressed=kind == QUERY_COMPRESSED)


def parse_load_query(body: Data) -> LoadQuery:
    """Of EXECUTE_LOAD_QUERY. Raises EventDamaged."""
    query = _query(Cursor(body), _LOAD_QUERY_HEADER_BYTES, compressed=False)
    extra = Cursor(body, _QUERY_HEADER_BYTES)
    return LoadQuery(query, extra.number(4), extra.number(4), extra.number(4), extra.number(1))


def _query(cursor: Cursor, header_bytes: int, *, compressed: bool) -> Query:
    thread_id, seconds, schema_size, error_code, status_size = (
        cursor.number(4),
        cursor.number(4),
        cursor.number(1),
        cursor.number(2),
        cursor.number(2),
    )
    cursor.take(header_bytes - _QUERY_HEADER_BYTES)
    context = parse_context(cursor.take(status_size))
    schema = cursor.text(schema_size)
    if cursor.number(1) != 0:
        raise EventDamaged("the schema of a statement does not end where it should")
    text = bytes(decompress(cursor.rest()) if compressed else cursor.rest())
    return Query(thread_id, seconds, schema, error_code, context, text)


def parse_context(data: Data) -> QueryContext:
    """The status variables of a statement, which stand in rising order of their codes. Raises EventDamaged."""
    cursor, found = Cursor(data), dict[str, object]()
    while cursor.left:
        code = cursor.number(1)
        if not _status(code, cursor, found):
            found["unknown"] = code
            break
    return QueryContext(**found)  # type: ignore[arg-type]


def _status(code: int, cursor: Cursor, found: dict[str, object]) -> bool:
    """Decodes one status variable into `found`; False if the code is not known."""
    if code in _PLAIN_STATUS:
        name, size = _PLAIN_STATUS[code]
        found[name] = cursor.number(size)
    elif code == 2:
        found["catalog"] = cursor.text(cursor.number(1))
        cursor.take(1)
    elif code == 3:
        found["auto_increment"] = (cursor.number(2), cursor.number(2))
    elif code == 4:
        found["charset"] = (cursor.number(2), cursor.number(2), cursor.number(2))
    elif code == 5:
        found["time_zone"] = cursor.text(cursor.number(1)).decode("latin-1")
    elif code == 6:
        found["catalog"] = cursor.text(cursor.number(1))
    elif code == 11:
        found["invoker"] = (cursor.text(cursor.number(1)), cursor.text(cursor.number(1)))
    elif code == 130:
        extra = cursor.number(1)
        found["extra_flags"] = extra
        if extra & (ALTER_COMMIT | ALTER_ROLLBACK):
            found["alter_start"] = cursor.number(8)
    elif code == 131:
        found["charset_collations"] = tuple((cursor.number(2), cursor.number(2)) for _ in range(cursor.number(1)))
    else:
        return False
    return True


_PLAIN_STATUS: Final = {
    0: ("flags2", 4),
    1: ("sql_mode", 8),
    7: ("lc_time_names", 2),
    8: ("charset_database", 2),
    9: ("table_map_for_update", 8),
    10: ("master_data_written", 4),
    128: ("microseconds", 3),
    129: ("xid", 8),
}


def parse_intvar(body: Data) -> tuple[int, int]:
    """(kind, value): 1 is LAST_INSERT_ID(), 2 the next auto-increment value. Raises EventDamaged."""
    cursor = Cursor(body)
    return cursor.number(1), cursor.number(8)


def parse_rand(body: Data) -> tuple[int, int]:
    """Both seeds. Raises EventDamaged."""
    cursor = Cursor(body)
    return cursor.number(8), cursor.number(8)


def parse_user_var(body: Data) -> UserVar:
    """Raises EventDamaged."""
    cursor = Cursor(body)
    name = cursor.text(cursor.number(4))
    if cursor.number(1):
        return UserVar(name, 0, 0, None, False)
    kind, charset = cursor.number(1), cursor.number(4)
    value = cursor.text(cursor.number(4))
    unsigned = bool(cursor.number(1) & 1) if cursor.left else False
    return UserVar(name, kind, charset, value, unsigned)
