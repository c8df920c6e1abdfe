"""Roll-ups and removals of the log, killed or stopped at every call: a reader finds the same at every moment.

The one that was struck is followed by another, which begins anew; one that stood still then goes on with what it knew.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from services.changelog.handlers.archive import Archive
from services.changelog.handlers.removal import DeleteSegments
from services.changelog.handlers.rollups import RollUps
from services.changelog.settings import ChangelogSettings
from tests.fakes import ManualClock
from tests.faults.memory_store import Guarded, Memory
from tests.faults.turnstile import How, Moment, Strike, Turnstile
from tests.unit.changelog.logs import MadeUpLog
from tests.unit.changelog.test_archive import HISTORY, first_session
from tests.unit.snapshotter.bench import JobInHand
from tidewind.domain import keys
from tidewind.domain.blocks import block_name, pack_block
from tidewind.domain.records import Accepted
from tidewind.ports.bus import BinaryRecord
from tidewind.runtime.catalogue import Catalogue
from tidewind.runtime.clock import SystemRandomness
from tidewind.runtime.ledger import Ledger
from tidewind.runtime.log_archive import LogArchive
from tidewind.runtime.registry import Registry
from tidewind.store.keyring import Keyring
from tidewind.store.sealed import SealedStore

TRANSACTIONS = 12
THROUGH = 7
"""Segments of the middle of an hour: removed are whole objects, so fewer where they are rolled up."""


@dataclass
class Keeping:
    """A log of some hours in the store."""

    clock: ManualClock
    store: Memory
    keyring: Keyring
    whole: list[str]

    def sealed(self, gate: Turnstile) -> SealedStore:
        return SealedStore(Guarded(self.store, gate), self.keyring, SystemRandomness())

    def archive(self, store: SealedStore) -> Archive:
        return Archive(
            store,
            store,
            LogArchive(store),
            clock=self.clock,
            settings=ChangelogSettings(),
            commit_soon=lambda: None,
        )

    def copy(self) -> "Keeping":
        other = Memory(self.clock)
        other.objects.update(self.store.objects)
        return Keeping(self.clock, other, self.keyring, self.whole)

    async def roll_up(self, gate: Turnstile) -> None:
        store = self.sealed(gate)
        keeper = RollUps(
            self.archive(store),
            LogArchive(store),
            store,
            Catalogue(store),
            Ledger(store),
            clock=self.clock,
            settings=ChangelogSettings(),
        )
        await keeper.roll_up("shop", HISTORY)

    async def remove(self, gate: Turnstile) -> None:
        store = self.sealed(gate)
        ledger = Ledger(store)
        job = Accepted(
            job_id="3f0e8a52-7c1b-5a3e-9d55-0f6f3c1f8e21",
            service="changelog",
            cluster_id="shop",
            command=DeleteSegments.command,
            body={"cluster_id": "shop", "history": HISTORY, "through": THROUGH},
            body_sha256="",
            message_id="m",
            source="/t",
            accepted_at=self.clock.now(),
        )
        kind = DeleteSegments(
            store,
            LogArchive(store),
            Catalogue(store),
            Registry(store),
            ledger,
            clock=self.clock,
            window=timedelta(0),
        )
        await kind.work(JobInHand(job=job, epoch=1, ledger=ledger, clock=self.clock))

    async def found(self) -> list[str]:
        """Transactions as a reader finds them, in order; their bytes are read too."""
        archived = LogArchive(self.sealed(Turnstile(None)))
        found = []
        objects = await archived.objects("shop", HISTORY)
        async for ref in archived.segments("shop", HISTORY, first=objects[0].first):
            for index in range(len(ref.head.frames)):
                await archived.frame(ref, index)
            found += [one.gtid for one in await archived.transactions(ref)]
        return found

    def segments(self) -> list[str]:
        prefix = keys.history("shop", HISTORY)
        return [key.removeprefix(prefix) for key in sorted(self.store.objects) if key.startswith(prefix)]


@pytest.fixture
async def keeping(monkeypatch: pytest.MonkeyPatch) -> Keeping:
    async def at_once(call: Callable[..., Any], *arguments: Any) -> Any:
        return call(*arguments)

    monkeypatch.setattr(asyncio, "to_thread", at_once)
    clock, randomness = ManualClock(), SystemRandomness()
    made = Keeping(clock, Memory(clock), Keyring.generate("test", randomness), [])
    store = made.sealed(Turnstile(None))
    archive = made.archive(store)
    blocks = first_session(MadeUpLog([40] * TRANSACTIONS), "01", 0, TRANSACTIONS, begins=True)
    for offset, block in enumerate(blocks):
        name = f"{block.session}/{block.sequence}"
        value = await store.seal(block_name("shop", block.session, block.sequence), pack_block(block))
        await archive.take(BinaryRecord(key="shop", name=name, value=value, partition=0, offset=offset))
        clock.advance(600)
        for known in archive.logs.values():
            await archive._seal_due(known)
    await archive.flush()
    clock.advance(4 * 3600)
    made.whole = await made.found()
    assert len(made.whole) == TRANSACTIONS
    return made


Step = Callable[[Keeping, Turnstile], Awaitable[None]]
STEPS: dict[str, tuple[Step, ...]] = {
    "roll-up": (Keeping.roll_up,),
    "removal": (Keeping.remove,),
    "removal behind roll-up": (Keeping.roll_up, Keeping.remove),
    "roll-up behind removal": (Keeping.remove, Keeping.roll_up),
}


async def struck(keeping: Keeping, step: Step, strike: Strike) -> tuple[Turnstile, "asyncio.Task[None]"]:
    """The step up to where it is struck."""
    gate = Turnstile(strike)

    async def run() -> None:
        await step(keeping, gate)

    task = asyncio.create_task(run())
    for _ in range(2000):
        await asyncio.sleep(0)
        if task.done() or gate.struck is not None:
            break
    assert gate.struck is not None
    return gate, task


@pytest.mark.parametrize("how", ["killed", "stopped"])
@pytest.mark.parametrize("name", STEPS)
async def test_at_every_call(keeping: Keeping, name: str, how: How) -> None:
    *before, step = STEPS[name]
    for one in before:
        await one(keeping, Turnstile(None))
    plain, gate = keeping.copy(), Turnstile(None)
    await step(plain, gate)
    begun, ended = await keeping.found(), await plain.found()
    assert plain.segments() != keeping.segments()
    assert ended == begun[len(begun) - len(ended) :]
    moments: tuple[Moment, ...] = ("before", "after")
    for at in range(1, len(gate.calls) + 1):
        for moment in moments:
            case = keeping.copy()
            struck_gate, zombie = await struck(case, step, Strike(at, moment, how))
            where = f"{moment} {struck_gate.struck}"
            assert await case.found() in (begun, ended), where
            await step(case, Turnstile(None))
            assert await case.found() == ended, where
            struck_gate.wake()
            await asyncio.gather(zombie, return_exceptions=True)
            assert await case.found() == ended, where
            await step(case, Turnstile(None))
            assert case.segments() == plain.segments(), where
