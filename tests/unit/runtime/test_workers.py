"""The helper that worker processes are forked from, looked at in a process of its own: it is started once."""

import subprocess
import sys
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
        timeout=60,
        check=False,
        env={"TMPDIR": str(folder)},
    )
    assert (ended.returncode, ended.stdout) == (0, "the worker ran\n"), ended.stderr
