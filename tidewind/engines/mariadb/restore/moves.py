"""Moves tables between schemas by RENAME, and mends what a crash of the server left of one.

From MariaDB 10.6 on one statement makes all moves, and they happen together or not at all. Before, tables move one by
one, and a single move is not whole either: the engine moves its file, makes that durable in its own list, and then the
server moves the definition. A crash in between leaves these in different schemas, and no RENAME takes the table any
more. A definition that was left behind is copied to where the engine's part is, where the server lets the account read
and write files. A data file that went ahead of the engine's list only somebody with access to the server can move.

Invariant: a name is dropped only when it cannot be opened and the engine says that it holds the table under the other
one. While a table is in pieces nothing goes on: dropping a schema drops what the engine holds in it, also what no
definition tells of.
"""

from collections.abc import Sequence

from tidewind.engines.mariadb.failures import code_of
from tidewind.engines.mariadb.quoting import quote_table, text_literal, text_literals, text_value
from tidewind.engines.mariadb.restore import names
from tidewind.engines.mariadb.restore.link import Link
from tidewind.engines.mariadb.restore.statements import TablePath, path, renames
from tidewind.ports.engine import DatabaseError

Move = tuple[TablePath, TablePath]
"""(from, to)."""
RENAME_DEADLINE_S = 900.0

_ERROR_ON_RENAME = 1025
_TABLE_EXISTS = 1050
_COPY = (names.WORK_SCHEMA, "definition_file")


async def rename_all(link: Link, moves: Sequence[Move]) -> None:
    """Make these moves in order. Raises DatabaseError."""
    for number, statement in enumerate(renames(moves, at_once=link.renames_at_once)):
        try:
            await link.run(statement, deadline_s=RENAME_DEADLINE_S)
        except DatabaseError as error:
            if link.renames_at_once or code_of(error) not in (_ERROR_ON_RENAME, _TABLE_EXISTS):
                raise
            await mend(link, [moves[number]])
            if moves[number][0] in await _standing(link, [moves[number]]):
                await link.run(statement, deadline_s=RENAME_DEADLINE_S)


async def mend(link: Link, moves: Sequence[Move]) -> None:
    """Put every table of these moves together again where its engine has it, whichever way it was moving. Raises
    DatabaseError for one that cannot be mended from here, and names the file to move."""
    if link.renames_at_once:
        return
    await link.run("FLUSH LOCAL TABLES")  # somebody may have moved a file since the last try
    standing = await _standing(link, moves)
    for move in moves:
        for broken, other in (move, move[::-1]):
            trouble = await _trouble(link, broken) if broken in standing else None
            if trouble is None:
                continue
            held = await _held_by_engine(link, move)
            if held != {other}:
                kind = "ibd" if held == {broken} else "frm"
                here, there = (other, broken) if kind == "ibd" else (broken, other)
                raise _in_pieces((here, there), kind, trouble.detail) from trouble
            async with link.unlogged():
                if other not in standing:
                    await _copy_definition(link, (broken, other), trouble)
                await link.run(f"DROP TABLE IF EXISTS {path(broken)}")


async def _held_by_engine(link: Link, move: Move) -> set[TablePath]:
    """Which of the two InnoDB knows, by its own list."""
    found = {
        str(row[0])
        for row in await link.rows(
            "SELECT NAME FROM information_schema.INNODB_SYS_TABLES "
            f"WHERE NAME IN ({', '.join(text_literal(_file(table)) for table in move)})"
        )
    }
    return {table for table in move if _file(table) in found}


async def _standing(link: Link, moves: Sequence[Move]) -> set[TablePath]:
    """The tables of which there is a definition, in the schemas of these moves."""
    schemas = text_literals({table[0] for move in moves for table in move})
    found = await link.rows(
        f"SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA IN ({schemas})"
    )
    return {(str(schema), str(table)) for schema, table in found}


async def _trouble(link: Link, table: TablePath) -> DatabaseError | None:
    """Why a table cannot be opened; None if it can."""
    try:
        await link.rows(f"SELECT 1 FROM {path(table)} LIMIT 0")
    except DatabaseError as error:
        if error.kind != "database-failed":
            raise
        return error
    return None


async def _copy_definition(link: Link, move: Move, error: DatabaseError) -> None:
    old, new = move
    folder = str(await link.value("SELECT @@GLOBAL.datadir"))
    here, there = (text_value(f"{folder}{_file(table)}.frm") for table in (old, new))
    try:
        await link.run(f"DROP TABLE IF EXISTS {path(_COPY)}")
        await link.run(f"CREATE TABLE {path(_COPY)} (bytes LONGBLOB) ENGINE=InnoDB")
        await link.run(
            f"LOAD DATA INFILE {here} INTO TABLE {path(_COPY)} CHARACTER SET binary "
            "FIELDS TERMINATED BY 'no field ends here' ESCAPED BY '' LINES TERMINATED BY 'no line ends here'"
        )
        await link.rows(f"SELECT bytes FROM {path(_COPY)} INTO DUMPFILE {there}")
        await link.run(f"DROP TABLE {path(_COPY)}")
        await link.run(f"FLUSH TABLES {path(new)}")
        await link.rows(f"SELECT 1 FROM {path(new)} LIMIT 0")
    except DatabaseError as refusal:
        if link.control.closed:
            raise
        why = f"{error.detail}, and its definition cannot be copied: {refusal.detail}"
        raise _in_pieces(move, "frm", why) from error


def _in_pieces(move: Move, kind: str, why: str) -> DatabaseError:
    """`kind`: the ending of the file that is where the rest of the table is not any more, or not yet."""
    old, new = (quote_table(*table) for table in move)
    files = f"move {_file(move[0])}.{kind} to {_file(move[1])}.{kind}"
    step = {
        "frm": f"In the server's data directory {files}, or give the restore account FILE and start the server with an "
        "empty secure_file_priv; it goes on by itself then",
        "ibd": f"Stop the server, in its data directory {files} if it is there, and start it; it goes on by itself",
    }[kind]
    return DatabaseError(
        "database-failed",
        f"the server crashed while it moved a table between {old} and {new}, and its files are in both schemas: {why}",
        step,
    )


def _file(table: TablePath) -> str:
    """Where the server keeps a table, as its files and InnoDB's list name it."""
    return "/".join(
        "".join(one if one.isascii() and (one.isalnum() or one == "_") else f"@{ord(one):04x}" for one in name)
        for name in table
    )
