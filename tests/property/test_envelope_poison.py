"""Whatever bytes come, decoding ends quickly with a message or with Poison, and with nothing else.

Nested data and headers are drawn by hand from a seed, which what fails names: so many times faster than a general
generator that thousands are tried."""

import json
import random
import struct
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.envelope import MAX_ATTRIBUTE, Poison, decode, encode
from tests.poison_corpus import CORPUS, GOOD_VALUE, headers

LIMIT_S = 0.15
"""For one record of a megabyte on a busy machine; an ordinary command takes 20 microseconds."""

DRAWS = 3_000
_NAMES = ("ce_id", "ce_type", "ce_source", "ce_specversion", "ce_time", "ce_subject", "content-type", "actor", "x-mine")
_LETTERS = 'aZ09 _-/.:"\\{}[],\x00\x1b\x7f\u0085\u2028é߿ࠀ\ufeff\uffff\U00010000\U0010ffff'
_NUMBERS = (0, 1, -1, 2**31, 2**53 + 1, -(2**63), 2**64, 10**19, 10**20, 10**300, 0.0, -0.0, 5e-324, 1.7e308)
_CONSTANTS = (None, True, False, float("inf"), float("nan"), "")


class Draw:
    """Arbitrary values, each kind about as often as the others."""

    def __init__(self, seed: str) -> None:
        self.chance = random.Random(seed)

    def text(self, longest: int) -> str:
        size = self.chance.randrange(longest + 1)
        if self.chance.random() < 0.5:
            return "".join(self.chance.choices(_LETTERS, k=size))
        codes = (self.chance.randrange(0x110000) for _ in range(size))
        return "".join(chr(code) for code in codes if not 0xD800 <= code < 0xE000)

    def scalar(self) -> object:
        kind = self.chance.randrange(5)
        if kind == 0:
            return self.chance.choice(_CONSTANTS)
        if kind == 1:
            return self.chance.choice(_NUMBERS)
        if kind == 2:
            return self.chance.getrandbits(self.chance.randrange(1, 130)) * self.chance.choice((1, -1))
        if kind == 3:
            return struct.unpack("d", self.chance.randbytes(8))[0]
        return self.text(20)

    def nested(self, depth: int = 5) -> object:
        kind = self.chance.random()
        if depth and kind < 0.25:
            return [self.nested(depth - 1) for _ in range(self.chance.randrange(5))]
        return self.members(depth - 1) if depth and kind < 0.5 else self.scalar()

    def members(self, depth: int = 5) -> dict[str, object]:
        return {self.text(5): self.nested(depth) for _ in range(self.chance.randrange(5))}

    def raw(self, longest: int) -> bytes | None:
        kind = self.chance.randrange(6)
        if kind == 0:
            return None
        if kind < 4:
            return self.text(longest // 4).encode()
        return self.chance.randbytes(self.chance.randrange(longest + 1))

    def value(self) -> bytes | None:
        """A record's value: bytes, or a document, whole or with a piece of it gone or of others in it."""
        if self.chance.random() < 0.4:
            return self.raw(300)
        document = bytearray(json.dumps(self.members() if self.chance.random() < 0.8 else self.nested()).encode())
        for _ in range(self.chance.randrange(3)):
            at = self.chance.randrange(len(document) + 1)
            document[at : at + self.chance.randrange(3)] = self.chance.randbytes(self.chance.randrange(3))
        return bytes(document)

    def headers(self) -> list[tuple[str, bytes | None]]:
        """Of any name and content, or those of a good record with some of them changed."""
        good = headers() if self.chance.random() < 0.7 else []
        others = [
            (self.chance.choice(_NAMES) if self.chance.random() < 0.8 else self.text(8), self.raw(30))
            for _ in range(self.chance.randrange(13 if not good else 3))
        ]
        return [*good, *others]


def test_the_corpus_is_large():
    assert len(CORPUS) >= 100


@pytest.mark.parametrize("name", CORPUS)
def test_every_record_of_the_corpus_is_refused_in_time(name):
    key, value, given_headers = CORPUS[name]
    took = []
    for _ in range(3):
        began = time.perf_counter()
        with pytest.raises(Poison) as refused:
            decode(key, value, given_headers)
        took.append(time.perf_counter() - began)
    assert min(took) < LIMIT_S
    poison = refused.value
    assert poison.reason.replace("-", "").isalpha()
    assert 0 < len(poison.detail) < 500
    assert poison.message_id is None or (
        0 < len(poison.message_id) <= MAX_ATTRIBUTE and poison.message_id.isprintable()
    )


def test_the_sender_can_be_answered_wherever_the_id_could_be_read():
    for name, (_, _, given_headers) in CORPUS.items():
        if dict(given_headers).get("ce_id") == b"c-1" and "UTF-8 in ce_specversion" not in name:
            with pytest.raises(Poison) as refused:
                decode(*CORPUS[name])
            assert refused.value.message_id == "c-1", name


def each_draw(judge: Callable[[Draw], bool]) -> int:
    """For how many of the draws, of a seed of this run's own, `judge` holds. What it raises names the draw."""
    seed = random.SystemRandom().getrandbits(32)
    held = 0
    for number in range(DRAWS):
        name = f"{seed} {number}"
        try:
            held += judge(Draw(name))
        except Exception as error:
            error.add_note(f"to repeat it: Draw({name!r})")
            raise
    return held


def test_arbitrary_bytes():
    def is_read(draw):
        refused = None
        try:
            decode(draw.raw(50), draw.value(), draw.headers())
        except Poison as poison:
            refused = poison
        assert refused is None or refused.detail
        return refused is None

    assert DRAWS // 100 < each_draw(is_read) < DRAWS // 2, "some are read and many refused"


@given(position=st.integers(0, len(GOOD_VALUE) - 1), byte=st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_one_wrong_byte_in_a_good_body(position, byte):
    value = bytearray(GOOD_VALUE)
    value[position] = byte
    try:
        answerable = encode(decode(b"shop", bytes(value), headers()))[2][1] == ("ce_id", b"c-1")
    except Poison as poison:
        answerable = poison.message_id == "c-1"
    assert answerable


def test_what_is_let_through_can_be_sent_again_unchanged():
    def is_let_through(draw):
        try:
            message = decode(b"shop", json.dumps(draw.members()).encode(), headers())
        except Poison:
            return False
        key, again, again_headers = encode(message)
        assert decode(key, again, again_headers) == message
        return True

    assert each_draw(is_let_through) > DRAWS // 4
