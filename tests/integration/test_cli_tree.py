"""The process tree of `up` and `demo`, with children that misbehave."""

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tidewind.embedded import tree as module
from tidewind.embedded.tree import Child, ProcessTree, TreeError

STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""


class Ears:
    """What a tree told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.changes: list[str] = []

    def line(self, name: str, text: str) -> None:
        self.lines.append((name, text))

    def change(self, _: str, what: str) -> None:
        self.changes.append(what)


def _child(script: str, name: str = "one") -> Child:
    return Child(name=name, command=(sys.executable, "-c", script), environment=dict(os.environ), health_port=1)


def _tree(ears: Ears, *scripts: str, **more: object) -> ProcessTree:
    children = [_child(script, f"child-{number}") for number, script in enumerate(scripts)]
    return ProcessTree(children, on_line=ears.line, on_change=ears.change, **more)  # type: ignore[arg-type]


async def _until(condition, deadline_s: float = 30) -> None:
    async with asyncio.timeout(deadline_s):
        while not condition():
            await asyncio.sleep(0.02)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_a_child_that_ends_is_started_again(monkeypatch):
    monkeypatch.setattr(module, "BACKOFF_S", (0.05, 0.1))
    ears = Ears()
    running = asyncio.create_task(_tree(ears, "print('hello'); raise SystemExit(3)").run())
    await _until(lambda: len(ears.lines) >= 3)
    await _stop(running)
    assert ears.lines[:3] == [("child-0", "hello")] * 3
    assert any("ended with code 3; it is started again" in what for what in ears.changes)


async def test_wrong_settings_are_not_tried_again():
    ears = Ears()
    with pytest.raises(TreeError) as raised:
        await _tree(ears, "print('no key'); raise SystemExit(78)", "import time; time.sleep(600)").run()
    assert raised.value.code == 78
    assert raised.value.tail == ("no key",)


async def test_without_restart_the_first_end_is_the_trees_end():
    with pytest.raises(TreeError, match="child-0 ended by itself"):
        await _tree(Ears(), "pass", "import time; time.sleep(600)", restart=False).run()


async def test_a_child_that_is_deaf_is_killed_after_the_deadline():
    ears = Ears()
    tree = _tree(ears, STUBBORN, stop_s=0.5)
    running = asyncio.create_task(tree.run())
    await _until(lambda: ("child-0", "deaf") in ears.lines)
    (pid,) = tree.pids().values()
    await _stop(running)
    assert not _alive(pid)
    assert any("is killed" in what for what in ears.changes)


async def test_lines_without_an_end_are_cut_and_the_last_words_are_heard():
    ears = Ears()
    script = "import sys; sys.stdout.write('x' * 300_000 + '\\nlast words'); raise SystemExit(78)"
    with pytest.raises(TreeError) as raised:
        await _tree(ears, script).run()
    assert sum(len(text) for _, text in ears.lines) == 300_000 + len("last words")
    assert len(ears.lines) > 2
    assert raised.value.tail[-1] == "last words"


async def test_what_is_not_ready_is_named():
    tree = _tree(Ears(), "pass")
    with pytest.raises(TimeoutError, match=r"not ready after 0\.3 s: child-0"):
        await tree.ready(deadline_s=0.3)
