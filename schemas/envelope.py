"""Messages and how they travel: CloudEvents 1.0 over Kafka, binary mode (structured mode is understood too).

Binary mode: attributes in headers `ce_*`, the JSON body as the value. Structured mode: one JSON document with
content type `application/cloudevents+json`. Further headers, in both modes: `correlation-id` (the command's id),
`causation-id`, `traceparent`, `idempotency-key`, `actor`, `rerouted`; all but the last may also be extension
attributes, whose names have no hyphen (`idempotencykey`). Headers of other names are carried on and ignored.

Whoever can write to a topic can write any bytes: `decode` is bounded in time and memory, and what it lets through is
safe to log, to send back in headers, and to build ids from.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from schemas.topics import MAX_RECORD_BYTES

CONTENT_TYPE = "content-type"
STRUCTURED = "application/cloudevents+json"
MAX_NESTING = 64
MAX_CONTAINERS = 50_000
MAX_ATTRIBUTE = 255
MAX_SUBJECT = 1024
MAX_INTEGER_DIGITS = 20
MAX_NUMBER_CHARACTERS = 400
_EXTRA_HEADERS = ("correlation-id", "causation-id", "traceparent", "idempotency-key", "actor")
_REROUTED = "rerouted"
_OURS = frozenset((*_EXTRA_HEADERS, _REROUTED, CONTENT_TYPE))
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ALL_BUT_BRACKETS = bytes(code for code in range(256) if code not in b"[]{}")


class Poison(Exception):
    """A record that cannot be understood. `reason` is a stable word for programs, the text explains it.

    `message_id` is the record's id where that much could be read, so that its sender can be answered.
    """

    def __init__(self, reason: str, detail: str, message_id: str | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.message_id = message_id


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a consumed record lay, and its timestamp: milliseconds, by the broker's or the client's clock.

    `first_ms`: the timestamp it had where it lay before it was sent to its right partition, None if it never was.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    broker_time: bool
    first_ms: int | None = None

    @property
    def arrived_ms(self) -> int:
        """When the record first came, however often it was stamped since. A forged `first_ms` only makes it older."""
        return self.timestamp_ms if self.first_ms is None else min(self.timestamp_ms, self.first_ms)


@dataclass(frozen=True, kw_only=True)
class Message:
    """One CloudEvent. `key` is the Kafka key (cluster id, or `<kind>/<cluster>[/<id>]` on the status topic).

    `data` is the body as plain JSON values; None is a tombstone. `origin` is set on consumed messages only.
    """

    id: str
    type: str
    source: str
    time: datetime
    key: str
    data: Mapping[str, Any] | None
    subject: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None
    idempotency_key: str | None = None
    actor: str | None = None
    rerouted: bool = False
    origin: Origin | None = field(default=None, compare=False)


def encode(message: Message) -> tuple[bytes, bytes | None, list[tuple[str, bytes]]]:
    """(key, value, headers) of a record in binary mode. Half characters (lone surrogates) become question marks."""
    headers: list[tuple[str, str | None]] = [
        ("ce_specversion", "1.0"),
        ("ce_id", message.id),
        ("ce_type", message.type),
        ("ce_source", message.source),
        ("ce_time", message.time.astimezone(UTC).isoformat().replace("+00:00", "Z")),
        ("ce_subject", message.subject),
        (CONTENT_TYPE, "application/json"),
        ("correlation-id", message.correlation_id),
        ("causation-id", message.causation_id),
        ("traceparent", message.traceparent),
        ("idempotency-key", message.idempotency_key),
        ("actor", message.actor),
        (_REROUTED, "true" if message.rerouted else None),
    ]
    value = None
    if message.data is not None:
        text = json.dumps(message.data, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
        value = text.encode("utf-8", "replace")
    present = [(name, text.encode("utf-8", "replace")) for name, text in headers if text is not None]
    return message.key.encode("utf-8", "replace"), value, present


def decode(
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[tuple[str, bytes | None]],
    origin: Origin | None = None,
) -> Message:
    """Read a record in either mode. Raises Poison; never anything else, whatever the bytes."""
    texts = _header_texts(headers)
    attributes = {name[3:]: text for name, text in texts.items() if name.startswith("ce_")}
    message_id = _usable_id(attributes.get("id"))
    body = _parse(value, message_id) if value is not None else None
    if texts.get(CONTENT_TYPE, "").split(";")[0].strip().lower() == STRUCTURED:
        attributes, body = _structured(body, message_id)
        message_id = _usable_id(attributes.get("id")) or message_id
    _check_attributes(attributes, message_id)
    if body is not None and not isinstance(body, dict):
        raise Poison("not-an-object", "the body must be a JSON object", message_id)
    extras = {name: _extra(name, texts, attributes, message_id) for name in _EXTRA_HEADERS}
    return Message(
        id=attributes["id"],
        type=attributes["type"],
        source=attributes["source"],
        time=_read_time(attributes.get("time"), message_id),
        key=_read_key(key, message_id),
        data=body,
        subject=attributes.get("subject"),
        correlation_id=extras["correlation-id"],
        causation_id=extras["causation-id"],
        traceparent=extras["traceparent"],
        idempotency_key=extras["idempotency-key"],
        actor=extras["actor"],
        rerouted=texts.get(_REROUTED) == "true",
        origin=origin,
    )


def _header_texts(headers: Sequence[tuple[str, bytes | None]]) -> dict[str, str]:
    """The headers that mean something here, the last of each name. Others may hold any bytes."""
    texts: dict[str, str] = {}
    for given, raw in headers:
        name = given.lower()
        if raw is None or not (name in _OURS or name.startswith("ce_")):
            continue
        try:
            texts[name] = raw.decode()
        except UnicodeDecodeError as error:
            message_id = _usable_id(texts.get("ce_id"))
            raise Poison("bad-header", f"header {name[:80]!r} is not UTF-8", message_id) from error
    return texts


def _structured(body: object, message_id: str | None) -> tuple[dict[str, str], object]:
    """Attributes and data of a document in structured mode."""
    if not isinstance(body, dict):
        raise Poison("not-a-cloudevent", "a structured CloudEvent must be a JSON object", message_id)
    if "data_base64" in body:
        raise Poison("not-an-object", "data_base64 is not understood here; send the body as JSON in data", message_id)
    attributes = {name: text for name, text in body.items() if isinstance(text, str)}
    return attributes, body.get("data")


def _usable_id(text: str | None) -> str | None:
    """An id one can answer to."""
    return text if text and len(text) <= MAX_ATTRIBUTE and not _CONTROL.search(text) else None


def _check_attributes(attributes: Mapping[str, str], message_id: str | None) -> None:
    if attributes.get("specversion") != "1.0":
        raise Poison(
            "not-a-cloudevent",
            "ce_specversion must be 1.0; send the CloudEvents headers ce_specversion, ce_id, ce_type, ce_source",
            message_id,
        )
    for required in ("id", "type", "source"):
        text = attributes.get(required, "")
        if not 0 < len(text) <= MAX_ATTRIBUTE:
            why = f"ce_{required} is missing, empty or above {MAX_ATTRIBUTE} characters"
            raise Poison("not-a-cloudevent", why, message_id)
        if _CONTROL.search(text):
            raise Poison("not-a-cloudevent", f"ce_{required} holds control characters", message_id)
    subject = attributes.get("subject", "")
    if len(subject) > MAX_SUBJECT or _CONTROL.search(subject):
        why = f"ce_subject is above {MAX_SUBJECT} characters or holds control characters"
        raise Poison("not-a-cloudevent", why, message_id)


def _extra(name: str, texts: Mapping[str, str], attributes: Mapping[str, str], message_id: str | None) -> str | None:
    text = texts.get(name, attributes.get(name.replace("-", "")))
    if text is not None and (len(text) > MAX_ATTRIBUTE or _CONTROL.search(text)):
        why = f"{name} is above {MAX_ATTRIBUTE} characters or holds control characters"
        raise Poison("bad-header", why, message_id)
    return text or None


def _read_key(key: bytes | None, message_id: str | None) -> str:
    try:
        text = (key or b"").decode()
    except UnicodeDecodeError as error:
        raise Poison("bad-key", "the record's key is not UTF-8", message_id) from error
    if len(text) > MAX_ATTRIBUTE or _CONTROL.search(text):
        why = f"the record's key is above {MAX_ATTRIBUTE} characters or holds control characters"
        raise Poison("bad-key", why, message_id)
    return text


def _read_time(text: str | None, message_id: str | None) -> datetime:
    if text is None:
        return datetime.fromtimestamp(0, UTC)
    try:
        moment = datetime.fromisoformat(text[:64])
        if moment.tzinfo is None:
            raise Poison("bad-time", "ce_time has no zone", message_id)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Poison("bad-time", "ce_time is not an RFC 3339 timestamp", message_id) from error


def _parse(value: bytes, message_id: str | None) -> object:
    """JSON, strictly: UTF-8, no NaN, no key twice, nesting and number length bounded before the parser works."""
    if len(value) > MAX_RECORD_BYTES:
        why = f"the body has {len(value)} bytes; the limit is {MAX_RECORD_BYTES}"
        raise Poison("too-large", why, message_id)
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise Poison("bad-json", "the body is not UTF-8", message_id) from error
    _check_nesting(text, message_id)
    try:
        body: object = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_int=_bounded_int,
            parse_float=_finite_float,
            object_pairs_hook=_unique_pairs,
        )
        if "\\u" in text:
            # An escape may stand for half a character, which no header, file or log could carry.
            json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise Poison("bad-json", "the body escapes half a character (a lone surrogate)", message_id) from error
    except (ValueError, RecursionError) as error:
        raise Poison("bad-json", f"the body is not valid JSON: {str(error)[:200]}", message_id) from error
    return body


def _check_nesting(text: str, message_id: str | None) -> None:
    """Count brackets outside strings. All but the last loop, which is bounded, runs at the speed of C."""
    if text.count("[") + text.count("{") <= MAX_NESTING:
        return
    unescaped = text.replace("\\\\", "").replace('\\"', "")
    outside = "".join(unescaped.split('"')[::2])
    brackets = outside.encode().translate(None, _ALL_BUT_BRACKETS)
    if len(brackets) > 2 * MAX_CONTAINERS:
        raise Poison("bad-json", f"the body holds more than {MAX_CONTAINERS} objects and arrays", message_id)
    depth = 0
    for sign in brackets:
        depth += 1 if sign in b"[{" else -1
        if depth > MAX_NESTING:
            raise Poison("bad-json", f"the body is nested more than {MAX_NESTING} levels deep", message_id)


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")


def _bounded_int(digits: str) -> int:
    if len(digits) > MAX_INTEGER_DIGITS:
        raise ValueError(f"a whole number has more than {MAX_INTEGER_DIGITS} digits")
    return int(digits)


def _finite_float(digits: str) -> float:
    number = float(digits) if len(digits) <= MAX_NUMBER_CHARACTERS else float("inf")
    if not isfinite(number):
        raise ValueError("a number is too long or too large")
    return number


def _unique_pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"the member {name[:80]!r} stands twice in one object")
            seen.add(name)
    return members
