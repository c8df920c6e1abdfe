"""Which release takes back what another one wrote."""

import pytest

from tests.unit.restorer.bench import manifest, table
from tidewind.engines.mariadb.restore.releases import crossing


@pytest.mark.parametrize(
    ("wrote", "runs", "says"),
    [
        ("10.11.99", (10, 11, 8), None),
        ("10.11.8", (11, 8, 1), None),
        ("11.4.1", (10, 11, 19), "the server runs 10.11.19, older than 11.4.1 of the backup"),
        ("10.11.1", (10, 5, 29), "older than 10.11.1"),
    ],
)
def test_an_older_server_blocks_and_another_patch_does_not(wrote: str, runs: tuple[int, ...], says: str | None) -> None:
    found = crossing(manifest((table("plain", attributes={"versioned": False}),), engine_version=wrote), runs)
    assert [one.level for one in found] == ["error"] * (says is not None)
    assert says is None or says in found[0].text


@pytest.mark.parametrize(
    ("wrote", "runs", "blocks"),
    [
        ("11.4.5", (11, 8, 9), True),
        ("10.11.8", (11, 5, 1), True),
        ("11.4.5", (11, 4, 9), False),
        ("11.5.1", (11, 8, 9), False),
    ],
)
def test_a_versioned_table_does_not_cross_the_release_that_moved_the_end_of_time(
    wrote: str, runs: tuple[int, ...], blocks: bool
) -> None:
    tables = (table("plain", attributes={"versioned": False}), table("prices", attributes={"versioned": True}))
    found = crossing(manifest(tables, engine_version=wrote), runs)
    assert [one.text.partition(" is ")[0] for one in found] == ["shop.prices"] * blocks
    assert all("older than 11.5" in str(one.fix) for one in found)
