"""Which global variables a backup holds: those that can be set while the server runs, but for the ones named here.

A variable that is left out would act when it is set, says where the server stands rather than how it behaves, or
belongs to the machine.
"""

from typing import Final

from tidewind.engines.mariadb.connection import Control

NEVER: Final[dict[str, str]] = {
    "server_id": "the server's name in replication",
    "read_only": "who may write now is for the operator, or a failover, to say",
    "gtid_slave_pos": "where replication stands",
    "gtid_binlog_state": "where the log stands",
    "gtid_domain_id": "goes with the server's place in replication",
    "gtid_ignore_duplicates": "can be set only while replication is stopped",
    "sql_slave_skip_counter": "acts when it is set",
    "init_slave": "goes with the server's place in replication",
    "relay_log_purge": "goes with the server's place in replication",
    "relay_log_recovery": "goes with the server's place in replication",
    "sql_log_bin": "turning the log off belongs to a session",
    "sql_log_off": "turning a log off belongs to a session",
    "timestamp": "the clock",
    "insert_id": "belongs to a session",
    "last_insert_id": "belongs to a session",
    "innodb_buffer_pool_dump_now": "acts when it is set",
    "innodb_buffer_pool_load_now": "acts when it is set",
    "innodb_buffer_pool_load_abort": "acts when it is set",
    "innodb_log_checkpoint_now": "acts when it is set",
    "innodb_max_purge_lag_wait": "acts when it is set: it waits",
    "innodb_monitor_enable": "acts when it is set",
    "innodb_monitor_disable": "acts when it is set",
    "innodb_monitor_reset": "acts when it is set",
    "innodb_monitor_reset_all": "acts when it is set",
    "innodb_ft_aux_table": "a debugging aid that names a table that must exist",
    "innodb_disable_sort_file_cache": "belongs to the machine",
    "innodb_log_file_size": "rewrites the redo log; belongs to the machine",
    "innodb_buffer_pool_size": "belongs to the machine: its memory may have changed since",
    "innodb_fast_shutdown": "says how the server ends, once",
    "innodb_status_output": "a debugging aid that fills the error log",
    "innodb_status_output_locks": "a debugging aid that fills the error log",
    "general_log_file": "a path of the machine",
    "slow_query_log_file": "a path of the machine",
    "log_slow_query_file": "a path of the machine",
    "innodb_tmpdir": "a path of the machine",
    "keep_files_on_create": "deprecated, without effect",
    "log_disabled_statements": "can be set for a session only while its log is on",
    "proxy_protocol_networks": "belongs to the network the server is in now",
    "require_secure_transport": "could lock out the service that restores",
    "character_set_client": "belongs to a connection",
    "character_set_connection": "belongs to a connection",
    "character_set_results": "belongs to a connection",
    "character_set_database": "follows the default schema",
    "collation_connection": "belongs to a connection",
    "collation_database": "follows the default schema",
    "storage_engine": "another name of default_storage_engine",
}

NEVER_PREFIXES: Final[dict[str, str]] = {
    "replicate_": "goes with the server's place in replication, and can be set only while it is stopped",
    "slave_": "goes with the server's place in replication",
    "rpl_semi_sync_": "goes with the server's place in replication",
    "wsrep_": "belongs to a Galera cluster, which is refused",
    "thread_pool_": "belongs to the machine",
}


def why_never(name: str) -> str | None:
    """Why a variable is left out; None if it is kept."""
    lowered = name.lower()
    if lowered in NEVER:
        return NEVER[lowered]
    return next((why for prefix, why in NEVER_PREFIXES.items() if lowered.startswith(prefix)), None)


async def read_variables(control: Control) -> tuple[dict[str, str | None], dict[str, str | None]]:
    """Present values and built-in defaults by lower-case name. Raises DatabaseError."""
    rows = await control.rows(
        "SELECT LOWER(VARIABLE_NAME), GLOBAL_VALUE, DEFAULT_VALUE FROM information_schema.SYSTEM_VARIABLES"
        " WHERE READ_ONLY = 'NO' AND VARIABLE_SCOPE IN ('GLOBAL', 'SESSION') AND GLOBAL_VALUE IS NOT NULL"
        " ORDER BY VARIABLE_NAME"
    )
    kept = [row for row in rows if why_never(row[0]) is None]
    return {name: value for name, value, _ in kept}, {name: default for name, _, default in kept}
