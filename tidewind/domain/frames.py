"""Sealed objects: how the bytes of an object are framed, encrypted and bound to their name and order.

    header (128 bytes) · frame 0 · frame 1 · … · last frame

Every frame but the last holds `frame_bytes` of content; the last holds the rest, and nothing only if the object is
empty. A frame is the content's ciphertext and a tag of `overhead` bytes. The tag covers the header, the object's name,
the frame's number and whether it is the last, under a key made for this object alone.

Invariant: whatever a reader returns was written under this very name, at this very place. A changed, cut off, added,
swapped or moved byte makes `open_frames` or `Header.parse` raise FrameDamaged; no change of stored bytes yields other
content.

Header, all numbers big-endian:

    0    4   magic `TWND`
    4    1   format version, 1
    5    1   cipher: 0 SHA-256 without encryption, 1 AES-256-GCM
    6    1   binary logarithm of `frame_bytes`
    7    1   length of the key's id, 0 without encryption
    8   40   the key's id, ASCII, padded with zeros
    48  32   salt, random for every object
    80  16   commitment of the object key, zeros without encryption
    96  32   SHA-256 of bytes 0..95 followed by the object's name
"""

import hashlib
import hmac
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAGIC = b"TWND"
FORMAT = 1
HEADER_BYTES = 128
SALT_BYTES = 32
FRAME_BYTES = 1 << 20
LONGEST_KEY_ID = 40
_COMMITMENT_BYTES = 16
_LAYOUT = struct.Struct(">4sBBBB40s32s16s")
_FRAME_LOGS = range(10, 25)


class FrameDamaged(ValueError):
    """The bytes are not those that were sealed under this name."""


class FormatTooNew(ValueError):
    """A later release wrote this."""


class WrongKey(ValueError):
    """The key has the right id but is not the key the object was sealed with."""


class Cipher(IntEnum):
    SHA256 = 0
    AES_256_GCM = 1


