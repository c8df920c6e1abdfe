"""What the gate and the opening keep of the server, whatever can be read of its captured log."""

from datetime import timedelta
from types import SimpleNamespace

import pytest

from services.restorer.handlers.sources import Origin
from services.restorer.handlers.stages import Stages
from services.restorer.rules.steps import Action
from services.restorer.settings import RestorerSettings
from tests.unit.restorer.bench import BACKUP, NOW, RESTORE, manifest
from tests.unit.restorer.test_endings import Clock, Context, Memory
from tests.unit.test_lived import reach
from tidewind.domain import keys
from tidewind.domain.ids import timeline_id
from tidewind.domain.records import Timeline, parse
from tidewind.ports.restore import Gated, Opened, SnapshotSource
from tidewind.runtime.log_archive import LogArchive
from tidewind.store.directory import DirectoryStore

GATED, OPENED = NOW - timedelta(minutes=5), NOW - timedelta(minutes=1)


class Session:
    async def gate(self, *_):
        return Gated(connections_ended=1, position="0-1-50", open_by_hand=(), clock=GATED)

    async def open(self, *_):
        return Opened(position="0-1-90", clock=OPENED)


@pytest.fixture
def store(tmp_path):
    return DirectoryStore(tmp_path)


async def opened(store):
    """The timeline of a restore that is gated and opened."""

    async def holder(_):
        return None

    async def session():
        return Session()

    tools = SimpleNamespace(
        clock=Clock(),
        settings=RestorerSettings(),
        store=store,
        archived=LogArchive(store),
        operations=SimpleNamespace(holder=holder),
    )
    quiet = SimpleNamespace(**{name: lambda *_, **__: None for name in ("step", "gated", "available")})
    stages = Stages(
        tools,
        Context(),
        memory=Memory(),
        hold=SimpleNamespace(session=session),
        notices=quiet,
        origin=Origin(
            source=SnapshotSource(manifest=manifest(), open_store=None),
            timeline="main",
            cut="0-1-10",
            backup_id=BACKUP,
        ),
        restore_id=RESTORE,
    )
    await stages.perform(Action.GATE)
    await stages.perform(Action.OPEN)
    key = keys.timeline("shop", timeline_id(RESTORE))
    return parse(Timeline, await store.get(key), key)


async def test_a_timeline_says_the_servers_clock_and_its_captured_log(store):
    begun = reach(1, begins=1, position="", complete=1).history
    await store.put_if_absent(keys.history_claim("shop", 1), begun.to_bytes())
    found = await opened(store)
    assert (found.ended_at, found.started_at) == (GATED, OPENED)
    assert (found.parent_end, found.end_history) == ("0-1-50", "hst_1")
    assert (found.start, found.history) == ("0-1-90", "hst_1")


@pytest.mark.parametrize("harmed", [b"{", b'{"format": 2}'])
async def test_a_captured_log_that_cannot_be_read_holds_up_no_restore(store, harmed):
    await store.put_if_absent(keys.history_claim("shop", 1), harmed)
    found = await opened(store)
    assert (found.parent_end, found.end_history) == ("0-1-50", None)
    assert (found.start, found.history) == ("0-1-90", None)
