"""A shop's data with an object of every kind, things done to it afterwards, and a picture of all of it."""

import re
from typing import Any

from tests.integration.mariadb.snapshot_support import client, rows, run, stored_values, tables_of
from tidewind.engines.mariadb.quoting import quote_table

HOSTILE_SCHEMA = "a`b\"c'..\\/é"
HOSTILE_TABLE = "x`y'z\n../../etc/passwd %s"

SEED = (
    "CREATE DATABASE shop CHARACTER SET latin1",
    "CREATE DATABASE `stock` CHARACTER SET utf8mb4 COMMENT 'what is there'",
    f"CREATE DATABASE `{HOSTILE_SCHEMA.replace('`', '``')}`",
    "USE shop",
    "CREATE SEQUENCE shop.numbers START WITH 10 INCREMENT BY 3",
    "CREATE TABLE shop.customers (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40) CHARACTER SET utf8mb4, "
    "born DATE, UNIQUE KEY (name), KEY born (born, name), FULLTEXT KEY words (name)) ENGINE=InnoDB",
    "CREATE TABLE shop.orders (id INT AUTO_INCREMENT PRIMARY KEY, customer INT, number INT DEFAULT (NEXTVAL(shop.numbers)), "
    "total DECIMAL(12,2), twice DECIMAL(14,2) AS (total * 2) STORED, secret INT INVISIBLE DEFAULT 7, "
    "KEY by_total (total), KEY by_twice (twice), CHECK (total >= 0), "
    "CONSTRAINT placed_by FOREIGN KEY (customer) REFERENCES customers (id) ON DELETE CASCADE) ENGINE=InnoDB",
    "CREATE TABLE stock.items (sku VARBINARY(20) PRIMARY KEY, weight FLOAT, flags BIT(9)) ENGINE=InnoDB "
    "PARTITION BY KEY (sku) PARTITIONS 3",
    "CREATE TABLE stock.prices (id INT PRIMARY KEY, price DOUBLE) ENGINE=InnoDB WITH SYSTEM VERSIONING",
    "CREATE TABLE stock.old (id INT PRIMARY KEY, note TEXT) ENGINE=MyISAM",
    "CREATE TABLE stock.heap (id INT) ENGINE=InnoDB",
    f"CREATE TABLE `{HOSTILE_SCHEMA.replace('`', '``')}`.`{HOSTILE_TABLE.replace('`', '``')}` "
    "(`co``l'\"` INT PRIMARY KEY, KEY `k``ey` (`co``l'\"`)) ENGINE=InnoDB",
    "INSERT INTO shop.customers (id, name, born) VALUES (1, 'Ada 😀', '1815-12-10'), (2, 'Bob', NULL), (9, 'Züe', '2000-02-29')",
    "INSERT INTO shop.orders (id, customer, total) VALUES (1, 1, 9.99), (2, 1, 0), (3, 9, 123456.78)",
    "CREATE TABLE stock.computed (id INT PRIMARY KEY, net DECIMAL(10,2), words VARCHAR(20), "
    "tax DECIMAL(10,2) AS (net * 0.19) STORED, number INT AS (words * 2) STORED, KEY (number)) ENGINE=InnoDB",
    "SET sql_mode = ''",
    "INSERT INTO stock.computed (id, net, words) VALUES (1, 0.03, 'three'), (2, -7.77, '7 of 9'), (3, NULL, '12')",
    "SET sql_mode = DEFAULT",
    "INSERT INTO stock.items VALUES (X'00FF0A09', 1e-30, b'101010101'), ('plain', 3.4e38, NULL)",
    "CREATE TABLE stock.places (id INT PRIMARY KEY, place POINT NOT NULL, SPATIAL KEY (place), KEY (id)) ENGINE=InnoDB",
    "INSERT INTO stock.places VALUES (1, POINT(1, 2))",
    "INSERT INTO stock.prices VALUES (1, 0.1), (2, 1e300)",
    "UPDATE stock.prices SET price = price / 3",
    "INSERT INTO stock.old VALUES (1, 'one\\ttab'), (2, NULL)",
    "INSERT INTO stock.heap SELECT seq % 7 FROM seq_1_to_500",
    f"INSERT INTO `{HOSTILE_SCHEMA.replace('`', '``')}`.`{HOSTILE_TABLE.replace('`', '``')}` VALUES (5)",
    "CREATE FUNCTION shop.vat (x DECIMAL(12,2)) RETURNS DECIMAL(12,2) DETERMINISTIC RETURN x * 1.19",
    "CREATE PROCEDURE shop.clean () DELETE FROM shop.orders WHERE total = 0",
    "CREATE VIEW shop.a_view AS SELECT name, shop.vat(total) AS gross FROM shop.customers c JOIN shop.orders o "
    "ON o.customer = c.id",
    "CREATE VIEW shop.a_first AS SELECT * FROM shop.a_view",
    "CREATE TRIGGER shop.second BEFORE INSERT ON shop.orders FOR EACH ROW SET NEW.total = NEW.total + 0",
    "CREATE TRIGGER shop.first BEFORE INSERT ON shop.orders FOR EACH ROW PRECEDES second SET NEW.total = ABS(NEW.total)",
    "CREATE EVENT shop.nightly ON SCHEDULE EVERY 1 DAY STARTS '2026-01-01 03:00:00' DO DELETE FROM shop.orders WHERE id < 0",
    "CREATE ROLE clerk",
    "GRANT SELECT ON shop.* TO clerk",
    "CREATE USER app@'%' IDENTIFIED BY 'app-before'",
    "GRANT clerk TO app@'%'",
    "SET DEFAULT ROLE clerk FOR app@'%'",
    "GRANT INSERT, UPDATE ON shop.orders TO app@'%'",
    "GRANT SELECT (name) ON shop.customers TO app@'%'",
    "GRANT EXECUTE ON FUNCTION shop.vat TO app@'%'",
    "CREATE USER gone@'10.%' IDENTIFIED BY 'x'",
    "CREATE SERVER far FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'then')",
    "ANALYZE TABLE shop.customers PERSISTENT FOR ALL",
    "CREATE TABLE stock.odd (id INT PRIMARY KEY, raw VARBINARY(9), text VARCHAR(9) CHARACTER SET utf8mb4) ENGINE=InnoDB",
    "CREATE TABLE stock.odd_too (id INT, text VARCHAR(9) CHARACTER SET utf8mb4) ENGINE=MyISAM",
    "SET GLOBAL max_connections = 171",
    "SET GLOBAL sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE'",
)

