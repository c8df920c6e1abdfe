"""The C and the Python binder give the same bytes and refuse the same text."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidewind.engines.mariadb import params
from tidewind.engines.mariadb.params import bound, python_bound
from tidewind.engines.mariadb.rows import escape

field = st.one_of(
    st.none(),
    st.binary(max_size=40),
    st.text(alphabet="\\\t\n\0aé'\"N", max_size=30).map(str.encode),
    st.sampled_from([249, 250, 251, 252, 3000, 65535, 65536, 70000]).map(
        lambda size: (b"ab\\c\td\n" * (size // 7 + 1))[:size]
    ),
)


def length(size):
    """The protocol's length, written down a second time."""
    if size < 0xFB:
        return bytes([size])
    return b"\xfc" + size.to_bytes(2, "little") if size < 1 << 16 else b"\xfd" + size.to_bytes(3, "little")


def outcome(binder, text, columns):
    try:
        return binder(text, columns)
    except ValueError:
        return "refused"


def test_the_compiled_binder_is_what_is_tested():
    assert params.COMPILED, "build it: python setup.py build_ext --inplace"
    assert bound is not python_bound


@given(st.integers(1, 5).flatmap(lambda n: st.lists(st.lists(field, min_size=n, max_size=n), max_size=6)))
@settings(max_examples=150, deadline=None)
def test_every_value_arrives_as_it_was(table):
    columns = len(table[0]) if table else 3
    cells = [[b"\\N" if value is None else escape(value) for value in row] for row in table]
    text = b"".join(b"\t".join(row) + b"\n" for row in cells)
    values = [value for row in table for value in row]
    wanted = b"".join(b"\1" if value is None else b"\0" + length(len(value)) + value for value in values)
    assert bound(text, columns) == wanted
    assert bound(memoryview(text), columns) == wanted
    assert python_bound(text, columns) == wanted


PIECES = (b"\\\\", b"\\t", b"\\n", b"\\N", b"\\", b"N", b"t", b"x", b"\t", b"\n")
OFTEN = (6, 3, 3, 2, 1, 2, 2, 4, 3, 2)


def test_same_refusals_of_any_text():
    """Drawn by hand from a seed: so much faster than a general generator that thousands are whole rows, or nearly."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    refused = 0
    for _ in range(20_000):
        text = b"".join(chance.choices(PIECES, OFTEN, k=chance.randrange(10))) + b"\n" * (chance.random() < 0.9)
        columns = text.partition(b"\n")[0].count(b"\t") + 1 if chance.random() < 0.8 else chance.randrange(5)
        found = outcome(bound, text, columns)
        assert found == outcome(python_bound, text, columns), f"seed {seed}: {text!r} in {columns} columns"
        refused += found == "refused"
    assert 2_000 < refused < 18_000, f"seed {seed}"


@pytest.mark.parametrize("text", [b"a", b"a\tb\n", b"\\x\n", b"a\\\n", b"\\"])
def test_what_is_not_whole_rows_of_one_column_is_refused(text):
    assert outcome(bound, text, 1) == outcome(python_bound, text, 1) == "refused"


@pytest.mark.parametrize("size", [0, 250, 251, 65535, 65536, (1 << 24) - 1, 1 << 24])
def test_lengths(size):
    text = b"x" * size + b"\n"
    assert bound(text, 1) == python_bound(text, 1) == b"\0" + params.length(size) + b"x" * size
