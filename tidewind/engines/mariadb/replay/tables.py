"""What the target's catalogue says of the tables that row events name. Blocking; asked once per table and stage.

A *stage* is what lies between two barriers: no definition changes within it, so what was found holds until it ends,
also for a successor that begins in its middle.
"""

from dataclasses import dataclass

from tidewind.engines.mariadb.catalogue import TRANSACTIONAL
from tidewind.engines.mariadb.connection import Access, RawConnection, raw_rows
from tidewind.engines.mariadb.quoting import text_literal
from tidewind.engines.mariadb.replay import lanes
from tidewind.engines.mariadb.replay.lanes import Components, TableName


@dataclass(frozen=True)
class TableFacts:
    """`component` is its item of the progress. `keyless`: neither a primary key nor a unique one without NULL. `rows`
    is the engine's estimate. `counted`: the server counts each of its row changes as exactly one. `versioned`: it keeps
    its rows' history. `own_parent`: a foreign key of it refers to itself."""

    name: TableName
    component: str
    transactional: bool
    keyless: bool
    rows: int
    counted: bool
    versioned: bool
    own_parent: bool


class Catalogue:
    """`connection` is used by one thread at a time."""

    def __init__(self, connection: RawConnection, access: Access) -> None:
        self._connection = connection
        self._access = access
        self._components: Components | None = None
        self._own_parents: frozenset[TableName] = frozenset()
        self._facts: dict[TableName, TableFacts] = {}
        found = self.rows("SELECT @@GLOBAL.lower_case_table_names")
        self._folds = str(found[0][0]) != "0"

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        """Raises DatabaseError."""
        return raw_rows(self._connection, self._access, sql)

    def begin_stage(self) -> None:
        """Definitions have changed."""
        self._components = None
        self._facts.clear()

    def facts(self, schema: str, table: str) -> TableFacts:
        """Raises DatabaseError."""
        name = (schema.lower(), table.lower()) if self._folds else (schema, table)
        found = self._facts.get(name)
        if found is None:
            found = self._facts[name] = self._look(name)
        return found

    def _look(self, name: TableName) -> TableFacts:
        if self._components is None:
            foreign_keys = self._foreign_keys()
            self._components = Components(foreign_keys)
            self._own_parents = frozenset(child for child, parent in foreign_keys if child == parent)
        where = f"TABLE_SCHEMA = {text_literal(name[0])} AND TABLE_NAME = {text_literal(name[1])}"
        found = self.rows(
            "SELECT ENGINE, TABLE_TYPE, COALESCE(TABLE_ROWS, 0), COALESCE(CREATE_OPTIONS, '') "
            "FROM information_schema.TABLES "
            f"WHERE {where}"
        )
        engine, kind, count, options = found[0] if found else ("", "", 0, "")
        unique = self.rows(
            f"SELECT INDEX_NAME FROM information_schema.STATISTICS WHERE {where} AND NON_UNIQUE = 0 "
            "GROUP BY INDEX_NAME HAVING MAX(NULLABLE = 'YES') = 0 LIMIT 1"
        )
        component = lanes.item(self._components.root(name))
        return TableFacts(
            name,
            component,
            transactional=str(engine) in TRANSACTIONAL or not found,
            keyless=not unique and str(kind) != "SEQUENCE",
            rows=int(str(count)),
            counted=str(kind) == "BASE TABLE" and "partitioned" not in str(options),
            versioned=str(kind) == "SYSTEM VERSIONED",
            own_parent=name in self._own_parents,
        )

    def _foreign_keys(self) -> list[tuple[TableName, TableName]]:
        """(child, parent). The storage engine keeps names as those of files."""
        sides = ", ".join(
            f"CONVERT(CAST(SUBSTRING_INDEX({column}, '/', {part}) AS BINARY) USING filename)"
            for column in ("FOR_NAME", "REF_NAME")
            for part in (1, -1)
        )
        found = self.rows(f"SELECT {sides} FROM information_schema.INNODB_SYS_FOREIGN")
        return [((str(a), str(b)), (str(c), str(d))) for a, b, c, d in found]
