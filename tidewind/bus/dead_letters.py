"""How a record that nobody could handle is kept: byte for byte, with the reason, so that it can be sent again. Pure.

A dead letter is the original key, value and headers, and after the original headers ours:

    dlt-reason  dlt-detail  dlt-group  dlt-topic  dlt-partition  dlt-offset  dlt-timestamp
    dlt-null  dlt-cut  dlt-size  dlt-sha256  dlt-headers

`dlt-headers` says how many headers are the original's: an original may itself hold headers of these names, so only what
follows that many is ours. Above 2 MB (a broker takes well-compressed records that it would not take again uncompressed)
only the coordinates, sha256, size and the first 64 kB of the value are kept, and `dlt-cut` is there.

What became of a dead letter is a further record in the same topic, a *note* (`dlt-note: replayed|dropped`) that names
the original's coordinates. Nothing is ever removed from the topic but by its retention.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from schemas.envelope import Origin, Poison
from schemas.topics import DEAD_LETTERS, MAX_DEAD_LETTER_BYTES, Topic
from tidewind.bus.records import Headers, Outgoing, RawRecord

KEPT_BYTES_WHEN_CUT = 64 * 1024
OUR_HEADERS_BYTES = 4096

Fate = Literal["waiting", "replayed", "dropped"]


@dataclass(frozen=True, kw_only=True)
class Coordinates:
    """Where the original lay; `topic` is its full name. Equal for two dead letters of one original."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """One dead letter as an operator sees it. `id` is `<topic>/<partition>/<offset>` of the original."""

    original: Coordinates
    reason: str
    detail: str
    groups: tuple[str, ...]
    key: bytes | None
    value: bytes | None
    headers: Headers
    size: int
    sha256: str
    whole: bool
    died_at: datetime
    fate: Fate = "waiting"
    fate_at: datetime | None = None
    fate_by: str | None = None
    fate_why: str | None = None

    @property
    def id(self) -> str:
        return str(self.original)

    def header(self, name: str) -> str | None:
        """An original header as text, such as ce_type, where it is readable."""
        found = [text for key, text in self.headers if key.lower() == name]
        return found[-1].decode("utf-8", "replace") if found else None


def dead_letter(record: RawRecord, poison: Poison, *, group: str) -> Outgoing:
    """The record for the dead-letter topic."""
    origin = record.origin
    ours = [
        ("dlt-reason", poison.reason),
        ("dlt-detail", poison.detail[:1000]),
        ("dlt-group", group),
        ("dlt-topic", origin.topic),
        ("dlt-partition", str(origin.partition)),
        ("dlt-offset", str(origin.offset)),
        ("dlt-timestamp", str(origin.timestamp_ms)),
    ]
    if record.key is None:
        ours.append(("dlt-null", "key"))
    key, value, headers = record.key, record.value, record.headers
    if record.size + OUR_HEADERS_BYTES > MAX_DEAD_LETTER_BYTES:
        ours += [
            ("dlt-cut", "first 64 kB"),
            ("dlt-size", str(record.size)),
            ("dlt-sha256", hashlib.sha256(record.value or b"").hexdigest()),
        ]
        key = key if key is None or len(key) <= KEPT_BYTES_WHEN_CUT else key[:KEPT_BYTES_WHEN_CUT]
        value = None if value is None else value[:KEPT_BYTES_WHEN_CUT]
        headers = _fitting(headers)
    ours.append(("dlt-headers", str(len(headers))))
    return Outgoing(
        topic=DEAD_LETTERS,
        key=key if key is not None else b"",
        value=value,
        headers=(*headers, *((name, text.encode("utf-8", "replace")) for name, text in ours)),
        partition=origin.partition,
    )


def _fitting(headers: Headers) -> Headers:
    kept, size = [], 0
    for name, text in headers:
        size += len(name) + len(text)
        if size > KEPT_BYTES_WHEN_CUT:
            break
        kept.append((name, text))
    return tuple(kept)


def note(letter: DeadLetter, fate: Fate, *, actor: str | None, why: str | None) -> Outgoing:
    """The record that says what became of a dead letter."""
    original = letter.original
    headers = [
        ("dlt-note", fate),
        ("dlt-topic", original.topic),
        ("dlt-partition", str(original.partition)),
        ("dlt-offset", str(original.offset)),
        ("dlt-timestamp", str(original.timestamp_ms)),
        ("dlt-actor", actor or ""),
        ("dlt-why", why or ""),
        ("dlt-headers", "0"),
    ]
    return Outgoing(
        topic=DEAD_LETTERS,
        key=letter.key if letter.key is not None else b"",
        value=None,
        headers=tuple((name, text.encode()) for name, text in headers),
        partition=original.partition,
    )


def fold(records: Iterable[RawRecord]) -> dict[Coordinates, DeadLetter]:
    """The dead letters and what became of each, from the topic's records partition by partition in order.

    A letter that dies again after it was replayed has new coordinates and is a letter of its own.
    """
    letters: dict[Coordinates, DeadLetter] = {}
    notes: list[tuple[Coordinates, dict[str, str], Origin]] = []
    for record in records:
        ours, originals = _split(record.headers)
        coordinates = _coordinates(ours)
        if coordinates is None:
            continue
        if "dlt-note" in ours:
            notes.append((coordinates, ours, record.origin))
            continue
        letter = _read(record, coordinates, ours, originals)
        earlier = letters.get(coordinates)
        groups = tuple(dict.fromkeys((*(earlier.groups if earlier else ()), *letter.groups)))
        letters[coordinates] = replace(earlier or letter, groups=groups)
    for coordinates, ours, origin in notes:
        if coordinates in letters:
            letters[coordinates] = _with_fate(letters[coordinates], ours, origin)
    return letters


def replay_of(letter: DeadLetter, topic: Topic) -> Outgoing:
    """The original record again, for its own topic and partition."""
    return Outgoing(
        topic=topic,
        key=letter.key,
        value=letter.value,
        headers=letter.headers,
        partition=letter.original.partition,
    )


def _split(headers: Headers) -> tuple[dict[str, str], Headers]:
    if not headers or headers[-1][0] != "dlt-headers" or not headers[-1][1].isdigit():
        return {}, headers
    count = min(int(headers[-1][1][:9]), len(headers))
    ours = {name: text.decode("utf-8", "replace") for name, text in headers[count:]}
    return ours, headers[:count]


def _coordinates(ours: dict[str, str]) -> Coordinates | None:
    try:
        return Coordinates(
            topic=ours["dlt-topic"],
            partition=int(ours["dlt-partition"]),
            offset=int(ours["dlt-offset"]),
            timestamp_ms=int(ours["dlt-timestamp"]),
        )
    except (KeyError, ValueError):
        return None


def _read(record: RawRecord, coordinates: Coordinates, ours: dict[str, str], originals: Headers) -> DeadLetter:
    whole = "dlt-cut" not in ours
    original_size = sum(len(name) + len(text) + 2 for name, text in originals) + len(record.value or b"")
    size = original_size + len(record.key or b"") if whole else int(ours.get("dlt-size", "0"))
    return DeadLetter(
        original=coordinates,
        reason=ours.get("dlt-reason", "unknown"),
        detail=ours.get("dlt-detail", ""),
        groups=(ours.get("dlt-group", ""),),
        key=None if ours.get("dlt-null") == "key" else record.key,
        value=record.value,
        headers=originals,
        size=size,
        sha256=hashlib.sha256(record.value or b"").hexdigest() if whole else ours.get("dlt-sha256", ""),
        whole=whole,
        died_at=_moment(record.origin),
    )


def _with_fate(letter: DeadLetter, ours: dict[str, str], origin: Origin) -> DeadLetter:
    fate: Fate = "replayed" if ours["dlt-note"] == "replayed" else "dropped"
    return replace(
        letter,
        fate=fate,
        fate_at=_moment(origin),
        fate_by=ours.get("dlt-actor") or None,
        fate_why=ours.get("dlt-why") or None,
    )


def _moment(origin: Origin) -> datetime:
    return datetime.fromtimestamp(max(0, origin.timestamp_ms) / 1000, UTC)
