"""The C and the Python splitter, and unframer, give the same bytes, groups and failures, however the log is cut."""

import random
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.golden.binlogs import RELEASES, recorded
from tidewind.engines.mariadb.log import events, transactions
from tidewind.engines.mariadb.log.packets import PythonUnframer, Unframer
from tidewind.engines.mariadb.log.transactions import PythonSplitter, Splitter

LOG = recorded("10.11")
DESCRIPTION = LOG[: events.parse_header(LOG).length]
SMALL = LOG[LOG.index(b"CREATE TABLE parent") - 150 :]  # behind the long rows
SMALL = SMALL[SMALL.index(bytes([events.GTID]) + b"\1\0\0\0") - 4 :]


def run(kind, log, cuts):
    machine, kept, groups, start = kind(), [], [], 0
    for cut in [*sorted(c % (len(log) + 1) for c in cuts), len(log)]:
        data, found = machine.feed(log[start:cut])
        kept.append(data)
        groups += found
        if machine.failure is not None:
            break
        start = cut
    consumed = (start + machine.consumed, machine.follower) if machine.failure else None
    return b"".join(kept), groups, machine.failure, machine.length, machine.log_file, machine.log_offset, consumed


def event(kind, body=b"", *, stamp=1, server=1, flags=0, checksum=True):
    size = 19 + len(body) + (4 if checksum else 0)
    data = struct.pack("<IBIIIH", stamp, kind, server, size, 0, flags) + body
    return data + struct.pack("<I", zlib.crc32(data)) if checksum else data


def gtid(sequence, flags=events.TRANSACTIONAL, domain=0):
    return event(events.GTID, struct.pack("<QIB6x", sequence, domain, flags))


def query(text):
    return event(events.QUERY, struct.pack("<IIBHH", 1, 0, 0, 0, 0) + b"\0" + text)


def test_the_compiled_splitter_is_what_is_tested():
    assert transactions.COMPILED, "build it: python setup.py build_ext --inplace"
    assert Splitter is not PythonSplitter
    assert Unframer is not PythonUnframer


@pytest.mark.parametrize("release", RELEASES)
def test_recorded_logs_are_cut_the_same_by_both(release):
    log = recorded(release)
    seed = random.randrange(1 << 32)
    cuts = random.Random(seed).choices(range(len(log)), k=200)
    whole = run(PythonSplitter, log, [])
    assert whole[2] is None
    assert len(whole[1]) == (60 if release != "10.5" else 56)
    for kind in (PythonSplitter, Splitter):
        assert run(kind, log, cuts) == whole, f"seed {seed}"
        assert run(kind, log, range(3000)) == whole


@given(st.lists(st.integers(0, 1 << 20), max_size=30))
@settings(max_examples=60, deadline=None)
def test_same_transactions_however_cut(cuts):
    log = DESCRIPTION + SMALL
    whole = run(Splitter, log, [])
    assert len(whole[1]) == 54
    assert run(Splitter, log, cuts) == whole
    assert run(PythonSplitter, log, cuts) == whole


def test_a_session_is_its_description_and_transactions_alone():
    kept, groups, failure, *_ = run(Splitter, LOG, [])
    assert failure is None
    at = len(DESCRIPTION)
    assert kept[:at] == DESCRIPTION
    description = events.parse_format_description(DESCRIPTION)
    for text, domain, sequence, start, end, *_ in groups:
        assert start == at
        at = end
        own = list(events.iterate(kept[start:end], description))
        first = events.parse_gtid(own[0].header, own[0].body)
        assert (str(first), first.domain, first.sequence) == (text, domain, sequence)
        assert not {one.type for one in own[1:]} & {events.GTID, events.ROTATE, events.FORMAT_DESCRIPTION}
    assert at == len(kept)


def in_turn(case, count):
    """So many cases for each example: to begin an example takes Hypothesis longer than to draw a case and to judge it."""
    return st.lists(case, min_size=count, max_size=count)


DAMAGED = len(DESCRIPTION) + 4000
changes = st.lists(st.tuples(st.integers(0, DAMAGED - 1), st.integers(0, 255)), min_size=1, max_size=3)


@given(in_turn(st.tuples(changes, st.lists(st.integers(0, DAMAGED), max_size=6)), 8))
@settings(max_examples=90, deadline=None)
def test_same_failures_of_damaged_logs(cases):
    for changed, cuts in cases:
        log = bytearray(DESCRIPTION + SMALL[:4000])
        for at, value in changed:
            log[at] = value
        assert run(Splitter, bytes(log), cuts) == run(PythonSplitter, bytes(log), cuts)


KINDS = (2, 3, 4, 5, 13, 14, 15, 16, 19, 23, 26, 27, 28, 38, 99, 160, 161, 162, 163, 164, 165, 166, 171)
TEXTS = (b"COMMIT", b"ROLLBACK", b"COMMIT ", b"XA COMMIT 'x'", b"UPDATE t")


def any_event(chance):
    kind = chance.random()
    if kind < 0.35:
        body = chance.randbytes(chance.randrange(chance.choice((4, 41))))
        flags, checksum = chance.choice((0, 1, 0x20, 0x80)), chance.random() < 0.7
        return event(chance.choice(KINDS), body, flags=flags, checksum=checksum)
    if kind < 0.6:
        return gtid(chance.randrange(1, 10), chance.randrange(256))
    return query(chance.choice(TEXTS)) if kind < 0.97 else DESCRIPTION


