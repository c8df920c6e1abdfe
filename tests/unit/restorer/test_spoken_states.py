"""What the restorer says of clusters and restores whose jobs have ended."""

from types import SimpleNamespace

import pytest

from schemas import topics
from schemas.events import RestoreFailed
from schemas.status import AvailabilityStatus, RestoreStatus
from services.restorer.handlers.availability import AvailabilityKeeper
from services.restorer.handlers.undone import UndoneRestores
from services.restorer.rules.availability import LOOK_AGAIN_S, worth_a_look
from services.restorer.settings import RestorerSettings
from tests.fakes import ManualClock, RecordingPublisher, SharedView
from tests.unit.restorer.bench import BACKUP, JOB, NOW, RESTORE, entry, target
from tidewind.domain import keys
from tidewind.domain.problems import problem
from tidewind.domain.records import Accepted, Operation, Terminal
from tidewind.ports.engine import DatabaseError, Finding
from tidewind.ports.restore import UNFINISHED_RESTORE
from tidewind.runtime.ledger import Ledger
from tidewind.runtime.operations import OperationLock
from tidewind.runtime.outbox import Composer, body_of
from tidewind.runtime.registry import Registry
from tidewind.store.directory import DirectoryStore

UNDO = "rst_9876543210"
UNFINISHED = Finding(subject=UNFINISHED_RESTORE, level="error", text=f"restore {RESTORE} has not ended", fix="end it")


class Server:
    """What a survey finds, or raises."""

    def __init__(self):
        self.answer = (UNFINISHED,)
        self.asked = 0

    async def survey(self, *_):
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return target(findings=self.answer)


class Desk:
    def __init__(self, root):
        self.clock = ManualClock(NOW)
        self.publisher = RecordingPublisher()
        self.view = SharedView(self.publisher)
        self.composer = Composer("/tests", self.clock, self.view)
        store = DirectoryStore(root)
        self.ledger = Ledger(store)
        self.operations = OperationLock(store, self.ledger)
        self.registry = Registry(store)
        self.server = Server()
        self.tools = SimpleNamespace(
            store=store,
            ledger=self.ledger,
            registry=self.registry,
            clock=self.clock,
            settings=RestorerSettings(),
            engines={"mariadb": self.server},
        )
        options = {"publisher": self.publisher, "composer": self.composer, "view": self.view, "owns": lambda _: True}
        self.keeper = AvailabilityKeeper(self.tools, **options)
        self.undone = UndoneRestores(clock=self.clock, **options)

    def says(self, kind, status, entity=None, epoch=1):
        self.publisher.post(topics.STATUS, self.composer.status(kind, status, entity=entity, epoch=epoch))

    def availability(self):
        return (self.view.get("availability/shop") or {}).get("state")

    async def left_closed(self):
        """A restore that failed and left the cluster closed; its status says so."""
        await self.registry.put(entry())
        job = Accepted(
            job_id=JOB,
            service="restorer",
            cluster_id="shop",
            command="tidewind.restore.request.v1",
            body={"cluster_id": "shop", "mode": "snapshot", "backup_id": BACKUP},
            body_sha256="0" * 64,
            message_id="m",
            source="/test",
            accepted_at=NOW,
        )
        await self.ledger.accept(job)
        assert await self.operations.try_take("shop", JOB, "restore") is None
        why = problem("database-full", "no space left")
        body = RestoreFailed(
            cluster_id="shop",
            job_id=JOB,
            restore_id=RESTORE,
            mode="snapshot",
            step="give-back",
            returned=False,
            problem=why,
            open_by_hand=("SELECT 1",),
        )
        event = "tidewind.restore.failed.v1"
        await self.ledger.finish("shop", Terminal(job_id=JOB, event=event, data=body_of(body), at=NOW, epoch=1))
        self.publisher.post(topics.STATUS, _cluster_seen(self))
        self.says("availability", AvailabilityStatus(cluster_id="shop", at=NOW, state="RestoreFailed"))


def _cluster_seen(desk):
    seen = desk.composer.status("cluster", AvailabilityStatus(cluster_id="shop", at=NOW, state="Available"))
    assert seen.key == "cluster/shop"
    return seen


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.setenv("DB", "svc:secret")
    return Desk(tmp_path)


