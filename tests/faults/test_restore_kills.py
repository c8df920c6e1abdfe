"""SIGKILL between every two steps of a restore, and at random moments: another instance finishes or returns.

One restore is killed again and again: each epoch gets one note further than the one before. In the end the content is
right, and nothing is left on the server: no account, no connection, no object, no lock.
"""

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.mariadb.restore_data import HOSTILE_SCHEMA, OOPS, SEED, differing, picture
from tests.integration.mariadb.restore_lab import CLUSTER, EVERYTHING, SERVICE_LOGIN, Lab, lab_on, without_mysql
from tests.integration.mariadb.snapshot_support import client, rows
from tests.servers import installed

FORWARD = (
    "plan",
    "announced",
    "server",
    "gating",
    "kept-closing",
    "kept-gate",
    "kept-events",
    "kept-accounts",
    "gated",
    "kept-definitions",
    "safeguarded",
    "loaded",
    "kept-variables",
    "accounts",
    "verified",
    "kept-opening",
    "opened",
    "settled",
    "finished",
)
BACK = ("returning", "kept-return", "kept-back", "returned", "settled", "finished")
"""A cancel before these is asked for after everything was loaded."""
NOT_BY_A_SWAP = frozenset({"kept-accounts"})
CLOSINGS = ("swap", "rows", "statements")
MOMENTS = {"swap": ("before", "after"), "rows": ("before",), "statements": ("before",)}
"""What happens after a note is the same step for all; what comes before one is what each way does differently."""
COMPLETED = "tidewind.restore.completed.v1"
CANCELLED = "tidewind.restore.cancelled.v1"


@pytest.fixture(params=CLOSINGS)
def closing(request: pytest.FixtureRequest) -> str:
    """How the server is closed: by its release, or by the rights of the service's account."""
    return str(request.param)


@pytest.fixture
async def lab(
    closing: str, mariadb_factory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Lab]:
    monkeypatch.setenv("TIDEWIND_TEST_SERVICE", f"{SERVICE_LOGIN.user}:{SERVICE_LOGIN.password}")
    server = await mariadb_factory(installation=installed.mariadb("10.5") if closing == "rows" else None)
    granted = without_mysql("shop", "stock", HOSTILE_SCHEMA, "later") if closing == "statements" else EVERYTHING
    async with lab_on(server, tmp_path / "deployment", granted=granted) as made:
        await made.enroll()
        yield made


def seed_for(closing: str) -> list[str]:
    """History of system-versioned tables can be put back from 10.11 on."""
    return [one for one in SEED if closing != "rows" or "stock.prices" not in one]


def notes_for(closing: str) -> list[str]:
    return [note for note in FORWARD if closing != "swap" or note not in NOT_BY_A_SWAP]


async def look(lab: Lab, closing: str) -> dict[str, Any]:
    """Statements bring back what accounts may do, not the very rows."""
    if closing == "statements":
        return vars(await lab.content())
    connection = client(lab.server)
    try:
        return picture(connection)
    finally:
        connection.close()


