"""Records no service can understand. Each must end in the dead letters, quickly, and stall nothing.

`CORPUS` maps a name to (key, value, headers). Every one of them is refused by `schemas.envelope.decode`.
"""

import json
from collections.abc import Iterator

Record = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]

BODY = {"cluster_id": "shop", "cause": "manual"}
GOOD_VALUE = json.dumps(BODY).encode()


def headers(**changed: bytes | None) -> list[tuple[str, bytes]]:
    """The headers of a valid command, with some replaced (None: left out). `ce_id` is written `ce_id=…`."""
    values: dict[str, bytes | None] = {
        "ce_specversion": b"1.0",
        "ce_id": b"c-1",
        "ce_type": b"tidewind.backup.run.v1",
        "ce_source": b"/tests",
        "ce_time": b"2026-11-23T02:00:00Z",
        "content-type": b"application/json",
    }
    values |= {name.replace("__", "-"): text for name, text in changed.items()}
    return [(name, text) for name, text in values.items() if text is not None]


def structured(document: object) -> Record:
    value = document if isinstance(document, bytes) else json.dumps(document).encode()
    return b"shop", value, [("content-type", b"application/cloudevents+json")]


def _bodies() -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "one NUL", b"\x00"
    yield "spaces", b"   "
    yield "a comma", b","
    yield "random bytes", bytes(range(256))
    yield "bad UTF-8", b'{"a":"\xff\xfe"}'
    yield "cut UTF-8", b'{"a":"\xe2\x82"}'
    yield "overlong UTF-8", b'{"a":"\xc0\xaf"}'
    yield "surrogate in UTF-8", b'{"a":"\xed\xa0\x80"}'
    yield "UTF-16", '{"a":1}'.encode("utf-16")
    yield "UTF-32", '{"a":1}'.encode("utf-32")
    yield "byte order mark", b"\xef\xbb\xbf{}"
    yield "lone surrogate escape", b'{"a":"\\ud800"}'
    yield "lone low surrogate", b'{"a":"\\udfff"}'
    yield "reversed surrogates", b'{"a":"\\udc00\\ud800"}'
    yield "surrogate in a name", b'{"\\ud800":1}'
    yield "cut escape", b'{"a":"\\u12"}'
    yield "unknown escape", b'{"a":"\\x41"}'
    yield "unfinished object", b'{"a":1'
    yield "unfinished array", b'{"a":[1,2'
    yield "unfinished string", b'{"a":"b'
    yield "unfinished name", b'{"a'
    yield "missing colon", b'{"a" 1}'
    yield "missing value", b'{"a":}'
    yield "trailing comma", b'{"a":1,}'
    yield "two documents", b"{}{}"
    yield "text behind", b"{} x"
    yield "single quotes", b"{'a':1}"
    yield "bare words", b"{a:1}"
    yield "comment", b'{"a":1} // fine'
    yield "NaN", b'{"a":NaN}'
    yield "Infinity", b'{"a":Infinity}'
    yield "minus Infinity", b'{"a":-Infinity}'
    yield "Python None", b'{"a":None}'
    yield "leading zero", b'{"a":01}'
    yield "plus sign", b'{"a":+1}'
    yield "hexadecimal", b'{"a":0x10}'
    yield "only a point", b'{"a":.5}'
    yield "point at the end", b'{"a":5.}'
    yield "empty exponent", b'{"a":1e}'
    yield "huge integer", b'{"a":' + b"9" * 5_000 + b"}"
    yield "very huge integer", b'{"a":' + b"9" * 900_000 + b"}"
    yield "21 digits", b'{"a":123456789012345678901}'
    yield "huge negative", b'{"a":-' + b"9" * 400 + b"}"
    yield "huge exponent", b'{"a":1e999}'
    yield "huge negative number", b'{"a":-1e400}'
    yield "long fraction", b'{"a":0.' + b"1" * 500_000 + b"}"
    yield "same member twice", b'{"cluster_id":"a","cluster_id":"b"}'
    yield "same member twice, escaped", b'{"a":1,"\\u0061":2}'
    yield "same member twice, deep", b'{"x":[{"y":{"a":1,"a":1}}]}'
    yield "same long member twice", b'{"' + b"k" * 100_000 + b'":1,"' + b"k" * 100_000 + b'":1}'
    yield "65 deep", b'{"a":' + b"[" * 65 + b"]" * 65 + b"}"
    yield "10,000 deep arrays", b"[" * 10_000 + b"]" * 10_000
    yield "10,000 deep objects", b'{"a":' * 10_000 + b"1" + b"}" * 10_000
    yield "400,000 open arrays", b"[" * 400_000
    yield "400,000 closing arrays", b"]" * 400_000
    yield "deep behind a string of brackets", b'{"s":"[[[[\\"","a":' + b"[" * 100 + b"]" * 100 + b"}"
    yield "very many containers", b'{"a":[' + b"{}," * 200_000 + b"{}]}"
    yield "many quotes, none closed", b"[" * 65 + b'{"' + b'\\"' * 400_000
    yield "many backslashes", b"[" * 65 + b'"' + b"\\" * 900_001
    yield "array", b"[]"
    yield "string", b'"a"'
    yield "number", b"7"
    yield "true", b"true"
    yield "array of commands", b"[" + GOOD_VALUE + b"]"
    yield "above a megabyte", b'{"a":"' + b"x" * 1_100_000 + b'"}'
    yield "XML", b"<?xml version='1.0'?><backup/>"
    yield "Avro of a schema registry", b"\x00\x00\x00\x00\x07" + GOOD_VALUE
    yield "protobuf", b"\x0a\x04shop\x12\x06manual"
    yield "gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"
    yield "pickle", b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00."
    yield "YAML", b"cluster_id: shop\ncause: manual\n"


