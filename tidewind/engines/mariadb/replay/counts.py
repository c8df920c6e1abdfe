"""What a replay has done so far, as its caller is told. Written by one thread and read by another."""

from dataclasses import dataclass


@dataclass
class Counts:
    """`transactions` were sent, `bytes` of log read; `accounts`: statements and row events that may change accounts."""

    transactions: int = 0
    rows: int = 0
    ddl: int = 0
    accounts: int = 0
    bytes: int = 0
