"""Everything that stands in the cluster, as definitions: what a restore keeps before it drops anything."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidewind.domain.manifest import DatabaseObject, Schema


@dataclass(frozen=True, kw_only=True)
class Definitions:
    """`tables` are base tables and sequences, which are renamed; `objects` everything else, which is dropped and made
    again. `foreign_keys` are those whose parent does not exist: {schema, table, name, item}."""

    schemas: tuple[Schema, ...]
    tables: tuple[tuple[str, str], ...]
    objects: tuple[DatabaseObject, ...]
    foreign_keys: tuple[Mapping[str, str], ...]

    def to_facts(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "schemas": [schema.model_dump(mode="json") for schema in self.schemas],
            "tables": [list(table) for table in self.tables],
            "objects": [one.model_dump(mode="json") for one in self.objects],
            "foreign_keys": [dict(key) for key in self.foreign_keys],
        }

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "Definitions":
        return cls(
            schemas=tuple(Schema.model_validate(one) for one in facts["schemas"]),
            tables=tuple((str(schema), str(table)) for schema, table in facts["tables"]),
            objects=tuple(DatabaseObject.model_validate(one) for one in facts["objects"]),
            foreign_keys=tuple(facts["foreign_keys"]),
        )
