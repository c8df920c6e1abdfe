"""When the stream application counts as stuck. The rest of it needs a broker and is tested on one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from services.scheduler.faust_app import FaustSettings, TickApplication, Work
from services.scheduler.handlers.ticks import Rows
from tidewind.runtime.clock import SystemClock


class HandClock(SystemClock):
    """A monotonic clock moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


class NoRows:
    def get(self, cluster: str) -> Mapping[str, Any] | None:
        return None

    def put(self, cluster: str, row: Mapping[str, Any]) -> None:
        raise AssertionError(f"nothing is to be written of {cluster}")


class Harness:
    """An application whose topic is a list."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.sent: list[int] = []
        self.handled: list[tuple[int, bool]] = []
        self.fails = False
        self.takes_s = 0.0
        self.stuck_meanwhile: frozenset[int] | None = None
        settings = FaustSettings(
            prefix="t.",
            bootstrap="127.0.0.1:1",
            partitions=3,
            session_timeout_s=6,
            request_timeout_s=5,
            tick_s=1.0,
            stop_deadline_s=5,
            security={"security_protocol": "PLAINTEXT"},
        )
        self.app = TickApplication(
            settings,
            Work(tick=self._tick, send_tick=self._send, assigned=lambda _: None),
            self.clock,
        )

    async def _send(self, partition: int) -> None:
        self.sent.append(partition)

    async def _tick(self, partition: int, fresh: bool, _: Rows) -> None:
        self.handled.append((partition, fresh))
        self.clock.seconds += self.takes_s
        self.stuck_meanwhile = self.app.stuck()
        if self.fails:
            raise RuntimeError("the store is away")

    async def round(self, *returning: int) -> None:
        """Ticks go out, those of some partitions come back."""
        await self.app._send_ticks()
        for partition in returning:
            await self.app._tick(partition, b'{"fresh": false}', NoRows())
        self.clock.seconds += 1.0


async def test_a_partition_whose_ticks_do_not_come_back_is_stuck() -> None:
    harness = Harness()
    harness.app._begin(frozenset({0, 1, 2}))
    for _ in range(20):
        await harness.round(0, 1, 2)
    assert harness.app.stuck() == frozenset()
    for _ in range(25):
        await harness.round(0, 2)
    assert harness.app.stuck() == frozenset({1})


async def test_all_partitions_are_stuck_when_nothing_comes_back() -> None:
    harness = Harness()
    harness.app._begin(frozenset({0, 1}))
    for _ in range(19):
        await harness.round()
    assert harness.app.stuck() == frozenset()
    for _ in range(3):
        await harness.round()
    assert harness.app.stuck() == frozenset({0, 1})


async def test_a_slow_tick_is_not_a_stuck_partition() -> None:
    harness = Harness()
    harness.app._begin(frozenset({0, 1}))
    harness.takes_s = 300.0
    await harness.round(0)
    assert harness.stuck_meanwhile == frozenset()
    assert harness.app.stuck() == frozenset()


async def test_a_tick_that_fails_ends_nothing() -> None:
    harness = Harness()
    harness.app._begin(frozenset({0}))
    harness.fails = True
    await harness.round(0)
    await harness.round(0)
    assert harness.handled == [(0, False), (0, False)]


async def test_leftover_ticks_are_dropped_but_for_those_that_ask_for_a_fresh_look() -> None:
    harness = Harness()
    harness.app._begin(frozenset({0}))
    for value in (b"", b"", b'{"fresh": true}', b"\xff"):
        await harness.app._tick(0, value, NoRows())
    await harness.app._tick(2, b'{"fresh": true}', NoRows())
    assert harness.handled == [(0, False), (0, True)]


async def test_the_application_touches_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed scheduler leaves, nobody would remove."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    application = Harness().app._make()
    await application.on_first_start()
    assert list(tmp_path.iterdir()) == []
