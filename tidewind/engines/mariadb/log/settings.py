"""Which settings of a server make its log one that can be restored from. Pure.

`refusal` names what makes every point in time untrustworthy; `findings` tells an operator all there is to mend.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tidewind.engines.mariadb import grants
from tidewind.ports.capture import LogUnsuitable
from tidewind.ports.engine import Finding

DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """`good`: the values that serve, in capitals. `fatal`: without them nothing can be captured."""

    name: str
    good: frozenset[str]
    text: str
    value: str
    fatal: bool


_ON: Final = frozenset({"ON", "1"})
WANTED: Final = (
    Wanted(
        name="binlog_format",
        good=frozenset({"ROW"}),
        text="changes cannot be captured row by row",
        value="ROW",
        fatal=True,
    ),
    Wanted(
        name="binlog_row_image",
        good=frozenset({"FULL", "FULL_NODUP"}),
        text="rows in the log are not whole",
        value="FULL",
        fatal=True,
    ),
    Wanted(
        name="binlog_checksum",
        good=frozenset({"CRC32"}),
        text="damage to the log would pass unnoticed",
        value="CRC32",
        fatal=True,
    ),
    Wanted(
        name="gtid_strict_mode",
        good=_ON,
        text="sequence numbers could run backwards unnoticed",
        value="ON",
        fatal=False,
    ),
    Wanted(
        name="sync_binlog",
        good=frozenset({"1"}),
        text="a crash of the host can lose and reuse positions",
        value="1",
        fatal=False,
    ),
)
VARIABLES: Final = (
    "log_bin",
    *(one.name for one in WANTED),
    "expire_logs_days",
    "binlog_expire_logs_seconds",
    "max_binlog_total_size",
)


def refusal(variables: Mapping[str, str], filtered: str = "") -> LogUnsuitable | None:
    """Why the log cannot be captured, with the statement that mends it. `filtered` is what SHOW MASTER STATUS says of
    schemas that are logged alone or left out. What `variables` does not name is taken to be good."""
    if "log_bin" in variables and variables["log_bin"].upper() not in _ON:
        return LogUnsuitable("the binary log is off", "Start the server with --log-bin")
    for one in WANTED:
        if one.fatal and one.name in variables and variables[one.name].upper() not in one.good:
            return LogUnsuitable(f"{one.name} is {variables[one.name]}: {one.text}", _fix(one))
    if filtered:
        return LogUnsuitable(
            f"the log leaves schemas out ({filtered})",
            "Start the server without binlog_do_db and binlog_ignore_db",
        )
    return None


def findings(variables: Mapping[str, str], filtered: str = "") -> list[Finding]:
    """One finding for each setting that should be another, or one that says all is well."""
    if variables.get("log_bin", "OFF").upper() not in _ON:
        return [
            Finding(
                subject="log",
                level="warn",
                text="the binary log is off: backups have no position, and commits wait some milliseconds for each",
                fix="Start the server with --log-bin",
            )
        ]
    found = [
        Finding(
            subject="log",
            level="warn",
            text=f"{one.name} is {variables.get(one.name, 'unknown')}: {one.text}",
            fix=_fix(one),
        )
        for one in WANTED
        if variables.get(one.name, "").upper() not in one.good
    ]
    if filtered:
        found.append(
            Finding(
                subject="log",
                level="warn",
                text=f"the log leaves schemas out ({filtered}): no point in time of them can be restored",
                fix="Start the server without binlog_do_db and binlog_ignore_db",
            )
        )
    kept_s = kept_seconds(variables)
    if kept_s is not None and kept_s < DAY_SECONDS:
        found.append(
            Finding(
                subject="log",
                level="warn",
                text=f"the server purges its log after {kept_s / 3600:g} h: a longer outage of capture leaves a gap",
                fix=f"SET GLOBAL binlog_expire_logs_seconds = {2 * DAY_SECONDS};"
                if "binlog_expire_logs_seconds" in variables
                else "SET GLOBAL expire_logs_days = 2;",
            )
        )
    return found or [Finding(subject="log", level="ok", text="ROW, FULL, CRC32, strict mode on, synchronous")]


def rights(held: frozenset[str], account: str) -> list[Finding]:
    """What the account lacks that only point-in-time restore needs."""
    return [
        Finding(
            subject="grants",
            level="warn",
            text=f"backup account lacks {name}: {grants.CAPTURE_GRANTS[name]}",
            fix=f"GRANT {name} ON *.* TO {account};",
        )
        for name in grants.missing(held, grants.CAPTURE_GRANTS)
    ]


def kept_seconds(variables: Mapping[str, str]) -> float | None:
    """How long the server keeps a log file after its last write; None if it never purges by age."""
    seconds = float(variables.get("binlog_expire_logs_seconds") or 0)
    days = float(variables.get("expire_logs_days") or 0)
    return seconds or days * DAY_SECONDS or None


def kept_bytes(variables: Mapping[str, str]) -> int | None:
    """How many bytes of log the server keeps; None if it never purges by size."""
    return int(variables.get("max_binlog_total_size") or 0) or None


def _fix(one: Wanted) -> str:
    return f"SET GLOBAL {one.name} = {one.value};"
