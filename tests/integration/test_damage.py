"""Any stored byte of a backup may change: verification and restore both refuse, naming the object.

A real snapshot of a real server lies in a sealed directory store. One byte at a time is flipped, at positions spread
over every object that a restore of it reads: outcome, manifest, every chunk. Then the backup is verified, and read as
the restorer reads it.
"""

import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from schemas.commands import Endpoint
from schemas.events import BackupCompleted, BackupDamaged
from services.restorer.handlers.sources import backup_origin
from services.restorer.handlers.tools import RestoreTools
from services.restorer.settings import RestorerSettings
from services.snapshotter.handlers.run import RunBackup
from services.snapshotter.handlers.tools import SnapshotTools
from services.snapshotter.handlers.verify import VerifyBackup
from services.snapshotter.settings import SnapshotterSettings
from tests.acceptance import shop
from tests.integration.mariadb.restore_lab import Blank
from tests.unit.snapshotter.bench import CLUSTER, Bench
from tidewind.domain import keys
from tidewind.domain.manifest import Manifest
from tidewind.domain.records import RegistryEntry
from tidewind.embedded.mariadb import PrivateMariaDB
from tidewind.engines.mariadb.snapshot import MariaDBSnapshotEngine
from tidewind.ports.restore import SnapshotSource
from tidewind.ports.store import ObjectDamaged
from tidewind.runtime.catalogue import Catalogue
from tidewind.runtime.log_archive import LogArchive
from tidewind.runtime.operations import OperationLock
from tidewind.runtime.registry import Registry
from tidewind.store.directory import DirectoryStore
from tidewind.store.factory import StoreSettings, open_store
from tidewind.store.keyring import Keyring
from tidewind.store.sealed import SealedStore

POSITIONS = 2_200


@dataclass
class Kept:
    """A backup in a directory, and everything needed to read it again from nothing."""

    root: Path
    backup: str
    store: SealedStore
    bench: Bench

    def snapshot_tools(self) -> SnapshotTools:
        return SnapshotTools(
            engines={},
            store=self.store,
            open_store=self.bench.tools.open_store,
            registry=Registry(self.store),
            catalogue=Catalogue(self.store),
            clock=self.bench.clock,
            settings=SnapshotterSettings(),
            key_id="k1",
        )

    def restore_tools(self) -> RestoreTools:
        return RestoreTools(
            engines={},
            store=self.store,
            open_store=self.bench.tools.open_store,
            ledger=self.bench.ledger,
            operations=OperationLock(self.store, self.bench.ledger),
            registry=Registry(self.store),
            catalogue=Catalogue(self.store),
            archived=LogArchive(self.store),
            decoders={},
            view=Blank(),
            clock=self.bench.clock,
            mint=lambda name: name,
            settings=RestorerSettings(),
        )

    async def read_as_a_restore(self) -> None:
        """Everything a restore reads of the backup, down to the last byte of rows."""
        origin = await backup_origin(self.restore_tools(), CLUSTER, self.backup, None)
        assert isinstance(origin.source, SnapshotSource)
        manifest: Manifest = origin.source.manifest
        for chunk in manifest.chunks:
            async for _ in self.store.stream(chunk.key):
                pass

    async def verify(self, number: int) -> list[str]:
        """The damaged objects that a verification names."""
        kind = VerifyBackup(self.snapshot_tools(), self.store)
        context = self.bench.job("tidewind.backup.verify.v1", {"backup_id": self.backup}, key=f"v{number}")
        ending = await kind.work(context)
        # Each verification is remembered and read with the catalogue; two thousand of one backup would slow the rest.
        await self.store.delete([keys.verification(CLUSTER, self.backup, context.job.job_id)])
        return [entry["object"] for entry in ending.body.damaged] if isinstance(ending.body, BackupDamaged) else []


@pytest.fixture
async def kept(
    tmp_path: Path, mariadb_factory: Callable[..., Awaitable[PrivateMariaDB]], monkeypatch: pytest.MonkeyPatch
) -> Kept:
    server = await mariadb_factory()
    root = await server.connect()
    await shop.build(root, customers=40, orders=60)
    root.close()
    monkeypatch.setenv("TEST_LOGIN", f"{shop.SERVICE_USER}:{shop.SERVICE_PASSWORD}")
    bench = Bench(tmp_path / "store")
    keyring = bench.store.keyring
    assert isinstance(keyring, Keyring)
    keyring_file = tmp_path / "keyring"
    keyring_file.touch(mode=0o600)
    keyring_file.write_text(keyring.to_text())
    await bench.enroll()
    entry = await bench.tools.registry.newest(CLUSTER)
    assert entry is not None
    here = {"revision": 2, "endpoints": (Endpoint(host=server.host, port=server.port),)}
    assert await bench.tools.registry.put(RegistryEntry.model_validate(entry.model_dump() | here))
    settings = StoreSettings(url=f"file://{tmp_path / 'store'}", keyring=f"file:{keyring_file}")
    tools = SnapshotTools(
        engines={"mariadb": MariaDBSnapshotEngine()},
        store=bench.store,
        open_store=partial(open_store, settings),
        registry=bench.tools.registry,
        catalogue=bench.tools.catalogue,
        clock=bench.clock,
        settings=SnapshotterSettings(workers=1),
        key_id="k1",
    )
    ending = await RunBackup(tools).work(bench.job("tidewind.backup.run.v1", {"cause": "manual"}))
    assert isinstance(ending.body, BackupCompleted), ending
    assert isinstance(bench.inner, DirectoryStore)
    return Kept(tmp_path / "store", ending.body.backup_id, bench.store, bench)


def spread(sizes: dict[str, int], total: int, seed: int) -> Iterator[tuple[str, int]]:
    """Positions in proportion to the objects' sizes, at least 40 in each, ends included."""
    draw = random.Random(seed)
    whole = sum(sizes.values())
    for key, size in sizes.items():
        count = min(size, max(40, total * size // whole))
        chosen = {0, size - 1} | set(draw.sample(range(size), count))
        yield from ((key, position) for position in sorted(chosen))


@pytest.mark.timeout(280)
async def test_every_flipped_byte_is_found_and_named(kept: Kept) -> None:
    await kept.read_as_a_restore()
    assert await kept.verify(-1) == []
    found = await kept.bench.keys("snapshots/") + [keys.outcome(CLUSTER, kept.backup)]
    assert {key.rsplit(".", 1)[-1] for key in found} == {"zst", "json"}
    sizes = {key: (kept.root / key).stat().st_size for key in found}
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    flipped = 0
    for number, (key, position) in enumerate(spread(sizes, POSITIONS, seed)):
        path = kept.root / key
        stored = path.read_bytes()
        bit = 1 << (position % 8)
        path.write_bytes(stored[:position] + bytes([stored[position] ^ bit]) + stored[position + 1 :])
        with pytest.raises(ObjectDamaged) as refused:
            await kept.read_as_a_restore()
        assert refused.value.key == key, (key, position)
        if key.startswith(keys.SNAPSHOTS):
            assert await kept.verify(number) == [key], position
        else:
            with pytest.raises(ObjectDamaged):
                await kept.verify(number)
        path.write_bytes(stored)
        flipped += 1
    assert flipped >= POSITIONS
    await kept.read_as_a_restore()
