"""A restore that can go neither forward nor back stays closed and says how to open it; and that way works."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pymysql
import pytest

from schemas.envelope import Message
from schemas.topics import STATUS
from services.restorer.handlers.availability import AvailabilityKeeper
from tests.fakes import RecordingPublisher, SharedView
from tests.integration.mariadb.restore_data import OOPS, SEED, differing, picture
from tests.integration.mariadb.restore_lab import CLUSTER, SERVICE_LOGIN, Lab, lab_on
from tests.integration.mariadb.snapshot_support import client, run
from tests.servers import installed
from tidewind.domain.problems import PREFIX
from tidewind.engines.mariadb.restore.engine import MariaDBRestoreEngine
from tidewind.ports.engine import DatabaseError
from tidewind.runtime.outbox import Composer


class WayBackFails(MariaDBRestoreEngine):
    """Verification finds a difference, and then the way back fails as well."""

    @asynccontextmanager
    async def session(self, *arguments: Any, **options: Any) -> AsyncIterator[Any]:
        async with super().session(*arguments, **options) as session:

            async def differs(*_: Any) -> None:
                raise DatabaseError("restore-verification-failed", "table `shop`.`orders` holds 2 rows instead of 3")

            async def fails(*_: Any) -> None:
                raise DatabaseError("database-full", "no space left on the server")

            session.verify = differs
            session.give_back = fails
            yield session


class OpensWithoutKnowing(MariaDBRestoreEngine):
    """The users are in, and the server never says so."""

    @asynccontextmanager
    async def session(self, *arguments: Any, **options: Any) -> AsyncIterator[Any]:
        async with super().session(*arguments, **options) as session:
            opened = session.open

            async def opens_and_fails(*given: Any) -> None:
                await opened(*given)
                raise DatabaseError("database-failed", "no answer to FLUSH PRIVILEGES")

            session.open = opens_and_fails  # type: ignore[method-assign, assignment]
            yield session


@pytest.fixture(params=["swap", "rows"])
def closing(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def lab(
    closing: str, mariadb_factory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Lab]:
    monkeypatch.setenv("TIDEWIND_TEST_SERVICE", f"{SERVICE_LOGIN.user}:{SERVICE_LOGIN.password}")
    server = await mariadb_factory(installation=installed.mariadb("10.5") if closing == "rows" else None)
    async with lab_on(server, tmp_path / "deployment", engine=WayBackFails, return_patience_h=0.5 / 3600) as made:
        await made.enroll()
        yield made


def look(lab: Lab) -> dict[str, Any]:
    connection = client(lab.server)
    try:
        return picture(connection)
    finally:
        connection.close()


async def availability(lab: Lab) -> str:
    """What a restorer says of the cluster that finds nothing but the store and the server."""
    publisher = RecordingPublisher()
    view = SharedView(publisher)
    await publisher.send(
        STATUS, Message(id="c", type="t", source="/t", time=datetime.now(UTC), key=f"cluster/{CLUSTER}", data={})
    )
    composer = Composer("/test", lab.tools.clock, view)
    keeper = AvailabilityKeeper(lab.tools, publisher=publisher, composer=composer, view=view, owns=lambda _: True)
    assert await keeper.look() == [CLUSTER]
    return str((view.get(f"availability/{CLUSTER}") or {})["state"])


ABOVE_TABLES = {"views", "routines", "triggers", "events", "accounts procs_priv"}


async def test_the_sql_in_the_event_opens_the_cluster_with_its_old_data(lab: Lab, closing: str) -> None:
    lab.sql(*(one for one in SEED if closing != "rows" or "stock.prices" not in one))
    backup = await lab.backup()
    lab.sql(*OOPS)
    now = look(lab)
    ending = await lab.restore(backup)
    assert ending.event == "tidewind.restore.failed.v1"
    assert not ending.body.returned
    assert ending.body.problem.type == PREFIX + "database-full"
    states = lab.publisher.data_of("tidewind.status.availability.v1")
    assert states[-1]["state"] == "RestoreFailed"
    assert states[-1]["open_by_hand"] == list(ending.body.open_by_hand)
    with pytest.raises(pymysql.err.OperationalError, match=r"locked|denied"):
        client(lab.server)
    refused = await lab.decide("tidewind.restore.request.v1", mode="snapshot", backup_id=backup)
    assert refused.problem.type == PREFIX + "restore-blocked"

    assert await availability(lab) == "RestoreFailed"
    by_hand = pymysql.connect(
        host=lab.server.host,
        port=lab.server.port,
        user=SERVICE_LOGIN.user,
        password=SERVICE_LOGIN.password,
        charset="utf8mb4",
        autocommit=True,
        ssl_disabled=True,
    )
    run(by_hand, *(statement for statement in ending.body.open_by_hand if not statement.startswith("--")))
    by_hand.close()
    by_hand_sql = ending.body.open_by_hand
    assert await availability(lab) == "Available", "the server says that no restore is unfinished"
    left = differing(now, look(lab))
    # Views, routines, triggers and events are pointed at, and variables are for the operator to compare.
    assert {name for name in left if not name.startswith(("variable", "definition"))} <= ABOVE_TABLES, left
    assert not any(left[name][1] for name in left if name.startswith("definition")), "a table differs"
    assert not any(
        "BEGIN" in statement or "TRIGGER `" in statement.partition("IF EXISTS")[0] for statement in by_hand_sql
    )
    assert any("kept-definitions" in statement for statement in by_hand_sql)
    assert any(statement.startswith("-- global variables") for statement in ending.body.open_by_hand)


async def test_once_the_users_are_in_the_sql_takes_nothing_from_them(
    mariadb_factory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEWIND_TEST_SERVICE", f"{SERVICE_LOGIN.user}:{SERVICE_LOGIN.password}")
    server = await mariadb_factory()
    settings = {"engine": OpensWithoutKnowing, "return_patience_h": 0.5 / 3600}
    async with lab_on(server, tmp_path / "deployment", **settings) as lab:
        await lab.enroll()
        lab.sql(
            "CREATE DATABASE shop",
            "CREATE TABLE shop.orders (id INT PRIMARY KEY)",
            "INSERT INTO shop.orders VALUES (1)",
        )
        ending = await lab.restore(await lab.backup())
        assert ending.event == "tidewind.restore.failed.v1"
        statements = [one for one in ending.body.open_by_hand if not one.startswith("--")]
        assert [one.partition(" = ")[0] for one in statements] == [
            "SET GLOBAL init_connect",
            "UPDATE `tidewind`.`fence` SET ended",
        ]
        lab.sql("INSERT INTO shop.orders VALUES (2)")