class Codec(Protocol):
    """Seals and opens the frames of one object."""

    overhead: int

    def seal(self, index: int, last: bool, content: memoryview, into: memoryview) -> None:
        """Write the frame; `into` is `overhead` bytes longer than `content`."""

    def open(self, index: int, last: bool, frame: memoryview, into: memoryview) -> None:
        """Write the content; `into` is `overhead` bytes shorter than `frame`. Raises FrameDamaged."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """The first 128 bytes of a sealed object."""

    cipher: Cipher
    key_id: str
    salt: bytes
    commitment: bytes = bytes(_COMMITMENT_BYTES)
    frame_bytes: int = FRAME_BYTES

    def to_bytes(self, name: str) -> bytes:
        key_id = self.key_id.encode("ascii")
        fields = (MAGIC, FORMAT, self.cipher, self.frame_bytes.bit_length() - 1, len(key_id), key_id)
        head = _LAYOUT.pack(*fields, self.salt, self.commitment)
        return head + _header_check(head, name)

    @classmethod
    def parse(cls, data: bytes, name: str) -> "Header":
        """Raises FrameDamaged, and FormatTooNew if a later release sealed the object."""
        if len(data) < HEADER_BYTES or not data.startswith(MAGIC):
            raise FrameDamaged("it does not begin like a sealed object")
        head, check = data[: _LAYOUT.size], data[_LAYOUT.size : HEADER_BYTES]
        if not hmac.compare_digest(check, _header_check(head, name)):
            raise FrameDamaged("its header was changed, or belongs to another object")
        _, version, cipher, frame_log, id_length, key_id, salt, commitment = _LAYOUT.unpack(head)
        if version > FORMAT or cipher not in tuple(Cipher):
            raise FormatTooNew(f"format {version} with cipher {cipher}; this release reads format {FORMAT}")
        if frame_log not in _FRAME_LOGS or id_length > LONGEST_KEY_ID:
            raise FrameDamaged("its header makes no sense")
        return cls(
            cipher=Cipher(cipher),
            key_id=key_id[:id_length].decode("ascii", "replace"),
            salt=salt,
            commitment=commitment,
            frame_bytes=1 << frame_log,
        )


def encrypting(key_id: str, objects_key: bytes, salt: bytes, name: str) -> tuple[bytes, Codec]:
    """The header and the codec of a new encrypted object. `objects_key` is the deployment's key for objects, 32 bytes;
    `salt` 32 bytes that no other object has."""
    key, commitment = _object_key(objects_key, salt, name)
    header = Header(cipher=Cipher.AES_256_GCM, key_id=key_id, salt=salt, commitment=commitment).to_bytes(name)
    return header, _Gcm(key, header + name.encode("ascii"))


def plain(salt: bytes, name: str) -> tuple[bytes, Codec]:
    """The header and the codec of a new object that is checked but not encrypted."""
    header = Header(cipher=Cipher.SHA256, key_id="", salt=salt).to_bytes(name)
    return header, _Digest(header + name.encode("ascii"))


def decrypting(header: Header, objects_key: bytes, name: str) -> Codec:
    """The codec of a stored encrypted object. Raises WrongKey."""
    key, commitment = _object_key(objects_key, header.salt, name)
    if not hmac.compare_digest(commitment, header.commitment):
        raise WrongKey(header.key_id)
    return _Gcm(key, header.to_bytes(name) + name.encode("ascii"))


def checking(header: Header, name: str) -> Codec:
    """The codec of a stored object that is not encrypted."""
    return _Digest(header.to_bytes(name) + name.encode("ascii"))


def seal_frames(codec: Codec, first: int, content: memoryview, *, ends: bool, frame: int = FRAME_BYTES) -> bytearray:
    """Frames `first`, `first + 1`, … of `content`. Unless it `ends` the object, `content` is whole frames."""
    count = max(1, -(-len(content) // frame))
    sealed = bytearray(len(content) + count * codec.overhead)
    target = memoryview(sealed)
    for number in range(count):
        piece = content[number * frame : (number + 1) * frame]
        at = number * (frame + codec.overhead)
        last = ends and number == count - 1
        codec.seal(first + number, last, piece, target[at : at + len(piece) + codec.overhead])
    return sealed


def open_frames(codec: Codec, first: int, stored: memoryview, *, ends: bool, frame: int = FRAME_BYTES) -> bytearray:
    """The content of the frames beginning with number `first`. Raises FrameDamaged."""
    step = frame + codec.overhead
    count = max(1, -(-len(stored) // step))
    size = len(stored) - count * codec.overhead
    if size < 0 or len(stored) - (count - 1) * step < codec.overhead:
        raise FrameDamaged("it is cut off within a frame")
    content = bytearray(size)
    target = memoryview(content)
    for number in range(count):
        piece = stored[number * step : (number + 1) * step]
        at = number * frame
        last = ends and number == count - 1
        codec.open(first + number, last, piece, target[at : at + len(piece) - codec.overhead])
    return content


def content_size(stored_size: int, *, overhead: int, frame: int = FRAME_BYTES) -> int:
    """Bytes of content in a sealed object of that length. Raises FrameDamaged if no object has that length."""
    body = stored_size - HEADER_BYTES
    count = max(1, -(-body // (frame + overhead)))
    size = body - count * overhead
    rest = size - (count - 1) * frame
    if rest < 0 or (rest == 0 and count > 1):
        raise FrameDamaged("it is cut off")
    return size


def _header_check(head: bytes, name: str) -> bytes:
    return hashlib.sha256(head + name.encode("ascii")).digest()


def _object_key(objects_key: bytes, salt: bytes, name: str) -> tuple[bytes, bytes]:
    derived = HKDF(SHA256(), 32 + _COMMITMENT_BYTES, salt, b"tidewind object v1\n" + name.encode("ascii"))
    material = derived.derive(objects_key)
    return material[:32], material[32:]


def _place(index: int, last: bool) -> bytes:
    """12 bytes, different for every frame of an object."""
    return index.to_bytes(11, "big") + bytes((last,))


class _Gcm:
    """AES-256-GCM; the frame's place is the nonce, which is safe because the key serves one object only."""

    overhead = 16

    def __init__(self, key: bytes, bound: bytes) -> None:
        self._aead = AESGCM(key)
        self._bound = bound

    def seal(self, index: int, last: bool, content: memoryview, into: memoryview) -> None:
        self._aead.encrypt_into(_place(index, last), content, self._bound, into)

    def open(self, index: int, last: bool, frame: memoryview, into: memoryview) -> None:
        try:
            self._aead.decrypt_into(_place(index, last), frame, self._bound, into)
        except InvalidTag:
            raise FrameDamaged(_changed(index)) from None


class _Digest:
    """SHA-256 over the place and the content: finds accidents, stops nobody who can write to the store."""

    overhead = 32

    def __init__(self, bound: bytes) -> None:
        self._bound = bound

    def _tag(self, index: int, last: bool, content: memoryview) -> bytes:
        digest = hashlib.sha256(self._bound + _place(index, last))
        digest.update(content)
        return digest.digest()

    def seal(self, index: int, last: bool, content: memoryview, into: memoryview) -> None:
        into[: len(content)] = content
        into[len(content) :] = self._tag(index, last, content)

    def open(self, index: int, last: bool, frame: memoryview, into: memoryview) -> None:
        content = frame[: len(into)]
        if not hmac.compare_digest(frame[len(into) :], self._tag(index, last, content)):
            raise FrameDamaged(_changed(index))
        into[:] = content


def _changed(index: int) -> str:
    return f"frame {index} was changed, moved, or is followed by something else than when it was written"
