"""A log of small transactions on four tables, replayed by us and by `mariadb-binlog | mariadb`, side by side.

Both sides apply the same log to the same loaded base on the same closed server, in turn, without writing a log of their
own. Ours counts from the first look at the segments to the last commit, progress and checks included; the peer's is the
pipe that manuals, operators and backup tools run.
"""

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from multiprocessing import forkserver
from pathlib import Path
from random import Random

from benchmarks.figures import Figure
from benchmarks.memory import MemoryWatch
from tests.integration.mariadb.snapshot_support import client, run
from tests.point_lab import Facts, PointLab, lab_in
from tidewind.embedded.mariadb import PrivateMariaDB, find_program
from tidewind.engines.mariadb.restore.engine import MariaDBRestoreSession
from tidewind.ports.restore import PointSource
from tidewind.runtime.workers import prepare_workers

GOAL = 4.0
MEMORY_GOAL_MB = 400.0
TRANSACTIONS = 150_000
_TABLES = 4
_OPTIONS = ("--innodb-buffer-pool-size=1G", "--innodb-log-file-size=512M")
_SEGMENT_BYTES = 8 << 20

Replay = Callable[[PointLab, MariaDBRestoreSession, PointSource], Awaitable[None]]


async def measure(folder: Path, *, transactions: int, rounds: int) -> list[Figure]:
    """All figures of one run."""
    source = PrivateMariaDB(folder / "source", server_id=1, options=_OPTIONS)
    target = PrivateMariaDB(folder / "target", server_id=2, options=_OPTIONS)
    await asyncio.gather(source.start(), target.start())
    await prepare_workers(("tidewind.engines.mariadb.replay.worker",))
    watch = MemoryWatch(int(forkserver._forkserver._forkserver_pid))  # type: ignore[attr-defined]
    watching = asyncio.create_task(watch.run())
    try:
        lab = lab_in(folder / "deployment", source, target, None)
        await _write(lab, transactions)
        ours, pipe = [], []
        for _ in range(rounds):
            ours.append(await _timed(lab, _by_us))
            pipe.append(await _timed(lab, _by_pipe))
            _say(f"  replay {ours[-1]:6.2f} s   mariadb-binlog | mariadb {pipe[-1]:6.2f} s")
    finally:
        watching.cancel()
        await source.remove()
        await target.remove()
    ratio = statistics.median(pipe) / statistics.median(ours)
    return [
        Figure(
            name="replay_vs_binlog_pipe",
            value=ratio,
            unit="ratio",
            goal=GOAL,
            better="higher",
            peer="mariadb-binlog | mariadb",
            samples=tuple(theirs / own for theirs, own in zip(pipe, ours, strict=True)),
        ),
        Figure(name="replay_memory_mb", value=watch.peak_mb, unit="MB", goal=MEMORY_GOAL_MB, better="lower"),
    ]


async def _write(lab: PointLab, transactions: int) -> None:
    connection = client(lab.source)
    run(connection, "CREATE DATABASE bench", "USE bench", "SET SESSION binlog_annotate_row_events = OFF")
    for number in range(_TABLES):
        run(
            connection,
            f"CREATE TABLE t{number} (id INT AUTO_INCREMENT PRIMARY KEY, k INT, v VARCHAR(60), n DECIMAL(12,2), "
            "d DATETIME(6), KEY (k)) ENGINE=InnoDB",
            f"INSERT INTO t{number} (k, v, n, d) SELECT seq, CONCAT('value ', seq), seq / 7, NOW(6) FROM seq_1_to_5000",
        )
    await lab.base()
    cases = " ".join(
        f"WHEN {number} THEN INSERT INTO t{number} (k, v, n, d) VALUES (i, REPEAT('x', i MOD 60), i / 3, NOW(6)); "
        f"UPDATE t{(number + 1) % _TABLES} SET k = i, v = CONCAT('u', i) WHERE id = 1 + (i * 7919) MOD 5000;"
        for number in range(_TABLES)
    )
    run(
        connection,
        "CREATE PROCEDURE work (n INT) BEGIN DECLARE i INT DEFAULT 0; WHILE i < n DO START TRANSACTION; "
        f"CASE i MOD {_TABLES} {cases} END CASE; COMMIT; SET i = i + 1; END WHILE; END",
        f"CALL work({transactions})",
    )
    archived = await lab.archive(Random(1), mean_bytes=_SEGMENT_BYTES)
    _say(f"{len(archived.gtids)} transactions in {archived.segments} segments")


async def _timed(lab: PointLab, replay: Replay) -> float:
    """Seconds of the replay alone; what was loaded is given back afterwards."""
    lab.restores += 1
    lab.facts = Facts()
    source = lab.point(lab.points()[-1])
    async with lab.session(lab.scope()) as session:
        await lab.begin(session, source)
        began = time.perf_counter()
        await replay(lab, session, source)
        took = time.perf_counter() - began
        await session.give_back(source, lab.facts, lab.reports)
        await session.settle(source, lab.facts, opened=False)
        await session.finish(source, lab.facts, opened=False)
    return took


async def _by_us(lab: PointLab, session: MariaDBRestoreSession, source: PointSource) -> None:
    await session.replay(source, lab.facts, lab.reports)


async def _by_pipe(lab: PointLab, session: MariaDBRestoreSession, source: PointSource) -> None:
    login = session._link.access.login
    files = " ".join(str(path) for path in sorted((lab.source.directory / "binlog").glob("binlog." + "[0-9]" * 6)))
    command = (
        f"{find_program('mariadb-binlog', lab.source.installation)} --start-position={source.legs[0].after} {files} | "
        f"{find_program('mariadb', lab.source.installation)} --no-defaults -h{lab.target.host} -P{lab.target.port} "
        f"-u{login.user} --init-command='SET sql_log_bin = 0'"
    )
    process = await asyncio.create_subprocess_shell(
        command,
        env={**os.environ, "MYSQL_PWD": login.password},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    if process.returncode != 0 or b"ERROR" in said:
        raise RuntimeError(f"the pipe failed: {said[-500:].decode(errors='replace')}")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