def test_same_answers_to_any_events():
    """Drawn by hand from a seed: so much faster than a general generator that transactions end in many of them."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    whole = refused = 0
    for number in range(4000):
        log = DESCRIPTION + b"".join(any_event(chance) for _ in range(chance.randrange(13)))
        cuts = [chance.randrange(2000) for _ in range(chance.randrange(7))]
        found = run(Splitter, log, cuts)
        assert found == run(PythonSplitter, log, cuts), (
            f"seed {seed}, log {number}: {log[len(DESCRIPTION) :]!r}, {cuts}"
        )
        whole += len(found[1])
        refused += found[2] is not None
    assert whole > 300, f"seed {seed}"
    assert refused > 1000, f"seed {seed}"


@pytest.mark.parametrize("kind", [Splitter, PythonSplitter])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 50])
def test_a_description_cut_short_is_damage(kind, size):
    short = event(events.FORMAT_DESCRIPTION, bytes(size), flags=events.ARTIFICIAL, checksum=False)
    assert run(kind, DESCRIPTION + short, [])[2][:2] == ("damaged", events.FORMAT_DESCRIPTION)


def packets(payloads, limit=0xFFFFFF):
    out, number = [], 0
    for payload in payloads:
        rest = b"\0" + payload
        while True:
            part, rest = rest[:limit], rest[limit:]
            out.append(len(part).to_bytes(3, "little") + bytes([number % 256]) + part)
            number += 1
            if len(part) < limit:
                break
    return b"".join(out)


def unframed(kind, stream, cuts):
    machine, out, start = kind(), [], 0
    try:
        for cut in [*sorted(c % (len(stream) + 1) for c in cuts), len(stream)]:
            out.append(machine.feed(stream[start:cut]))
            start = cut
    except ValueError:
        return "refused"
    return b"".join(out), machine.ended, machine.error


ERROR = b"\xff\xd4\x04#HY000it broke"


@given(
    st.lists(st.binary(max_size=50), max_size=8),
    st.sampled_from([b"", b"\xfe\0\0\2\0", ERROR]),
    st.lists(st.integers(0, 600), max_size=8),
)
@settings(max_examples=300, deadline=None)
def test_events_come_out_of_their_packets(payloads, last, cuts):
    end = len(last).to_bytes(3, "little") + b"\7" + last if last else b""
    stream = packets(payloads) + end
    expected = b"".join(payloads), bool(last), last[1:] if last == ERROR else None
    if last != b"\xfe\0\0\2\0" or not any(len(stream) - len(last) < c % (len(stream) + 1) < len(stream) for c in cuts):
        assert unframed(PythonUnframer, stream, cuts) == expected
    assert unframed(Unframer, stream, cuts) == unframed(PythonUnframer, stream, cuts)


def test_an_event_longer_than_a_packet():
    long = bytes(0xFFFFFF * 2 + 5)
    for payload in (long, long[: 0xFFFFFF - 1], long[: 0xFFFFFF * 2 - 1]):
        stream = packets([payload, b"next"])
        for kind in (Unframer, PythonUnframer):
            assert unframed(kind, stream, [5, 0xFFFFFF, 0xFFFFFF + 6])[0] == payload + b"next"


@given(in_turn(st.tuples(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=4)), 10))
@settings(max_examples=70, deadline=None)
def test_same_refusals_of_any_packets(cases):
    for stream, cuts in cases:
        assert unframed(Unframer, stream, cuts) == unframed(PythonUnframer, stream, cuts)


def test_memory_does_not_grow_with_an_event():
    row = bytes(1 << 20)
    size = 19 + 300 * len(row) + 4
    head = struct.pack("<IBIIIH", 1, events.WRITE_ROWS_V1, 1, size, 0, 0)
    for kind in (Splitter, PythonSplitter):
        machine = kind()
        machine.feed(DESCRIPTION + gtid(1) + head)
        crc = zlib.crc32(head)
        for _ in range(300 if kind is Splitter else 20):
            kept, groups = machine.feed(row)
            assert len(kept) == len(row)
            assert not groups
            crc = zlib.crc32(row, crc)
        if kind is Splitter:
            _, groups = machine.feed(struct.pack("<I", crc) + event(events.XID, bytes(8)))
            assert [one[0] for one in groups] == ["0-1-1"]


@pytest.mark.parametrize("kind", [Splitter, PythonSplitter])
def test_what_is_never_passed_over(kind):
    def failure(*made):
        return run(kind, DESCRIPTION + b"".join(made), [])[2]

    assert failure(event(events.INCIDENT, b"\1\0\0"))[:2] == ("incident", events.INCIDENT)
    assert failure(gtid(1), event(99))[:2] == ("unknown", 99)
    assert failure(event(99, flags=events.IGNORABLE)) is None
    assert failure(query(b"BEGIN"))[0] == "damaged"
    assert failure(gtid(1), gtid(2))[0] == "damaged"
    other = bytearray(DESCRIPTION)
    other[25:30] = b"99.9."
    changed = bytes(other[:-4]) + struct.pack("<I", zlib.crc32(bytes(other[:-4])))
    assert failure(gtid(1), query(b"COMMIT"), changed)[:2] == ("header", events.FORMAT_DESCRIPTION)


@pytest.mark.parametrize("kind", [Splitter, PythonSplitter])
def test_what_a_crash_cut_off_is_no_transaction(kind):
    log = DESCRIPTION + gtid(1) + query(b"COMMIT") + gtid(2) + event(events.TABLE_MAP, bytes(30)) + DESCRIPTION
    log += gtid(2) + query(b"COMMIT")
    _, groups, failure, *_ = run(kind, log, [])
    assert failure is None
    assert [one[0] for one in groups] == ["0-1-1", "0-1-2"]
    assert groups[1][3] > groups[0][4]
