"""The feed of a replay, from segments in a directory: every transaction once, whole and in order, or not at all."""

from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from tidewind.domain import keys
from tidewind.domain.gtids import Gtid, GtidList
from tidewind.domain.lived import Leg
from tidewind.domain.log_stream import XA_PREPARE, Transaction
from tidewind.domain.segments import SegmentHead, build
from tidewind.engines.mariadb.log import events as log
from tidewind.engines.mariadb.log.cursor import EventDamaged
from tidewind.engines.mariadb.replay.reading import Batch, LegReader, Piece, Prepared
from tidewind.engines.mariadb.replay.stream import SessionStream
from tidewind.ports.store import ObjectDamaged
from tidewind.runtime.log_archive import LogArchive
from tidewind.store.directory import DirectoryStore

HISTORY = "h_1"


def event(kind: int, body: bytes) -> bytes:
    return log.with_checksum(log.HEADER.pack(1, kind, 1, 19 + len(body) + 4, 0, 0) + body)


def transaction_bytes(number: int, rng: Random) -> bytes:
    gtid = number.to_bytes(8, "little") + (0).to_bytes(4, "little") + b"\x04" + bytes(6)
    rows = b"".join(event(log.WRITE_ROWS_V1, bytes(rng.randint(0, 400))) for _ in range(rng.randint(1, 4)))
    return event(log.GTID, gtid) + rows + event(log.XID, number.to_bytes(8, "little"))


async def put(store: DirectoryStore, rng: Random, counts: Sequence[int], *, mean: int, flags: int = 0) -> list[bytes]:
    """Sessions of so many transactions, each followed by one that another session cuts off; the whole ones' bytes."""
    whole: list[bytes] = []
    position, number = GtidList(), 0
    for order, count in enumerate(counts):
        data, transactions = bytearray(event(log.FORMAT_DESCRIPTION, bytes(80))), []
        for _ in range(count):
            made = transaction_bytes(len(whole) + 1, rng)
            gtid = f"0-1-{len(whole) + 1}"
            transactions.append(Transaction(gtid, len(data), len(data) + len(made), 0, flags))
            data += made
            whole.append(made)
        data += transaction_bytes(len(whole) + 1, rng)[:-20]
        at = 0
        while at < len(data):
            end = min(at + rng.randint(1, 2 * mean), len(data))
            ended = [one for one in transactions if at < one.end <= end]
            begins = position
            for one in ended:
                position = position.advanced(Gtid.parse(one.gtid))
            number += 1
            head = SegmentHead(
                cluster_id="shop",
                history=HISTORY,
                number=number,
                session=f"s{order}",
                start=at,
                end=end,
                from_position=str(begins),
                to_position=str(position),
                first_us=None,
                last_us=None,
                complete_us=0,
                precision="clock",
                transactions=0,
                preamble=bytes(data[:103]).hex(),
                table_stored=0,
                table_crc=0,
                frames=(),
                sealed_us=0,
            )
            await store.put_if_absent(keys.segment("shop", HISTORY, number), build(head, ended, bytes(data[at:end])))
            at = end
    return whole


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    (tmp_path / "store").mkdir()
    return DirectoryStore(tmp_path / "store")


async def read(store: DirectoryStore, after: str, upto: str, *, skip: int = 0) -> list[object]:
    archive = LogArchive(store)
    last = (await archive.objects("shop", HISTORY))[-1].last
    reader = LegReader(archive, "shop", [Leg(history=HISTORY, after=after, upto=upto)], [(1, last)])
    return [one async for one in reader.items(skip)]


def transactions_in(items: list[object]) -> list[tuple[int, bytes]]:
    """(ordinal, bytes) of every transaction, cut out as the replay does it."""
    rest = iter(items)
    current: list[Piece] = []
    found = []

    def pull() -> Piece:
        piece = next(rest)
        assert isinstance(piece, Piece)
        current.append(piece)
        return piece

    stream = SessionStream(pull)
    for one in rest:
        if isinstance(one, Batch):
            stream.begin()
            for number, transaction in enumerate(one.transactions):
                cut = b"".join(bytes(raw) for _, raw in stream.events(transaction.start, transaction.end))
                found.append((one.first + number, cut))
    return found


@pytest.mark.parametrize("seed", range(12))
async def test_every_transaction_comes_once_whole_and_in_order(store: DirectoryStore, seed: int) -> None:
    rng = Random(seed)
    whole = await put(store, rng, [rng.randint(1, 12) for _ in range(3)], mean=rng.choice((60, 400, 3000)))
    after, upto = sorted((rng.randint(0, len(whole)), rng.randint(1, len(whole))))
    upto = max(upto, after + 1) if after < len(whole) else upto
    skip = rng.randint(0, upto - after)
    items = await read(store, f"0-1-{after}" if after else "", f"0-1-{upto}", skip=skip)
    wanted = [(number + 1, whole[after + number]) for number in range(skip, upto - after)]
    assert transactions_in(items) == wanted


async def test_a_leg_whose_end_is_not_in_the_log_is_refused(store: DirectoryStore) -> None:
    await put(store, Random(1), [5], mean=300)
    with pytest.raises(ObjectDamaged, match="not at 0-1-9"):
        await read(store, "", "0-1-9")


async def test_prepares_among_what_is_done_are_told(store: DirectoryStore) -> None:
    await put(store, Random(1), [5], mean=300, flags=XA_PREPARE)
    found = [one.transaction.gtid for one in await read(store, "0-1-2", "0-1-5", skip=1) if isinstance(one, Prepared)]
    assert found == ["0-1-1", "0-1-2", "0-1-3"]


def test_an_event_whose_checksum_is_wrong_is_found() -> None:
    data = bytearray(transaction_bytes(1, Random(1)))
    data[-30] ^= 1
    stream = SessionStream(lambda: Piece(0, bytes(data)))
    with pytest.raises(EventDamaged, match="checksum"):
        list(stream.events(0, len(data)))
