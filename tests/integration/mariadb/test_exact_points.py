"""Any point that can be restored is that of a native replica stopped there: every row, definition, account and right.

To run more of them, or those of a failure again: TIDEWIND_POINTS=1000 TIDEWIND_SEED=… pytest this file.
"""

import asyncio
import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.exact_lab import ExactLab, seen
from tests.exact_workload import OPERATIONS, SETUP, SPARING_DEFINITIONS
from tests.integration.mariadb.snapshot_support import address_of, client, rows, run
from tests.integration.mariadb.test_snapshot_values import fill
from tests.point_lab import SERVICE, lab_in
from tests.replay_workload import Interleaved, run_workload
from tidewind.domain.gtids import GtidList
from tidewind.engines.mariadb.attempt import Attempt
from tidewind.engines.mariadb.catalogue import Catalogue
from tidewind.engines.mariadb.connection import Access, Control
from tidewind.engines.mariadb.log.unlogged import Unlogged
from tidewind.ports.engine import Login
from tidewind.runtime.workers import prepare_workers

SEED = int(os.environ.get("TIDEWIND_SEED", "0")) or int.from_bytes(os.urandom(3), "big")
POINTS = int(os.environ.get("TIDEWIND_POINTS", "0")) or 64
AROUND_BACKUPS = max(20, POINTS // 5)

WORKERS = (
    "tidewind.engines.mariadb.restore.worker",
    "tidewind.engines.mariadb.replay.worker",
    "tidewind.store.factory",
)
UNSYNCED = ("--innodb-flush-method=nosync", "--debug-no-sync")
"""Nobody crashes here, and every definition would wait for the disk."""

STATEMENTS: Mapping[str, Sequence[str]] = {
    "a right that only who has it may give": ("GRANT PROXY ON app@'%' TO closed@localhost",),
    "history that a foreign key writes onto its own table": (
        "SET timestamp = 1200000000",
        "DELETE FROM shop.growing WHERE id = 1",
        "SET timestamp = 1300000000",
        "DELETE FROM shop.growing WHERE id = 2",
        "SET timestamp = DEFAULT",
    ),
    "history that a foreign key writes": (
        "SET timestamp = 1000000000",
        "DELETE FROM shop.parents WHERE id = 1",
        "SET timestamp = 1100000000",
        "DELETE FROM shop.parents WHERE id = 4",
        "SET timestamp = DEFAULT",
        "UPDATE shop.parents SET id = 1002 WHERE id = 2",
        "UPDATE shop.parents SET id = 1003 WHERE id = 1002",
        "UPDATE shop.parents SET id = 1002 WHERE id = 1003",
        "BEGIN",
        "SAVEPOINT one",
        "UPDATE shop.parents SET id = 1004 WHERE id = 1002",
        "REPLACE INTO other.plain VALUES (1, 'kept')",
        "UPDATE shop.parents SET id = 1002 WHERE id = 1004",
        "ROLLBACK TO SAVEPOINT one",
        "DELETE FROM shop.parents WHERE id = 3",
        "COMMIT",
    ),
    "variables of a statement that changed rows and was logged itself": (
        "SET SESSION binlog_format = STATEMENT",
        "SET NAMES latin1",
        "SET @r = 0.1e0 + 0.2e0, @small = -5e-324, @d = -12345678901.123456789, @e = 0.000000001, @i = -7, @n = NULL",
        "SET @s = _latin1 X'e4', @u = CAST(-1 AS UNSIGNED)",
        "INSERT INTO shop.zoned (n, s) VALUES (@d, CONCAT(@r)), (@e, @r = 0.3e0), (@i, @s), (@n, @u), (@small * 1e308, 'small')",
        "INSERT INTO shop.zoned (n, s) VALUES (RAND(), LAST_INSERT_ID())",
    ),
}
"""What was once replayed otherwise, by what it is."""


@pytest.fixture
async def lab(mariadb_factory: Any, tmp_path: Path) -> ExactLab:
    await prepare_workers(WORKERS)
    source, replica, target = [await mariadb_factory(server_id=number, options=UNSYNCED) for number in (1, 2, 3)]
    lab = ExactLab(lab_in(tmp_path / "deployment", source, target, replica))
    run(client(source), *SETUP)
    return lab


@pytest.mark.timeout(20 * POINTS + 600)
async def test_points_of_a_workload_are_those_of_a_replica_stopped_there(lab: ExactLab) -> None:
    """The seed makes the same log, the same backups in its middle and the same points again."""
    rng = Random(SEED)
    working = Interleaved(lambda: client(lab.points.source), SEED, sessions=5, table=OPERATIONS)
    for _ in range(4):
        await asyncio.to_thread(working.advance, rng.randint(100, 300))
        await lab.base()
    await asyncio.to_thread(working.advance, max(400, 2 * POINTS))
    working.end()
    await lab.archive(rng, mean_bytes=20_000)
    points = lab.restorable()
    await prove(lab, [points[one] for one in sorted(rng.sample(range(len(points)), min(POINTS, len(points))))])


@pytest.mark.timeout(20 * AROUND_BACKUPS + 600)
async def test_points_around_backups_that_were_taken_while_writers_wrote(lab: ExactLab) -> None:
    """The seed makes the same statements again; which of them a backup meets half-way is up to the server."""
    rng = Random(SEED)
    working = asyncio.create_task(
        asyncio.to_thread(
            run_workload, lambda: client(lab.points.source), SEED, sessions=4, operations=80, table=SPARING_DEFINITIONS
        )
    )
    while not working.done():
        await lab.base()
    await working
    await lab.archive(rng, mean_bytes=20_000)
    near = list(near_backups(lab))
    await prove(lab, [near[one] for one in sorted(rng.sample(range(len(near)), min(AROUND_BACKUPS, len(near))))])


def near_backups(lab: ExactLab) -> Iterator[tuple[str, str]]:
    """Points from a backup's position to a few transactions behind it, in the order of the log."""
    left = 0
    positions = [GtidList.parse(base.position or "") for base in lab.bases]
    for gtid, after in lab.restorable():
        if GtidList.parse(after) in positions:
            left = 8
        if left:
            left -= 1
            yield gtid, after


async def test_statements_that_were_once_replayed_otherwise(lab: ExactLab) -> None:
    await lab.base()
    ends = []
    for statements in STATEMENTS.values():
        connection = client(lab.points.source)
        run(connection, "USE shop", *statements)
        ends.append(lab.position())
    await lab.archive(Random(SEED), mean_bytes=20_000)
    await prove(lab, [(gtid, after) for gtid, after in lab.restorable() if after in ends])


async def test_servers_come_as_they_were_last_seen(lab: ExactLab) -> None:
    """No log holds them; what capture looks at from time to time stands in the segments."""
    source = client(lab.points.source)
    known = "FOREIGN DATA WRAPPER mysql OPTIONS (HOST '10.0.0.1', USER 'far', PASSWORD 'pass''word', PORT 3307)"
    run(source, f"CREATE SERVER in_backup {known}", f"CREATE SERVER changed {known}")
    await lab.base()
    run(
        source,
        "DROP SERVER in_backup",
        "ALTER SERVER changed OPTIONS (HOST 'é.example.org')",
        f"CREATE SERVER newer {known}",
        "CREATE USER newer@'%'",
    )
    account = Login(user=lab.points.source.user, password=lab.points.source.password)
    async with await Control.connect(Access(address=address_of(lab.points.source), login=account)) as control:
        state = await Unlogged(control).look("servers")
    assert state is not None
    wanted = rows(source, "SELECT * FROM mysql.servers ORDER BY 1")
    run(source, "DROP SERVER newer")
    await lab.archive(Random(SEED), mean_bytes=20_000)
    point = replace(lab.points.point(lab.restorable()[-1][1]), states={"servers": state.content})
    await lab.points.restore_from(point)
    found = await lab.points.target.connect(user=SERVICE.user, password=SERVICE.password)
    with contextlib.closing(found):
        async with found.cursor() as cursor:
            await cursor.execute("SELECT * FROM mysql.servers ORDER BY 1")
            assert list(await cursor.fetchall()) == wanted


async def test_tables_emptied_and_made_anew_while_a_backup_was_taken(lab: ExactLab, monkeypatch: Any) -> None:
    """Between the moment that the backup shows and the one at which it reads tables without transactions."""
    create = rows(client(lab.points.source), "SHOW CREATE TABLE other.two")[0][1]
    read = Attempt._read_untransacted

    async def read_later(attempt: Attempt, catalogue: Catalogue) -> Any:
        run(
            client(lab.points.source),
            "USE other",
            "TRUNCATE TABLE one",
            "INSERT INTO one VALUES (1, 'new')",
            "DROP TABLE two",
            create,
            "INSERT INTO two VALUES (2, 'new')",
            "ALTER TABLE aria DROP COLUMN b",
            "ALTER TABLE aria ADD COLUMN b VARCHAR(20) DEFAULT NULL",
            "INSERT INTO aria VALUES (3, 'new')",
        )
        return await read(attempt, catalogue)

    monkeypatch.setattr(Attempt, "_read_untransacted", read_later)
    await lab.base()
    run(client(lab.points.source), "INSERT INTO other.one VALUES (4, 'later')", "TRUNCATE TABLE other.two")
    await lab.archive(Random(SEED), mean_bytes=20_000)
    await prove(lab, lab.restorable())


async def test_every_value_of_every_type_keeps_its_bits_through_a_replay(lab: ExactLab) -> None:
    """Inserted, updated and deleted behind the backup; packed in the log, and of rows that no key tells apart too. The
    source, which computed them, is asked as well."""
    await lab.base()
    source = client(lab.points.source)
    assert fill(source) >= 100_000
    run(source, "SET GLOBAL log_bin_compress = ON")
    packing = client(lab.points.source)
    run(
        packing,
        "USE bits",
        "SET sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00', check_constraint_checks = 0",
        "CREATE TABLE twice AS SELECT * FROM `all` WHERE id < 700 UNION ALL SELECT * FROM `all` WHERE id < 700",
        "UPDATE twice SET i32 = ~id WHERE id % 5 = 0 LIMIT 150",
        "DELETE FROM twice WHERE id % 7 = 0 LIMIT 100",
        "UPDATE `all` SET i16 = 7, f = f * 2 WHERE id % 3 = 0",
        "DELETE FROM `all` WHERE id % 11 = 0",
        "REPLACE INTO `all` SELECT * FROM twice WHERE id % 13 = 0",
        "UPDATE reals SET f = d WHERE ABS(d) < 1e30",
    )
    run(source, "SET GLOBAL log_bin_compress = OFF")
    await lab.archive(Random(SEED), mean_bytes=1_000_000)
    await prove(lab, lab.restorable()[-1:])
    asked = await seen(lab.points.source)
    found = await seen(lab.points.target, user=SERVICE.user, password=SERVICE.password)
    assert asked.rows == found.rows


async def prove(lab: ExactLab, chosen: Sequence[tuple[str, str]]) -> None:
    print(f"TIDEWIND_SEED={SEED}: {len(chosen)} points of {len(lab.restorable())} from {len(lab.bases)} backups")
    apart = await lab.apart(chosen)
    assert apart == {}, f"TIDEWIND_SEED={SEED}: of {len(chosen)} points {len(apart)} are not exact"
