"""A base is ordered until one stands in the log captured now, and not faster than that can help."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from schemas.topics import BACKUPS
from services.scheduler.handlers.bases import BaseKeeper
from services.scheduler.handlers.memory import Memory
from services.scheduler.handlers.speaker import Speaker
from services.scheduler.handlers.survey import SNAPSHOTTER, Survey
from services.scheduler.rules.emission import base_work
from tests.fakes import ManualClock, RecordingPublisher
from tests.unit.restorer.bench import entry
from tidewind.domain import keys
from tidewind.domain.histories import History
from tidewind.domain.records import Accepted, BackupOutcome, Terminal
from tidewind.runtime.catalogue import Catalogue
from tidewind.runtime.ledger import Ledger
from tidewind.store.directory import DirectoryStore

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HISTORY = "hst_AAAAAAAAAA"


class Bases:
    """A cluster whose log was captured once and whose backups stand in no log."""

    def __init__(self, root: Path) -> None:
        self.clock = ManualClock(NOW)
        self.store = DirectoryStore(root)
        self.ledger = Ledger(self.store)
        self.publisher = RecordingPublisher()
        self.survey = Survey(self.store, self.clock, max_age_s=0)

    async def begin(self) -> None:
        history = History(
            cluster_id="shop",
            history=HISTORY,
            number=1,
            position="",
            begin_us=0,
            cause="first",
            server_identity="1-a",
            server_version="10.11.19",
            started_at=NOW,
        )
        await self.store.put(keys.history_claim("shop", 1), history.to_bytes())

    async def attempt(self, number: int, event: str) -> None:
        work = base_work("shop", "main", HISTORY, number)
        accepted = Accepted(
            job_id=work.job_id,
            service=SNAPSHOTTER,
            cluster_id="shop",
            command=work.command,
            body=work.body,
            body_sha256="",
            message_id=work.message_id,
            source="/tidewind/scheduler",
            accepted_at=self.clock.now(),
        )
        await self.ledger.accept(accepted)
        end = Terminal(job_id=work.job_id, event=event, data={}, at=self.clock.now(), epoch=1)
        await self.ledger.finish("shop", end)
        outcome = BackupOutcome(
            cluster_id="shop",
            backup_id=f"bkp_{number:010d}",
            job_id=work.job_id,
            result="completed" if "completed" in event else "failed",
            attempt=1,
            cause="base",
            started_at=self.clock.now(),
            ended_at=self.clock.now(),
            timeline="main",
            history=None,
            engine="mariadb",
            engine_version="10.11.19",
        )
        await self.store.put(keys.outcome("shop", outcome.backup_id), outcome.to_bytes())

    async def orders(self, after: timedelta) -> list[str | None]:
        """The keys of what a round after that time orders, with nothing remembered."""
        self.clock.advance(after.total_seconds())
        await self.survey.refresh()
        self.publisher = RecordingPublisher()
        keeper = BaseKeeper(self.ledger, Catalogue(self.store), self.survey, Speaker(self.publisher, "/tests"))
        await keeper.keep((entry(),), Memory(), self.clock.now())
        return [order.idempotency_key for order in self.publisher.of(BACKUPS)]


@pytest.fixture
async def bases(tmp_path: Path) -> Bases:
    made = Bases(tmp_path)
    await made.begin()
    return made


async def test_a_base_that_completed_outside_the_log_is_not_repeated_within_a_day(bases: Bases) -> None:
    assert await bases.orders(timedelta()) == [f"base:main:{HISTORY}"]
    await bases.attempt(1, "tidewind.backup.completed.v1")
    assert await bases.orders(timedelta(hours=23)) == []
    assert await bases.orders(timedelta(hours=2)) == [f"base:main:{HISTORY}:2"]


async def test_a_base_that_failed_is_tried_again_after_a_pause(bases: Bases) -> None:
    await bases.attempt(1, "tidewind.backup.failed.v1")
    assert await bases.orders(timedelta(minutes=14)) == []
    assert await bases.orders(timedelta(minutes=2)) == [f"base:main:{HISTORY}:2"]
