"""What ends a restore before its verdict leaves the cluster as it was: cancels, failures, the time limit; and what is
refused before it begins. All on one server, which after each test must look as it did before it."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.integration.mariadb.restore_data import OOPS, SEED, differing, picture_of
from tests.integration.mariadb.restore_lab import CLUSTER, MINT, SERVICE_LOGIN, Lab, lab_on
from tests.integration.mariadb.snapshot_support import address_of, client, rows, run
from tidewind.domain import ids, keys
from tidewind.domain.manifest import Manifest
from tidewind.domain.problems import PREFIX
from tidewind.domain.records import Accepted, parse
from tidewind.embedded.mariadb import PrivateMariaDB
from tidewind.engines.mariadb.restore import names
from tidewind.engines.mariadb.restore.engine import MariaDBRestoreEngine
from tidewind.engines.mariadb.restore.link import open_link
from tidewind.ports.engine import DatabaseError, RestoreScope
from tidewind.ports.jobs import Reject
from tidewind.runtime.work import Work

REQUEST = "tidewind.restore.request.v1"
FAILED = "tidewind.restore.failed.v1"
CANCELLED = "tidewind.restore.cancelled.v1"
COMPLETED = "tidewind.restore.completed.v1"


class Prepared:
    """A cluster after the oops, with a backup from before it."""

    def __init__(self, lab: Lab, backup: str, then: dict[str, Any], now: dict[str, Any]) -> None:
        self.lab = lab
        self.backup = backup
        self.then = then
        self.now = now

    def look(self) -> dict[str, Any]:
        return picture_of(self.lab.server)

    async def request(self, **more: Any) -> Accepted:
        return await self.lab.accept(REQUEST, mode="snapshot", backup_id=self.backup, **more)

    async def refused(self, command: str = REQUEST, **body: Any) -> str:
        decision = await self.lab.decide(command, **body)
        assert isinstance(decision, Reject), decision
        return decision.problem.type.removeprefix(PREFIX)


@pytest.fixture(scope="module")
async def prepared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prepared]:
    os.environ["TIDEWIND_TEST_SERVICE"] = f"{SERVICE_LOGIN.user}:{SERVICE_LOGIN.password}"
    server = PrivateMariaDB(tmp_path_factory.mktemp("returns"))
    await server.start()
    try:
        async with lab_on(server, tmp_path_factory.mktemp("deployment") / "d") as lab:
            await lab.enroll()
            lab.sql(*SEED)
            made = Prepared(lab, await lab.backup(), {}, {})
            lab.sql(*OOPS)
            made.now = made.look()
            yield made
    finally:
        del os.environ["TIDEWIND_TEST_SERVICE"]
        await server.remove()


class NothingKept:
    """The memory of a restore that touched nothing."""

    async def get(self, name: str) -> None:
        return None

    async def keep(self, name: str, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        raise AssertionError(name)


def at_note(work: Work, name: str, act: Callable[[], Any]) -> None:
    """Do something when the job notes that a step is done."""
    note = work.note

    async def noted(told: str, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        standing = await note(told, facts)
        if told == name:
            result = act()
            if asyncio.iscoroutine(result):
                await result
        return standing

    work.note = noted  # type: ignore[method-assign]


@pytest.mark.parametrize(
    "note",
    ["plan", "announced", "gating", "kept-events", "gated", "kept-definitions", "safeguarded", "loaded", "verified"],
)
async def test_a_cancel_at_any_step_takes_the_way_back(prepared: Prepared, note: str) -> None:
    job = await prepared.request()
    work = await prepared.lab.claim(job)
    at_note(work, note, work.cancel_requested.set)
    ending = await prepared.lab.carry_out(job, work)
    assert ending.event == CANCELLED, ending
    assert differing(prepared.now, prepared.look()) == {}


BEND = (
    "CREATE TABLE shop.bent (id INT PRIMARY KEY, w INT)",
    "CREATE TRIGGER shop.bending BEFORE INSERT ON shop.bent FOR EACH ROW SET NEW.w = 1",
    "INSERT INTO shop.bent VALUES (1, 1)",
    "ALTER TABLE shop.bent DROP COLUMN w",
)
"""The server lets a trigger stand that it would not create."""


async def test_a_trigger_that_cannot_be_made_again_keeps_nobody_out_on_the_way_back(prepared: Prepared) -> None:
    lab = prepared.lab
    lab.sql("USE shop", *BEND)
    job = await prepared.request()
    work = await lab.claim(job)
    at_note(work, "loaded", work.cancel_requested.set)
    ending = await lab.carry_out(job, work)
    assert ending.event == CANCELLED
    assert rows(client(lab.server), "SELECT id FROM shop.bent") in ([(1,)], ((1,),))
    last = lab.publisher.data_of("tidewind.status.availability.v1")[-1]
    assert last["state"] == "Available"
    assert "`shop`.`bending` cannot be made again" in last["detail"]
    assert "definitions are kept" in last["detail"]
    lab.sql("DROP TABLE shop.bent")
    assert differing(prepared.now, prepared.look()) == {}


async def test_a_trigger_that_cannot_be_made_again_does_not_stop_a_restore(prepared: Prepared) -> None:
    lab = prepared.lab
    lab.sql("USE shop", *BEND)
    ending = await lab.restore(await lab.backup())
    assert ending.event == COMPLETED
    assert "`shop`.`bending` cannot be made again" in ending.body.way_back
    undone = await lab.undo(ending.body.restore_id)
    assert undone.event == COMPLETED
    lab.sql("DROP TABLE shop.bent")
    assert differing(prepared.now, prepared.look()) == {}


async def test_a_cancel_after_the_verdict_is_too_late(prepared: Prepared) -> None:
    lab = prepared.lab
    job = await prepared.request()
    work = await lab.claim(job)
    seen: list[str] = []

    async def cancel() -> None:
        restore = ids.restore_id(job.job_id)
        seen.append(await prepared.refused("tidewind.restore.cancel.v1", restore_id=restore))

    at_note(work, "kept-opening", cancel)
    ending = await lab.carry_out(job, work)
    assert ending.event == COMPLETED
    assert seen == ["restore-too-late"]
    assert (
        await prepared.refused("tidewind.restore.cancel.v1", restore_id=ids.restore_id(job.job_id)) == "restore-ended"
    )
    undone = await lab.undo(ids.restore_id(job.job_id))
    assert undone.event == COMPLETED
    assert differing(prepared.now, prepared.look()) == {}


async def test_the_time_limit_takes_the_way_back(prepared: Prepared) -> None:
    lab = prepared.lab
    tools = lab.tools
    brief = replace(tools, settings=tools.settings.model_copy(update={"restore_time_limit_h": 0.05 / 3600}))
    kind = type(lab.kinds[REQUEST])(brief)  # type: ignore[call-arg]
    job = await prepared.request()
    work = await lab.claim(job)
    ending = await kind.work(work)
    await lab.end(work, ending)
    assert ending.event == FAILED
    assert ending.body.returned
    assert ending.body.problem.type == PREFIX + "time-limit"
    assert differing(prepared.now, prepared.look()) == {}


async def test_a_damaged_chunk_is_named_and_the_old_data_comes_back(prepared: Prepared) -> None:
    lab = prepared.lab
    prefix = keys.attempt(CLUSTER, prepared.backup, 1)
    manifest = parse(Manifest, await lab.store.get(keys.manifest(prefix)))
    number = next(table.chunks[0] for table in manifest.tables if table.name == "orders")
    chunk = Path(lab.settings.url.removeprefix("file://")) / keys.chunk(prefix, number)
    whole = chunk.read_bytes()
    broken = bytearray(whole)
    broken[len(broken) // 2] ^= 1
    chunk.chmod(0o600)
    chunk.write_bytes(broken)
    try:
        job = await prepared.request()
        ending = await lab.carry_out(job)
    finally:
        chunk.write_bytes(whole)
    assert ending.event == FAILED
    assert ending.body.returned
    assert ending.body.problem.type == PREFIX + "backup-damaged"
    assert chunk.name in ending.body.problem.detail
    assert differing(prepared.now, prepared.look()) == {}


async def test_while_it_is_closed_nobody_gets_in_and_nobody_stays(prepared: Prepared) -> None:
    lab = prepared.lab
    staying = client(lab.server)
    busy = client(lab.server, database="shop")
    run(busy, "BEGIN", "INSERT INTO shop.newer VALUES (77)")
    job = await prepared.request()
    work = await lab.claim(job)
    refusals: list[int] = []

    def try_to_get_in() -> None:
        for user, password in (("root", lab.server.password), ("app", "app-after"), ("fresh", "fresh"), ("any", "")):
            with pytest.raises(pymysql.err.OperationalError) as refused:
                pymysql.connect(
                    host=lab.server.host, port=lab.server.port, user=user, password=password, ssl_disabled=True
                )
            refusals.append(refused.value.args[0])
        for connection in (staying, busy):
            with pytest.raises(pymysql.err.Error):
                run(connection, "SELECT 1")

    at_note(work, "gated", try_to_get_in)
    at_note(work, "safeguarded", work.cancel_requested.set)
    ending = await lab.carry_out(job, work)
    assert ending.event == CANCELLED
    assert len(refusals) == 4
    assert set(refusals) <= {1045, 4151}
    assert differing(prepared.now, prepared.look()) == {}


async def test_prepared_transactions_are_in_the_plan_and_rolled_back(prepared: Prepared) -> None:
    lab = prepared.lab
    connection = client(lab.server)
    run(connection, "XA START 'stuck'", "INSERT INTO shop.newer VALUES (5)", "XA END 'stuck'", "XA PREPARE 'stuck'")
    connection.close()
    job = await prepared.request()
    assert job.answer["plan"]["transactions_rolled_back"]
    work = await lab.claim(job)
    at_note(work, "safeguarded", work.cancel_requested.set)
    ending = await lab.carry_out(job, work)
    assert ending.event == CANCELLED
    assert rows(client(lab.server), "XA RECOVER") in ([], ())
    assert differing(prepared.now, prepared.look()) == {}


async def test_a_foreign_write_while_closed_returns(prepared: Prepared) -> None:
    lab = prepared.lab
    job = await prepared.request()
    work = await lab.claim(job)

    async def write() -> None:
        login = SERVICE_LOGIN
        connection = pymysql.connect(
            host=lab.server.host, port=lab.server.port, user=login.user, password=login.password, ssl_disabled=True
        )
        run(connection, "CREATE DATABASE sneaked", "DROP DATABASE sneaked")
        connection.close()

    at_note(work, "verified", write)
    ending = await lab.carry_out(job, work)
    assert ending.event == FAILED
    assert ending.body.returned
    assert "not by this restore" in ending.body.problem.detail
    assert differing(prepared.now, prepared.look()) == {}


async def test_a_zombie_can_write_nothing(prepared: Prepared) -> None:
    """A predecessor wakes after its successor took over: its connection, its login and its takeover are all refused."""
    lab, engine = prepared.lab, MariaDBRestoreEngine()
    target = (address_of(lab.server), SERVICE_LOGIN)
    scope = RestoreScope(
        cluster_id=CLUSTER, restore_id="rst_ZZZZZZZZZZ", job_id="j", operation=9_000, epoch=1, replicas="none"
    )
    async with engine.session(scope, *target, mint=MINT, keep_accounts=(), began_on=None) as zombie:
        later = replace(scope, epoch=2)
        async with engine.session(later, *target, mint=MINT, keep_accounts=(), began_on=None) as successor:
            with pytest.raises(DatabaseError):
                await zombie._link.run("CREATE TABLE shop.zombie (id INT)")
            account = names.minted_account(scope.restore_id, scope.operation, 1)
            access = zombie._link.access
            again = replace(access, login=replace(access.login, user=account, password=MINT(account)))
            with pytest.raises(DatabaseError) as refused:
                await open_link(again, logged=False)
            assert refused.value.kind == "database-refused-login"
            with pytest.raises(DatabaseError) as late:
                async with engine.session(scope, *target, mint=MINT, keep_accounts=(), began_on=None):
                    pass
            assert late.value.kind == "operation-running"
            await successor.finish(None, NothingKept(), opened=False)
        with pytest.raises(DatabaseError):
            async with engine.session(later, *target, mint=MINT, keep_accounts=(), began_on=None):
                pass
    left = rows(client(lab.server), "SELECT User FROM mysql.global_priv WHERE User REGEXP '^tw_rst'")
    assert left in ([], ())
    lab.sql("UPDATE tidewind.fence SET operation = 0, epoch = 0")


async def test_a_restore_that_began_on_another_data_directory_never_goes_on(prepared: Prepared) -> None:
    lab = prepared.lab
    job = await prepared.request()
    work = await lab.claim(job)
    at_note(work, "gated", work.cancel_requested.set)
    standing = lab.tools.ledger
    await standing.note(CLUSTER, job.job_id, "server", 1, {"identity": "1-ffff another"})
    ending = await lab.carry_out(job, work)
    assert ending.event == FAILED
    assert not ending.body.returned
    assert "began on server" in ending.body.problem.detail
    assert rows(client(lab.server), "SELECT * FROM tidewind.fence WHERE ended = 0") in ([], ())
    assert differing(prepared.now, prepared.look()) == {}


async def test_what_is_refused_before_it_begins(prepared: Prepared) -> None:
    lab = prepared.lab
    unknown = {"mode": "snapshot", "backup_id": "bkp_0000000000"}
    assert await prepared.refused(**unknown) == "unknown-backup"
    point = {"mode": "point_in_time", "target_time": datetime.now(UTC)}
    assert await prepared.refused(**point) == "target-outside"
    mine = {"mode": "snapshot", "backup_id": prepared.backup}
    assert await prepared.refused(**mine, plan_hash="abcdef") == "plan-changed"
    assert await prepared.refused(**mine, timeline="tl_0000000000") == "invalid-command"
    assert await prepared.refused("tidewind.restore.undo.v1", restore_id="rst_0000000000") == "unknown-restore"
    assert await prepared.refused("tidewind.restore.cancel.v1", restore_id="rst_0000000000") == "unknown-restore"
    first = await prepared.request()
    assert await prepared.refused(**mine) == "operation-running"
    work = await lab.claim(first)
    work.cancel_requested.set()
    assert (await lab.carry_out(first, work)).event == CANCELLED


async def test_a_dry_run_ends_with_its_plan_and_touches_nothing(prepared: Prepared) -> None:
    job = await prepared.request(dry_run=True)
    plan = job.answer["plan"]
    fates = {(one["schema"], one["table"]): one["fate"] for one in plan["tables"]}
    assert fates["stock", "items"] == "returns"
    assert fates["shop", "newer"] == "disappears"
    assert plan["accounts"]["appear"] == ["'clerk'", "'gone'@'10.%'"]
    assert plan["accounts"]["disappear"] == ["'fresh'@'%'"]
    assert plan["accounts"]["change"] == ["'app'@'%'", "'root'@'localhost'"]  # root held the role's mapping
    ending = await prepared.lab.carry_out(job)
    assert ending.event == "tidewind.restore.planned.v1"
    assert differing(prepared.now, prepared.look()) == {}
    confirmed = await prepared.request(dry_run=True, plan_hash=plan["plan_hash"][:8])
    await prepared.lab.carry_out(confirmed)


async def test_the_connections_a_plan_ends_are_those_of_others(prepared: Prepared) -> None:
    """Capture and backups come under the account that the restore comes under."""

    async def told() -> int:
        facts = await MariaDBRestoreEngine().survey(address_of(prepared.lab.server), SERVICE_LOGIN)
        return facts.connections

    server = prepared.lab.server
    login = {"user": SERVICE_LOGIN.user, "password": SERVICE_LOGIN.password}
    before = await told()
    own = pymysql.connect(host=server.host, port=server.port, ssl_disabled=True, **login)
    assert await told() == before
    other = client(server)
    assert await told() == before + 1
    own.close()
    other.close()


async def test_what_was_set_aside_expires_and_then_cannot_be_undone(prepared: Prepared) -> None:
    lab = prepared.lab
    ending = await lab.restore(prepared.backup)
    assert ending.event == COMPLETED
    undone = await lab.undo(ending.body.restore_id)
    assert differing(prepared.now, prepared.look()) == {}
    assert await lab.expiry().sweep() == []
    clock = lab.tools.clock
    later = replace(lab.tools, clock=_Later(clock, timedelta(days=8)))  # type: ignore[arg-type]
    lab_later = replace(lab, tools=later)
    swept = await lab_later.expiry().sweep()
    assert undone.body.restore_id in swept
    assert await prepared.refused("tidewind.restore.undo.v1", restore_id=undone.body.restore_id) == "undo-unavailable"
    schemas = rows(client(lab.server), "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA")
    assert [name for (name,) in schemas if name.startswith("tidewind_")] == []
    assert differing(prepared.now, prepared.look()) == {}
    assert await lab_later.expiry().sweep() == []


class _Later:
    """A clock that is ahead."""

    def __init__(self, clock: Any, by: timedelta) -> None:
        self._clock = clock
        self._by = by

    def now(self) -> datetime:
        moment: datetime = self._clock.now() + self._by
        return moment
