"""The helper that worker processes are forked from, looked at in a process of its own: it is started once."""

import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = """
import asyncio, os, tempfile
from tidewind.runtime.workers import WORKERS, start_worker
asked = tempfile.gettempdir()
process = WORKERS.Process(target=print, args=("the worker ran",))
asyncio.run(start_worker(process))
process.join(30)
assert process.exitcode == 0, process.exitcode
assert tempfile.gettempdir() == asked == os.environ["TMPDIR"]
"""


def test_a_worker_starts_wherever_temporary_files_go(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"TMPDIR": str(folder)},
    )
    assert (ended.returncode, ended.stdout) == (0, "the worker ran\n"), ended.stderr


KILLED = """
import asyncio, os, signal
from tidewind.runtime.workers import WORKERS, start_worker
process = WORKERS.Process(target=print, args=("the worker ran",))
asyncio.run(start_worker(process))
process.join(60)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_service_leaves_is_removed_by_the_next() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        others = Path(short, "tidewind-pool-other")
        others.mkdir()
        held = os.open(others, os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_EX)
        for program, left in ((KILLED, 2), (PROGRAM, 1)):
            ended = subprocess.run(
                [sys.executable, "-c", program], capture_output=True, timeout=120, check=False, env={"TMPDIR": short}
            )
            assert b"Traceback" not in ended.stderr
            assert len(list(Path(short).iterdir())) == left, list(Path(short).rglob("*"))
        assert others.exists(), "its owner lives"
        os.close(held)
