"""Which of InnoDB's tables stand behind a name. Pure.

InnoDB numbers its tables, and each partition is one. EXCHANGE PARTITION swaps them between two names and TRUNCATE puts
a new one in, and neither touches what a definition shows: text and time of creation stay. After an exchange even a
consistent snapshot of before reads the other table's rows, without an error [tried on 10.11 and 11.8].
"""

from collections import defaultdict
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

STORED: Final = "SELECT NAME, TABLE_ID FROM information_schema.INNODB_SYS_TABLES"
"""All of them: the server has no quicker way to one."""

ALTERED: Final = "SHOW GLOBAL STATUS LIKE 'Com_alter_table'"
"""How many ALTER TABLE there were: while it stays, nothing was exchanged. Counted when they begin."""

STORED_NAME: Final = (
    "CONCAT(CAST(CONVERT(TABLE_SCHEMA USING filename) AS BINARY), '/',"
    " CAST(CONVERT(TABLE_NAME USING filename) AS BINARY))"
)
"""SQL for the name in `NAME` of a table in information_schema.TABLES, without a partition's."""

NOTHING: Final = ""
"""Of a table of another engine."""


def by_table(rows: Iterable[tuple[str, int]]) -> dict[str, str]:
    """A digest of the numbers behind each name. Partitions follow a '#', which is written `@0023` within a name."""
    found: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for name, number in rows:
        table, _, partition = name.partition("#")
        found[table].append((partition, int(number)))
    return {table: sha256(repr(sorted(parts)).encode()).hexdigest() for table, parts in found.items()}
