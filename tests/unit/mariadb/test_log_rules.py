"""Decisions of capture: continuity, times, settings, head-room."""

import random
from itertools import pairwise

import pytest

from tidewind.domain.gtids import Gtid, GtidList
from tidewind.domain.log_stream import Transaction
from tidewind.engines.mariadb.log import continuity, settings
from tidewind.engines.mariadb.log.continuity import LogFacts, parse_state
from tidewind.engines.mariadb.log.log_files import FilesRead, headroom_s
from tidewind.engines.mariadb.log.times import LOOK_AHEAD, DatabaseClock, StampedTimes, transactions
from tidewind.ports.capture import LogBroken

GOOD = {
    "log_bin": "ON",
    "binlog_format": "ROW",
    "binlog_row_image": "FULL",
    "binlog_checksum": "CRC32",
    "gtid_strict_mode": "ON",
    "sync_binlog": "1",
    "binlog_expire_logs_seconds": "864000",
}


def facts(state: str, server_id: int = 1, oldest: str = "binlog.000004") -> LogFacts:
    return LogFacts(state=parse_state(state), server_id=server_id, oldest_file=oldest)


@pytest.mark.parametrize(
    ("position", "seen", "cause"),
    [
        ("0-1-5", facts("0-1-5"), None),
        ("0-1-5,1-1-3", facts("0-2-9,0-1-7,1-1-3"), None),
        ("0-1-5", facts("0-1-4"), "diverged"),
        ("0-1-5", facts("0-1-4", oldest="binlog.000001"), "reset"),
        ("0-1-5", facts("", oldest="binlog.000001"), "reset"),
        ("0-1-5", facts("0-2-9", server_id=2), "replaced"),
        ("0-1-5", facts("0-2-3", server_id=2), "replaced"),
        ("0-1-5", facts("0-2-9,0-1-4"), "diverged"),
        ("", facts("0-1-4"), None),
    ],
)
def test_what_a_server_says_of_its_log(position: str, seen: LogFacts, cause: str | None) -> None:
    broken = continuity.missing(GtidList.parse(position), seen)
    assert (broken.cause if broken else None) == cause


def test_the_last_transaction_must_come_first() -> None:
    last = Transaction("0-1-5", 0, 10, 0, 0, 77)
    assert continuity.differs(last, "0-1-5", 77, facts("0-1-9")) is None
    for gtid, checksum in (("0-1-5", 78), ("0-1-6", 77)):
        broken = continuity.differs(last, gtid, checksum, facts("0-1-9"))
        assert broken is not None
        assert broken.cause == "diverged"
    broken = continuity.differs(last, "0-1-5", 78, facts("0-1-9", server_id=2))
    assert broken is not None
    assert broken.cause == "replaced"
    assert str(continuity.start_before(GtidList.parse("0-1-5,1-1-1"), last)) == "0-1-4,1-1-1"


@pytest.mark.parametrize(
    ("message", "kind", "cause"),
    [
        ("A slave with the same server_uuid/server_id is already connected", "database-unreachable", None),
        (
            "Could not find GTID state requested by slave in any binlog files. Probably the slave state is too old and"
            " required binlog files have been purged.",
            "log-broken",
            "purged",
        ),
        (
            "Error: connecting slave requested to start from GTID 0-1-5, which is not in the master's binlog",
            "log-broken",
            "diverged",
        ),
        ("bogus data in log event; the first event", "log-broken", "unreadable"),
        ("Could not open log file", "log-broken", "unreadable"),
        ("out of memory", "database-failed", None),
    ],
)
def test_what_the_servers_refusal_means(message: str, kind: str, cause: str | None) -> None:
    error = continuity.refused(message, GtidList.parse("0-1-5"), facts("0-1-9"), 42)
    assert error.kind == kind
    assert (error.cause if isinstance(error, LogBroken) else None) == cause
    assert kind != "database-unreachable" or "42" in error.detail


def test_numbers_must_rise() -> None:
    last = {0: 5}
    count, broken = continuity.rising([*groups([0], 6), ("1-1-1", 1, 1, 0, 1, 0, 0, 0), *groups([0], 6)], last)
    assert count == 2
    assert broken is not None
    assert broken.cause == "diverged"
    assert last == {0: 6, 1: 1}


def test_places_in_files() -> None:
    reached = continuity.reached
    assert reached("binlog.000002", 100, "binlog.000002", 100)
    assert not reached("binlog.000002", 99, "binlog.000002", 100)
    assert reached("binlog.1000000", 4, "binlog.999999", 100)
    assert not reached("binlog.000001", 999, "binlog.000002", 4)
    assert reached("binlog.000001", 5, "binlog.000001", (1 << 32) + 5)
    assert not reached("binlog.000001", 6, "binlog.000001", (1 << 32) + 5)
    assert continuity.still_to_come(GtidList.parse("0-1-5"), GtidList.parse("0-1-5,2-1-7")) == {2: 7}


def test_settings() -> None:
    assert settings.refusal(GOOD) is None
    assert {one.level for one in settings.findings(GOOD)} == {"ok"}
    for name, bad in (("log_bin", "OFF"), ("binlog_format", "MIXED"), ("binlog_checksum", "NONE")):
        refused = settings.refusal({**GOOD, name: bad})
        assert refused is not None
        assert refused.next_step
        assert settings.findings({**GOOD, name: bad})[0].level == "warn"
    assert settings.refusal({**GOOD, "sync_binlog": "0", "gtid_strict_mode": "OFF"}) is None
    short = settings.findings({**GOOD, "binlog_expire_logs_seconds": "3600"})
    assert "after 1 h" in short[0].text
    assert settings.kept_seconds({"expire_logs_days": "1.5"}) == 129_600
    assert settings.kept_seconds({}) is None


