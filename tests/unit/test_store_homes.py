"""A store serves one Kafka: another is refused with both named, and takes it over only where that is said."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tidewind.domain import keys
from tidewind.domain.records import Home
from tidewind.ports.store import StoreForeign
from tidewind.store.directory import DirectoryStore
from tidewind.store.homes import require_home

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[DirectoryStore]:
    store = DirectoryStore(tmp_path)
    await store.open()
    yield store
    await store.close()


async def home(
    store: DirectoryStore, cluster: str | None, prefix: str = "tidewind.", adopt: str | None = None
) -> Home | None:
    return await require_home(store, kafka_cluster=cluster, prefix=prefix, adopt_from=adopt, now=NOW)


async def test_the_first_kafka_has_the_store_and_finds_it_again(store: DirectoryStore) -> None:
    first = await home(store, "one")
    assert first is not None
    assert (first.number, first.name) == (1, "one/tidewind.")
    assert await home(store, "one") == first
    assert await home(store, "one", adopt="long/gone.") == first, "a setting left behind does no harm"


@pytest.mark.parametrize(("cluster", "prefix"), [("two", "tidewind."), ("one", "staging.")])
async def test_another_kafka_or_prefix_is_refused_with_both_named_and_the_next_step(
    store: DirectoryStore, cluster: str, prefix: str
) -> None:
    await home(store, "one")
    with pytest.raises(StoreForeign) as refused:
        await home(store, cluster, prefix)
    for words in ("one", "tidewind.", cluster, prefix):
        assert words in refused.value.cause
    assert "TIDEWIND_ADOPT_STORE_FROM=one/tidewind." in refused.value.hint
    assert "of its own" in refused.value.hint


async def test_a_store_is_adopted_from_the_home_that_is_named_and_the_old_one_is_out(store: DirectoryStore) -> None:
    await home(store, "one")
    with pytest.raises(StoreForeign, match="names three/tidewind"):
        await home(store, "two", adopt="three/tidewind.")
    adopted = await home(store, "two", adopt="one/tidewind.")
    assert adopted is not None
    assert adopted.number == 2
    assert await home(store, "two") == adopted
    with pytest.raises(StoreForeign):
        await home(store, "one")


async def test_of_many_that_begin_or_adopt_at_once_one_gets_it(store: DirectoryStore) -> None:
    async def outcome(name: str, adopt: str | None = None) -> bool:
        try:
            return await home(store, name, adopt=adopt) is not None
        except StoreForeign:
            return False

    begun = await asyncio.gather(*(outcome(f"k{number % 4}") for number in range(12)))
    assert sum(begun) == 3, "three instances of whichever came first"
    (standing,) = [one.key async for one in store.list(keys.HOMES)]
    first = Home.model_validate_json(await store.get(standing))
    adopted = await asyncio.gather(*(outcome(f"n{number}", first.name) for number in range(8)))
    assert sum(adopted) == 1


async def test_a_broker_that_does_not_tell_its_id_is_taken_as_it_is(store: DirectoryStore) -> None:
    await home(store, "one")
    assert await home(store, None) is None
