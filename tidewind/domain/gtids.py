"""MariaDB's positions: GTID lists, one transaction per replication domain.

A position is a set: everything up to the named transaction, in each domain. Within one history (see `histories`) the
sequence numbers of a domain only rise, because capture begins a new history when they do not; so whether a position
holds a transaction is a comparison of numbers, and across histories it means nothing.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_GTID = re.compile(r"(\d{1,10})-(\d{1,10})-(\d{1,20})")


@dataclass(frozen=True, order=True)
class Gtid:
    """One transaction: `0-1-42` is number 42 of domain 0, written on server 1."""

    domain: int
    server: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.domain}-{self.server}-{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> "Gtid":
        """ValueError if it is not one GTID."""
        found = _GTID.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text[:80]!r} is not a MariaDB GTID like 0-1-42")
        return cls(*map(int, found.groups()))


@dataclass(frozen=True)
class GtidList:
    """The last transaction of each domain; empty means the log's beginning."""

    last: Mapping[int, Gtid] = field(default_factory=dict)

    def __str__(self) -> str:
        """As the server writes it, domains in order: equal positions have equal text."""
        return ",".join(str(self.last[domain]) for domain in sorted(self.last))

    @classmethod
    def parse(cls, text: str) -> "GtidList":
        """ValueError for anything but a list of GTIDs with one per domain."""
        if not text.strip():
            return cls()
        return cls.of(Gtid.parse(part) for part in text.split(","))

    @classmethod
    def of(cls, gtids: Iterable[Gtid]) -> "GtidList":
        """ValueError if a domain is named twice."""
        last: dict[int, Gtid] = {}
        for gtid in gtids:
            if gtid.domain in last:
                raise ValueError(f"domain {gtid.domain} is named twice")
            last[gtid.domain] = gtid
        return cls(last)

    def holds(self, gtid: Gtid) -> bool:
        """Whether the transaction is part of this position. Within one history only."""
        own = self.last.get(gtid.domain)
        return own is not None and gtid.sequence <= own.sequence

    def covers(self, other: "GtidList") -> bool:
        """Whether everything in `other` is part of this position. Within one history only."""
        return all(self.holds(gtid) for gtid in other.last.values())

    def advanced(self, gtid: Gtid) -> "GtidList":
        """The position after one more transaction."""
        return GtidList({**self.last, gtid.domain: gtid})


def covers(position: str, other: str) -> bool:
    """`GtidList.covers` on texts. ValueError for what is no position."""
    return GtidList.parse(position).covers(GtidList.parse(other))
