"""What the restorer says of clusters and restores whose jobs have ended."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from schemas import topics
from schemas.events import RestoreFailed
from schemas.status import AvailabilityStatus, RestoreStatus
from services.restorer.handlers.availability import AvailabilityKeeper
from services.restorer.handlers.undone import UndoneRestores
from services.restorer.rules.availability import LOOK_AGAIN_S, worth_a_look
from services.restorer.settings import RestorerSettings
from tests.fakes import ManualClock, RecordingPublisher, SharedView, until
from tests.unit.restorer.bench import BACKUP, JOB, NOW, RESTORE, entry, target
from tidewind.domain import keys
from tidewind.domain.problems import problem
from tidewind.domain.records import Accepted, Operation, Terminal
from tidewind.engines.mariadb.restore import survey
from tidewind.ports.engine import DatabaseError, Finding
from tidewind.ports.restore import UNFINISHED_RESTORE
from tidewind.ports.store import StoreUnavailable
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
        self.identity = "1-aaaa"
        self.asked = 0

    async def survey(self, *_):
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        found = target(findings=self.answer)
        return replace(found, facts=replace(found.facts, identity=self.identity))


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

    def sees(self, cluster):
        """A cluster that is there, as the status topic tells."""
        status = AvailabilityStatus(cluster_id=cluster, at=NOW, state="Available")
        self.publisher.post(topics.STATUS, self.composer.status("cluster", status))

    def availability(self, cluster="shop"):
        return (self.view.get(f"availability/{cluster}") or {}).get("state")

    async def damage(self, key):
        """The record can be read, and is not one."""
        await self.tools.store.delete([key])
        assert await self.tools.store.put_if_absent(key, b"{}")

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
        self.sees("shop")
        self.says("availability", AvailabilityStatus(cluster_id="shop", at=NOW, state="RestoreFailed"))


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
    later.sees("shop")
    assert await later.keeper.look() == ["shop"]
    assert later.availability() == "Available"


async def test_another_server_that_answers_opens_nothing(desk):
    await desk.left_closed()
    desk.server.answer, desk.server.identity = (), "2-bbbb"
    assert await desk.keeper.look() == []
    assert desk.server.asked == 1
    desk.server.identity = "1-aaaa"
    desk.clock.advance(LOOK_AGAIN_S)
    assert await desk.keeper.look() == ["shop"], "nothing was kept of the other server's answer"
    assert desk.availability() == "Available"


class Poor:
    """A connection whose account holds SELECT alone."""

    async def value(self, _):
        return "svc@%"

    async def rows(self, _):
        return [("GRANT SELECT ON *.* TO `svc`@`%`",)]


async def test_an_account_that_could_not_see_an_unfinished_restore_opens_nothing(desk):
    await desk.left_closed()
    desk.server.answer = tuple(await survey._rights(Poor(), ()))
    assert [finding.level for finding in desk.server.answer] == ["error"]
    assert await desk.keeper.look() == []
    assert desk.server.asked == 1
    assert desk.availability() == "RestoreFailed"


async def test_an_odd_answer_of_a_closed_server_leaves_what_the_ledger_says(desk):
    await desk.left_closed()
    desk.says("availability", AvailabilityStatus(cluster_id="shop", at=NOW, state="Available"))
    desk.server.answer = ValueError("'NULL' is not a number")
    assert await desk.keeper.look() == ["shop"]
    assert desk.availability() == "RestoreFailed"


async def test_a_damaged_record_of_one_cluster_does_not_silence_the_others(desk):
    for cluster in ("blue", "shop"):
        await desk.operations.try_take(cluster, JOB, "restore")
        desk.sees(cluster)
    await desk.damage(keys.operation("blue", 1))
    assert await desk.keeper.look() == ["shop"]
    assert desk.availability("shop") == "Available"
    desk.sees("teal")
    reads = await counted_reads(desk, desk.keeper.look)
    assert not [key for key in reads if "/blue/" in key], "it is not looked at every second"
    await desk.tools.store.delete([keys.operation("blue", 1)])
    desk.clock.advance(LOOK_AGAIN_S)
    assert await desk.keeper.look() == ["blue"]


async def counted_reads(desk, call):
    reads, plain = [], desk.tools.store

    class Counting:
        def __getattr__(self, name):
            return getattr(plain, name)

        def list(self, prefix, **more):
            reads.append(prefix)
            return plain.list(prefix, **more)

    desk.tools.store = Counting()
    await call()
    desk.tools.store = plain
    return reads


async def test_a_store_that_cannot_give_one_cluster_s_records_is_asked_for_the_others_next(desk):
    plain = desk.tools.store

    class AwayForBlue:
        def __getattr__(self, name):
            return getattr(plain, name)

        def list(self, prefix, **more):
            if "/blue/" in prefix:
                raise StoreUnavailable("list", prefix, "timed out")
            return plain.list(prefix, **more)

    desk.tools.store = AwayForBlue()
    desk.sees("blue")
    desk.sees("shop")
    running = asyncio.create_task(desk.keeper.run())

    def told():
        desk.clock.advance(1)
        return desk.availability("shop") == "Available"

    await until(told)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_look_that_failed_is_made_up_for_although_it_is_said_to_be_available(desk):
    await desk.left_closed()
    desk.says("availability", AvailabilityStatus(cluster_id="shop", at=NOW, state="Available"))
    key = keys.job("shop", JOB, "terminal.json")
    whole = await desk.tools.store.get(key)
    await desk.damage(key)
    assert await desk.keeper.look() == []
    await desk.tools.store.delete([key])
    await desk.tools.store.put_if_absent(key, whole)
    assert await desk.keeper.look() == []
    desk.clock.advance(LOOK_AGAIN_S)
    assert await desk.keeper.look() == ["shop"]
    assert desk.availability() == "RestoreFailed"


async def test_nothing_is_said_of_a_cluster_whose_restore_has_no_end_yet(desk):
    """Its marker is not found: the listing was made before it was put."""
    await desk.left_closed()
    await desk.tools.store.delete([keys.job("shop", JOB, "terminal.json")])
    await desk.ledger.close("restorer", "shop", JOB)
    desk.publisher.messages.clear()
    desk.sees("shop")
    assert await desk.keeper.look() == []
    assert desk.availability() is None


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


async def test_a_restore_is_marked_once_while_kafka_takes_no_writes(desk):
    """What is posted is not read back."""
    desk.says("restore", restored(RESTORE, "completed"), RESTORE)
    desk.says("restore", restored(UNDO, "completed", mode="undo", base=RESTORE), UNDO)
    posted = RecordingPublisher()
    options = {"publisher": posted, "composer": desk.composer, "view": desk.view, "clock": desk.clock}
    undone = UndoneRestores(owns=lambda _: True, **options)
    assert undone.look() == [RESTORE]
    assert [undone.look() for _ in range(3)] == [[], [], []]
    assert len(posted.messages) == 1
    desk.says("restore", restored(RESTORE, "completed"), RESTORE, epoch=7)
    assert undone.look() == [RESTORE], "somebody else wrote over it"
