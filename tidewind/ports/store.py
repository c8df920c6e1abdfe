"""The object store: where everything that must outlive Kafka is.

Objects are immutable: a key is written once. What decides between two writers is `put_if_absent` alone. Listing is a
way to find keys, never proof that something is whole: that is what manifests are for.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class ObjectInfo:
    """`size` in bytes as stored; `modified` by the store's clock."""

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """What was written: stored length in bytes and the sha256 of the stored bytes, in hex."""

    key: str
    size: int
    sha256: str


class StoreError(Exception):
    """Any failure of the store. `key` is the object concerned, or the prefix, or empty; `hint` says what to do."""

    def __init__(self, operation: str, key: str, cause: str, hint: str = "") -> None:
        super().__init__(f"{operation} {key}: {cause}" if key else f"{operation}: {cause}")
        self.operation = operation
        self.key = key
        self.cause = cause
        self.hint = hint

    def __reduce__(self) -> tuple[type["StoreError"], tuple[str, str, str, str]]:
        return type(self), (self.operation, self.key, self.cause, self.hint)


class ObjectMissing(StoreError):
    """The object does not exist."""


class StoreUnavailable(StoreError):
    """Transient: the call may succeed when repeated (the adapter has retried already)."""


class StoreRefused(StoreError):
    """Permanent until somebody acts: denied, expired credentials, unknown bucket."""


class StoreMisconfigured(StoreRefused):
    """What this process was given to open the store with cannot be used: a secret or the keyring."""


class StoreFull(StoreRefused):
    """No space or quota left."""


class ObjectDamaged(StoreError):
    """The stored bytes are not what was written: wrong length, checksum, key, order or truncated."""


class KeyMissing(StoreError):
    """The object is encrypted under a key the keyring does not hold."""


class FormatNewer(StoreRefused):
    """The object has a format of a later release: that release reads it, this one must leave it alone."""


UNREADABLE = (ObjectDamaged, KeyMissing, FormatNewer)
"""What stands in the way of reading one object and says nothing of the others: whoever works for several clusters goes
on with the next."""


class StoreForeign(StoreRefused):
    """The store belongs to another deployment, or was set up otherwise than this one is configured."""


class StoreUnconditional(StoreRefused):
    """The store overwrites objects in spite of a conditional put: two writers could both believe they won."""


class Store(Protocol):
    """Keys are `/`-separated ASCII built from ids Tidewind mints. Every method has a deadline inside the adapter."""

    async def put(self, key: str, data: bytes) -> StoredObject:
        """Write a small object under a key that only this writer can know. Repeating it is harmless."""

    async def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write unless the key exists. True: the object is ours, also when an earlier try of this very call had
        reached the store. False: somebody else's object is there. Atomic between any number of writers."""

    async def put_stream(self, key: str, parts: AsyncIterator[bytes]) -> StoredObject:
        """Write a large object from pieces of any size, in bounded memory. The object appears whole or not at all; if
        `parts` raises or the call is cancelled, what was uploaded is removed before the error goes on."""

    async def get(self, key: str) -> bytes:
        """The whole object. Raises ObjectMissing, ObjectDamaged."""

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Bytes of the object in pieces, resumed after dropped connections. Raises ObjectMissing, ObjectDamaged."""

    async def info(self, key: str) -> ObjectInfo | None:
        """None if there is no such object."""

    def list(self, prefix: str, *, after: str = "") -> AsyncIterator[ObjectInfo]:
        """Objects whose key begins with `prefix`, in key order, beginning after the key `after`."""

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; those already gone count as removed."""

    async def now(self) -> datetime:
        """The store's own clock, UTC, to the second."""

    async def close(self) -> None:
        """Release connections. No call follows."""


class Seal(Protocol):
    """Encryption of what travels beside the store, under the deployment's keys and bound to a name."""

    async def seal(self, name: str, content: bytes) -> bytes:
        """The sealed content."""

    async def unseal(self, name: str, sealed: bytes) -> bytes:
        """The content sealed under this very name. Raises ObjectDamaged, KeyMissing."""


class VerifiableStore(Store, Protocol):
    """A store whose objects can be compared with the manifest as they lie there, without any key."""

    async def verify_object(self, key: str, *, size: int, sha256: str) -> None:
        """Read every stored byte. Raises ObjectMissing, ObjectDamaged if length or sha256 (hex) differ."""
