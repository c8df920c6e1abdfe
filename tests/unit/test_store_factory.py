"""Settings of the store, and opening it in worker processes."""

import asyncio
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from pydantic import ValidationError

from tidewind.ports.engine import StoreFactory
from tidewind.ports.store import KeyMissing, StoreRefused
from tidewind.runtime.clock import SystemRandomness
from tidewind.store.factory import StoreSettings, open_store
from tidewind.store.keyring import Keyring


@pytest.fixture
def keyring(tmp_path: Path) -> str:
    path = tmp_path / "keyring"
    path.write_text(Keyring.generate("k1", SystemRandomness()).to_text())
    return f"file:{path}"


@pytest.fixture
def settings(tmp_path: Path, keyring: str) -> StoreSettings:
    (tmp_path / "the store").mkdir()
    return StoreSettings(url=f"file://{tmp_path}/the%20store", keyring=keyring)


async def _put(factory: StoreFactory, key: str) -> str:
    async with factory() as store:
        return (await store.put(key, b"from a worker")).sha256


def _in_worker(factory: StoreFactory, key: str) -> str:
    return asyncio.run(_put(factory, key))


def _read_missing(factory: StoreFactory, key: str) -> None:
    async def read() -> None:
        async with factory() as store:
            await store.get(key)

    asyncio.run(read())


async def test_a_spawned_worker_opens_the_same_store(settings: StoreSettings, tmp_path: Path) -> None:
    factory = partial(open_store, settings)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as workers:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(workers, _in_worker, factory, "a/b")
        await loop.run_in_executor(workers, _in_worker, factory, "a/c")
        other = tmp_path / "other"
        other.write_text(Keyring.generate("k2", SystemRandomness()).to_text())
        elsewhere = partial(open_store, settings.model_copy(update={"keyring": f"file:{other}"}))
        with pytest.raises(KeyMissing, match="k1"):
            await loop.run_in_executor(workers, _read_missing, elsewhere, "a/b")
    async with factory() as store:
        assert await store.get("a/b") == b"from a worker"
        assert b"from a worker" not in await store.inner.get("a/b")


async def test_encryption_can_be_switched_off(settings: StoreSettings) -> None:
    plain = settings.model_copy(update={"encryption": False, "keyring": None})
    async with open_store(plain) as store:
        await store.put("o", b"in the clear")
        assert b"in the clear" in await store.inner.get("o")


async def test_a_missing_directory_is_refused_at_the_start(settings: StoreSettings, tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match="does not exist"):
        async with open_store(settings.model_copy(update={"url": f"file://{tmp_path}/gone"})):
            pass


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"url": "backups"}, "url", "s3://bucket/prefix"),
        ({"url": "s3://"}, "url", "s3://bucket/prefix"),
        ({"url": "s3://user:secret@bucket"}, "url", "s3://bucket/prefix"),
        ({"url": "file://host/dir"}, "url", "file:///directory"),
        ({"keyring": None}, "", "TIDEWIND_STORE_ENCRYPTION=false"),
        ({"keyring": "the key itself"}, "keyring", "env:"),
        ({"access_key": "env:A"}, "", "belong together"),
        ({"access_key": "AKIAREALKEY", "secret_key": "env:S"}, "access_key", "env:"),
        ({"checksums": "never"}, "checksums", "when_required"),
        ({"part_bytes": 1000}, "part_bytes", "5242880"),
        ({"bucket": "b"}, "bucket", "not permitted"),
    ],
)
def test_bad_settings_name_the_field_and_the_next_step(changes: dict[str, object], field: str, words: str) -> None:
    good: dict[str, object] = {"url": "s3://bucket/prefix", "keyring": "env:KEYRING"}
    with pytest.raises(ValidationError) as refused:
        StoreSettings.model_validate({**good, **changes})
    first = refused.value.errors()[0]
    assert first["loc"] == ((field,) if field else ())
    assert words in str(refused.value)


def test_settings_hold_references_and_survive_pickling() -> None:
    settings = StoreSettings(
        url="s3://bucket/a/b/", access_key="env:A", secret_key="file:/run/secret", keyring="env:KEYRING"
    )
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert settings.kind == "s3"
    assert settings.url == "s3://bucket/a/b"