@pytest.mark.parametrize(
    ("setting", "value", "why", "fix"),
    [
        ("log_bin", "OFF", "the binary log is off", "Start the server with --log-bin"),
        (
            "binlog_format",
            "STATEMENT",
            "binlog_format is STATEMENT: changes cannot be captured row by row",
            "SET GLOBAL binlog_format = ROW;",
        ),
        (
            "binlog_format",
            "MIXED",
            "binlog_format is MIXED: changes cannot be captured row by row",
            "SET GLOBAL binlog_format = ROW;",
        ),
        (
            "binlog_row_image",
            "MINIMAL",
            "binlog_row_image is MINIMAL: rows in the log are not whole",
            "SET GLOBAL binlog_row_image = FULL;",
        ),
        (
            "binlog_row_image",
            "NOBLOB",
            "binlog_row_image is NOBLOB: rows in the log are not whole",
            "SET GLOBAL binlog_row_image = FULL;",
        ),
        (
            "binlog_checksum",
            "NONE",
            "binlog_checksum is NONE: damage to the log would pass unnoticed",
            "SET GLOBAL binlog_checksum = CRC32;",
        ),
    ],
)
def test_a_setting_that_no_point_could_be_trusted_with_is_named_with_why_and_the_line_that_mends_it(
    setting: str, value: str, why: str, fix: str
) -> None:
    refused = settings.refusal({**GOOD, setting: value})
    assert refused is not None
    assert (refused.kind, refused.detail, refused.next_step) == ("log-unsuitable", why, fix)
    assert settings.findings({**GOOD, setting: value})[0].fix == fix


def test_headroom() -> None:
    files = [("b.1", 100), ("b.2", 100), ("b.3", 50)]
    room = {"kept_s": 600.0, "kept_bytes": None, "bytes_per_s": 0.0}
    now = 1_000_000_000
    assert headroom_s(files, "b.3", None, now, **room) == 600
    assert headroom_s(files, "b.1", now - 100_000_000, now, **room) == 500
    assert headroom_s(files, "b.0", None, now, **room) == 0
    assert headroom_s(files, "b.1", now - 10**9, now, **room) == 0
    by_size = {"kept_s": None, "kept_bytes": 1000, "bytes_per_s": 10.0}
    assert headroom_s(files, "b.1", None, now, **by_size) == 75
    assert headroom_s(files, "b.3", None, now, **by_size) is None


def test_files_read() -> None:
    read = FilesRead()
    at = [GtidList.parse(f"0-1-{number}") for number in range(40)]
    read.note("b.1", at[1], 10)
    read.note("b.1", at[5], 20)
    read.note("b.2", at[10], 30)
    read.note("b.3", at[20], 40)
    assert read.holding(at[1]) == ("b.1", 30)
    assert read.holding(at[9]) == ("b.1", 30)
    assert read.holding(at[10]) == ("b.2", 40)
    assert read.holding(at[30]) == ("b.3", None)
    read.forget_before(at[12])
    assert read.names == ["b.2", "b.3"]


def groups(stamps: list[int], first: int = 1) -> list[tuple[str, int, int, int, int, int, int, int]]:
    return [(f"0-1-{first + n}", 0, first + n, n, n + 1, stamp, 0, 0) for n, stamp in enumerate(stamps)]


def times_of(stamps: list[int], *, floor: int, ceiling: int, step: int = 100) -> list[int]:
    clock, found = StampedTimes(floor * 10**6, ceiling * 10**6), []
    for at in range(0, len(stamps), step):
        found += clock.push(b"x", groups(stamps[at : at + step]))
    found += clock.flush()
    return [one.time_us // 10**6 for piece in found for one in piece.transactions]


def test_stamps_that_clients_made_up_are_ignored() -> None:
    seed = random.randrange(1 << 32)
    choose = random.Random(seed)
    true = [1000 + n // 10 for n in range(5000)]
    stamps = [
        choose.choice((0, 1, 4_000_000_000, true[n] + 5000)) if choose.random() < 0.3 else true[n] for n in range(5000)
    ]
    times = times_of(stamps, floor=1000, ceiling=1500)
    assert len(times) == 5000
    assert all(one <= two for one, two in pairwise(times)), f"seed {seed}"
    assert all(abs(one - other) <= 3 for one, other in zip(times[:-50], true[:-50], strict=True)), f"seed {seed}"
    assert max(times) <= 1500


def test_times_from_stamps_hold_back_little() -> None:
    clock = StampedTimes(0, 10**15)
    assert clock.push(b"x", groups([1] * (2 * LOOK_AHEAD - 1))) == []
    ready = clock.push(b"y", groups([1]))
    assert [one.data for one in ready] == [b"x"] or ready == []
    big = StampedTimes(0, 10**15)
    out = [big.push(bytes(1 << 20), []) for _ in range(8)]
    assert sum(len(one.data) for ready in out for one in ready) >= 4 << 20


def test_the_databases_clock() -> None:
    clock = DatabaseClock()
    clock.observe(1_000_000_500, 1_000_000_900, 10.0, 10.001)
    assert abs(clock.at(10.0005) - 1_000_000_700) <= 500
    clock.observe(1_001_000_000, 1_001_000_100, 10.0, 12.0)
    assert abs(clock.at(10.0005) - 1_000_000_700) <= 500, "a slow look says less than a quick one"
    clock.observe(5_000_000_000, 5_000_000_100, 13.0, 13.001)
    assert abs(clock.at(13.0) - 5_000_000_000) <= 1000, "somebody set the clock"


def test_received_transactions() -> None:
    [one] = transactions(groups([7]), 123)
    assert one == Transaction("0-1-1", 0, 1, 123, 0, 0)
    assert str(GtidList().advanced(Gtid.parse(one.gtid))) == "0-1-1"