def _headers() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    yield "no headers", []
    for name in ("ce_specversion", "ce_id", "ce_type", "ce_source"):
        yield f"no {name}", headers(**{name: None})
        yield f"empty {name}", headers(**{name: b""})
        yield f"bad UTF-8 in {name}", headers(**{name: b"\xff"})
        yield f"NUL in {name}", headers(**{name: b"a\x00b"})
        yield f"newline in {name}", headers(**{name: b"a\nb"})
        yield f"megabyte in {name}", headers(**{name: b"x" * 1_000_000})
    yield "old specversion", headers(ce_specversion=b"0.3")
    yield "new specversion", headers(ce_specversion=b"2.0")
    yield "terminal escape in the source", headers(ce_source=b"/\x1b[2J")
    yield "line separator in the id", headers(ce_id="a\u2028b".encode())
    yield "256 characters of id", headers(ce_id=b"i" * 256)
    yield "long subject", headers(ce_subject=b"s" * 2_000)
    yield "control character in the subject", headers(ce_subject=b"a\x07")
    for name in ("correlation-id", "causation-id", "traceparent", "idempotency-key", "actor"):
        yield f"bad UTF-8 in {name}", headers(**{name: b"\xc3"})
        yield f"newline in {name}", headers(**{name: b"a\r\nb"})
        yield f"long {name}", headers(**{name: b"x" * 300})
    yield "bad UTF-8 in content-type", headers(content__type=b"\xff")
    for label, text in {
        "words": b"yesterday",
        "no zone": b"2026-11-23T02:00:00",
        "no time": b"2026-11-23",
        "thirteenth month": b"2026-13-01T00:00:00Z",
        "February 30": b"2026-02-30T00:00:00Z",
        "hour 25": b"2026-11-23T25:00:00Z",
        "before the year 1": b"0001-01-01T00:00:00+23:59",
        "after the year 9999": b"9999-12-31T23:59:59-23:59",
        "seconds since 1970": b"1795413600",
        "a megabyte": b"2" * 1_000_000,
    }.items():
        yield f"time: {label}", headers(ce_time=text)


def _structured() -> Iterator[tuple[str, Record]]:
    whole = {"specversion": "1.0", "id": "c-1", "type": "t", "source": "/s", "data": BODY}
    yield "structured: empty", structured(b"")
    yield "structured: not JSON", structured(b"{")
    yield "structured: array", structured([whole])
    yield "structured: string", structured("x")
    yield "structured: null", structured(None)
    yield "structured: no body at all", (b"shop", None, [("content-type", b"application/cloudevents+json")])
    for name in ("specversion", "id", "type", "source"):
        yield f"structured: no {name}", structured({key: text for key, text in whole.items() if key != name})
        yield f"structured: number as {name}", structured(whole | {name: 1})
        yield f"structured: null as {name}", structured(whole | {name: None})
    yield "structured: data is a string", structured(whole | {"data": "x"})
    yield "structured: data is an array", structured(whole | {"data": []})
    yield "structured: data is base64", structured(whole | {"data_base64": "e30="})
    yield "structured: newline in the id", structured(whole | {"id": "a\nb"})
    yield "structured: half a character in the id", structured(b'{"specversion":"1.0","id":"\\ud800"}')
    yield "structured: bad time", structured(whole | {"time": "noon"})
    yield "structured: long extension", structured(whole | {"idempotencykey": "k" * 300})
    yield "structured: batch", (b"shop", b"[]", [("content-type", b"application/cloudevents-batch+json")])


def _keys() -> Iterator[tuple[str, bytes]]:
    yield "key: bad UTF-8", b"\xff\xfe"
    yield "key: NUL", b"sh\x00op"
    yield "key: newline", b"shop\n"
    yield "key: long", b"k" * 300
    yield "key: megabyte", b"k" * 900_000
    yield "key: terminal escape", b"\x1b[31m"


def _corpus() -> dict[str, Record]:
    corpus: dict[str, Record] = {}
    for name, value in _bodies():
        corpus[f"body: {name}"] = (b"shop", value, headers())
    for name, wrong in _headers():
        corpus[f"headers: {name}"] = (b"shop", GOOD_VALUE, wrong)
    corpus |= dict(_structured())
    for name, key in _keys():
        corpus[name] = (key, GOOD_VALUE, headers())
    corpus["nothing at all"] = (None, None, [])
    corpus["tombstone without headers"] = (b"shop", None, [])
    return corpus


CORPUS = _corpus()