OOPS = (
    "DELETE FROM shop.customers WHERE id = 1",
    "DROP TABLE stock.items",
    "CREATE TABLE shop.newer (id INT PRIMARY KEY) ENGINE=InnoDB",
    "INSERT INTO shop.newer VALUES (1)",
    "ALTER TABLE stock.heap ADD COLUMN more INT",
    "DROP VIEW shop.a_first",
    "CREATE OR REPLACE VIEW shop.a_view AS SELECT 1 AS one",
    "DROP PROCEDURE shop.clean",
    "CREATE PROCEDURE shop.added () SELECT 2",
    "DROP TRIGGER shop.first",
    "CREATE TRIGGER shop.late AFTER INSERT ON shop.newer FOR EACH ROW SET @x = 1",
    "ALTER EVENT shop.nightly ON SCHEDULE EVERY 2 DAY",
    "CREATE DATABASE later CHARACTER SET utf8mb3",
    "CREATE TABLE later.t (id INT) ENGINE=InnoDB",
    "ALTER DATABASE shop CHARACTER SET utf8mb4",
    "SELECT NEXTVAL(shop.numbers)",
    "ALTER USER app@'%' IDENTIFIED BY 'app-after'",
    "REVOKE UPDATE ON shop.orders FROM app@'%'",
    "DROP USER gone@'10.%'",
    "CREATE USER fresh@'%' IDENTIFIED BY 'fresh'",
    "DROP ROLE clerk",
    "DROP SERVER far",
    "CREATE SERVER far FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'now')",
    "SET GLOBAL max_connections = 190",
    "SET GLOBAL sql_mode = ''",
)


_ACCOUNTS = ("global_priv", "db", "tables_priv", "columns_priv", "procs_priv", "proxies_priv", "roles_mapping")
_VARIABLES = ("max_connections", "sql_mode", "init_connect", "local_infile", "event_scheduler")


def picture_of(server: Any) -> dict[str, Any]:
    """`picture` through a connection of its own."""
    connection = client(server)
    try:
        return picture(connection)
    finally:
        connection.close()


