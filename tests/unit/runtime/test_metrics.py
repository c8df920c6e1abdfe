"""What `/metrics` shows, read as Prometheus reads it."""

import asyncio
from pathlib import Path

from tests.fakes import until
from tests.unit.runtime.bench import RUN, Instance, ScriptedKind, command, done
from tidewind.runtime.metrics import REGISTRY, LogFigures, follow_consumer, follow_logs, follow_publisher


class Consumer:
    def __init__(self) -> None:
        self.dead_lettered, self.rerouted, self.restarts = 3, 2, 1

    def stalls(self) -> tuple[str, ...]:
        return ("orders", "items")


def test_consumers_and_publisher_are_read_when_somebody_looks() -> None:
    consumer = Consumer()
    follow_consumer("test", consumer)
    follow_publisher(lambda: (7, 700))
    consumer.dead_lettered = 4
    group = {"group": "test"}
    assert REGISTRY.get_sample_value("tidewind_dead_lettered_total", group) == 4
    assert REGISTRY.get_sample_value("tidewind_rerouted_total", group) == 2
    assert REGISTRY.get_sample_value("tidewind_consumer_restarts_total", group) == 1
    assert REGISTRY.get_sample_value("tidewind_consumer_stalled", group) == 2
    assert REGISTRY.get_sample_value("tidewind_publisher_pending_records") == 7
    assert REGISTRY.get_sample_value("tidewind_publisher_pending_bytes") == 700


def test_logs_are_read_when_somebody_looks_and_what_is_not_known_is_not_shown() -> None:
    known = [
        LogFigures(cluster="shop", up=True, kafka_lag_s=0.3, store_lag_s=4.0, headroom_s=7200.0, gaps=1),
        LogFigures(cluster="bank", up=False, kafka_lag_s=None, store_lag_s=None, headroom_s=None, gaps=0),
    ]
    follow_logs(lambda: known)
    shop, bank = {"cluster": "shop"}, {"cluster": "bank"}
    assert REGISTRY.get_sample_value("tidewind_capture_up", shop) == 1
    assert REGISTRY.get_sample_value("tidewind_capture_lag_seconds", shop) == 0.3
    assert REGISTRY.get_sample_value("tidewind_archive_lag_seconds", shop) == 4
    assert REGISTRY.get_sample_value("tidewind_capture_headroom_seconds", shop) == 7200
    assert REGISTRY.get_sample_value("tidewind_log_gaps", shop) == 1
    assert REGISTRY.get_sample_value("tidewind_capture_up", bank) == 0
    assert REGISTRY.get_sample_value("tidewind_capture_lag_seconds", bank) is None
    known.clear()
    assert REGISTRY.get_sample_value("tidewind_capture_up", shop) is None, "a cluster that another instance has now"


async def test_commands_and_jobs_are_counted(tmp_path: Path) -> None:
    def counted() -> dict[str, float]:
        return {
            "accepted": value("tidewind_commands_total", type=RUN, result="accepted"),
            "rejected": value("tidewind_commands_total", type=RUN, result="rejected"),
            "ended": value("tidewind_jobs_total", event="tidewind.backup.completed.v1"),
            "timed": value("tidewind_job_duration_seconds_count", command=RUN),
        }

    # The figures are the process's: what an earlier test left running must not end meanwhile.
    left = [task for task in asyncio.all_tasks() if task.get_name().startswith("job ")]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    before = counted()
    service = Instance(tmp_path, ScriptedKind(done))
    await service.intake.handle(command())
    await service.intake.handle(command("m-2", body={"cluster_id": 7}))
    assert value("tidewind_jobs_running") == 1
    await until(lambda: not service.runner.running())
    assert {name: count - before[name] for name, count in counted().items()} == dict.fromkeys(before, 1)
    assert value("tidewind_jobs_running") == 0


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0
