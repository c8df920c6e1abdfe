"""Ranges cover a table without overlap, whatever the estimates were worth."""

import itertools
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewind.engines.mariadb.catalogue import KeyColumn
from tidewind.engines.mariadb.chunking import (
    RANGES_MAX,
    after,
    before,
    key_literal,
    range_bytes,
    split_values,
    value_conditions,
    walked_conditions,
)

KEY = [KeyColumn(name="a", data_type="int", charset=None), KeyColumn(name="b", data_type="int", charset=None)]


@given(st.lists(st.integers(-(2**63), 2**64), min_size=1, max_size=60), st.integers(1, 20), st.integers(0, 10**6))
async def test_every_value_is_in_exactly_one_interval(values: list[int], rows: int, seed: int) -> None:
    dice = random.Random(seed)

    async def estimate(low: int, high: int) -> int:
        true = sum(low <= value <= high for value in values)
        return int(true * dice.choice([0, 0.5, 1, 1, 2]))

    intervals = await split_values(min(values), max(values), len(values), rows, estimate)
    assert intervals[0][0] == min(values)
    assert intervals[-1][1] == max(values)
    assert all(one[1] + 1 == other[0] for one, other in itertools.pairwise(intervals))
    assert len(intervals) <= RANGES_MAX + 2


async def test_exact_estimates_give_even_ranges() -> None:
    async def estimate(low: int, high: int) -> int:
        return high - low + 1

    intervals = await split_values(1, 1000, 1000, 130, estimate)
    assert all(rows <= 130 for *_, rows in intervals)
    assert len(intervals) <= 16


async def test_estimates_that_are_doubled_and_capped_cut_as_exact_ones_do() -> None:
    """InnoDB doubles what it has not counted row by row, up to half of the table."""

    async def estimate(low: int, high: int) -> int:
        return min(2 * (high - low + 1), 4096)

    intervals = await split_values(1, 8192, 8192, 1024, estimate)
    assert [last - first + 1 for first, last, _ in intervals] == [1024] * 8


def test_outer_ends_are_open() -> None:
    assert value_conditions("a`b", [(1, 5, 1), (6, 9, 1), (10, 12, 1)]) == [
        "`a``b` <= 5",
        "`a``b` >= 6 AND `a``b` <= 9",
        "`a``b` >= 10",
    ]
    assert value_conditions("a", [(1, 5, 1)]) == [""]


def holds(condition: str, row: tuple[int, int]) -> bool:
    text = condition.replace("`a`", str(row[0])).replace("`b`", str(row[1])).replace(" = ", " == ")
    return bool(eval(text.replace("AND", "and").replace("OR", "or") or "True"))


pair = st.tuples(st.integers(-3, 3), st.integers(-3, 3))


@given(st.lists(pair, max_size=5, unique=True), pair)
def test_walked_conditions_partition_all_rows(bounds: list[tuple[int, int]], row: tuple[int, int]) -> None:
    literals = [[str(value) for value in bound] for bound in sorted(bounds)]
    conditions = walked_conditions(KEY, literals)
    assert sum(holds(condition, row) for condition in conditions) == 1


@given(pair, pair)
def test_after_and_before_compare_as_the_index_does(bound: tuple[int, int], row: tuple[int, int]) -> None:
    literals = [str(value) for value in bound]
    assert holds(after(KEY, literals, inclusive=True), row) == (row >= bound)
    assert holds(after(KEY, literals, inclusive=False), row) == (row > bound)
    assert holds(before(KEY, literals), row) == (row < bound)


@pytest.mark.parametrize(
    ("kind", "charset", "value", "literal"),
    [
        ("bigint", None, b"-5", "-5"),
        ("decimal", None, b"1.50", "1.50"),
        ("varchar", "latin1", b"\xe9'", "_latin1 X'e927'"),
        ("varbinary", None, b"\0", "X'00'"),
        ("date", None, b"2024-01-01", "'2024-01-01'"),
    ],
)
def test_key_literal(kind: str, charset: Any, value: bytes, literal: str) -> None:
    assert key_literal(KeyColumn(name="k", data_type=kind, charset=charset), value) == literal


@pytest.mark.parametrize(
    ("table", "chunk", "readers", "expected"),
    [
        (0, 64, 2, 64),
        (10**6, 10**8, 2, 4 * 2**20),
        (800 * 10**6, 64 * 10**6, 2, 64 * 10**6),
        (80 * 10**6, 10**9, 2, 10**7),
    ],
)
def test_range_bytes(table: int, chunk: int, readers: int, expected: int) -> None:
    assert range_bytes(table, chunk, readers) == expected
