"""The changelog killed or stopped at every call it makes to the outside, and twice: nothing is lost, doubled or split.

Each case runs the real capture, archive and window over a world that outlives them (see `changelog_world`), strikes the process
at one call, before it takes effect or after, has another take over, wakes the one that stood still, and reads the store
as a restore does. Which calls there are is found out by a run that nothing strikes.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from services.changelog.handlers import sending
from services.changelog.rules import assembly, cutting
from tests.faults.changelog_world import CLUSTER, World
from tests.faults.database_log import number_of
from tests.faults.turnstile import How, Moment, Strike

SEED = int(os.environ.get("TIDEWIND_SEED", "0")) or int.from_bytes(os.urandom(3), "big")

PAIRS = int(os.environ.get("TIDEWIND_PAIRS", "0")) or 60
CALLS = 90
"""So many there are at least before the log is begun anew."""
BEFORE = 40
"""So many calls before the log is begun anew are struck too: then only Kafka holds what was read last."""
MOMENTS: tuple[Moment, ...] = ("before", "after")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and segments of a few transactions, which span their bounds; nothing waits for the machine."""
    monkeypatch.setattr(cutting, "BLOCK_DATA_BYTES", 90)
    monkeypatch.setattr(assembly, "SEGMENT_BYTES", 400)
    monkeypatch.setattr(assembly, "SEGMENT_AGE_S", 2.0)
    monkeypatch.setattr(sending, "_FLUSH_S", 0.0)
    monkeypatch.setenv("CAPTURE_LOGIN", "tidewind:secret")

    async def at_once(call: Callable[..., Any], *arguments: Any) -> Any:
        return call(*arguments)

    monkeypatch.setattr(asyncio, "to_thread", at_once)


async def run(strikes: tuple[Strike, ...], *, reset: bool = False) -> World:
    """A log that is written while it is captured, until the store holds all of it."""
    world = World()
    left = list(strikes)
    world.log.write(3)
    world.start(left.pop(0) if left else None)
    for tick in range(400):
        if tick < 12 and tick % 2 == 0:
            world.log.write(2)
        if reset and tick == 14:
            await world.begin_anew()
        if reset and 16 <= tick < 24:
            world.log.write(1)
        await world.tick()
        if await world.succeed(left[0] if left else None) and left:
            left.pop(0)
        if tick % 8 == 7:
            await world.wake(3)
        if tick > 26 and not world.zombies and await world.settled():
            break
    else:
        raise AssertionError(f"{strikes}, {world.struck}: not settled: {world.owner and world.owner.archive.logs}")
    return world


@pytest.fixture
async def worlds() -> AsyncIterator[list[World]]:
    made: list[World] = []
    yield made
    for world in made:
        await world.close()


async def check(world: World, *, reset: bool) -> None:
    histories = await world.archived().histories(CLUSTER)
    assert [one.cause for one in histories] == (["first", "reset"] if reset else ["first"])
    for life, history in enumerate(histories):
        whole = world.log.whole(life, after=number_of(history.position))
        found = await world.read(history.history)
        if life < len(histories) - 1:
            # What Kafka held when the log was begun anew is in the store; what nobody had read is lost with that log.
            assert len(found) >= world.produced - number_of(history.position)
            whole = whole[: len(found)]
            assert histories[life + 1].after == history.history
        assert found == whole


QUIET = ("commit", "say window/", "say capture/")
"""Said again and again while nothing happens: a few of each stand for all."""
READS = ("list ", "get ")


async def calls(worlds: list[World], *, reset: bool) -> list[tuple[int, Moment]]:
    """Where to strike. Behind a read is before the next call. Where the log is begun anew, long before that is as if it
    were not."""
    world = await run((), reset=reset)
    worlds.append(world)
    await check(world, reset=reset)
    assert world.owner is not None
    chosen: list[tuple[int, Moment]] = []
    quiet = 0
    for number, name in enumerate(world.owner.gate.calls, start=1):
        quiet = quiet + 1 if name.startswith(QUIET) else 0
        if quiet < 3 and number > world.calls_before - BEFORE:
            chosen.append((number, "before"))
            if not name.startswith(READS):
                chosen.append((number, "after"))
    return chosen


@pytest.mark.parametrize("reset", [False, True], ids=["written-on", "begun-anew"])
@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_at_every_call(worlds: list[World], how: How, reset: bool) -> None:
    struck = set()
    for at, moment in await calls(worlds, reset=reset):
        world = await run((Strike(at, moment, how),), reset=reset)
        worlds.append(world)
        try:
            await check(world, reset=reset)
        except AssertionError as error:
            raise AssertionError(f"{how} {moment} call {at}, {world.struck}: {error}") from error
        struck |= {name.split()[0] for name in world.struck}
    assert {"produce", "claim", "commit", "say", "list"} <= struck


async def test_at_two_calls(worlds: list[World]) -> None:
    """The successor of one that was struck is struck too."""
    rng = random.Random(SEED)
    for _ in range(PAIRS):
        pair = tuple(
            Strike(rng.randint(1, most), rng.choice(MOMENTS), rng.choice(("killed", "stopped")))
            for most in (CALLS, CALLS // 2)
        )
        world = await run(pair)
        worlds.append(world)
        try:
            await check(world, reset=False)
        except AssertionError as error:
            raise AssertionError(f"TIDEWIND_SEED={SEED}: {pair}, {world.struck}: {error}") from error


@pytest.mark.parametrize("step_s", [-3600.0, -2.0, 2.0, 3600.0])
async def test_a_clock_that_steps_costs_no_transaction_and_turns_no_time_back(
    worlds: list[World], step_s: float
) -> None:
    """Of the database, in the middle of a session and again before the next, whose predecessor is killed."""
    world = World()
    worlds.append(world)
    world.start(Strike(60, "before", "killed"))
    for tick in range(200):
        if tick in (6, 14):
            world.log.skew_s += step_s
        if tick < 24 and tick % 2 == 0:
            world.log.write(2)
        await world.tick()
        await world.succeed()
        if tick > 26 and await world.settled():
            break
    assert world.struck
    await check(world, reset=False)
    archived = world.archived()
    (history,) = await archived.histories(CLUSTER)
    times: list[int] = []
    completes: list[int] = []
    async for ref in archived.segments(CLUSTER, history.history):
        times += [one.time_us for one in await archived.transactions(ref)]
        completes.append(ref.head.complete_us)
    assert times == sorted(times)
    assert completes == sorted(completes)
    assert max(times) <= world.log.latest_us
