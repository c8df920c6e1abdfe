"""Works on a restore in processes that die by SIGKILL where they are told to: one process for each epoch.

    python -m tests.faults.restore_child

Reads lines of JSON, [folder, port, root password, job, kill at], and answers each with [exit code, output]. Kill at is
`before:<note>`, `after:<note>`, `in:<seconds>` or `never`; `in` counts from the moment the claim is made. Each epoch is
forked from a process that has imported everything and opened nothing: a new interpreter would import for a second each.
"""

import asyncio
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.integration.mariadb.restore_lab import CLUSTER, lab_on
from tidewind.embedded.mariadb import PrivateMariaDB
from tidewind.runtime.work import Work


class RunningServer(PrivateMariaDB):
    """A server that another process started."""

    def __init__(self, folder: Path, port: int, password: str) -> None:
        super().__init__(folder, port=port)
        self._password = password


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(work: Work, moment: str, name: str) -> None:
    """Make the job's next note of that name the last thing this process does, or the first it does not."""
    note = work.note

    async def noted(told: str, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        if told == name and moment == "before":
            die()
        standing = await note(told, facts)
        if told == name:
            die()
        return standing

    work.note = noted  # type: ignore[method-assign]


async def main(folder: Path, port: int, password: str, job_id: str, kill_at: str) -> None:
    server = RunningServer(folder / "unused", port, password)
    async with lab_on(server, folder / "deployment", prepare=False) as lab:
        job = await lab.tools.ledger.accepted(CLUSTER, job_id)
        assert job is not None
        work = await lab.claim(job)
        moment, _, what = kill_at.partition(":")
        if moment == "in":
            threading.Timer(float(what), die).start()
        elif moment != "never":
            die_at(work, moment, what)
        ending = await lab.carry_out(job, work)
        print(ending.event)


def epoch(line: str, output: int) -> None:
    """The life of one process; it never returns."""
    code = 1
    try:
        for stream in (1, 2):
            os.dup2(output, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        folder, port, password, job_id, kill_at = json.loads(line)
        asyncio.run(main(Path(folder), port, password, job_id, kill_at))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    for line in sys.stdin:
        output, said = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(output)
            epoch(line, said)
        os.close(said)
        with os.fdopen(output, "rb") as reading:
            text = reading.read().decode()
        _, status = os.waitpid(pid, 0)
        print(json.dumps([os.waitstatus_to_exitcode(status), text]), flush=True)


if __name__ == "__main__":
    serve()
