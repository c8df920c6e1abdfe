"""SQL about tables, made of quoted names."""

from collections.abc import Sequence

from tidewind.engines.mariadb.quoting import quote_table

TablePath = tuple[str, str]
"""(schema, table)."""


def path(table: TablePath) -> str:
    return quote_table(*table)


def rename(moves: Sequence[tuple[TablePath, TablePath]]) -> str:
    """One statement for all moves, which happen together or not at all."""
    return "RENAME TABLE " + ", ".join(f"{path(old)} TO {path(new)}" for old, new in moves)


def renames(moves: Sequence[tuple[TablePath, TablePath]], *, at_once: bool) -> list[str]:
    """The statements that make these moves, in order: one for all, or one for each."""
    if at_once:
        return [rename(moves)] if moves else []
    return [rename([one]) for one in moves]
