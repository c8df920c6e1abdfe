"""How long a failing backup is tried: a day's for its window, any other for a moment."""

from pathlib import Path

import pytest

from schemas.events import BackupCompleted, BackupFailed
from services.snapshotter.handlers.run import RunBackup
from services.snapshotter.rules.attempts import MOST_TRIES, after_failure, attempt_number
from tests.unit.snapshotter.bench import Bench
from tidewind.ports.engine import DatabaseError
from tidewind.ports.store import StoreFull, StoreRefused

RUN = "tidewind.backup.run.v1"
SLOT = {"cause": "slot", "slot_date": "2026-11-23"}
HOUR = 3600.0
SIX_H = 6 * HOUR


@pytest.fixture(autouse=True)
def _login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_LOGIN", "tidewind:secret")


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path / "store")
    await made.enroll()
    return made


def tries(kind: str, window_s: float) -> tuple[int, float]:
    """(attempts, seconds until it is given up)."""
    waited, tried = 0.0, 1
    while (again := after_failure(kind, tried, waited_s=waited, window_s=window_s)).pause_s is not None:
        waited, tried = waited + again.pause_s, tried + 1
    return tried, waited


@pytest.mark.parametrize("kind", ["database-unreachable", "store-unavailable", "database-refused-login", "store-full"])
def test_a_day_s_backup_is_tried_until_its_window_ends_and_never_after(kind: str) -> None:
    attempts, waited = tries(kind, SIX_H)
    assert SIX_H - 900 <= waited <= SIX_H
    assert 20 < attempts < 40


def test_the_longest_window_never_runs_out_of_attempt_numbers() -> None:
    attempts, _ = tries("store-unavailable", 20 * HOUR)
    assert attempts < MOST_TRIES
    assert attempt_number(1, MOST_TRIES) < attempt_number(2, 1)


@pytest.mark.parametrize("kind", ["cancelled", "unknown-cluster", "unsupported-engine", "time-limit"])
def test_what_lasts_is_not_tried_again(kind: str) -> None:
    assert tries(kind, SIX_H) == (1, 0)


def test_a_backup_that_somebody_waits_for_is_told_as_failed_within_a_minute() -> None:
    assert tries("database-unreachable", 0) == (3, 35)
    assert tries("store-full", 0) == (1, 0)


FAULTS = {
    "login": DatabaseError("database-refused-login", "Access denied for tidewind"),
    "rights": DatabaseError("database-rights-missing", "RELOAD is missing"),
    "unreachable": DatabaseError("database-unreachable", "db-1:3306 refuses"),
    "full": StoreFull("put", "snapshots/x", "no space left"),
    "refused": StoreRefused("put", "snapshots/x", "credentials expired"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_outage_of_an_hour_at_backup_time_costs_no_day(bench: Bench, fault: str) -> None:
    until_s = bench.clock.monotonic() + HOUR

    async def down() -> None:
        if bench.clock.monotonic() < until_s:
            bench.engine.before.append(down)
            raise FAULTS[fault]

    bench.engine.before = [down]
    context = bench.job(RUN, SLOT)
    ending = await bench.work(RunBackup(bench.tools), context)
    assert isinstance(ending.body, BackupCompleted), ending.body
    assert HOUR <= bench.clock.monotonic() <= HOUR + 1000
    waiting = [status for status in context.statuses if status.state == "pending" and status.problem is not None]
    assert waiting
    assert all(status.next_try_at is not None for status in waiting)
    assert len({key.split("/")[3] for key in await bench.keys("snapshots/")}) == 1


async def test_a_day_s_backup_that_never_succeeds_ends_as_failed_when_its_window_does(bench: Bench) -> None:
    async def down() -> None:
        bench.engine.before.append(down)
        raise FAULTS["login"]

    bench.engine.before = [down]
    ending = await bench.work(RunBackup(bench.tools), bench.job(RUN, SLOT))
    assert isinstance(ending.body, BackupFailed)
    assert ending.body.problem.type.endswith("database-refused-login")
    assert 5 * HOUR < bench.clock.monotonic() <= 6 * HOUR + 60


async def test_a_successor_does_not_begin_the_window_anew(bench: Bench) -> None:
    context = bench.job(RUN, SLOT, epoch=2)
    bench.clock.advance(SIX_H)

    async def down() -> None:
        raise FAULTS["login"]

    bench.engine.before = [down]
    ending = await bench.work(RunBackup(bench.tools), context)
    assert isinstance(ending.body, BackupFailed)
    assert bench.engine.calls == 1


async def test_a_restore_need_not_wait_for_the_next_attempt(bench: Bench) -> None:
    context = bench.job(RUN, SLOT)

    async def down() -> None:
        context.cancel_requested.set()
        raise FAULTS["unreachable"]

    bench.engine.before = [down]
    ending = await bench.work(RunBackup(bench.tools), context)
    assert isinstance(ending.body, BackupFailed)
    assert ending.body.problem.type.endswith("cancelled")
    assert bench.engine.calls == 1
