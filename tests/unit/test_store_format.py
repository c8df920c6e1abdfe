"""docs/format.md holds a program that reads what the store writes; and what was once written stays readable."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from tests.contract.test_store import MIB, in_pieces, some_bytes
from tidewind.domain.histories import History
from tidewind.domain.log_stream import Mark, State, Transaction
from tidewind.domain.manifest import Chunk, Column, DatabaseObject, Manifest, Schema, SystemTable, Table
from tidewind.domain.records import BackupOutcome, Timeline
from tidewind.domain.segments import Frame, SegmentHead, build, parse_head, roll_up_directory
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
    """The names that the page's programs define."""
    programs = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(programs) == 2
    names: dict[str, Any] = {}
    exec(compile("\n".join(programs), str(DOCUMENT), "exec"), names)
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


def test_the_documented_program_reads_segments_single_and_rolled_up(documented: dict[str, Any]) -> None:
    whole = some_bytes(2 * MIB + 5)
    lists = ((Transaction("0-1-1", 0, MIB, 7, 0, 9),), (), (Transaction("3-2-5", MIB, len(whole), -1, 3, 4),))
    bounds = (0, MIB + 1, MIB + 1, len(whole))
    made = []
    for number, ended in enumerate(lists, start=1):
        start, end = bounds[number - 1], bounds[number]
        head = made_up_head(number, start, end)
        made.append(build(head, ended, whole[start:end]))
    read = [documented["read_segments"](one)[0] for one in made]
    assert b"".join(data for _, _, data in read) == whole
    assert [found for _, found, _ in read] == [[tuple(one[:5]) for one in ended] for ended in lists]
    members = []
    for one in made:
        parsed = parse_head(one)
        assert not isinstance(parsed, int)
        members.append((*parsed, len(one)))
    assert documented["read_segments"](roll_up_directory(members) + b"".join(made)) == read


def made_up_head(number: int, start: int, end: int) -> SegmentHead:
    return SegmentHead(
        cluster_id="shop",
        history="hst_AAAAAAAAAA",
        number=number,
        session="000000000001",
        start=start,
        end=end,
        from_position="",
        to_position="",
        first_us=None,
        last_us=None,
        complete_us=0,
        precision="clock",
        transactions=0,
        preamble="",
        table_stored=0,
        table_crc=0,
        frames=(),
        sealed_us=0,
    )


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
    [
        BackupOutcome,
        Manifest,
        Chunk,
        Column,
        Table,
        DatabaseObject,
        Schema,
        SystemTable,
        History,
        Timeline,
        SegmentHead,
        Frame,
        Mark,
        State,
    ],
    ids=lambda m: m.__name__,
)
def test_the_page_names_every_field_that_a_restore_meets(model: type[BaseModel]) -> None:
    named = set(re.findall(r"`([a-z_0-9]+)`", DOCUMENT.read_text()))
    assert set(model.model_fields) - named == set()
