"""What a restore reads lies in a pin, whatever an epoch before it pinned; at the end none is left."""

import asyncio
from types import SimpleNamespace

import pytest

from services.restorer.handlers import work
from services.restorer.handlers.sources import Origin
from services.restorer.handlers.stages import Stages
from services.restorer.rules.steps import Action, Next
from services.restorer.settings import RestorerSettings
from tests.unit.restorer.test_endings import Clock, Context, Memory
from tidewind.domain import keys
from tidewind.domain.problems import refused
from tidewind.domain.records import PinnedLog
from tidewind.ports.engine import DatabaseError
from tidewind.ports.store import StoreUnavailable
from tidewind.runtime.catalogue import Catalogue
from tidewind.store.directory import DirectoryStore

OTHER_JOB = "00000000-0000-5000-8000-000000000002"


@pytest.fixture
def tools(tmp_path):
    store = DirectoryStore(tmp_path)

    async def newest(_):
        return SimpleNamespace(cluster_id="shop")

    return SimpleNamespace(
        store=store,
        clock=Clock(),
        catalogue=Catalogue(store),
        registry=SimpleNamespace(newest=newest),
        settings=RestorerSettings(),
    )


class Holder(Context):
    """Holds the cluster at once, or when `lock` is set."""

    def __init__(self, lock=None):
        super().__init__()
        self.cancel_requested = asyncio.Event()
        self._lock = lock

    async def take_operation(self, *_, **__):
        if self._lock is not None:
            await self._lock.wait()


def origin(backup, last):
    return Origin(
        source=None,
        timeline="main",
        cut="0-1-10",
        backup_id=backup,
        log=(PinnedLog(history="hst_1", first=1, last=last),),
    )


async def pinned_by(tools, epoch, found):
    """Everything the job has pinned once an epoch found its source."""
    context = Context()
    context.epoch = epoch

    async def find(_):
        if isinstance(found, Exception):
            raise found
        return found

    await work._pinned(tools, context, None, find)
    return [(pin.backups, pin.log) for pin in await tools.catalogue.pins("shop")]


async def carried_out(tools, context, find):
    """The event with which a job ends that nothing was announced of."""
    ending = await work.carry_out(
        tools,
        context,
        operation="restore",
        mode="point_in_time",
        backup_id=None,
        reason=None,
        find_origin=find,
    )
    return ending.event


async def everything(tools):
    return [entry.key async for entry in tools.store.list(keys.PINS)]


async def end(tools):
    stages = Stages(
        tools,
        Context(),
        memory=Memory(),
        hold=None,
        notices=SimpleNamespace(
            available=lambda *_: None, step=lambda *_, **__: None, failed=lambda *_, **__: "the end"
        ),
        origin=origin("bkp_0000000001", 1),
        restore_id="rst_0123456789",
    )
    assert await stages.end(Next(Action.END_UNTOUCHED, "x")) == "the end"


async def test_a_successor_that_finds_another_source_pins_it_too(tools):
    first, second = origin("bkp_0000000001", 3), origin("bkp_0000000002", 5)
    assert await pinned_by(tools, 1, first) == [(("bkp_0000000001",), first.log)]
    assert await pinned_by(tools, 2, first) == [(("bkp_0000000001",), first.log)]
    assert (("bkp_0000000002",), second.log) in await pinned_by(tools, 3, second)


async def test_at_the_end_every_pin_of_the_job_goes_and_no_other(tools):
    other = keys.pin("shop", OTHER_JOB)
    await pinned_by(tools, 1, origin("bkp_0000000001", 3))
    await pinned_by(tools, 2, origin("bkp_0000000002", 5))
    await tools.store.put_if_absent(other, b"another restore's")
    await end(tools)
    assert await everything(tools) == [other]


@pytest.mark.parametrize(
    "error",
    [refused("plan-changed", "x"), DatabaseError("database-unreachable", "x"), StoreUnavailable("get", "x", "x", "x")],
)
async def test_a_job_that_never_began_leaves_no_pin_of_an_epoch_before(tools, error):
    await pinned_by(tools, 1, origin("bkp_0000000001", 3))
    await pinned_by(tools, 2, origin("bkp_0000000002", 5))

    async def find(_):
        raise error

    assert await carried_out(tools, Holder(), find) == "tidewind.restore.failed.v1"
    assert await everything(tools) == []


async def test_a_job_cancelled_before_it_runs_leaves_no_pin_of_an_epoch_before(tools):
    await pinned_by(tools, 1, origin("bkp_0000000001", 3))
    await pinned_by(tools, 2, origin("bkp_0000000002", 5))
    cancelled = Holder(lock=asyncio.Event())
    cancelled.cancel_requested.set()
    assert await carried_out(tools, cancelled, None) == "tidewind.restore.cancelled.v1"
    assert await everything(tools) == []
