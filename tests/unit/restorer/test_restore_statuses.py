"""The statuses of restores that ended, when the topic has lost them."""

import uuid
from datetime import timedelta

import pytest

from services.restorer.handlers.statuses import RestoreStatuses
from services.restorer.rules.statuses import status_of
from tests.unit.restorer.bench import BACKUP, NOW
from tests.unit.restorer.test_spoken_states import Desk
from tidewind.domain import keys
from tidewind.domain.ids import restore_id, timeline_id
from tidewind.domain.problems import problem
from tidewind.domain.records import Accepted, Terminal

LIMIT = timedelta(hours=3)
UNTIL = (NOW + timedelta(days=7)).isoformat()
COMPLETED = ("tidewind.restore.completed.v1", {"undo_until": UNTIL})
WHY = problem("database-full", "no space").model_dump(mode="json")


def job(command="tidewind.restore.request.v1", **body):
    job_id = str(uuid.uuid4())
    return Accepted(
        job_id=job_id,
        service="restorer",
        cluster_id="shop",
        command=command,
        body={"cluster_id": "shop", **body},
        body_sha256="0" * 64,
        message_id=job_id,
        source="/test",
        accepted_at=NOW,
        answer={},
    )


def request(**more):
    return job(mode="snapshot", backup_id=BACKUP, **more)


def terminal(accepted, event, data):
    return Terminal(job_id=accepted.job_id, event=event, data=data, at=NOW + timedelta(minutes=1), epoch=1)


def told(accepted, event, data, **notes):
    return status_of(accepted, terminal(accepted, event, data), notes, limit=LIMIT, now=NOW)


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path)
    options = {"publisher": made.publisher, "composer": made.composer, "view": made.view, "owns": lambda _: True}
    made.statuses = RestoreStatuses(made.tools, **options)
    made.sees("shop")
    return made


async def ended(desk, accepted, event, data, *, plan=None):
    await desk.ledger.accept(accepted)
    if plan is not None:
        await desk.ledger.note("shop", accepted.job_id, "plan", 1, plan)
    await desk.ledger.finish("shop", terminal(accepted, event, data))
    return restore_id(accepted.job_id)


def test_a_completed_restore_says_until_when_it_can_be_undone():
    accepted = request()
    status = told(accepted, *COMPLETED, gating={"at": NOW.isoformat()}, plan={"base": BACKUP})
    assert (status.state, status.step, status.mode, status.backup_id) == ("completed", "opened", "snapshot", BACKUP)
    assert status.timeline == timeline_id(restore_id(accepted.job_id))
    assert status.undo_until.isoformat() == UNTIL
    assert status.deadline == NOW + LIMIT
    assert status.plan == {"base": BACKUP}


@pytest.mark.parametrize(
    ("event", "data", "notes", "state", "step"),
    [
        ("tidewind.restore.failed.v1", {"returned": True, "problem": WHY}, {"returned": {}}, "failed", "returned"),
        ("tidewind.restore.failed.v1", {"returned": True, "problem": WHY}, {}, "failed", "accepted"),
        ("tidewind.restore.failed.v1", {"returned": False, "problem": WHY}, {}, "failed", "returning"),
        ("tidewind.restore.cancelled.v1", {}, {"returned": {}}, "cancelled", "returned"),
        ("tidewind.restore.cancelled.v1", {}, {}, "cancelled", "accepted"),
    ],
)
def test_other_ends(event, data, notes, state, step):
    status = told(request(), event, data, **notes)
    assert (status.state, status.step) == (state, step)
    assert (status.problem is not None) is (state == "failed")


def test_what_was_no_restore_has_no_status():
    assert told(request(), "tidewind.restore.planned.v1", {}) is None


async def test_each_restore_is_told_once_and_an_undone_one_is_marked(desk):
    first = await ended(desk, request(), *COMPLETED, plan={"base": BACKUP})
    undo = job("tidewind.restore.undo.v1", restore_id=first)
    second = await ended(desk, undo, *COMPLETED, plan={"base": first})
    assert sorted(await desk.statuses.look()) == sorted([first, second])
    assert await desk.statuses.look() == []
    assert desk.undone.look() == [first]
    assert desk.view.get(f"restore/shop/{first}")["state"] == "undone"
    assert desk.view.get(f"restore/shop/{second}")["mode"] == "undo"


async def test_plans_running_restores_and_known_ones_are_left_alone(desk):
    known = await ended(desk, request(), *COMPLETED, plan={})
    assert await desk.statuses.look() == [known]
    desk.statuses._compared.clear()
    await ended(desk, request(dry_run=True), "tidewind.restore.planned.v1", {}, plan={})
    running = request()
    await desk.ledger.accept(running)
    await desk.ledger.note("shop", running.job_id, "plan", 1, {})
    assert await desk.statuses.look() == []


async def test_a_damaged_record_does_not_keep_the_others_from_being_told(desk):
    broken = request()
    await ended(desk, broken, *COMPLETED, plan={})
    await desk.damage(keys.job("shop", broken.job_id, "terminal.json"))
    whole = await ended(desk, request(), *COMPLETED, plan={})
    assert await desk.statuses.look() == [whole]