def picture(connection: Any) -> dict[str, Any]:
    """Everything a restore promises to put back, in a form that can be compared."""
    run(connection, "SET time_zone = '+00:00', sql_mode = '', group_concat_max_len = 1048576")
    seen: dict[str, Any] = {}
    for schema, table, kind in tables_of(connection):
        if schema.startswith("tidewind"):
            continue
        create = rows(connection, f"SHOW CREATE TABLE {quote_table(schema, table)}")[0][1]
        seen[f"definition {schema}.{table}"] = re.sub(r" AUTO_INCREMENT=\d+", "", create)
        if kind == "SEQUENCE":
            seen[f"sequence {schema}.{table}"] = rows(connection, f"SELECT * FROM {quote_table(schema, table)}")
        elif kind != "VIEW":
            seen[f"rows {schema}.{table}"] = _stored(connection, schema, table, kind)
    for name, listing in _LISTINGS.items():
        seen[name] = rows(connection, listing)
    for table in _ACCOUNTS:
        columns = [str(row[0]) for row in rows(connection, f"SHOW COLUMNS FROM mysql.{table}")]
        kept = ", ".join(f"`{column}`" for column in columns if column not in ("Timestamp",))
        seen[f"accounts {table}"] = sorted(rows(connection, f"SELECT {kept} FROM mysql.{table}"), key=repr)
    seen["servers"] = rows(connection, "SELECT * FROM mysql.servers")
    seen["statistics"] = rows(
        connection, "SELECT * FROM mysql.table_stats WHERE db_name NOT LIKE 'tidewind%' ORDER BY db_name, table_name"
    )
    for variable in _VARIABLES:
        seen[f"variable {variable}"] = rows(connection, f"SELECT @@GLOBAL.{variable}")
    return seen


def _stored(connection: Any, schema: str, table: str, kind: str) -> list[tuple[Any, ...]]:
    if "'" in schema or "'" in table or "\\" in schema:
        return sorted(rows(connection, f"SELECT * FROM {quote_table(schema, table)}"))
    return stored_values(connection, schema, table, kind)


def differing(one: dict[str, Any], other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {key: (one.get(key), other.get(key)) for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


_OURS = "NOT IN ('information_schema', 'performance_schema', 'sys', 'mysql') AND {0} NOT LIKE 'tidewind%'"
_LISTINGS = {
    "schemas": "SELECT SCHEMA_NAME, DEFAULT_COLLATION_NAME, SCHEMA_COMMENT FROM information_schema.SCHEMATA "
    f"WHERE SCHEMA_NAME {_OURS.format('SCHEMA_NAME')} ORDER BY 1",
    "routines": "SELECT ROUTINE_SCHEMA, ROUTINE_NAME, ROUTINE_TYPE, ROUTINE_DEFINITION, SQL_MODE, DEFINER, "
    "CHARACTER_SET_CLIENT, COLLATION_CONNECTION, DATABASE_COLLATION FROM information_schema.ROUTINES "
    f"WHERE ROUTINE_SCHEMA {_OURS.format('ROUTINE_SCHEMA')} ORDER BY 1, 2, 3",
    "triggers": "SELECT TRIGGER_SCHEMA, TRIGGER_NAME, EVENT_OBJECT_TABLE, ACTION_TIMING, EVENT_MANIPULATION, "
    "ACTION_ORDER, ACTION_STATEMENT, SQL_MODE, DEFINER, DATABASE_COLLATION FROM information_schema.TRIGGERS "
    f"WHERE TRIGGER_SCHEMA {_OURS.format('TRIGGER_SCHEMA')} ORDER BY 1, 2",
    "events": "SELECT EVENT_SCHEMA, EVENT_NAME, TIME_ZONE, EVENT_DEFINITION, INTERVAL_VALUE, INTERVAL_FIELD, STARTS, "
    "STATUS, DEFINER FROM information_schema.EVENTS ORDER BY 1, 2",
    "views": "SELECT TABLE_SCHEMA, TABLE_NAME, VIEW_DEFINITION, DEFINER FROM information_schema.VIEWS "
    f"WHERE TABLE_SCHEMA {_OURS.format('TABLE_SCHEMA')} ORDER BY 1, 2",
    "foreign keys": "SELECT CONSTRAINT_SCHEMA, CONSTRAINT_NAME, REFERENCED_TABLE_NAME, DELETE_RULE "
    f"FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA {_OURS.format('CONSTRAINT_SCHEMA')} "
    "ORDER BY 1, 2",
}