async def work_in_child(lab: Lab, folder: Path, job_id: str, kill_at: str) -> tuple[int, str]:
    """Exit code and output of one epoch."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.faults.restore_child",
        str(folder),
        str(lab.server.port),
        lab.server.password,
        job_id,
        kill_at,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ},
    )
    async with asyncio.timeout(120):
        said, _ = await child.communicate()
    return child.returncode or 0, said.decode()


def left_behind(lab: Lab, *, safety: bool) -> list[str]:
    """What a restore must not leave: its accounts, their rights, sets of account tables, trash, prepared transactions, connections."""
    connection = client(lab.server)
    try:
        found = [str(row) for row in rows(connection, "SELECT User FROM mysql.global_priv WHERE User LIKE 'tw\\_rst%'")]
        found += [str(row) for row in rows(connection, "SELECT User, Db FROM mysql.db WHERE User LIKE 'tw\\_rst%'")]
        tables = rows(
            connection,
            "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA LIKE 'tidewind%'",
        )
        expected = {"fence", "progress", "this_server_was_restored_without_its_replicas"}
        for schema, table in tables:
            kept = safety and ("_s0" in schema or "_saved_" in table)
            if table not in expected and not kept:
                found.append(f"{schema}.{table}")
        found += [str(row) for row in rows(connection, "SELECT rows_done FROM tidewind.progress")]
        found += [str(row) for row in rows(connection, "SELECT * FROM tidewind.fence WHERE ended = 0")]
        found += [
            str(row)
            for row in rows(
                connection,
                "SELECT USER, INFO FROM information_schema.PROCESSLIST WHERE USER LIKE 'tw\\_rst%' OR USER = 'tidewind_svc'",
            )
        ]
    finally:
        connection.close()
    return found


@pytest.mark.timeout(900)
async def test_killed_before_and_after_every_note_it_still_completes(lab: Lab, closing: str, tmp_path: Path) -> None:
    lab.sql(*seed_for(closing))
    then = await look(lab, closing)
    backup = await lab.backup()
    lab.sql(*OOPS)
    job = await lab.accept("tidewind.restore.request.v1", mode="snapshot", backup_id=backup)
    for note in notes_for(closing):
        for moment in MOMENTS[closing]:
            code, said = await work_in_child(lab, tmp_path, job.job_id, f"{moment}:{note}")
            assert code == -9, f"{moment} {note}: {said}"
    code, said = await work_in_child(lab, tmp_path, job.job_id, "never")
    assert code == 0, said
    assert COMPLETED in said
    assert differing(then, await look(lab, closing)) == {}
    assert left_behind(lab, safety=True) == []


@pytest.mark.timeout(900)
async def test_killed_on_the_way_back_it_still_returns(lab: Lab, closing: str, tmp_path: Path) -> None:
    lab.sql(*seed_for(closing))
    backup = await lab.backup()
    lab.sql(*OOPS)
    now = await look(lab, closing)
    job = await lab.accept("tidewind.restore.request.v1", mode="snapshot", backup_id=backup)
    code, said = await work_in_child(lab, tmp_path, job.job_id, "after:accounts")
    assert code == -9, said
    await lab.ask_to_cancel(job)
    for note in BACK:
        for moment in MOMENTS[closing]:
            code, said = await work_in_child(lab, tmp_path, job.job_id, f"{moment}:{note}")
            assert code == -9, f"{moment} {note}: {said}"
    code, said = await work_in_child(lab, tmp_path, job.job_id, "never")
    assert code == 0, said
    assert CANCELLED in said
    assert differing(now, await look(lab, closing)) == {}
    assert left_behind(lab, safety=False) == []


@pytest.mark.timeout(900)
async def test_killed_at_random_moments_it_completes(lab: Lab, closing: str, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)
    lab.sql(
        *seed_for(closing),
        "CREATE TABLE stock.many (id INT PRIMARY KEY, a INT, b VARCHAR(60), KEY (a), KEY (b)) ENGINE=InnoDB",
        "INSERT INTO stock.many SELECT seq, seq * 7 % 1009, REPEAT(CHAR(65 + seq % 26), 50) FROM seq_1_to_200000",
    )
    then = await look(lab, closing)
    backup = await lab.backup()
    lab.sql(*OOPS, "DELETE FROM stock.many WHERE id > 3")
    job = await lab.accept("tidewind.restore.request.v1", mode="snapshot", backup_id=backup)
    ended = False
    for _ in range(8):
        code, said = await work_in_child(lab, tmp_path, job.job_id, f"in:{chance.uniform(0.2, 9):.3f}")
        ended = code == 0
        if ended:
            break
    if not ended:
        code, said = await work_in_child(lab, tmp_path, job.job_id, "never")
    assert code == 0, f"seed {seed}: {said}"
    assert COMPLETED in said, f"seed {seed}: {said}"
    assert differing(then, await look(lab, closing)) == {}, f"seed {seed}"
    assert left_behind(lab, safety=True) == [], f"seed {seed}"
    assert await lab.tools.ledger.terminal(CLUSTER, job.job_id) is not None
