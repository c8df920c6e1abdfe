"""Works on a restore in a process of its own, and dies by SIGKILL where it is told to.

    python -m tests.faults.restore_child FOLDER PORT ROOT_PASSWORD JOB KILL_AT

KILL_AT is `before:<note>`, `after:<note>`, `in:<seconds>` or `never`. `in` counts from the moment the claim is made.
"""

import asyncio
import os
import signal
import sys
import threading
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


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5]))
    os._exit(0)
