"""The keys of a deployment.

A keyring is text, one key a line, the newest first; the first one encrypts, the others are kept because objects
encrypted under them live on:

    # made 2026-11-23
    prod-2026: q2TzV0uZ…=      32 bytes in base64
    prod-2025: 7yYwG1mB…=

Invariant: no key is ever used itself. What encrypts objects, names accounts or proves possession is derived from it
for that purpose alone, so that a leak of one use does not open another.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tidewind.domain.frames import LONGEST_KEY_ID
from tidewind.ports.clock import Randomness
from tidewind.ports.store import KeyMissing, StoreMisconfigured
from tidewind.store.references import read_reference

KEY_BYTES = 32
OBJECTS = "objects"
MINTED_ACCOUNTS = "minted-accounts"
_KEY_CHECK = "key-check"
_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_HINT = "write one key a line as  name: base64 of 32 bytes ; `tidewind key init` makes one"


class KeyringInvalid(StoreMisconfigured):
    """The keyring's text is not a keyring. Names the line, never its content."""

    def __init__(self, cause: str, hint: str = _HINT) -> None:
        super().__init__("read the keyring", "", cause, hint)

    def __reduce__(self) -> tuple[type["KeyringInvalid"], tuple[str, str]]:  # type: ignore[override]
        return type(self), (self.cause, self.hint)


@dataclass(frozen=True)
class Keyring:
    """Keys by id, in the order of the text. Neither repr nor errors show a key."""

    keys: Mapping[str, bytes] = field(repr=False)

    def __post_init__(self) -> None:
        if not self.keys:
            raise KeyringInvalid("it holds no key")
        for key_id, key in self.keys.items():
            if not _is_key_id(key_id):
                raise KeyringInvalid(f"a key's name has at most {LONGEST_KEY_ID} letters, digits, . _ -")
            if len(key) != KEY_BYTES:
                raise KeyringInvalid(f"key {key_id} has {len(key)} bytes instead of {KEY_BYTES}")

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self.keys)})"

    @classmethod
    def parse(cls, text: str) -> "Keyring":
        """Raises KeyringInvalid. Commas separate keys like line ends do, so that a variable can hold several."""
        keys: dict[str, bytes] = {}
        for number, line in enumerate(text.replace(",", "\n").splitlines(), start=1):
            content = line.partition("#")[0].strip()
            if not content:
                continue
            key_id, colon, encoded = (part.strip() for part in content.partition(":"))
            if not colon or not _is_key_id(key_id):
                raise KeyringInvalid(f"line {number} does not begin with a key's name and a colon")
            if key_id in keys:
                raise KeyringInvalid(f"line {number} names the key {key_id} a second time")
            keys[key_id] = _decode(encoded, key_id, number)
        return cls(keys)

    @classmethod
    def load(cls, reference: str) -> "Keyring":
        """Read the keyring that `env:NAME` or `file:/path` names. Raises KeyringInvalid, StoreMisconfigured."""
        return cls.parse(read_reference(reference, "the keyring"))

    @classmethod
    def generate(cls, key_id: str, randomness: Randomness) -> "Keyring":
        """A keyring of one new key."""
        return cls({key_id: randomness.token(KEY_BYTES)})

    def with_newest(self, key_id: str, randomness: Randomness) -> "Keyring":
        """This keyring with one more key, which encrypts from now on. Raises KeyringInvalid if the id is taken."""
        if key_id in self.keys:
            raise KeyringInvalid(f"there is a key {key_id} already", "choose another name; ids are never used again")
        return Keyring({key_id: randomness.token(KEY_BYTES), **self.keys})

    def to_text(self) -> str:
        """What `parse` reads. The only place that shows keys; for `tidewind key init` alone."""
        return "".join(f"{key_id}: {base64.b64encode(key).decode()}\n" for key_id, key in self.keys.items())

    @property
    def active(self) -> str:
        """The id of the key that encrypts."""
        return next(iter(self.keys))

    def derive(self, purpose: str, length: int, *, key_id: str | None = None) -> bytes:
        """`length` bytes for one purpose, of the active key or the one named. Raises KeyMissing."""
        chosen = key_id or self.active
        key = self.keys.get(chosen)
        if key is None:
            held = ", ".join(self.keys)
            raise KeyMissing(
                "find a key", "", f"the key {chosen} is not in the keyring (which holds {held})", missing_hint(chosen)
            )
        return HKDF(SHA256(), length, None, f"tidewind {purpose} v1".encode()).derive(key)

    def check_value(self, key_id: str) -> str:
        """Hex text that only the holder of the key can make and that tells nothing of it. Raises KeyMissing."""
        return self.derive(_KEY_CHECK, 16, key_id=key_id).hex()

    def matches(self, key_id: str, check_value: str) -> bool:
        """Whether the key of that id is the one the check value was made of. Raises KeyMissing."""
        return hmac.compare_digest(self.check_value(key_id), check_value)


def missing_hint(key_id: str) -> str:
    """What to do when a key is not there."""
    return f"put the key {key_id} into the keyring that TIDEWIND_KEYRING names and start again"


def _is_key_id(text: str) -> bool:
    return len(text) <= LONGEST_KEY_ID and _KEY_ID.fullmatch(text) is not None


def _decode(encoded: str, key_id: str, line: int) -> bytes:
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise KeyringInvalid(f"line {line}: the key {key_id} is not base64") from None
    if len(key) != KEY_BYTES:
        raise KeyringInvalid(f"line {line}: the key {key_id} has {len(key)} bytes instead of {KEY_BYTES}")
    return key
