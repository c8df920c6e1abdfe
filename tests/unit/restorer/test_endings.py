"""How a restore may end: never as one that was not begun while the cluster may be closed, never as failed once the
users are in."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from services.restorer.handlers import work
from services.restorer.handlers.request import unfit
from services.restorer.handlers.restoration import Restoration, trouble_of
from services.restorer.rules.steps import Action
from services.restorer.settings import RestorerSettings
from tests.unit.restorer.bench import BACKUP, JOB, NOW
from tidewind.domain.problems import problem
from tidewind.domain.records import Accepted, Verdict
from tidewind.ports.engine import DatabaseError
from tidewind.ports.jobs import Ending, LeaseLost
from tidewind.ports.restore import RestoreEnded, ServerReplaced
from tidewind.ports.store import ObjectDamaged, StoreRefused
from tidewind.store.directory import DirectoryStore

OPENED = Ending(event="tidewind.restore.completed.v1", body=None)
TROUBLE = (
    StoreRefused("list", "jobs/", "denied"),
    ObjectDamaged("get", "jobs/x", "cut off"),
    ValueError("a document does not parse"),
)


class Clock:
    """Time passes by sleeping."""

    def __init__(self):
        self.slept = 0.0

    def now(self):
        return NOW + timedelta(seconds=self.slept)

    def monotonic(self):
        return self.slept

    async def sleep(self, seconds):
        self.slept += seconds


class Context:
    """A job in hand. `notes` are names, or errors to be raised first."""

    epoch = 2

    def __init__(self, *notes, errors=()):
        self.job = Accepted(
            job_id=JOB,
            service="restorer",
            cluster_id="shop",
            command="tidewind.restore.request.v1",
            body={},
            body_sha256="0" * 64,
            message_id="m",
            source="/test",
            accepted_at=datetime(2026, 11, 23, tzinfo=UTC),
        )
        self.kept = {name: {} for name in notes}
        self.errors = list(errors)
        self.cancel_requested = SimpleNamespace(is_set=lambda: False)

    async def notes(self):
        if self.errors:
            raise self.errors.pop(0)
        return self.kept

    async def note(self, name, facts):
        return self.kept.setdefault(name, facts)

    async def check_lease(self):
        pass

    def status(self, *_, **__):
        pass


@pytest.fixture
def tools(tmp_path):
    return SimpleNamespace(clock=Clock(), settings=RestorerSettings(), store=DirectoryStore(tmp_path))


async def carry_out(tools, context, outcomes, monkeypatch):
    left = list(outcomes)

    async def attempt(*_, **__):
        outcome = left.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(work, "_attempt", attempt)
    return await work.carry_out(
        tools, context, operation="restore", mode="snapshot", backup_id=BACKUP, reason=None, find_origin=None
    )


async def test_whatever_fails_once_announced_is_tried_again(tools, monkeypatch):
    context = Context("announced", errors=TROUBLE)
    assert await carry_out(tools, context, [*TROUBLE, OPENED], monkeypatch) is OPENED
    assert tools.clock.slept > 0


@pytest.mark.parametrize("error", TROUBLE)
async def test_only_a_ledger_without_the_announcement_says_that_nothing_was_touched(tools, monkeypatch, error):
    ending = await carry_out(tools, Context("plan", errors=TROUBLE), [error], monkeypatch)
    assert ending.event == "tidewind.restore.failed.v1"
    assert ending.body.returned
    assert ending.body.step == "accepted"


async def test_a_lost_lease_goes_out(tools, monkeypatch):
    with pytest.raises(LeaseLost):
        await carry_out(tools, Context("announced"), [LeaseLost("epoch 3")], monkeypatch)


def test_a_job_that_fails_outside_of_its_restore_claims_nothing():
    why = problem("internal-error", "x")
    assert not unfit(Context(), "snapshot", None, why, touches=True).body.returned
    assert unfit(Context(), "snapshot", None, why, touches=False).body.returned


def test_an_unexpected_error_is_published_by_its_type_only():
    why = trouble_of(RuntimeError("password=hunter2"))
    assert "RuntimeError" in why.detail
    assert "hunter2" not in why.detail


class Memory:
    def __init__(self, *notes):
        self.names = set(notes)
        self.kept = {}

    def known(self, name):
        return self.kept.get(name)

    async def keep(self, name, facts):
        self.names.add(name)
        return self.kept.setdefault(name, facts)


class Stages:
    replays = False

    """Steps that fail as told; the last error again and again."""

    def __init__(self, memory, *errors):
        self.memory = memory
        self.errors = list(errors)
        self.tried = 0

    async def perform(self, action):
        self.tried += 1
        error = self.errors[0] if len(self.errors) == 1 else self.errors.pop(0)
        if error is None:
            await self.memory.keep({Action.FINISH: "finished", Action.GIVE_BACK: "returned"}[action], {})
        else:
            raise error

    async def leave_unfinished(self, why):
        await self.memory.keep("finished", {"not_made": [why]})

    async def open_by_hand(self):
        return ("SELECT 1",)

    async def end(self, now):
        return Ending(event=now.action, body=None)


async def run(tools, verdict, notes, *errors):
    async def standing(*_):
        return Verdict(job_id=JOB, verdict=verdict, epoch=1, cause="test", decided_at=NOW)

    async def drop():
        pass

    tools.ledger = SimpleNamespace(verdict=standing)
    memory = Memory("announced", *notes)
    stages = Stages(memory, *errors)
    notices = SimpleNamespace(
        deadline=None,
        stays_closed=lambda *_: None,
        step=lambda *_, **__: None,
        failed=lambda step, why, **_: Ending(event=f"failed {step}", body=why),
    )
    restoration = Restoration(
        tools, Context(), memory=memory, hold=SimpleNamespace(drop=drop), stages=stages, notices=notices
    )
    return await restoration.run(), stages


FULL = DatabaseError("database-full", "no space")


@pytest.mark.parametrize(("verdict", "note"), [("open", "opened"), ("return", "returned")])
@pytest.mark.parametrize("error", [FULL, ServerReplaced("a", "b")])
async def test_once_the_users_are_in_nothing_ends_as_failed(tools, verdict, note, error):
    ending, stages = await run(tools, verdict, [note], error)
    assert ending.event == f"end-{note}"
    assert error.detail in stages.memory.kept["finished"]["not_made"][0]


async def test_the_way_back_is_tried_for_as_long_as_patience_lasts(tools):
    ending, stages = await run(tools, "return", [], *[FULL] * 20, None)
    assert ending.event == "end-returned"
    assert stages.tried == 22
    ending, _ = await run(tools, "return", [], FULL)
    assert ending.event == "failed give-back"
    assert tools.clock.slept > tools.settings.return_patience_h * 3600


async def test_a_store_that_fails_after_the_verdict_never_ends_a_restore(tools):
    hours = int(2 * tools.settings.return_patience_h * 3600 / tools.settings.retry_pause_s)
    ending, _ = await run(tools, "return", [], *[StoreRefused("put", "jobs/", "denied")] * hours, None)
    assert ending.event == "end-returned"


@pytest.mark.parametrize("error", [ServerReplaced("a", "b"), RestoreEnded("rst_0123456789")])
async def test_a_replaced_server_and_an_ended_restore_are_final(tools, error):
    ending, stages = await run(tools, "return", [], error)
    assert ending.event == "failed give-back"
    assert stages.tried == 1
