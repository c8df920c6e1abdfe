"""Base and log on a real server, judged by a native replica stopped at the same position."""

import asyncio
import contextlib
import os
import signal
from multiprocessing import forkserver
from pathlib import Path
from random import Random
from typing import Any

import pymysql
import pytest

from benchmarks.memory import MemoryWatch
from tests.integration.mariadb.snapshot_support import client, rows, run
from tests.point_lab import SERVICE, Facts, PointLab, content_of, lab_in
from tests.replay_workload import SETUP, run_workload
from tidewind.engines.mariadb.replay import progress
from tidewind.ports.engine import DatabaseError

SEED = int(os.environ.get("TIDEWIND_SEED", "0")) or int.from_bytes(os.urandom(3), "big")


@pytest.fixture
async def lab(mariadb_factory: Any, tmp_path: Path) -> PointLab:
    source = await mariadb_factory(server_id=1)
    replica = await mariadb_factory(server_id=2)
    target = await mariadb_factory(server_id=3)
    return lab_in(tmp_path / "deployment", source, target, replica)


async def prepared(lab: PointLab, seed: int, *, operations: int) -> Random:
    """A base in the middle of a workload, and the log of all of it archived."""
    rng = Random(seed)
    run(client(lab.source), *SETUP)
    run_workload(lambda: client(lab.source), seed, sessions=2, operations=10)
    await lab.base()
    run_workload(lambda: client(lab.source), seed + 1, sessions=4, operations=operations)
    await lab.archive(rng, mean_bytes=20_000)
    return rng


@pytest.mark.timeout(900)
async def test_random_points_of_a_mixed_workload_are_those_of_a_replica_stopped_there(lab: PointLab) -> None:
    rng = await prepared(lab, SEED, operations=60)
    points = lab.points()
    chosen = [*sorted(rng.sample(range(len(points)), 4)), len(points) - 1]
    for place in dict.fromkeys(chosen):
        lab.replicate_to(points[place])
        await lab.restore(points[place])
        assert await lab.differences() == [], f"TIDEWIND_SEED={SEED}: point {place}, {points[place]}"


@pytest.mark.timeout(900)
async def test_a_replay_whose_process_is_killed_is_continued_to_the_same_content(lab: PointLab) -> None:
    """Killed at random places, again and again; the last epoch ends what the others began."""
    rng = await prepared(lab, SEED, operations=60)
    point = lab.points()[-1]
    ordinals = sorted(rng.sample(range(1, len(lab.points())), 4))
    lab.restores, lab.facts = 1, Facts()
    source = lab.point(point)
    async with lab.session(lab.scope(epoch=1)) as session:
        await lab.begin(session, source)
    killed = 0
    for epoch, ordinal in enumerate(ordinals, start=2):
        async with lab.session(lab.scope(epoch=epoch)) as session:
            killing = asyncio.create_task(kill_behind(lab, ordinal))
            try:
                await session.replay(source, lab.facts, lab.reports)
            except DatabaseError as error:
                killed += "exit code -9" in error.detail
            killing.cancel()
    assert killed
    async with lab.session(lab.scope(epoch=9)) as session:
        await lab.complete(session, source)
    lab.replicate_to(point)
    assert await lab.differences() == [], f"TIDEWIND_SEED={SEED}: killed behind {ordinals}"


async def kill_behind(lab: PointLab, ordinal: int) -> None:
    """SIGKILL the worker processes as soon as so many transactions are done."""
    connection = pymysql.connect(
        host=lab.target.host, port=lab.target.port, user=SERVICE.user, password=SERVICE.password, autocommit=True
    )
    run(connection, progress.MAKE)
    asked = f"SELECT COALESCE(MAX(place), 0) FROM tidewind.replay WHERE restore_id = '{lab.scope().restore_id}'"
    while progress.ordinal_of(int(rows(connection, asked)[0][0])) < ordinal:
        await asyncio.sleep(0.002)
    for pid in children_of(forkserver._forkserver._forkserver_pid):
        os.kill(pid, signal.SIGKILL)
    connection.close()


