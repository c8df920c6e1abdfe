"""The marker: made once, and a wrong store, key or number of partitions is refused in words."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tidewind.domain import keys
from tidewind.domain.records import Repository
from tidewind.ports.store import KeyMissing, ObjectDamaged, StoreError, StoreForeign, StoreRefused
from tidewind.runtime.clock import SystemRandomness
from tidewind.store.directory import DirectoryStore
from tidewind.store.keyring import Keyring
from tidewind.store.repository import open_repository

RANDOM = SystemRandomness()
KEYRING = Keyring.generate("prod-2026", RANDOM)
NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[DirectoryStore]:
    store = DirectoryStore(tmp_path)
    await store.open()
    yield store
    await store.close()


async def opened(store: DirectoryStore, **changes: Any) -> Repository:
    arguments: dict[str, Any] = {"keyring": KEYRING, "partitions": 12, "deployment": None}
    return await open_repository(store, now=NOW, randomness=RANDOM, **{**arguments, **changes})


async def test_it_is_made_once_and_found_again(store: DirectoryStore) -> None:
    made = await opened(store, deployment="prod")
    assert (made.deployment, made.partitions, made.created_at, made.key_id) == ("prod", 12, NOW, "prod-2026")
    assert await opened(store) == made
    raw = await store.get(keys.REPOSITORY)
    assert all(key not in raw for key in KEYRING.keys.values())


async def test_ten_services_starting_at_once_agree(store: DirectoryStore) -> None:
    made = await asyncio.gather(*(opened(store) for _ in range(10)))
    assert len({repository.deployment for repository in made}) == 1


async def test_a_rotated_keyring_opens_it(store: DirectoryStore) -> None:
    made = await opened(store)
    assert await opened(store, keyring=KEYRING.with_newest("prod-2027", RANDOM)) == made


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"deployment": "staging"}, StoreForeign, ("belongs to the deployment prod", "of its own")),
        ({"partitions": 24}, StoreForeign, ("12 partitions", "12 partitions")),
        ({"keyring": None}, KeyMissing, ("prod-2026", "switch encryption on")),
        ({"keyring": Keyring.generate("other", RANDOM)}, KeyMissing, ("prod-2026 is not in the keyring", "prod-2026")),
        (
            {"keyring": Keyring.generate("prod-2026", RANDOM)},
            KeyMissing,
            ("not the key of that name", "prod-2026"),
        ),
    ],
)
async def test_what_does_not_fit_is_refused(
    store: DirectoryStore, changes: dict[str, Any], kind: type[StoreError], words: tuple[str, str]
) -> None:
    await opened(store, deployment="prod")
    before = await store.get(keys.REPOSITORY)
    with pytest.raises(kind) as refused:
        await opened(store, **changes)
    assert type(refused.value) is kind
    assert words[0] in str(refused.value)
    assert words[1] in refused.value.hint
    assert await store.get(keys.REPOSITORY) == before


async def test_encryption_cannot_be_switched_on_later(store: DirectoryStore) -> None:
    await opened(store, keyring=None)
    assert (await opened(store, keyring=None)).key_check is None
    with pytest.raises(StoreForeign, match="made without encryption"):
        await opened(store)


async def test_a_store_that_lost_its_marker_is_not_taken_for_empty(store: DirectoryStore) -> None:
    await opened(store)
    await store.put("registry/shop/00000001.json", b"{}")
    await store.delete([keys.REPOSITORY])
    with pytest.raises(StoreForeign, match="registry/shop"):
        await opened(store)
    assert await store.info(keys.REPOSITORY) is None


async def test_the_leftover_of_a_probe_is_no_content(store: DirectoryStore) -> None:
    await store.put(f"{keys.PROBES}left", b"x")
    assert (await opened(store)).partitions == 12


@pytest.mark.parametrize("data", [b"", b"{}", b"not json", b'{"deployment": 3}'])
async def test_a_damaged_marker(store: DirectoryStore, data: bytes) -> None:
    await store.put(keys.REPOSITORY, data)
    with pytest.raises(ObjectDamaged, match=r"repository\.json"):
        await opened(store)


async def test_a_newer_marker(store: DirectoryStore) -> None:
    made = await opened(store)
    await store.put(keys.REPOSITORY, made.model_copy(update={"format": 2}).to_bytes())
    with pytest.raises(StoreRefused, match="format 2") as refused:
        await opened(store)
    assert "upgrade" in refused.value.hint
