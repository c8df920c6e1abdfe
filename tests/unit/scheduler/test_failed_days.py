"""A day whose backup fails is told of while it is tried again, and once it is lost."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from schemas import topics
from schemas.status import BackupStatus
from services.scheduler.handlers.days import SlotDays
from services.scheduler.handlers.memory import Memory
from services.scheduler.handlers.slots import SlotKeeper, SlotRules
from services.scheduler.handlers.speaker import OVERDUE, Speaker
from services.scheduler.handlers.survey import SNAPSHOTTER, Survey
from services.scheduler.rules.emission import slot_work
from services.scheduler.rules.overdue import Limits
from tests.fakes import ManualClock, RecordingPublisher, SharedView
from tests.unit.restorer.bench import entry
from tidewind.domain import keys
from tidewind.domain.ids import backup_id
from tidewind.domain.problems import problem
from tidewind.domain.records import Accepted, Terminal
from tidewind.runtime.catalogue import Catalogue
from tidewind.runtime.ledger import Ledger
from tidewind.runtime.outbox import Composer
from tidewind.store.directory import DirectoryStore

DUE = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)
"""02:00 in Berlin."""
LIMITS = Limits(begin=timedelta(minutes=30), end=timedelta(hours=6))


class Day:
    """One cluster's day, its backup taken in when it fell due."""

    def __init__(self, root: Path) -> None:
        self.clock = ManualClock(DUE)
        self.store = DirectoryStore(root)
        self.ledger = Ledger(self.store)
        self.publisher = RecordingPublisher()
        self.view = SharedView(self.publisher)
        self.survey = Survey(self.store, self.clock, max_age_s=0)
        self.history = (entry(created_at=DUE - timedelta(hours=1), changed_at=DUE - timedelta(hours=1)),)
        self.work = slot_work("shop", DUE.date())
        self.memory = Memory()
        self.keeper = SlotKeeper(
            SlotRules(grace=timedelta(hours=6), limits=LIMITS),
            SlotDays(self.ledger, Catalogue(self.store)),
            self.survey,
            Speaker(self.publisher, "/tests"),
            self.view,
        )

    async def take_in(self) -> None:
        await self.ledger.accept(
            Accepted(
                job_id=self.work.job_id,
                service=SNAPSHOTTER,
                cluster_id="shop",
                command=self.work.command,
                body=dict(self.work.body),
                body_sha256="",
                message_id="m",
                source="/tests",
                accepted_at=self.clock.now(),
            )
        )
        await self.store.put_if_absent(keys.job_open(SNAPSHOTTER, "shop", self.work.job_id), b"{}")

    def say_attempt_failed(self) -> None:
        status = BackupStatus(
            cluster_id="shop",
            at=self.clock.now(),
            backup_id=backup_id(self.work.job_id),
            cause="slot",
            state="pending",
            problem=problem("database-refused-login", "Access denied for tidewind"),
            next_try_at=self.clock.now() + timedelta(minutes=15),
        )
        composer = Composer("/tests", self.clock, self.view)
        self.publisher.post(topics.STATUS, composer.status("backup", status, entity=status.backup_id))

    async def fail(self) -> None:
        why = problem("store-full", "no space left").model_dump(mode="json")
        end = Terminal(
            job_id=self.work.job_id,
            event="tidewind.backup.failed.v1",
            data={"problem": why},
            at=self.clock.now(),
            epoch=1,
        )
        await self.ledger.finish("shop", end)
        await self.ledger.close(SNAPSHOTTER, "shop", self.work.job_id)

    async def tick(self) -> list[str]:
        """The alarms said so far."""
        await self.survey.refresh(at_once=True)
        await self.keeper.keep(self.history, self.memory, self.clock.now())
        return [str((one.data or {})["detail"]) for one in self.publisher.of(topics.EVENTS) if one.type == OVERDUE]


@pytest.fixture
async def day(tmp_path: Path) -> Day:
    made = Day(tmp_path)
    await made.take_in()
    return made


async def test_attempts_that_go_on_failing_are_told_once_and_stand_in_the_slot(day: Day) -> None:
    assert await day.tick() == []
    day.say_attempt_failed()
    day.clock.advance(60)
    assert await day.tick() == []
    assert day.memory.slot is not None
    assert day.memory.slot.state == "running"
    assert "Access denied for tidewind; tried again at" in str(day.memory.slot.detail)
    day.clock.advance(1800)
    for _ in range(2):
        (said,) = await day.tick()
        assert "every attempt failed so far: Access denied" in said


async def test_a_day_that_ended_without_a_backup_is_overdue(day: Day) -> None:
    await day.tick()
    day.clock.advance(300)
    await day.fail()
    for _ in range(2):
        assert await day.tick() == ["The day has no backup: no space left"]
    assert day.memory.slot is not None
    assert day.memory.slot.state == "failed"
