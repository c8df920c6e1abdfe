"""The way users went through a cluster's timelines, walked by a native replica.

A replica cannot follow a restore in place, because nothing of it is logged. But the state it opened with is one that a
replica can stand at, and what users wrote since follows in the same log. So a timeline is a *path*: up to a position,
then on from where the restore opened, up to the next, and so on.
"""

from dataclasses import dataclass

from tests.exact_lab import seen
from tests.integration.mariadb.snapshot_support import client, rows, run
from tests.oracle import Content
from tidewind.embedded.mariadb import PrivateMariaDB


@dataclass(frozen=True)
class Step:
    """From behind `after` up to and with `upto`."""

    after: str
    upto: str


Path = tuple[Step, ...]
_ACCOUNT_TABLES = ("global_priv", "db", "tables_priv", "columns_priv", "procs_priv", "proxies_priv", "roles_mapping")


class Walker:
    """A replica of `source` that walks paths, one after another, each from an empty server."""

    def __init__(self, replica: PrivateMariaDB, source: PrivateMariaDB) -> None:
        self._replica = replica
        connection = client(replica)
        run(
            connection,
            f"CHANGE MASTER TO MASTER_HOST='{source.host}', MASTER_PORT={source.port}, MASTER_USER='{source.user}', "
            f"MASTER_PASSWORD='{source.password}', MASTER_CONNECT_RETRY=1, MASTER_USE_GTID=slave_pos",
        )
        for table in _ACCOUNT_TABLES:
            run(connection, "SET sql_log_bin = 0", f"CREATE TABLE mysql.first_{table} AS SELECT * FROM mysql.{table}")
        connection.close()

    def walk(self, path: Path) -> None:
        """Blocking."""
        connection = client(self._replica)
        try:
            run(connection, "SET sql_log_bin = 0")
            self._empty(connection)
            for step in path:
                self._roll_back_prepared(connection)
                run(connection, f"SET GLOBAL gtid_slave_pos = '{step.after}'")
                if step.after == step.upto:
                    continue
                run(connection, f"START SLAVE UNTIL master_gtid_pos = '{step.upto}'")
                stood = rows(connection, f"SELECT MASTER_GTID_WAIT('{step.upto}', 120)")[0][0]
                with connection.cursor() as cursor:
                    cursor.execute("SHOW SLAVE STATUS")
                    names = [column[0] for column in cursor.description]
                    status = dict(zip(names, cursor.fetchone(), strict=True))
                assert stood == 0, status["Last_SQL_Error"] or status["Last_IO_Error"] or status
                run(connection, "STOP SLAVE")
            run(connection, "FLUSH NO_WRITE_TO_BINLOG PRIVILEGES")
        finally:
            connection.close()

    async def content(self) -> Content:
        return await seen(self._replica)

    def _empty(self, connection: object) -> None:
        self._roll_back_prepared(connection)
        run(connection, "SET foreign_key_checks = 0", "RESET MASTER")
        for (schema,) in rows(connection, "SHOW DATABASES"):
            if schema not in ("information_schema", "mysql", "performance_schema", "sys"):
                run(connection, "DROP DATABASE `" + schema.replace("`", "``") + "`")
        for table in _ACCOUNT_TABLES:
            run(
                connection,
                f"DELETE FROM mysql.{table}",
                f"INSERT INTO mysql.{table} SELECT * FROM mysql.first_{table}",
            )
        run(connection, "FLUSH NO_WRITE_TO_BINLOG PRIVILEGES")

    def _roll_back_prepared(self, connection: object) -> None:
        """As a restore does when it has closed a cluster."""
        for _, _, _, xid in rows(connection, "XA RECOVER FORMAT='SQL'"):
            run(connection, f"XA ROLLBACK {xid}")
