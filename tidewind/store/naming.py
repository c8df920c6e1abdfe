"""Which keys a store takes: `/`-separated segments of plain ASCII.

Invariant: no key leaves the store's root or prefix, and none collides with what an adapter keeps for itself, which
begins with a dot.
"""

import re

from tidewind.ports.store import StoreRefused

LONGEST_KEY = 800
"""Bytes. S3 takes 1,024; the rest is left to the deployment's prefix."""

_SEGMENT = re.compile(r"[A-Za-z0-9_=-][A-Za-z0-9_.=-]{0,199}", re.ASCII)
_PREFIX = re.compile(r"([A-Za-z0-9_=-][A-Za-z0-9_.=-]*/)*([A-Za-z0-9_=-][A-Za-z0-9_.=-]*)?", re.ASCII)
_HINT = "keys are built from ids of Tidewind alone; report this with the job id"


def checked_key(operation: str, key: str) -> str:
    """The key itself, if it may be used. Raises StoreRefused for empty, absolute, climbing, long or non-ASCII keys."""
    if len(key) > LONGEST_KEY:
        raise StoreRefused(operation, ascii(key[:80]) + "…", f"a key has at most {LONGEST_KEY} bytes", _HINT)
    if not all(_SEGMENT.fullmatch(segment) for segment in key.split("/")):
        raise StoreRefused(operation, ascii(key), "not a key of the store", _HINT)
    return key


def checked_prefix(operation: str, prefix: str) -> str:
    """The beginning of a key, possibly ending within a segment. Raises StoreRefused as `checked_key` does."""
    if len(prefix) > LONGEST_KEY or not _PREFIX.fullmatch(prefix):
        raise StoreRefused(operation, ascii(prefix[:80]), "not the beginning of a key of the store", _HINT)
    return prefix


def checked_range(operation: str, key: str, start: int, length: int | None) -> None:
    """Raises StoreRefused unless `start` and `length` are counts of bytes."""
    if start < 0 or (length is not None and length < 0):
        raise StoreRefused(operation, key, f"a range cannot begin at {start} with length {length}", _HINT)
