"""The C and the Python converter give the same text, counters and refusals, however the stream is cut."""

import random
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidewind.engines.mariadb import rows
from tidewind.engines.mariadb.rows import PythonRowConverter, RowConverter, python_row_hash, row_hash

MAX = 0xFFFFFF

field = st.one_of(
    st.none(),
    st.binary(max_size=40),
    st.text(alphabet="\\\t\n\0aé'\"N", max_size=30).map(str.encode),
    st.sampled_from([249, 250, 251, 252, 3000, 65535, 65536, 70000]).map(
        lambda size: (b"ab\\c\td\n" * (size // 7 + 1))[:size]
    ),
)


def length(size):
    if size < 0xFB:
        return bytes([size])
    if size < 1 << 16:
        return b"\xfc" + size.to_bytes(2, "little")
    if size < 1 << 24:
        return b"\xfd" + size.to_bytes(3, "little")
    return b"\xfe" + size.to_bytes(8, "little")


def packets(payload):
    out, number = b"", 0
    while True:
        part, payload = payload[:MAX], payload[MAX:]
        out += len(part).to_bytes(3, "little") + bytes([number % 256]) + part
        number += 1
        if len(part) < MAX:
            return out


def row_packet(fields):
    return packets(b"".join(b"\xfb" if f is None else length(len(f)) + f for f in fields))


END = packets(b"\xfe\x00\x00\x22\x00")


ESCAPED = [{0x5C: b"\\\\", 0x09: b"\\t", 0x0A: b"\\n"}.get(byte, bytes([byte])) for byte in range(256)]


def plain_text(fields):
    """The format, written down a second time in the plainest way."""
    cells = [b"\\N" if f is None else b"".join([ESCAPED[byte] for byte in f]) for f in fields]
    return b"\t".join(cells)


def run(kind, columns, stream, cuts):
    machine, out, start = kind(columns), [], 0
    try:
        for cut in [*sorted(c % (len(stream) + 1) for c in cuts), len(stream)]:
            out.append(machine.feed(stream[start:cut]))
            start = cut
    except ValueError:
        return "refused", b"".join(out), machine.rows
    return (
        b"".join(out),
        machine.rows,
        machine.row_bytes,
        machine.checksum,
        machine.finished,
        machine.error,
    )


def test_the_compiled_converter_is_what_is_tested():
    assert rows.COMPILED, "build it: python setup.py build_ext --inplace"
    assert RowConverter is not PythonRowConverter


@given(
    st.integers(1, 5).flatmap(lambda n: st.lists(st.lists(field, min_size=n, max_size=n), max_size=6)),
    st.lists(st.integers(0, 10**6), max_size=12),
)
@settings(max_examples=60, deadline=None)
def test_same_bytes_however_cut(table, cuts):
    columns = len(table[0]) if table else 3
    stream = b"".join(map(row_packet, table)) + END
    expected = [plain_text(fields) for fields in table]
    text = b"".join(line + b"\n" for line in expected)
    total = sum(row_hash(line) for line in expected) % 2**64  # the compiled one; the Python converter has its own
    assert run(RowConverter, columns, stream, cuts) == (text, len(table), len(text), total, True, None)
    assert run(PythonRowConverter, columns, stream, cuts) == (text, len(table), len(text), total, True, None)


def any_stream(chance, columns):
    """Rows of the server, whole or with some bytes changed, gone or added."""
    rows_of_it = []
    for _ in range(chance.randrange(4)):
        values = [None if chance.random() < 0.2 else chance.randbytes(chance.randrange(9)) for _ in range(columns)]
        rows_of_it.append(row_packet(values))
    last = chance.choice((END, END, b"", packets(b"\xff\x25\x05#70100it broke"), packets(chance.randbytes(4))))
    stream = bytearray(b"".join(rows_of_it) + last)
    for _ in range(chance.choice((0, 0, 1, 1, 2))):
        at = chance.randrange(len(stream) + 1)
        stream[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
    return bytes(stream)


def test_same_refusals_of_any_bytes():
    """Drawn by hand from a seed: so much faster than a general generator that thousands are rows, or nearly."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    refused = whole = 0
    for _ in range(6000):
        columns = chance.randrange(1, 5)
        stream = any_stream(chance, columns if chance.random() < 0.8 else chance.randrange(1, 5))
        cuts = [chance.randrange(200) for _ in range(chance.randrange(5))]
        compiled, python = (run(kind, columns, stream, cuts) for kind in (RowConverter, PythonRowConverter))
        where = f"seed {seed}: {stream!r} in {columns} columns, cut at {cuts}"
        assert (compiled[0] == "refused") == (python[0] == "refused"), where
        if compiled[0] == "refused":
            refused += 1
            continue
        assert compiled == python, where
        whole += compiled[1]
    assert refused > 1000, f"seed {seed}"
    assert whole > 3000, f"seed {seed}"


@given(st.lists(st.binary(max_size=12), min_size=1, max_size=8), st.integers(1, 40))
def test_boundary_is_the_end_of_the_last_complete_row(values, step):
    stream = b"".join(row_packet([value]) for value in values) + END
    for kind in (RowConverter, PythonRowConverter):
        machine, seen, complete = kind(1), b"", 0
        for start in range(0, len(stream), step):
            out = machine.feed(stream[start : start + step])
            if machine.boundary:
                complete = len(seen) + machine.boundary
            seen += out
            assert machine.row_bytes == complete
            assert seen[:complete].count(b"\n") == machine.rows


@given(st.binary(max_size=300))
def test_row_hash_agrees(data):
    assert row_hash(data) == python_row_hash(data)


@pytest.mark.parametrize(
    ("data", "digest"), [(b"", 0xEF46DB3751D8E999), (b"a", 0xD24EC4F1A98C6E5B), (b"abc", 0x44BC2CF5AD770999)]
)
def test_row_hash_is_the_published_one(data, digest):
    assert row_hash(data) == digest


def test_error_packet_ends_the_stream():
    error = b"\xff" + (1317).to_bytes(2, "little") + b"#70100Query execution was interrupted"
    for kind in (RowConverter, PythonRowConverter):
        machine = kind(1)
        assert machine.feed(row_packet([b"x"]) + packets(error)) == b"x\n"
        assert machine.finished
        assert machine.error == error
        with pytest.raises(ValueError, match="not a sequence of rows"):
            machine.feed(b"x")


@pytest.mark.parametrize("size", [MAX - 5, MAX - 4, MAX - 3])
def test_rows_longer_than_a_packet(size):
    """Lengths around the bound where a packet is full and an empty one must follow."""
    value = (b"0123456789\t" * (size // 11 + 1))[:size]
    stream = row_packet([value, None]) + END
    with patch.object(rows, "_RunningHash", _CompiledHash):  # the hash in Python would take half a minute here
        for kind in (RowConverter, PythonRowConverter):
            machine = kind(2)
            out = b"".join(machine.feed(stream[at : at + 300_000]) for at in range(0, len(stream), 300_000))
            assert out == value.replace(b"\t", b"\\t") + b"\t\\N\n"
            assert machine.finished
            assert row_hash(out[:-1]) == machine.checksum


class _CompiledHash:
    def __init__(self):
        self._data = []

    def update(self, data):
        self._data.append(data)

    def digest(self):
        return row_hash(b"".join(self._data))
