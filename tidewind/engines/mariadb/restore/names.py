"""The names of everything a restore makes on a server, so that a successor, and the next restore, can find it.

    tidewind                          the work schema: fence, progress, sets of account tables; never renamed
    tidewind_rst_0123456789_s0001     a safety schema: the tables of one user schema, under their own names
    tidewind_rst_0123456789_t0001     a trash schema: what a way back took out, until it is dropped
    tw_rst_0123456789_3_2             the account of epoch 2 of operation 3

Everything is lower case, because servers with lower_case_table_names=1 lower schema names themselves. Snapshots and
plans leave out the work schema and every schema that `is_ours` knows.
"""

import re
from typing import Literal

WORK_SCHEMA = "tidewind"
SYSTEM_SCHEMAS = ("information_schema", "mysql", "performance_schema", "sys")
ACCOUNT_TABLES = (
    "global_priv",
    "db",
    "tables_priv",
    "columns_priv",
    "procs_priv",
    "proxies_priv",
    "roles_mapping",
)
MINTED_PATTERN = "^tw_rst_[0-9a-z]{10}_[0-9]+_[0-9]+$"

SWAPPED_TABLES = (*ACCOUNT_TABLES, "servers")
"""What is swapped as one: the accounts, and the only other table that FLUSH PRIVILEGES reads."""

SetKind = Literal["gate", "target", "saved", "closed"]
"""Sets of account tables. gate: locked, live while closed; target: what opening swaps in; saved: what was live before
the gate; closed: the locked ones after they were swapped out."""

_RESTORE_ID = re.compile(r"rst_[0-9A-Za-z]{10}")
_SCHEMA = re.compile(r"tidewind(_rst_[0-9a-z]{10}_[st][0-9]{4,})?")


def tag(restore_id: str) -> str:
    """The restore's id as it stands in names. ValueError if it is no restore id: names never hold anything else."""
    if not _RESTORE_ID.fullmatch(restore_id):
        raise ValueError(f"{restore_id!r} is not a restore id")
    return restore_id.lower()


def is_ours(schema: str) -> bool:
    """Whether a schema belongs to Tidewind: the work schema, a safety schema or a trash schema."""
    return _SCHEMA.fullmatch(schema.lower()) is not None


def safety_schema(restore_id: str, number: int) -> str:
    return f"{WORK_SCHEMA}_{tag(restore_id)}_s{number:04d}"


def trash_schema(restore_id: str, number: int) -> str:
    return f"{WORK_SCHEMA}_{tag(restore_id)}_t{number:04d}"


def own_prefix(restore_id: str) -> str:
    """What the names of all schemas of one restore begin with."""
    return f"{WORK_SCHEMA}_{tag(restore_id)}_"


def account_table(restore_id: str, kind: SetKind, table: str) -> str:
    """A table of the work schema."""
    return f"{tag(restore_id)}_{kind}_{table}"


def minted_account(restore_id: str, operation: int, epoch: int) -> str:
    return f"tw_{tag(restore_id)}_{operation}_{epoch}"