async def test_a_cluster_opened_by_hand_is_available_when_its_server_says_so(desk):
    await desk.left_closed()
    assert await desk.keeper.look() == []
    assert desk.availability() == "RestoreFailed"
    desk.server.answer = ()
    assert await desk.keeper.look() == [], "the server is not asked every second"
    desk.clock.advance(LOOK_AGAIN_S)
    assert await desk.keeper.look() == ["shop"]
    assert desk.availability() == "Available"
    assert "by hand" in desk.view.get("availability/shop")["detail"]


async def test_a_server_that_does_not_answer_says_nothing(desk):
    await desk.left_closed()
    desk.server.answer = DatabaseError("database-unreachable", "db-1:3306 does not answer")
    assert await desk.keeper.look() == []
    assert desk.availability() == "RestoreFailed"


async def test_once_opened_by_hand_stays_so_though_the_topic_is_lost_and_the_server_is_away(
    desk, tmp_path, monkeypatch
):
    await desk.left_closed()
    desk.server.answer = ()
    assert await desk.keeper.look() == ["shop"]
    later = Desk(tmp_path)
    later.server.answer = DatabaseError("database-unreachable", "away")
    later.publisher.post(topics.STATUS, _cluster_seen(later))
    assert await later.keeper.look() == ["shop"]
    assert later.availability() == "Available"


async def test_a_late_available_of_a_cluster_left_closed_is_corrected_by_the_next_instance(desk):
    await desk.left_closed()
    desk.says("availability", AvailabilityStatus(cluster_id="shop", at=NOW, state="Available"))
    assert await desk.keeper.look() == ["shop"]
    assert desk.availability() == "RestoreFailed"


async def test_it_is_still_known_as_left_closed_after_many_failed_backups(desk):
    await desk.left_closed()
    for number in range(40):
        job = f"{number:08d}-0000-5000-9000-000000000000"
        assert await desk.operations.try_take("shop", job, "backup") is None
    operations = [found.key async for found in desk.tools.store.list(keys.OPERATIONS)]
    assert Operation.model_validate_json(await desk.tools.store.get(operations[0])).job_id == JOB
    assert await desk.keeper.look() == []
    assert desk.availability() == "RestoreFailed"


def test_only_states_that_pass_are_looked_at_again():
    assert worth_a_look(None, 0.0)
    for state in ("Available", "Restoring", "RestoreFailed"):
        assert worth_a_look({"state": state}, None)
        assert bool(worth_a_look({"state": state}, LOOK_AGAIN_S)) is (state != "Available")
        assert worth_a_look({"state": state}, LOOK_AGAIN_S - 1) is None


def restored(restore_id, state, *, mode="snapshot", base=BACKUP):
    return RestoreStatus(
        cluster_id="shop",
        at=NOW,
        restore_id=restore_id,
        mode=mode,
        state=state,
        step="opened",
        started_at=NOW,
        plan={"base": base},
    )


async def test_a_restore_is_undone_once_an_undo_of_it_has_completed(desk):
    for number in range(5):
        desk.says("restore", restored(RESTORE, "running" if number < 4 else "completed"), RESTORE, epoch=3)
    desk.says("restore", restored(UNDO, "running", mode="undo", base=RESTORE), UNDO)
    assert desk.undone.look() == []
    desk.says("restore", restored(UNDO, "completed", mode="undo", base=RESTORE), UNDO)
    assert desk.undone.look() == [RESTORE]
    assert desk.view.get(f"restore/shop/{RESTORE}")["state"] == "undone"
    assert desk.view.get(f"restore/shop/{UNDO}")["state"] == "completed"
    assert desk.undone.look() == []
    desk.says("restore", restored(UNDO, "undone", mode="undo", base=RESTORE), UNDO)
    assert desk.undone.look() == []


async def test_an_undo_that_failed_undoes_nothing(desk):
    desk.says("restore", restored(RESTORE, "completed"), RESTORE)
    desk.says("restore", restored(UNDO, "failed", mode="undo", base=RESTORE), UNDO)
    assert desk.undone.look() == []
