"""What a replay holds of the largest events: one copy, and of everything else a bounded amount."""

import gc
import mmap
import threading
import weakref
import zlib
from collections.abc import Iterator

import pytest

from tidewind.engines.mariadb.log import events as log
from tidewind.engines.mariadb.log.compression import plain_event
from tidewind.engines.mariadb.replay.counting import RowCounter
from tidewind.engines.mariadb.replay.merge import LARGEST_EVENT, VIEWED_BYTES, Group
from tidewind.engines.mariadb.replay.reading import Piece
from tidewind.engines.mariadb.replay.routing import Route
from tidewind.engines.mariadb.replay.sender import Held
from tidewind.engines.mariadb.replay.serial import GROUP_BYTES, Statement, Steps
from tidewind.engines.mariadb.replay.stream import SessionStream, forget
from tidewind.engines.mariadb.replay.tables import TableFacts
from tidewind.ports.engine import DatabaseError

PIECE = 1 << 20
LARGE = 5 * PIECE + 77


def event(kind: int, body: bytes) -> bytes:
    return log.with_checksum(log.HEADER.pack(1, kind, 1, 19 + len(body) + 4, 0, 0) + body)


def rows_body(size: int) -> bytes:
    return (7).to_bytes(6, "little") + b"\0\0" + b"\x01\xff" + bytes(range(256)) * (size // 256)


def table_map() -> bytes:
    """Of a table with one INT."""
    body = b"\x07\0\0\0\0\0\x01\0" + b"\x04shop\0" + b"\x01t\0" + b"\x01\x03\x00\x01"
    return event(log.TABLE_MAP, body)


def streamed(data: bytes, seen: "list[weakref.ref[Piece]]") -> SessionStream:
    def pieces() -> Iterator[Piece]:
        for at in range(0, len(data), PIECE):
            piece = Piece(at, data[at : at + PIECE])
            seen.append(weakref.ref(piece))
            yield piece
            del piece

    feed = pieces()
    return SessionStream(feed.__next__)


def test_an_event_over_many_pieces_is_whole_and_its_pieces_are_gone() -> None:
    small, large = event(log.TABLE_MAP, b"t" * 40), event(log.WRITE_ROWS_V1, rows_body(LARGE))
    data = small + large + large + small
    seen: list[weakref.ref[Piece]] = []
    found = streamed(data, seen).events(0, len(data))
    alive = []
    for (_, whole), expected in zip(found, (small, large, large, small), strict=True):
        assert whole == expected
        del whole
        gc.collect()
        alive.append(sum(piece() is not None for piece in seen))
    assert max(alive[1:]) <= 2


def test_an_event_that_no_statement_holds_is_refused_before_it_is_read() -> None:
    header = log.HEADER.pack(1, log.UPDATE_ROWS_V1, 1, LARGEST_EVENT + 1, 0, 0)
    stream = SessionStream(iter((Piece(0, header),)).__next__)
    with pytest.raises(DatabaseError, match="a row change of 767 MiB") as refused:
        list(stream.events(0, LARGEST_EVENT + 100))
    assert refused.value.kind == "replay-refused"


def test_a_large_event_is_not_copied_and_a_small_one_keeps_no_piece() -> None:
    for size, kept in ((VIEWED_BYTES * 2, True), (VIEWED_BYTES // 2, False)):
        whole = event(log.WRITE_ROWS_V1, rows_body(size))
        group = Group()
        group.name(b"map")
        group.add(memoryview(whole), b"map")
        assert any(isinstance(part, memoryview) and part.obj is whole for part in group.parts()) == kept
        assert b"".join(group.parts()).endswith(whole[27:-4])


def test_what_was_unpacked_of_a_compressed_event_is_given_back() -> None:
    plain = event(log.WRITE_ROWS_V1, rows_body(LARGE))
    packed = b"\x84" + len(plain[29:-4]).to_bytes(4, "big") + zlib.compress(plain[29:-4], 0)
    kind = next(one for one, other in log.PLAIN_OF_COMPRESSED.items() if other == log.WRITE_ROWS_V1)
    whole = event(kind, plain[19:29] + packed)
    held = mmap.mmap(-1, len(whole), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    held[:] = whole
    view = memoryview(held)
    description = log.FormatDescription(
        binlog_version=4,
        server_version="",
        created=0,
        checksum=log.CHECKSUM_CRC32,
        post_header_lengths=bytes([8] * 200),
    )
    told: list[int] = []

    def forgotten(upto: int) -> None:
        told.append(upto)
        forget(view, upto)

    made = plain_event(log.Event(log.parse_header(view), view, view[19:-4]), description, forgotten)
    assert made == plain
    assert told == sorted(told)
    assert told[-1] == len(whole) - 4
    assert view[: mmap.PAGESIZE] == whole[: mmap.PAGESIZE]
    assert not any(view[mmap.PAGESIZE : told[-1] - told[-1] % mmap.PAGESIZE])


def test_the_rows_of_a_serial_transaction_are_run_as_they_come() -> None:
    facts = TableFacts(
        name=("shop", "t"),
        component="table t",
        transactional=True,
        keyless=False,
        rows=0,
        counted=True,
        versioned=False,
        own_parent=False,
    )
    counter = RowCounter(memoryview(table_map()))
    route = Route(b"map", facts, 0, "lane", None, counter)
    steps = Steps("0-1-1", lambda _: route, lambda event: event, {})
    named = event(log.TABLE_MAP, (7).to_bytes(6, "little") + b"\0\0")
    rows = event(log.WRITE_ROWS_V1, rows_body(GROUP_BYTES // 4))
    read = 0

    def events() -> Iterator[tuple[int, memoryview]]:
        nonlocal read
        yield log.TABLE_MAP, memoryview(named)
        for _ in range(40):
            read += 1
            yield log.WRITE_ROWS_V1, memoryview(rows)

    ahead, whole = [], b""
    for number, step in enumerate(steps.of(events()), start=1):
        assert not isinstance(step, Statement)
        ahead.append(read * len(rows) - number * GROUP_BYTES)
        whole += b"".join(step.parts())
    assert len(ahead) >= 10
    assert max(ahead) <= GROUP_BYTES
    assert whole.count(rows[27:-4]) == 40


def test_no_more_than_the_limit_is_held_but_for_one() -> None:
    held = Held(100)
    held.take(70)
    taken = threading.Event()

    def take() -> None:
        held.take(500)
        taken.set()

    threading.Thread(target=take, daemon=True).start()
    assert not taken.wait(0.05)
    held.give_back(70)
    assert taken.wait(10)
