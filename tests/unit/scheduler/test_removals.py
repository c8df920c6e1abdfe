"""What is ordered to be removed of a cluster's log, and what trouble with it costs."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from schemas.topics import BACKUPS
from services.scheduler.handlers.bases import BaseKeeper
from services.scheduler.handlers.log_removals import LogRemovals, Promise
from services.scheduler.handlers.memory import Memory
from services.scheduler.handlers.removals import RemovalKeeper, point_in_time
from services.scheduler.handlers.speaker import Speaker
from services.scheduler.handlers.survey import Survey
from tests.fakes import ManualClock, RecordingPublisher
from tests.unit.restorer.bench import entry
from tests.unit.test_lived import main, restored
from tests.unit.test_log_retention import head
from tidewind.domain import keys
from tidewind.domain.histories import History
from tidewind.domain.lived import Base
from tidewind.domain.records import BackupOutcome, Tombstone
from tidewind.domain.retention import Backup, RetentionSettings, plan_retention
from tidewind.domain.segments import SegmentHead, SegmentRef
from tidewind.ports.store import Store, StoreError, StoreUnavailable
from tidewind.runtime.catalogue import Catalogue
from tidewind.runtime.ledger import Ledger
from tidewind.runtime.log_archive import LogArchive, LogDamaged, LogObject
from tidewind.store.directory import DirectoryStore

NOW = datetime(2026, 11, 23, tzinfo=UTC)
HISTORY = "hst_AAAAAAAAAA"
OLD, NEW = "bkp_0000000001", "bkp_0000000002"
ENDS = ("0-1-5", "0-1-12", "0-1-20")


class Archived(LogArchive):
    """Segments that end at ENDS and are old enough to go; `trouble` is raised instead."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.trouble: StoreError | None = None

    async def objects(self, cluster: str, history: str) -> list[LogObject]:
        if self.trouble is not None:
            raise self.trouble
        return [LogObject(key=str(number), first=number, last=number) for number in range(1, len(ENDS) + 1)]

    async def first_where(self, cluster: str, history: str, holds: Callable[[SegmentHead], bool]) -> SegmentRef | None:
        heads = [head(number, end) for number, end in enumerate(ENDS, start=1)]
        found = next((one for one in heads if holds(one)), None)
        return None if found is None else SegmentRef(key="", offset=0, head_bytes=0, head=found)


class Removals:
    """A captured cluster with an old backup at 0-1-10, which retention lets go or not, and a new one at 0-1-15."""

    def __init__(self, root: Path) -> None:
        self.store = DirectoryStore(root)
        self.publisher = RecordingPublisher()
        self.archived = Archived(self.store)
        speaker = Speaker(self.publisher, "/tests")
        promise = Promise(window=timedelta(days=90), max_replay=timedelta(days=7))
        ledger, catalogue = Ledger(self.store), Catalogue(self.store)
        self.survey = Survey(self.store, ManualClock(NOW), max_age_s=0)
        self.keeper = RemovalKeeper(
            ledger, catalogue, self.survey, speaker, LogRemovals(self.archived, speaker, promise)
        )
        self.bases = BaseKeeper(ledger, catalogue, self.survey, speaker)
        self.state = "protected"

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
            started_at=NOW - timedelta(days=200),
        )
        await self.store.put(keys.history_claim("shop", 1), history.to_bytes())
        await self.backup(OLD, "0-1-10", days_old=120)
        await self.backup(NEW, "0-1-15", days_old=100)

    async def backup(self, backup: str, position: str, *, days_old: float) -> BackupOutcome:
        at = NOW - timedelta(days=days_old)
        outcome = BackupOutcome(
            cluster_id="shop",
            backup_id=backup,
            job_id="00000000-0000-5000-8000-000000000001",
            result="completed",
            attempt=1,
            cause="slot",
            started_at=at,
            ended_at=at,
            snapshot_time=at,
            position=position,
            timeline="main",
            history=HISTORY,
            engine="mariadb",
            engine_version="10.11.19",
        )
        await self.store.put(keys.outcome("shop", backup), outcome.to_bytes())
        return outcome

    async def mark(self, backup: str) -> None:
        mark = Tombstone(
            backup_id=backup,
            job_id="00000000-0000-5000-8000-000000000001",
            cause="retention",
            marked_at=NOW,
        )
        await self.store.put(keys.tombstone("shop", backup), mark.to_bytes())

    async def round(self) -> int:
        await self.survey.refresh()
        return await self.keeper.keep((entry(state=self.state),), Memory(), NOW, None)

    @property
    def backups_going(self) -> list[object]:
        return [body["backup_id"] for body in self._bodies if "backup_id" in body]

    @property
    def log_going(self) -> list[object]:
        return [body["through"] for body in self._bodies if "through" in body]

    @property
    def _bodies(self) -> list[dict[str, object]]:
        return [order.data or {} for order in self.publisher.of(BACKUPS)]


