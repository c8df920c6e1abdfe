"""What the scheduler says of itself on `/metrics` and `/readyz`."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.scheduler.bootstrap import stuck_in_words
from services.scheduler.handlers.figures import Figures
from services.scheduler.handlers.survey import RESTORER, SNAPSHOTTER, Survey
from tests.fakes import ManualClock
from tidewind.domain import keys
from tidewind.runtime.metrics import REGISTRY
from tidewind.store.directory import DirectoryStore

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"tidewind_scheduler_{name}", labels)


def test_clusters_and_slots_are_counted_by_state() -> None:
    figures = Figures()
    for cluster, state, slot in (("a", "protected", "due"), ("b", "protected", "missed"), ("c", "retired", None)):
        figures.saw(cluster, state, slot)
    figures.saw("a", "protected", "missed")
    figures.publish({"snapshotter": NOW - timedelta(minutes=5)}, NOW)
    assert (value("clusters", state="protected"), value("clusters", state="retired")) == (2, 1)
    assert (value("slots", state="missed"), value("slots", state="due")) == (2, 0)
    assert value("oldest_job_age_seconds", service="snapshotter") == 300
    figures.forget()
    figures.publish({}, NOW)
    assert (value("clusters", state="protected"), value("slots", state="missed")) == (0, 0)


async def test_the_oldest_unfinished_job_is_the_one_whose_marker_is_oldest(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    for job in ("1", "2"):
        await store.put_if_absent(keys.job_open(SNAPSHOTTER, "shop", job), b"{}")
    markers = [found.modified async for found in store.list(keys.JOBS_OPEN)]
    survey = Survey(store, ManualClock(), max_age_s=1)
    await survey.refresh()
    assert survey.oldest_open(NOW) == {SNAPSHOTTER: min(markers), RESTORER: NOW}
    assert survey.open_backup_jobs("shop") == frozenset({"1", "2"})


def test_stuck_partitions_are_named() -> None:
    assert stuck_in_words(frozenset()) is None
    assert stuck_in_words(frozenset({4, 1})) == "no tick comes back from the partitions [1, 4]"
