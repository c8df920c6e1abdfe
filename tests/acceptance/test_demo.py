"""`tidewind demo` as a user runs it, and as a user interrupts it."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STORY_S = 240


async def _demo(tmp_path: Path, *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tidewind.cli.main",
        "demo",
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT), "COLUMNS": "140"},
    )


def _descendants(pid: int) -> set[int]:
    """The processes below one, as the kernel tells it."""
    children: dict[int, set[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(parent, set()).add(int(entry.name))
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            found.add(child)
            waiting.append(child)
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def _gone(pids: set[int]) -> None:
    async with asyncio.timeout(30):
        while any(map(_alive, pids)):
            await asyncio.sleep(0.05)


@pytest.mark.timeout(STORY_S + 60)
async def test_the_whole_story(tmp_path):
    demo = await _demo(tmp_path, "--fast")
    async with asyncio.timeout(STORY_S):
        told, _ = await demo.communicate()
    text = told.decode()
    assert demo.returncode == 0, text
    for line in (
        "3 of ",  # the accident's statements, found among all that was written
        "purchases before the accident is there: nothing else lost",
        "equal to what the shop's own books say of that moment",
        "the password of before the accident works again",
        "are as just before the restore: contents, definitions, accounts",
        "How long it took",
    ):
        assert line in text, text
    assert list(tmp_path.iterdir()) == [], "nothing may be left behind"


@pytest.mark.parametrize(
    ("number", "chapter"),
    [
        (signal.SIGINT, "The stage"),
        (signal.SIGINT, "The daily backup"),
        (signal.SIGINT, "Back, to just"),
        (signal.SIGKILL, "The stage"),
        (signal.SIGKILL, "The daily backup"),
    ],
)
@pytest.mark.timeout(STORY_S)
async def test_an_interrupted_story_leaves_nothing_running(tmp_path, number, chapter):
    demo = await _demo(tmp_path, "--fast")
    assert demo.stdout is not None
    text = ""
    async with asyncio.timeout(STORY_S - 60):
        while f"  {chapter}" not in text:
            line = (await demo.stdout.readline()).decode()
            assert line, text
            text += line
    below = _descendants(demo.pid)
    demo.send_signal(number)
    began = time.monotonic()
    async with asyncio.timeout(60):
        rest, _ = await demo.communicate()
    assert demo.returncode == (130 if number is signal.SIGINT else -signal.SIGKILL), text + rest.decode()
    await _gone(below)
    if number is signal.SIGINT:
        assert list(tmp_path.iterdir()) == [], f"left after {time.monotonic() - began:.0f} s"


async def test_another_engine_is_refused_in_words(tmp_path):
    demo = await _demo(tmp_path, "--engine", "tidb")
    told, _ = await demo.communicate()
    assert demo.returncode == 69
    assert b"[unsupported-engine]" in told
