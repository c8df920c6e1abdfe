"""CloudEvents over Kafka: both modes, all attributes."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from schemas.envelope import Message, Origin, Poison, decode, encode
from tests.poison_corpus import BODY, GOOD_VALUE, headers, structured

FULL = Message(
    id="c-1",
    type="tidewind.backup.run.v1",
    source="/tests",
    time=datetime(2026, 11, 23, 2, 0, 0, 123456, tzinfo=UTC),
    key="shop",
    data={"cluster_id": "shop", "note": "Grüße 🦀"},
    subject="a job",
    correlation_id="corr",
    causation_id="cause",
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    idempotency_key="key-1",
    actor="anna",
    rerouted=True,
)
ORIGIN = Origin(topic="t", partition=1, offset=2, timestamp_ms=3, broker_time=True)


def test_a_message_survives_the_wire():
    assert decode(*encode(FULL)) == FULL


def test_the_wire_form_is_plain_cloudevents_in_binary_mode():
    key, value, wire = encode(replace(FULL, correlation_id=None, rerouted=False))
    assert key == b"shop"
    assert json.loads(value) == FULL.data
    assert dict(wire) == {
        "ce_specversion": b"1.0",
        "ce_id": b"c-1",
        "ce_type": b"tidewind.backup.run.v1",
        "ce_source": b"/tests",
        "ce_time": b"2026-11-23T02:00:00.123456Z",
        "ce_subject": b"a job",
        "content-type": b"application/json",
        "causation-id": b"cause",
        "traceparent": FULL.traceparent.encode(),
        "idempotency-key": b"key-1",
        "actor": b"anna",
    }


def test_a_tombstone_has_no_value():
    key, value, wire = encode(replace(FULL, data=None))
    assert value is None
    assert decode(key, value, wire).data is None


def test_times_of_any_zone_are_carried_as_utc():
    local = datetime(2026, 11, 23, 3, 0, tzinfo=timezone(timedelta(hours=1)))
    assert dict(encode(replace(FULL, time=local))[2])["ce_time"] == b"2026-11-23T02:00:00Z"
    assert decode(b"shop", GOOD_VALUE, headers(ce_time=b"2026-11-23T03:00:00+01:00")).time == local


def test_the_origin_is_attached_and_not_part_of_equality():
    found = decode(*encode(FULL), ORIGIN)
    assert found.origin == ORIGIN
    assert found == FULL


def test_structured_mode_with_extension_attributes():
    document = {
        "specversion": "1.0",
        "id": "c-1",
        "type": "tidewind.backup.run.v1",
        "source": "/tests",
        "time": "2026-11-23T02:00:00Z",
        "idempotencykey": "key-1",
        "actor": "anna",
        "data": BODY,
    }
    found = decode(*structured(document))
    assert found.data == BODY
    assert (found.id, found.idempotency_key, found.actor) == ("c-1", "key-1", "anna")


def test_structured_mode_is_recognised_with_parameters_and_in_any_case():
    value = json.dumps({"specversion": "1.0", "id": "1", "type": "t", "source": "/s", "data": {}}).encode()
    found = decode(b"shop", value, [("Content-Type", b"Application/CloudEvents+JSON; charset=UTF-8")])
    assert found.data == {}


def test_extension_attributes_of_client_libraries_in_binary_mode():
    assert decode(b"shop", GOOD_VALUE, headers(ce_idempotencykey=b"key-1")).idempotency_key == "key-1"


def test_a_record_cannot_claim_to_be_rerouted_through_an_attribute():
    assert not decode(b"shop", GOOD_VALUE, headers(ce_rerouted=b"true")).rerouted


def test_headers_of_others_may_hold_any_bytes():
    foreign = [*headers(), ("x-binary", b"\xff\x00"), ("b3", b"")]
    assert decode(b"shop", GOOD_VALUE, foreign).id == "c-1"


def test_the_last_header_of_a_name_counts():
    assert decode(b"shop", GOOD_VALUE, [*headers(), ("actor", b"anna"), ("actor", b"ben")]).actor == "ben"


def test_a_null_header_is_an_absent_one():
    assert decode(b"shop", GOOD_VALUE, [*headers(), ("actor", None)]).actor is None


def test_a_missing_key_and_a_missing_time_are_let_through():
    found = decode(None, GOOD_VALUE, headers(ce_time=None))
    assert found.key == ""
    assert found.time == datetime.fromtimestamp(0, UTC)


def test_nesting_counts_brackets_outside_strings_only():
    body = {"text": '[{"' * 200 + "\\" * 7, "list": [[[1]]], "more": ["]}" * 100 + "\\\\"]}
    assert decode(b"shop", json.dumps(body).encode(), headers()).data == body


def test_64_levels_are_fine_and_65_are_not():
    def nested(levels: int) -> bytes:
        return b'{"pad":[[],[]],"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"

    decode(b"shop", nested(64), headers())
    with pytest.raises(Poison, match="more than 64 levels"):
        decode(b"shop", nested(65), headers())


def test_whole_characters_may_be_escaped():
    assert decode(b"shop", b'{"a":"\\ud83e\\udd80"}', headers()).data == {"a": "🦀"}


def test_half_characters_of_ours_do_not_stop_a_message():
    key, value, wire = encode(replace(FULL, data={"detail": "bad \udc80 byte"}, actor="x\ud800"))
    found = decode(key, value, wire)
    assert found.data == {"detail": "bad ? byte"}
    assert found.actor == "x?"


def test_nan_of_ours_is_an_error_here_and_not_on_the_reader_s_side():
    with pytest.raises(ValueError, match="JSON"):
        encode(replace(FULL, data={"rate": float("nan")}))
