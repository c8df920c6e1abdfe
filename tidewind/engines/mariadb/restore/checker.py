"""Reads a table back as the snapshot read it, and tells what it counted. Blocking."""

from dataclasses import dataclass

import pymysql

from tidewind.domain.manifest import Column, Table
from tidewind.engines.mariadb.catalogue import WITHOUT_ROWS
from tidewind.engines.mariadb.columns import INDEX, PERIOD, ColumnFacts, read_column
from tidewind.engines.mariadb.connection import Access, RawConnection, open_raw
from tidewind.engines.mariadb.failures import translate
from tidewind.engines.mariadb.quoting import quote_name
from tidewind.engines.mariadb.reader import RowStream


@dataclass(frozen=True, kw_only=True)
class Check:
    """One table, quoted, and the SELECT that reads it."""

    table: str
    statement: str


@dataclass(frozen=True, kw_only=True)
class Counted:
    """`checksum` is independent of the order of rows."""

    rows: int
    row_bytes: int
    checksum: int


def check_of(where: str, table: Table) -> Check:
    """The SELECT whose text is that of the table's chunks, history included; of a table whose rows are those of others,
    none, but it must be readable."""
    columns = ", ".join(_expression(column) for column in table.columns)
    versioned = any(column.load == PERIOD for column in table.columns)
    source = where + (" FOR SYSTEM_TIME ALL" if versioned else "")
    none = " LIMIT 0" if table.engine in WITHOUT_ROWS else ""
    return Check(table=where, statement=f"SELECT {columns} FROM {source}{none}")


def open_for_reading(access: Access) -> RawConnection:
    """Raises DatabaseError."""
    connection = open_raw(access)
    connection.query("SET character_set_results = NULL")  # the bytes as they are stored
    return connection


def count(connection: RawConnection, access: Access, task: Check) -> Counted:
    """Raises DatabaseError."""
    try:
        stream = RowStream(connection, task.statement)
        while not stream.finished:
            stream.read()
    except (pymysql.err.Error, OSError) as error:
        raise translate(error, access.subject, access.login.user, "SELECT") from error
    rows, row_bytes, checksum = stream.counted
    return Counted(rows=rows, row_bytes=row_bytes, checksum=checksum)


def _expression(column: Column) -> str:
    if column.load == PERIOD:
        return quote_name(column.name)
    if column.load == INDEX:
        return f"CAST({quote_name(column.name)} AS UNSIGNED)"
    kind = column.kind.split("(")[0].split(" ")[0]
    facts = ColumnFacts(
        name=column.name, data_type=kind, column_type=column.kind, charset=None, collation=None, generation=None
    )
    read = read_column(facts)
    assert read is not None  # only generated columns are not read
    return read.expression
