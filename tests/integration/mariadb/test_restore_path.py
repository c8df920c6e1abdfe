"""A restore and its undo on a real server, compared object by object."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.mariadb.restore_data import OOPS, SEED, differing, picture_of
from tests.integration.mariadb.restore_lab import CLUSTER, SERVICE_LOGIN, Lab, enrolled_lab
from tests.integration.mariadb.snapshot_support import access_of, client, rows, run
from tidewind.domain.manifest import Column
from tidewind.engines.mariadb.illformed import IllFormedWriter


@pytest.fixture
async def lab(mariadb_factory: Any, tmp_path: Path) -> AsyncIterator[Lab]:
    async with enrolled_lab(await mariadb_factory(), tmp_path) as made:
        yield made


def put_ill_formed_rows(lab: Lab) -> None:
    """Text that no statement would store: as replication or an old release left it."""
    connection = client(lab.server)
    run(connection, "SET sql_mode = ''")
    columns = [Column(name="id", kind="int"), Column(name="text", kind="varchar(9)")]
    for table in ("odd", "odd_too"):
        writer = IllFormedWriter(connection, access_of(lab.server), "stock", table, columns)
        writer.prepare()
        for number, value in enumerate((b"\xff\xfe", b"fine", b"\xc3(\\\\", b"\xf0\x9f"), start=1):
            writer.write(b"%d\t%s" % (number, value))
        writer.close()
    run(connection, "DROP SCHEMA tidewind")
    connection.close()


async def test_restore_and_undo_put_everything_back(lab: Lab) -> None:
    lab.sql(*SEED)
    put_ill_formed_rows(lab)
    then = picture_of(lab.server)
    backup = await lab.backup()
    lab.sql(*OOPS)
    now = picture_of(lab.server)
    assert differing(then, now)

    ending = await lab.restore(backup)
    assert ending.event == "tidewind.restore.completed.v1", ending
    assert differing(then, picture_of(lab.server)) == {}

    undone = await lab.undo(ending.body.restore_id)
    assert undone.event == "tidewind.restore.completed.v1", undone
    assert differing(now, picture_of(lab.server)) == {}

    again = await lab.undo(undone.body.restore_id)
    assert again.event == "tidewind.restore.completed.v1", again
    assert differing(then, picture_of(lab.server)) == {}
    lived = await lab.tools.catalogue.timelines(CLUSTER)
    numbers = [one.operation for one in lived]
    assert numbers[0] is None, "the root is older than any restore"
    assert numbers[1:] == [1, 2, 3], "the restore and both undos, one after the other"
    left = rows(client(lab.server), "SELECT User FROM mysql.global_priv WHERE User LIKE 'tw\\_%'")
    assert left in ([], ())


async def test_what_was_loaded_goes_on_where_the_backup_stood(lab: Lab) -> None:
    """Counters and sequences: no value is handed out that was handed out before the backup."""
    lab.sql(*SEED, "DELETE FROM shop.orders WHERE id = 3")
    handed_out = rows(client(lab.server), "SELECT NEXTVAL(shop.numbers)")[0][0]
    backup = await lab.backup()
    ending = await lab.restore(backup)
    assert ending.event == "tidewind.restore.completed.v1", ending
    connection = client(lab.server)
    run(connection, "INSERT INTO shop.orders (customer, total) VALUES (1, 1)")
    assert rows(connection, "SELECT MAX(id) FROM shop.orders")[0][0] == 4
    assert rows(connection, "SELECT NEXTVAL(shop.numbers)")[0][0] > handed_out


async def test_the_service_account_survives_although_it_changed_since_the_backup(lab: Lab) -> None:
    lab.sql(*SEED)
    backup = await lab.backup()
    user = f"'{SERVICE_LOGIN.user}'@'%'"
    lab.sql(f"ALTER USER {user} IDENTIFIED BY 'another'", f"GRANT CREATE TEMPORARY TABLES ON *.* TO {user}")
    os.environ["TIDEWIND_TEST_SERVICE"] = f"{SERVICE_LOGIN.user}:another"
    ending = await lab.restore(backup)
    assert ending.event == "tidewind.restore.completed.v1", ending
    connection = client(lab.server)
    granted = rows(connection, f"SHOW GRANTS FOR {user}")[0][0]
    assert "CREATE TEMPORARY TABLES" in granted
    undone = await lab.undo(ending.body.restore_id)
    assert undone.event == "tidewind.restore.completed.v1", undone
