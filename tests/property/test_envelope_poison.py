"""Whatever bytes come, decoding ends quickly with a message or with Poison, and with nothing else."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.envelope import MAX_ATTRIBUTE, Message, Poison, decode, encode
from tests.poison_corpus import CORPUS, GOOD_VALUE, headers

LIMIT_S = 0.15
"""For one record of a megabyte on a busy machine; an ordinary command takes 20 microseconds."""

_NAMES = st.sampled_from(
    ["ce_id", "ce_type", "ce_source", "ce_specversion", "ce_time", "ce_subject", "content-type", "actor", "x-mine"]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


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


@given(
    key=st.none() | st.binary(max_size=50),
    value=st.none() | st.binary(max_size=300),
    given_headers=st.lists(st.tuples(_NAMES | st.text(max_size=8), st.none() | st.binary(max_size=30)), max_size=12),
)
@settings(max_examples=400, deadline=None)
def test_arbitrary_bytes(key, value, given_headers):
    try:
        found: Message | Poison = decode(key, value, given_headers)
    except Poison as poison:
        found = poison
    assert isinstance(found, Message) or found.detail


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


@given(data=st.dictionaries(st.text(max_size=5), _JSON, max_size=4))
@settings(max_examples=300, deadline=None)
def test_what_is_let_through_can_be_sent_again_unchanged(data):
    value = json.dumps(data).encode()
    try:
        message = decode(b"shop", value, headers())
    except Poison:
        return
    key, again, again_headers = encode(message)
    assert decode(key, again, again_headers) == message
