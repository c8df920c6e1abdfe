"""What happens to every table of the `mysql` schema: one rule for each, in one table. Pure.

docs/operations.md prints this table. A table that is not in it is left alone and named in the backup's list of what it
does not hold.
"""

from dataclasses import dataclass
from typing import Final, Literal

Rule = Literal["account", "rows", "library", "statistics", "objects", "never"]

RULES: Final[dict[Rule, str]] = {
    "account": "accounts, roles and rights: kept, and put back whole by the restore",
    "rows": "kept, and put back whole; what is made of it takes effect with FLUSH PRIVILEGES",
    "library": "kept as a record: put back only where the library it names is there",
    "statistics": "kept, and put back for the tables that are restored",
    "objects": "kept as definitions of routines and events, not as rows",
    "never": "neither kept nor touched",
}


@dataclass(frozen=True)
class SystemTableRule:
    table: str
    rule: Rule
    why: str


_RULES: Final = (
    SystemTableRule("global_priv", "account", "accounts, passwords and global rights"),
    SystemTableRule("db", "account", "rights on schemas"),
    SystemTableRule("tables_priv", "account", "rights on tables"),
    SystemTableRule("columns_priv", "account", "rights on columns"),
    SystemTableRule("procs_priv", "account", "rights on routines"),
    SystemTableRule("proxies_priv", "account", "who may act as whom"),
    SystemTableRule("roles_mapping", "account", "who holds which role"),
    SystemTableRule("servers", "rows", "CREATE SERVER writes here, and no log carries it"),
    SystemTableRule("password_reuse_check_history", "rows", "digests of earlier passwords, by a plugin"),
    SystemTableRule("func", "library", "functions of loadable libraries"),
    SystemTableRule("plugin", "library", "plugins of loadable libraries; read when the server starts"),
    SystemTableRule("table_stats", "statistics", "what ANALYZE … PERSISTENT found"),
    SystemTableRule("column_stats", "statistics", "what ANALYZE … PERSISTENT found"),
    SystemTableRule("index_stats", "statistics", "what ANALYZE … PERSISTENT found"),
    SystemTableRule("proc", "objects", "routines and packages"),
    SystemTableRule("event", "objects", "events"),
    SystemTableRule("innodb_table_stats", "never", "the storage engine gathers it anew"),
    SystemTableRule("innodb_index_stats", "never", "the storage engine gathers it anew"),
    SystemTableRule("gtid_slave_pos", "never", "where replication stands: going back would apply twice"),
    SystemTableRule("transaction_registry", "never", "transaction ids belong to the data directory"),
    SystemTableRule("general_log", "never", "a log: going back would destroy evidence"),
    SystemTableRule("slow_log", "never", "a log: going back would destroy evidence"),
    SystemTableRule("time_zone", "never", "comes from the operating system's zone files"),
    SystemTableRule("time_zone_leap_second", "never", "comes from the operating system's zone files"),
    SystemTableRule("time_zone_name", "never", "comes from the operating system's zone files"),
    SystemTableRule("time_zone_transition", "never", "comes from the operating system's zone files"),
    SystemTableRule("time_zone_transition_type", "never", "comes from the operating system's zone files"),
    SystemTableRule("help_category", "never", "comes with the server"),
    SystemTableRule("help_keyword", "never", "comes with the server"),
    SystemTableRule("help_relation", "never", "comes with the server"),
    SystemTableRule("help_topic", "never", "comes with the server"),
    SystemTableRule("user", "never", "a view of global_priv"),
    SystemTableRule("spider_link_failed_log", "never", "belongs to an engine whose tables are refused"),
    SystemTableRule("spider_link_mon_servers", "never", "belongs to an engine whose tables are refused"),
    SystemTableRule("spider_table_crd", "never", "belongs to an engine whose tables are refused"),
    SystemTableRule("spider_table_position_for_recovery", "never", "belongs to an engine whose tables are refused"),
    SystemTableRule("spider_table_sts", "never", "belongs to an engine whose tables are refused"),
    SystemTableRule("spider_tables", "never", "belongs to an engine whose tables are refused"),
    SystemTableRule("spider_xa", "never", "belongs to an engine whose tables are refused"),
    SystemTableRule("spider_xa_failed_log", "never", "belongs to an engine whose tables are refused"),
    SystemTableRule("spider_xa_member", "never", "belongs to an engine whose tables are refused"),
    SystemTableRule("wsrep_cluster", "never", "Galera's own state"),
    SystemTableRule("wsrep_cluster_members", "never", "Galera's own state"),
    SystemTableRule("wsrep_streaming_log", "never", "Galera's own state"),
    SystemTableRule("wsrep_allowlist", "never", "Galera's own state"),
)

SYSTEM_TABLES: Final = {entry.table: entry for entry in _RULES}

ACCOUNT_TABLES: Final = tuple(entry.table for entry in _RULES if entry.rule == "account")
KEPT_RULES: Final = frozenset({"account", "rows", "library", "statistics"})


def rule_of(table: str) -> SystemTableRule | None:
    """None for a table this release does not know."""
    return SYSTEM_TABLES.get(table.lower())
