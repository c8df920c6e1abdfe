"""Text cut into messages of an array binding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewind.engines.mariadb.restore.binding import BLOCK_BYTES, NotTaken, blocks


def cut(text: bytes, step: int, most: int) -> list[bytes]:
    return [bytes(block) for block in blocks(iter([text[at : at + step] for at in range(0, len(text), step)]), most)]


@given(st.lists(st.binary(max_size=30).map(lambda row: row.replace(b"\n", b"") + b"\n")), st.integers(1, 50))
def test_nothing_is_lost_and_every_block_ends_with_a_row(rows: list[bytes], step: int) -> None:
    found = cut(b"".join(rows), step, 40)
    assert b"".join(found) == b"".join(rows)
    assert all(block.endswith(b"\n") for block in found)
    assert all(len(block) <= 20 or block.count(b"\n") == 1 for block in found)


def test_blocks_are_as_large_as_is_fast_and_no_larger_than_is_allowed() -> None:
    text = (b"x" * 99 + b"\n") * 20_000
    assert {len(block) for block in cut(text, 1 << 20, 16 << 20)[:-1]} <= {BLOCK_BYTES // 100 * 100}
    assert max(len(block) for block in cut(text, 1 << 20, 10_000)) == 5000


def test_a_row_that_never_ends_is_not_collected() -> None:
    def endless() -> object:
        while True:
            yield b"x" * 1000

    with pytest.raises(NotTaken, match="max_allowed_packet"):
        list(blocks(endless(), 5000))  # type: ignore[arg-type]
