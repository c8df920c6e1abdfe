"""The C counter of row images and its Python twin agree, on rows and on rubbish."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewind.engines.mariadb.replay import counting
from tidewind.engines.mariadb.replay.counting import count_images_in_python

WIDTHS = st.lists(st.sampled_from([0, 1, 2, 4, 8, 300, -1, -2, -3, -4]), min_size=1, max_size=20)


@st.composite
def images(draw: st.DrawFn) -> tuple[list[int], int, bytes]:
    widths = draw(WIDTHS)
    count = draw(st.integers(0, 5))
    data = bytearray()
    for _ in range(count):
        nulls = draw(st.lists(st.booleans(), min_size=len(widths), max_size=len(widths)))
        bits = sum(1 << number for number, null in enumerate(nulls) if null)
        data += bits.to_bytes((len(widths) + 7) // 8, "little")
        for width, null in zip(widths, nulls, strict=True):
            if not null and width >= 0:
                data += bytes(width)
            elif not null:
                size = draw(st.integers(0, 200))
                data += size.to_bytes(-width, "little") + bytes(size)
    return widths, count, bytes(data)


def compiled() -> bool:
    return counting.count_images is not count_images_in_python


@given(images())
def test_whole_images_are_counted(found: tuple[list[int], int, bytes]) -> None:
    widths, count, data = found
    packed = struct.pack(f"={len(widths)}h", *widths)
    assert counting.count_images(data, packed) == count_images_in_python(data, packed) == count


@given(WIDTHS, st.binary(max_size=300))
def test_rubbish_is_judged_alike(widths: list[int], data: bytes) -> None:
    packed = struct.pack(f"={len(widths)}h", *widths)
    assert counting.count_images(data, packed) == count_images_in_python(data, packed)


def test_no_columns_are_no_rows() -> None:
    assert counting.count_images(b"x", b"") == count_images_in_python(b"x", b"") == -1


@pytest.mark.skipif(not compiled(), reason="installed without a compiler")
def test_the_compiled_counter_is_the_one_in_use() -> None:
    assert counting.count_images.__module__ != count_images_in_python.__module__
