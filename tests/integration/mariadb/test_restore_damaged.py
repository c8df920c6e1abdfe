"""One flipped byte in any kind of object that a restore reads: the restore names the object, and everything is as it was.

tests/integration/test_damage.py flips thousands, and reads the objects as a restore does; here restores are run.
"""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.mariadb.restore_data import OOPS, SEED
from tests.integration.mariadb.restore_lab import CLUSTER, Lab, enrolled_lab
from tidewind.domain import keys
from tidewind.domain.manifest import Manifest
from tidewind.domain.records import Accepted, parse

REQUEST = "tidewind.restore.request.v1"


@pytest.fixture
async def lab(mariadb_factory: Callable[..., Awaitable[Any]], tmp_path: Path) -> AsyncIterator[Lab]:
    async with enrolled_lab(await mariadb_factory(), tmp_path) as made:
        yield made


async def kinds_of_objects(lab: Lab, backup: str) -> dict[str, str]:
    """A name for each kind of object in a backup, and one of that kind: its record, its manifest, rows of tables by
    engine, rows of the server's own tables by what becomes of them."""
    manifest_key = keys.manifest(keys.attempt(CLUSTER, backup, 1))
    manifest = parse(Manifest, await lab.store.get(manifest_key))
    chunks = {chunk.number: chunk.key for chunk in manifest.chunks}
    found = {"record": keys.outcome(CLUSTER, backup), "manifest": manifest_key}
    for table in manifest.tables:
        if table.chunks:
            found.setdefault(f"rows in {table.engine}", chunks[table.chunks[-1]])
    for held in manifest.system_tables:
        if held.chunks:
            found.setdefault(f"system rows, {held.rule}", chunks[held.chunks[0]])
    return found


@contextmanager
def flipped(path: Path, position: int) -> Iterator[None]:
    """The file with one bit changed; as it was afterwards."""
    stored = path.read_bytes()
    path.write_bytes(stored[:position] + bytes([stored[position] ^ 1 << (position % 8)]) + stored[position + 1 :])
    try:
        yield
    finally:
        path.write_bytes(stored)


async def refusal(lab: Lab, backup: str) -> tuple[str, str]:
    """How a restore is refused, and with which words: before it is accepted, or by an end that gave everything back."""
    answer = await lab.decide(REQUEST, mode="snapshot", backup_id=backup)
    if not isinstance(answer, Accepted):
        return "rejected", answer.problem.detail
    ending = await lab.carry_out(answer)
    assert ending.event == "tidewind.restore.failed.v1", ending
    assert ending.body.returned, ending
    return "returned", ending.body.problem.detail


@pytest.mark.timeout(400)
async def test_a_flipped_byte_in_each_kind_of_object_is_refused_and_named(lab: Lab, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    lab.sql(*SEED)
    backup = await lab.backup()
    then = await lab.content()
    lab.sql(*OOPS)
    now = await lab.content()
    kinds = await kinds_of_objects(lab, backup)
    ended = {}
    for kind, key in kinds.items():
        path = tmp_path / "deployment" / "store" / key
        with flipped(path, draw.randrange(path.stat().st_size)):
            ended[kind], words = await refusal(lab, backup)
        assert key in words, (kind, words)
        assert now.differences(await lab.content()) == [], kind
    assert ended == {
        "record": "rejected",
        "manifest": "rejected",
        "rows in InnoDB": "returned",
        "rows in MyISAM": "returned",
        "system rows, account": "rejected",
        "system rows, rows": "rejected",
        "system rows, statistics": "returned",
    }
    ending = await lab.restore(backup)
    assert ending.event == "tidewind.restore.completed.v1", ending
    assert then.differences(await lab.content()) == []