def children_of(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]) == parent:
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
async def test_a_huge_transaction_and_the_largest_row_take_bounded_memory(lab: PointLab, compressed: bool) -> None:
    """A row of 64 MB that is updated is an event of 128 MB, in the log as it is or compressed; the transaction is scaled
    down from 1 GB, and nothing of it is held. What is measured is what the service has beside its own process, for
    which 100 MB are left."""
    connection = client(lab.source)
    run(
        connection,
        "SET GLOBAL max_allowed_packet = 1073741824",
        f"SET GLOBAL log_bin_compress = {int(compressed)}",
        "CREATE DATABASE shop",
        "CREATE TABLE shop.wide (id INT AUTO_INCREMENT PRIMARY KEY, v LONGBLOB) ENGINE=InnoDB",
    )
    await lab.base()
    connection = client(lab.source)
    run(
        connection,
        "USE shop",
        "INSERT INTO shop.wide (v) SELECT REPEAT('x', 1000000) FROM seq_1_to_160",
        "INSERT INTO shop.wide (v) VALUES (REPEAT('0123456789abcdef', 4000000))",
        "UPDATE shop.wide SET v = CONCAT(v, 'y') WHERE id > 150",
    )
    await lab.archive(Random(1), mean_bytes=8 << 20)
    lab.restores, lab.facts = 1, Facts()
    source = lab.point(lab.points()[-1])
    async with lab.session(lab.scope()) as session:
        await lab.begin(session, source)
        watch = MemoryWatch(int(forkserver._forkserver._forkserver_pid))
        watching = asyncio.create_task(watch.run())
        replayed = await session.replay(source, lab.facts, lab.reports)
        watching.cancel()
        assert replayed.rows == 160 + 1 + 11
        made = pymysql.connect(host=lab.target.host, port=lab.target.port, user=SERVICE.user, password=SERVICE.password)
        asked = "SELECT COUNT(*), SUM(CRC32(v)), SUM(LENGTH(v)) FROM shop.wide"
        assert rows(made, asked) == rows(connection, asked)
    assert 128 < watch.peak_mb < 300


async def test_what_the_server_gives_by_itself_goes_to_whom_it_went_then(lab: PointLab) -> None:
    """Routines and roles made by an ordinary account: its rights on them, not ours."""
    connection = client(lab.source)
    run(
        connection,
        "SET GLOBAL log_bin_trust_function_creators = 1",
        "CREATE DATABASE shop",
        "CREATE USER maker@'%' IDENTIFIED BY 'maker-secret'",
        "GRANT CREATE ROUTINE, CREATE, SELECT ON shop.* TO maker@'%'",
        "GRANT CREATE USER ON *.* TO maker@'%'",
    )
    await lab.base()
    maker = pymysql.connect(host=lab.source.host, port=lab.source.port, user="maker", password="maker-secret")
    run(
        maker,
        "CREATE PROCEDURE shop.mine () SELECT 1",
        "CREATE FUNCTION shop.too () RETURNS INT DETERMINISTIC RETURN 1",
        "CREATE ROLE makers",
        "CREATE USER made@'%' ACCOUNT LOCK",
    )
    run(
        connection,
        "GRANT EXECUTE ON FUNCTION shop.too TO made@'%'",
        "DROP PROCEDURE shop.mine",
        "ALTER USER made@'%' ACCOUNT UNLOCK",
    )
    await lab.archive(Random(1), mean_bytes=300)
    for position in lab.points()[3:]:
        await lab.restore(position)
        lab.replicate_to(position)
        assert await lab.differences() == [], position


async def test_the_way_back_from_the_middle_of_a_replay_leaves_nothing_of_it(lab: PointLab) -> None:
    connection = client(lab.source)
    run(connection, *SETUP)
    await lab.base()
    run(
        connection,
        "CREATE EVENT shop.newer ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01' DO SELECT 1",
        "CREATE USER newer@'%'",
        "CREATE DATABASE newest",
        "CREATE TABLE newest.t (a INT) ENGINE=InnoDB",
    )
    await lab.archive(Random(1), mean_bytes=300)
    own = client(lab.target)
    run(
        own,
        "CREATE DATABASE shop",
        "CREATE TABLE shop.ours (id INT PRIMARY KEY) ENGINE=InnoDB",
        "INSERT INTO shop.ours VALUES (1)",
        "CREATE EVENT shop.mine ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01' DO SELECT 2",
    )
    before = await content_of(lab.target)
    lab.restores, lab.facts = 1, Facts()
    source = lab.point(lab.points()[-1])
    async with lab.session(lab.scope()) as session:
        await lab.begin(session, source)
        await session.replay(source, lab.facts, lab.reports)
        await session.give_back(source, lab.facts, lab.reports)
        await session.settle(source, lab.facts, opened=False)
        await session.finish(source, lab.facts, opened=False)
    assert (await content_of(lab.target)).differences(before) == []
