"""What a restore reads lies in a pin, whatever an epoch before it pinned; at the end none is left."""

from types import SimpleNamespace

import pytest

from services.restorer.handlers import work
from services.restorer.handlers.sources import Origin
from services.restorer.handlers.stages import Stages
from services.restorer.rules.steps import Action, Next
from tests.unit.restorer.bench import JOB
from tests.unit.restorer.test_endings import Clock, Context, Memory
from tidewind.domain import keys
from tidewind.domain.problems import Refused, refused
from tidewind.domain.records import PinnedLog
from tidewind.runtime.catalogue import Catalogue
from tidewind.store.directory import DirectoryStore

OTHER_JOB = "00000000-0000-5000-8000-000000000002"


@pytest.fixture
def tools(tmp_path):
    store = DirectoryStore(tmp_path)
    return SimpleNamespace(store=store, clock=Clock(), catalogue=Catalogue(store))


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
    tools.settings = SimpleNamespace(limit="3 h")
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
    assert [entry.key async for entry in tools.store.list(keys.PINS)] == [other]


async def test_a_refusal_leaves_no_pin_of_an_epoch_before(tools):
    await pinned_by(tools, 1, origin("bkp_0000000001", 3))
    await pinned_by(tools, 2, origin("bkp_0000000002", 5))
    with pytest.raises(Refused):
        await pinned_by(tools, 3, refused("plan-changed", "x"))
    assert [entry.key async for entry in tools.store.list(keys.pin("shop", JOB).removesuffix(".json"))] == []
