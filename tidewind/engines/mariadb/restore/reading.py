"""Reads what stands in the cluster now, as definitions that make it again."""

from collections.abc import Sequence

from tidewind.domain.manifest import DatabaseObject, Schema
from tidewind.engines.mariadb.catalogue import SERVER_SCHEMAS, read_schemas
from tidewind.engines.mariadb.objects import read_events, read_objects
from tidewind.engines.mariadb.quoting import quote_name, quote_table, text_literals
from tidewind.engines.mariadb.restore import create_table, names
from tidewind.engines.mariadb.restore.definitions import Definitions
from tidewind.engines.mariadb.restore.link import Link
from tidewind.engines.mariadb.restore.safeguard import tables_of, user_schemas


async def definitions(link: Link) -> Definitions:
    """Everything but events, which the gate has taken."""
    schemas = await user_schemas(link)
    return Definitions(
        schemas=await present_schemas(link),
        tables=tuple([(schema, table) for schema in schemas for table in await tables_of(link, schema)]),
        objects=tuple([one for one in await _objects(link, schemas) if one.kind != "event"]),
        foreign_keys=tuple(await _dangling_foreign_keys(link, schemas)),
    )


async def present_schemas(link: Link) -> tuple[Schema, ...]:
    return await read_schemas(link.control, await not_users(link))


async def events(link: Link) -> list[DatabaseObject]:
    return await read_events(link.control, await not_users(link))


async def not_users(link: Link) -> tuple[str, ...]:
    """The schemas that are the server's or Tidewind's."""
    found = await link.rows("SELECT schema_name FROM information_schema.schemata")
    return (*SERVER_SCHEMAS, *(str(row[0]) for row in found if names.is_ours(str(row[0]))))


async def _objects(link: Link, schemas: Sequence[str]) -> Sequence[DatabaseObject]:
    views = await link.rows(
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'VIEW' "
        f"AND table_schema IN ({text_literals(schemas)}) ORDER BY 1, 2"
    )
    return await read_objects(link.control, await not_users(link), (), [(str(one), str(two)) for one, two in views])


async def _dangling_foreign_keys(link: Link, schemas: Sequence[str]) -> list[dict[str, str]]:
    """Foreign keys whose parent does not exist."""
    found = await link.rows(
        "SELECT DISTINCT k.table_schema, k.table_name, k.constraint_name FROM information_schema.key_column_usage k "
        "LEFT JOIN information_schema.tables t "
        "ON t.table_schema = k.referenced_table_schema AND t.table_name = k.referenced_table_name "
        f"WHERE k.referenced_table_name IS NOT NULL AND t.table_name IS NULL "
        f"AND k.table_schema IN ({text_literals(schemas)})"
    )
    keys = []
    for schema, table, name in found:
        create = (await link.rows(f"SHOW CREATE TABLE {quote_table(schema, table)}"))[0][1]
        begins = f"CONSTRAINT {quote_name(name)} FOREIGN KEY"
        item = next(one for one in create_table.parse(create).foreign_keys if one.startswith(begins))
        keys.append({"schema": schema, "table": table, "name": name, "item": item})
    return keys
