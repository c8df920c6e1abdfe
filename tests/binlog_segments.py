"""Makes segments of a server's binary log files, without the services: what the archive would hold of that log.

The bounds of segments are drawn at random, so that transactions and events span them.
"""

import random
from dataclasses import dataclass, field

from tidewind.domain import keys
from tidewind.domain.gtids import Gtid, GtidList
from tidewind.domain.log_stream import Transaction
from tidewind.domain.segments import SegmentHead, build
from tidewind.embedded.mariadb import PrivateMariaDB
from tidewind.engines.mariadb.log.transactions import Group, Splitter
from tidewind.ports.store import Store

_MAGIC = 4


@dataclass
class Session:
    """Bytes and transactions of one reading of the log."""

    preamble: bytes
    data: bytearray = field(default_factory=bytearray)
    transactions: list[Transaction] = field(default_factory=list)


def sessions_of(server: PrivateMariaDB) -> list[Session]:
    """Everything in the server's binary log files, in order."""
    found: list[Session] = []
    splitter = Splitter()
    for file in sorted((server.directory / "binlog").glob("binlog." + "[0-9]" * 6)):
        rest = memoryview(file.read_bytes())[_MAGIC:]
        while len(rest):
            data, groups = splitter.feed(rest)
            if data and not found:
                found.append(Session(bytes(splitter.description)))
            if data:
                found[-1].data += data
                found[-1].transactions += [_transaction(group) for group in groups]
            rest = rest[splitter.consumed :]
            if splitter.failure is not None:
                assert splitter.failure[0] == "header", splitter.failure
                preamble = bytes(splitter.description)
                splitter = Splitter()
                data, _ = splitter.feed(preamble)
                found.append(Session(preamble, bytearray(data)))
    return found


def _transaction(group: Group) -> Transaction:
    gtid, _, _, start, end, stamp, flags, checksum = group
    return Transaction(gtid, start, end, stamp * 1_000_000, flags, checksum)


@dataclass(frozen=True)
class Archived:
    """What was put: `gtids` in the order of the log, `after[i]` the position with and after `gtids[i]`."""

    history: str
    segments: int
    gtids: tuple[str, ...]
    after: tuple[str, ...]
    flags: tuple[int, ...]


async def archive(
    store: Store,
    cluster: str,
    history: str,
    server: PrivateMariaDB,
    rng: random.Random,
    *,
    mean_bytes: int = 200_000,
    complete_us: int = 0,
) -> Archived:
    """Put all of the server's log as segments of one history, known to be complete up to `complete_us`."""
    position, number = GtidList(), 0
    gtids: list[str] = []
    after: list[str] = []
    flags: list[int] = []
    for order, session in enumerate(sessions_of(server)):
        at, rest = 0, list(session.transactions)
        while at < len(session.data):
            end = min(at + rng.randint(1, 2 * mean_bytes), len(session.data))
            ended = [one for one in rest if one.end <= end]
            rest = rest[len(ended) :]
            begins = str(position)
            for one in ended:
                position = position.advanced(Gtid.parse(one.gtid))
                gtids.append(one.gtid)
                after.append(str(position))
                flags.append(one.flags)
            number += 1
            head = SegmentHead(
                cluster_id=cluster,
                history=history,
                number=number,
                session=f"session-{order}",
                start=at,
                end=end,
                from_position=begins,
                to_position=str(position),
                first_us=None,
                last_us=None,
                complete_us=complete_us,
                precision="clock",
                transactions=0,
                preamble=session.preamble.hex(),
                table_stored=0,
                table_crc=0,
                frames=(),
                sealed_us=0,
            )
            assert await store.put_if_absent(
                keys.segment(cluster, history, number), build(head, ended, bytes(session.data[at:end]))
            )
            at = end
    return Archived(history, number, tuple(gtids), tuple(after), tuple(flags))
