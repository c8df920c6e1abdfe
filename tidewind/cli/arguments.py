"""Words of the command line as values of the contract. What is wrong is said by field, as the services would."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.replies import FieldError
from tidewind.domain.problems import Refused, refused

_AGO = re.compile(r"(\d+)\s*(s|sec|seconds?|m|min|minutes?|h|hours?|d|days?)(?:\s+ago)?")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def endpoints(given: Sequence[str] | None) -> list[dict[str, Any]]:
    """`host:port` texts, IPv6 addresses in brackets. Raises Refused."""
    return [_endpoint(text) for text in given or ()]


def _endpoint(text: str) -> dict[str, Any]:
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not colon or not bare or not port.isascii() or not port.isdigit() or (":" in bare and bare == host):
        raise _invalid("endpoint", f"{text!r} is not host:port, for instance db-1:3306")
    return {"host": bare, "port": int(port)}


def database_tls(mode: str | None, ca: str | None, certificate: str | None, key: str | None) -> dict[str, str] | None:
    """The `tls` of a cluster, None if nothing was said of it. Naming an authority switches it on."""
    given = {"mode": mode, "ca": ca, "certificate": certificate, "key": key}
    chosen = {name: value for name, value in given.items() if value is not None}
    return chosen or None


def whole_number(text: str | None) -> int | str | None:
    """A whole number, or the text as it is, so that the contract's own rule explains what is wrong with it."""
    if text is not None and re.fullmatch(r"-?[0-9]{1,9}", text):
        return int(text)
    return text


def instant(text: str, *, field: str, now: datetime) -> datetime:
    """`2026-11-23T10:31:52+01:00`, `…Z`, or `10 minutes ago`. Raises Refused: a zone is never guessed."""
    relative = _AGO.fullmatch(text.strip().lower())
    if relative is not None:
        return now - timedelta(seconds=int(relative[1]) * _UNIT_S[relative[2][0]])
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise _invalid(field, f'{text!r} is not a time; write 2026-11-23T10:31:52+01:00 or "10 minutes ago"') from None
    if found.tzinfo is None:
        raise _invalid(field, f"{text!r} names no zone; add one, for instance {text.strip()}Z or {text.strip()}+01:00")
    return found.astimezone(UTC)


def _invalid(field: str, what: str) -> Refused:
    return refused("invalid-command", f"{field}: {what}", errors=(FieldError(field=field, problem=what),))