@pytest.fixture
async def removals(tmp_path: Path) -> Removals:
    made = Removals(tmp_path)
    await made.begin()
    return made


async def test_the_log_before_the_oldest_kept_backup_goes(removals: Removals) -> None:
    assert await removals.round() == 2
    assert (removals.backups_going, removals.log_going) == ([OLD], [2])


async def test_the_log_goes_to_its_end_where_the_cluster_is_retired_and_no_backup_needs_it(removals: Removals) -> None:
    for backup in (OLD, NEW):
        await removals.store.delete([keys.outcome("shop", backup)])
    await removals.round()
    removals.state = "retired"
    await removals.round()
    assert removals.log_going == [len(ENDS) - 1, len(ENDS)]


async def test_a_backup_being_deleted_keeps_its_log(removals: Removals) -> None:
    await removals.mark(OLD)
    assert await removals.round() == 2
    assert (removals.backups_going, removals.log_going) == ([], [1])


@pytest.mark.parametrize("what", ["outcome", "mark"])
async def test_while_a_backup_cannot_be_read_no_log_goes(removals: Removals, what: str) -> None:
    """Where it stands is not known, and with the damage mended, or its key found again, it needs the log."""
    bad = {"outcome": keys.outcome("shop", OLD), "mark": keys.tombstone("shop", OLD)}[what]
    await removals.store.delete([bad])
    await removals.store.put(bad, b'{"format": 2}')
    assert await removals.round() == 2
    assert removals.log_going == []


async def test_a_damaged_log_costs_the_removal_of_the_log_alone(removals: Removals) -> None:
    removals.archived.trouble = LogDamaged("list", "histories/", "segment 2 is missing", "")
    assert await removals.round() == 2
    assert (removals.backups_going, removals.log_going) == ([OLD], [])
    removals.archived.trouble = StoreUnavailable("list", "histories/", "no answer", "")
    with pytest.raises(StoreUnavailable):
        await removals.round()


@pytest.mark.parametrize("bad", [b"{}", b'{"format": 2}'])
async def test_where_the_beginning_of_a_log_cannot_be_read_nothing_goes_and_nothing_fails(
    removals: Removals, bad: bytes
) -> None:
    await removals.store.put(keys.history_claim("shop", 2), bad)
    assert await removals.round() == 2
    await removals.bases.keep((entry(),), Memory(), NOW)
    assert removals.publisher.of(BACKUPS) == []


def test_a_timeline_ends_where_users_were_seen_last_and_the_backup_that_tells_it_stays() -> None:
    """Nobody read a clock at the gate: the last backup before it is all that is known of when users were in."""
    began = NOW - timedelta(days=40)
    child = restored("C", minute=0, ended_at=None, started_at=began, history=None)
    root = main().model_copy(update={"started_at": NOW - timedelta(days=80)})
    seen = [
        Base(
            backup_id=f"bkp_000000000{number}",
            timeline="main",
            history=HISTORY,
            position=f"0-1-{number}",
            at=began - timedelta(days=9 - 2 * number),
        )
        for number in range(1, 5)
    ]
    promise = Promise(window=timedelta(days=90), max_replay=timedelta(days=7))
    history = History(
        cluster_id="shop",
        history=HISTORY,
        number=1,
        position="",
        begin_us=0,
        cause="first",
        server_identity="1-a",
        server_version="10.11.19",
        started_at=NOW - timedelta(days=80),
    )
    kept = point_in_time(promise, [root, child], [history], seen)
    assert kept is not None
    assert kept.timeline_ends == {"main": seen[-1].at}
    backups = [Backup(backup_id=one.backup_id, at=one.at, timeline="main", history=HISTORY) for one in seen]
    young = Backup(backup_id="bkp_0000000009", at=NOW, timeline=child.timeline, history=HISTORY)
    settings = RetentionSettings(retention=timedelta(days=7), point_in_time=kept)
    verdicts = plan_retention([*backups, young], settings, NOW)
    assert {one.backup_id for one in verdicts if one.keep} >= {backups[0].backup_id, backups[-1].backup_id}
