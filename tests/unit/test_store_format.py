"""docs/format.md holds a program that reads what the store writes; and what was once written stays readable."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.test_store import MIB, in_pieces, some_bytes
from tidewind.domain.manifest import Chunk, Column, DatabaseObject, Manifest, Schema, SystemTable, Table
from tidewind.domain.records import BackupOutcome, Record
from tidewind.runtime.clock import SystemRandomness
from tidewind.store.directory import DirectoryStore
from tidewind.store.keyring import Keyring
from tidewind.store.sealed import SealedStore

DOCUMENT = Path(__file__).parents[2] / "docs" / "format.md"
NAME = "registry/shop/00000001.json"
CONTENT = b'{"format":1}'
FIRST_FORMAT = {
    "encrypted": (
        "54574e440101140566697273740000000000000000000000000000000000000000000000000000000000000000000000"
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1ffc87dec7ba140bd3003b83825da6f30f"
        "079a9f6a1003a32cc14a4b851e3926ecf9a81f38c14a9fe1827acaf45da7222961487d70c7d47eceecdd6dcdf1293bb1"
        "856dd29801f1c893e977c65f"
    ),
    "checked": (
        "54574e440100140000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f00000000000000000000000000000000"
        "79cee9159592478075149b5b410e23c1ff09c75eeae54811097eebb65f1460397b22666f726d6174223a317d234b57e2"
        "0873e3677e72d2aab3315236bf8de1bc2563a2ba26fe5b5f194f2f9a"
    ),
}
"""Objects of format 1, under a key and a salt of the bytes 0, 1, 2, …"""


class Counting:
    def token(self, size: int) -> bytes:
        return bytes(range(size))


KEYRING = Keyring.generate("first", Counting())


@pytest.fixture
async def directory(tmp_path: Path) -> AsyncIterator[DirectoryStore]:
    store = DirectoryStore(tmp_path)
    await store.open()
    yield store
    await store.close()


@pytest.fixture(scope="module")
def documented() -> dict[str, Any]:
    """The names that the page's program defines."""
    programs = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(programs) == 1
    names: dict[str, Any] = {}
    exec(compile(programs[0], str(DOCUMENT), "exec"), names)
    return names


@pytest.mark.parametrize("size", [0, 1, MIB, 2 * MIB + 3])
@pytest.mark.parametrize("encrypted", [True, False])
async def test_the_documented_program_reads_objects(
    directory: DirectoryStore, documented: dict[str, Any], size: int, encrypted: bool
) -> None:
    store = SealedStore(directory, KEYRING if encrypted else None, SystemRandomness())
    content = some_bytes(size)
    await store.put_stream("a/b", in_pieces(content, 100_000))
    keyring = documented["read_keyring"]("# comment\n" + KEYRING.to_text())
    assert documented["open_object"]("a/b", await directory.get("a/b"), keyring) == content


def test_the_documented_key_check_is_ours(documented: dict[str, Any]) -> None:
    key = KEYRING.keys["first"]
    assert documented["derive"](key, "key-check", 16).hex() == KEYRING.check_value("first")


@pytest.mark.parametrize("kind", ["encrypted", "checked"])
async def test_objects_of_the_first_format_stay_readable_and_are_written_alike(
    directory: DirectoryStore, kind: str
) -> None:
    store = SealedStore(directory, KEYRING if kind == "encrypted" else None, Counting())
    await directory.put(NAME, bytes.fromhex(FIRST_FORMAT[kind]))
    assert await store.get(NAME) == CONTENT
    await store.put(NAME, CONTENT)
    assert (await directory.get(NAME)).hex() == FIRST_FORMAT[kind]


@pytest.mark.parametrize(
    "model",
    [BackupOutcome, Manifest, Chunk, Column, Table, DatabaseObject, Schema, SystemTable],
    ids=lambda m: m.__name__,
)
def test_the_page_names_every_field_that_a_restore_meets(model: type[Record]) -> None:
    named = set(re.findall(r"`([a-z_0-9]+)`", DOCUMENT.read_text()))
    assert set(model.model_fields) - named == set()
