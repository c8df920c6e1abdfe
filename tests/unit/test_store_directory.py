"""What only a directory can do to its store."""

import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.contract.test_store import MIB, in_pieces, keys_of, some_bytes
from tidewind.ports.store import ObjectMissing, StoreFull, StoreRefused, StoreUnavailable
from tidewind.store.directory import TEMPORARY, DirectoryStore


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[DirectoryStore]:
    store = DirectoryStore(tmp_path)
    await store.open()
    yield store
    await store.close()


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """What writing to a full disk is like: the kernel refuses it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk(store: DirectoryStore, tmp_path: Path) -> None:
    for call in (
        lambda: store.put("o", some_bytes(200_000)),
        lambda: store.put_if_absent("o", some_bytes(200_000)),
        lambda: store.put_stream("o", in_pieces(some_bytes(3 * MIB), MIB)),
    ):
        with files_at_most(100_000), pytest.raises(StoreFull) as full:
            await call()
        assert str(tmp_path) in full.value.hint
        assert await keys_of(store, "") == []
        assert list((tmp_path / TEMPORARY).iterdir()) == []


async def test_a_missing_root_is_refused_and_not_made(tmp_path: Path) -> None:
    root = tmp_path / "not mounted"
    store = DirectoryStore(root)
    for call in (
        store.open,
        lambda: store.put("a/o", b"x"),
        lambda: store.put_if_absent("a/o", b"x"),
        lambda: store.put_stream("a/o", in_pieces(b"x", 1)),
        lambda: store.get("a/o"),
        lambda: store.info("a/o"),
        lambda: keys_of(store, ""),
        lambda: store.delete(["a/o"]),
        store.now,
    ):
        with pytest.raises(StoreRefused, match="does not exist") as refused:
            await call()
        assert "mount" in refused.value.hint
    assert not root.exists()
    await store.close()


async def test_a_root_that_vanishes_is_not_made_again(store: DirectoryStore, tmp_path: Path) -> None:
    await store.put("a/o", b"x")
    tmp_path.rename(tmp_path.with_name("elsewhere"))
    with pytest.raises(StoreRefused):
        await store.put("a/p", b"x")
    assert not tmp_path.exists()


AS_NOBODY = """
import asyncio, os, sys
from pathlib import Path
from tidewind.ports.store import StoreRefused
from tidewind.store.directory import DirectoryStore

async def main():
    store = DirectoryStore(Path(sys.argv[1]))
    for call in (store.open, lambda: store.put("o", b"x"), lambda: store.put_if_absent("o", b"x")):
        try:
            await call()
        except StoreRefused as error:
            assert type(error) is StoreRefused
            print(error.hint)
    await store.close()

if os.geteuid() == 0:
    os.setegid(65534)
    os.seteuid(65534)
asyncio.run(main())
"""


def test_a_directory_of_somebody_else(tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.mkdir(mode=0o555)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(root)], capture_output=True, text=True, check=True, timeout=60
    )
    hints = done.stdout.splitlines()
    assert len(hints) == 3
    assert all("read and write" in hint and str(root) in hint for hint in hints)


async def test_leftovers_of_killed_writers_are_swept_after_a_day(tmp_path: Path) -> None:
    temporary = tmp_path / TEMPORARY
    temporary.mkdir()
    old, young = temporary / "old", temporary / "young"
    for path in (old, young):
        path.write_bytes(b"half")
    day_ago = time.time() - 90_000
    os.utime(old, (day_ago, day_ago))
    store = DirectoryStore(tmp_path)
    await store.open()
    assert [path.name for path in temporary.iterdir()] == ["young"]
    assert await keys_of(store, "") == []
    await store.close()


async def test_folders_emptied_by_deletes_go_and_come_again(store: DirectoryStore, tmp_path: Path) -> None:
    async def churn(worker: int) -> None:
        for number in range(40):
            key = f"a/b/{worker}-{number}"
            assert await store.put_if_absent(key, b"x")
            await store.delete([key])

    await asyncio.gather(*(churn(worker) for worker in range(6)))
    assert [path.name for path in tmp_path.iterdir()] == [TEMPORARY]


async def test_a_folder_is_no_object(store: DirectoryStore) -> None:
    await store.put("a/b/c", b"x")
    assert await store.info("a/b") is None
    with pytest.raises(ObjectMissing):
        await store.get("a/b")
    with pytest.raises(ObjectMissing):
        await store.get("a/b/c/d")
    with pytest.raises(StoreRefused):
        await store.put("a/b/c/d", b"below an object")


async def test_a_hanging_file_system_is_unavailable_within_the_deadline(tmp_path: Path) -> None:
    """A pipe nobody writes to hangs in open(), like a mount whose server is gone."""
    store = DirectoryStore(tmp_path, deadline_s=0.3)
    await store.open()
    os.mkfifo(tmp_path / "o")
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable, match="within") as hanging:
        await store.get("o")
    assert time.monotonic() - begun < 30
    assert "mount" in hanging.value.hint
    assert await store.info("p") is None, "other calls go on"
    with (tmp_path / "o").open("wb"):
        await store.close()


async def test_links_out_of_the_store_are_not_followed(store: DirectoryStore, tmp_path: Path) -> None:
    secret = tmp_path.parent / "secret"
    secret.write_bytes(b"secret")
    (tmp_path / "link").symlink_to(secret)
    with pytest.raises(StoreRefused):
        async for _ in store.stream("link"):
            pass


async def test_a_new_key_is_always_ours_while_others_empty_its_folder(tmp_path: Path) -> None:
    """Deletes remove folders they find empty; a put that meets one must make it again, not find its key taken."""
    store = DirectoryStore(tmp_path)

    async def writer(number: int) -> None:
        for turn in range(150):
            key = f"probes/here/{number}-{turn}"
            assert await store.put_if_absent(key, b"x")
            await store.delete([key])

    await asyncio.gather(*(writer(number) for number in range(8)))
    await store.close()
