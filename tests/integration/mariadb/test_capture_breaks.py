"""What ends a log, and what does not: restarts, crashes, purges, resets, other servers, other settings."""

import asyncio
from typing import Any

import pytest

from schemas.commands import DatabaseTls
from tests.integration.mariadb.capture_lab import SERVER_ID, Captured, Lab
from tests.servers.certificates import Certificates
from tidewind.ports.capture import LogBroken, LogUnsuitable, Resume
from tidewind.ports.engine import DatabaseError, Login

SEED = ("CREATE DATABASE a", "CREATE TABLE a.t (i INT PRIMARY KEY, s VARCHAR(50)) ENGINE=InnoDB")


def insert(*numbers: int, text: str = "x") -> list[str]:
    return [f"INSERT INTO a.t VALUES ({number}, '{text}')" for number in numbers]


async def held(lab: Lab) -> Captured:
    await lab.sql(*SEED, *insert(1, 2, 3))
    captured = await lab.capture()
    assert len(captured.gtids) == 5
    return captured


async def broken(lab: Lab, captured: Captured) -> LogBroken:
    with pytest.raises(LogBroken) as caught:
        await lab.capture(captured.resume())
    return caught.value


async def purge(lab: Lab, file: str) -> None:
    """A reading that has just ended keeps its file from being purged until the server notices."""
    async with asyncio.timeout(30):
        while True:
            await lab.sql(f"PURGE BINARY LOGS TO '{file}'")
            if await lab.value("SHOW BINARY LOGS") == file:
                return


async def test_a_restart_of_the_server_is_no_break(mariadb_factory: Any) -> None:
    server = await mariadb_factory()
    lab = Lab(server)
    captured = await held(lab)
    async with lab.read(captured.resume()) as running:
        await server.stop()
        failure = await running.failure()
        assert isinstance(failure, DatabaseError)
        assert failure.kind == "database-unreachable"
    await server.start()
    await lab.sql(*insert(4, 5))
    rest = await lab.capture(captured.resume())
    assert rest.gtids == ["0-1-6", "0-1-7"]
    rest.whole()


async def test_a_killed_server_is_no_break(mariadb_factory: Any) -> None:
    server = await mariadb_factory()
    lab = Lab(server)
    captured = await held(lab)
    async with lab.read(captured.resume()) as running:
        await lab.sql(*insert(4))
        await running.until(lambda now: len(now.gtids) == 1)
        await server.kill()
        assert isinstance(await running.failure(), DatabaseError)
        resume = running.captured.resume()
    await server.start()
    await lab.sql(*insert(5))
    assert (await lab.capture(resume)).gtids == ["0-1-7"]
    assert (await lab.capture(captured.resume())).gtids == ["0-1-6", "0-1-7"]


async def test_an_unfinished_transaction_in_a_crashed_log_is_none(mariadb_factory: Any) -> None:
    server = await mariadb_factory()
    lab = Lab(server)
    await held(lab)
    await server.kill()
    file = sorted(path for path in (server.directory / "binlog").glob("binlog.0*") if path.suffix[1:].isdigit())[-1]
    data = file.read_bytes()
    file.write_bytes(data[:-31])  # without its XID event: the transaction was not in the log
    await server.start()
    await lab.sql(*insert(8, 9))
    whole = await lab.capture()
    whole.whole()
    assert whole.gtids[:4] == ["0-1-1", "0-1-2", "0-1-3", "0-1-4"]
    assert len(whole.gtids) == len(set(whole.gtids))
    assert whole.gtids[-1] == await lab.value("SELECT @@gtid_binlog_pos")


async def test_a_log_that_lost_its_tail(mariadb_factory: Any) -> None:
    server = await mariadb_factory()
    lab = Lab(server)
    await held(lab)
    await lab.sql("FLUSH LOGS")
    await purge(lab, "binlog.000002")
    await lab.sql(*insert(4, 5, 6))
    captured = await lab.capture("0-1-5")
    await server.kill()
    file = sorted(path for path in (server.directory / "binlog").glob("binlog.0*") if path.suffix[1:].isdigit())[-1]
    data = file.read_bytes()
    first = data.index(b"\xa2", data.index(b"\xa2") + 200)
    file.write_bytes(data[: first - 4])
    await server.start()
    if await lab.value("SELECT @@gtid_binlog_pos") != str(captured.position):
        failure = await broken(lab, captured)
        assert failure.cause == "diverged", failure
    await lab.sql(*[f"REPLACE INTO a.t VALUES ({number}, 'other')" for number in range(20, 30)])
    failure = await broken(lab, captured)
    assert failure.cause == "diverged", failure


async def test_purged(mariadb_factory: Any) -> None:
    lab = Lab(await mariadb_factory())
    captured = await held(lab)
    await lab.sql("FLUSH LOGS", *insert(4), "FLUSH LOGS", *insert(5))
    await purge(lab, "binlog.000003")
    failure = await broken(lab, captured)
    assert failure.cause == "purged"
    assert failure.kind == "log-broken"
    empty = Captured()
    assert (await broken(lab, empty)).cause == "purged"
    assert (await lab.capture(await lab.end())).gtids == []


async def test_purged_up_to_what_is_held_is_no_break(mariadb_factory: Any) -> None:
    lab = Lab(await mariadb_factory())
    captured = await held(lab)
    await lab.sql("FLUSH LOGS")
    await purge(lab, "binlog.000002")
    await lab.sql(*insert(4))
    assert (await lab.capture(captured.resume())).gtids == ["0-1-6"]


async def test_reset(mariadb_factory: Any) -> None:
    lab = Lab(await mariadb_factory())
    captured = await held(lab)
    async with lab.read(captured.resume()) as running:
        try:
            await lab.sql("RESET MASTER")
        except Exception:
            pytest.skip("this release refuses a reset while its log is read")
        await running.stop()
    assert (await broken(lab, captured)).cause == "reset"
    await lab.sql(*insert(6, 7))
    failure = await broken(lab, captured)
    assert failure.cause == "reset"
    assert "0-1-5" in failure.detail


async def test_reset_and_the_same_numbers_with_other_bytes(mariadb_factory: Any) -> None:
    lab = Lab(await mariadb_factory())
    captured = await held(lab)
    await lab.sql("RESET MASTER", *insert(11, 12, 13, 14, 15, 16, text="y"))
    failure = await broken(lab, captured)
    assert failure.cause == "diverged"
    assert "other bytes" in failure.detail


async def test_numbers_that_fall(mariadb_factory: Any) -> None:
    lab = Lab(await mariadb_factory())
    await lab.sql("SET GLOBAL gtid_strict_mode = OFF")
    captured = await held(lab)
    async with lab.read(captured.resume()) as running:
        await lab.sql("SET gtid_seq_no = 100", *insert(4))
        await running.until(lambda now: now.gtids == ["0-1-100"])
        await lab.sql("SET gtid_seq_no = 50", *insert(5))
        failure = await running.failure()
        assert isinstance(failure, LogBroken)
        assert failure.cause == "diverged"
        assert running.captured.gtids == ["0-1-100"]


async def test_failover(mariadb_factory: Any) -> None:
    """To a replica that has all; then its log is another, and so is one with errant transactions."""
    primary = await mariadb_factory(server_id=1)
    replica = await mariadb_factory(server_id=2, options=("--log-slave-updates=ON", "--gtid-strict-mode=OFF"))
    lab, other = Lab(primary), Lab(replica)
    captured = await held(lab)
    await other.sql(
        f"CHANGE MASTER TO MASTER_HOST='{primary.host}', MASTER_PORT={primary.port}, MASTER_USER='root',"
        f" MASTER_PASSWORD='{primary.password}', MASTER_USE_GTID=slave_pos",
        "START SLAVE",
        f"SELECT MASTER_GTID_WAIT('{captured.position}', 30)",
        "STOP SLAVE",
        "RESET SLAVE ALL",
    )
    failure = await broken(other, captured)
    assert failure.cause == "replaced", failure
    await lab.sql(*insert(50))
    errant = await lab.capture(captured.resume())
    both = Captured(transactions=errant.transactions, position=errant.position)
    await other.sql(*insert(60, 61))
    failure = await broken(other, both)
    assert failure.cause == "replaced", failure
    assert (await other.capture(await other.end())).gtids == []


async def test_an_empty_server_in_its_place(mariadb_factory: Any) -> None:
    captured = await held(Lab(await mariadb_factory()))
    assert (await broken(Lab(await mariadb_factory()), captured)).cause == "reset"


@pytest.mark.parametrize(
    ("setting", "bad", "good"),
    [("binlog_format", "MIXED", "ROW"), ("binlog_row_image", "MINIMAL", "FULL"), ("binlog_checksum", "NONE", "CRC32")],
)
async def test_settings(setting: str, bad: str, good: str, mariadb_factory: Any) -> None:
    lab = Lab(await mariadb_factory())
    captured = await held(lab)
    async with lab.read(captured.resume()) as running:
        await running.reading.mark()
        await lab.sql(f"SET GLOBAL {setting} = {bad}")
        with pytest.raises(LogUnsuitable) as caught:
            await running.reading.mark()
        assert setting in caught.value.detail
        assert caught.value.next_step == f"SET GLOBAL {setting} = {good};"
        assert isinstance(await running.failure(), DatabaseError)
    with pytest.raises(LogUnsuitable):
        await lab.capture(captured.resume())
    with pytest.raises(LogUnsuitable):
        await lab.end()
    found = await lab.engine.examine(lab.address, lab.login)
    assert any(one.fix == f"SET GLOBAL {setting} = {good};" for one in found)
    if setting == "binlog_checksum":
        await lab.sql(*insert(8))
    await lab.sql(f"SET GLOBAL {setting} = {good}", *insert(9))
    if setting == "binlog_checksum":
        failure = await broken(lab, captured)
        assert failure.cause == "unreadable", failure
    else:
        assert (await lab.capture(captured.resume())).gtids == ["0-1-6"]


async def test_no_log_at_all(mariadb_factory: Any) -> None:
    lab = Lab(await mariadb_factory(options=("--skip-log-bin",)))
    with pytest.raises(LogUnsuitable, match="off"):
        await lab.end()
    with pytest.raises(LogUnsuitable, match="off"):
        await lab.capture(Resume(position=""))


async def test_a_log_that_leaves_schemas_out(mariadb_factory: Any) -> None:
    lab = Lab(await mariadb_factory(options=("--binlog-ignore-db=scratch",)))
    with pytest.raises(LogUnsuitable, match="scratch"):
        await lab.end()
    found = await lab.engine.examine(lab.address, lab.login)
    assert any("scratch" in one.text for one in found)


async def test_another_reading_with_our_number(mariadb_factory: Any) -> None:
    lab = Lab(await mariadb_factory())
    captured = await held(lab)
    async with lab.read(captured.resume()) as zombie, lab.read(captured.resume()) as successor:
        failure = await zombie.failure()
        assert isinstance(failure, DatabaseError)
        assert str(SERVER_ID) in failure.detail
        await lab.sql(*insert(4))
        await successor.until(lambda now: now.gtids == ["0-1-6"])
    with pytest.raises(DatabaseError, match="own server_id"):
        await lab.capture(captured.resume(), server_id=1)


async def test_a_replica_with_our_number(mariadb_factory: Any) -> None:
    primary = await mariadb_factory(server_id=1)
    replica = await mariadb_factory(server_id=9, options=("--report-host=replica.example",))
    lab, other = Lab(primary), Lab(replica)
    captured = await held(lab)
    await other.sql(
        f"CHANGE MASTER TO MASTER_HOST='{primary.host}', MASTER_PORT={primary.port}, MASTER_USER='root',"
        f" MASTER_PASSWORD='{primary.password}', MASTER_USE_GTID=slave_pos",
        "START SLAVE",
        f"SELECT MASTER_GTID_WAIT('{captured.position}', 30)",
    )
    with pytest.raises(DatabaseError, match=r"replica\.example") as caught:
        await lab.capture(captured.resume(), server_id=9)
    assert caught.value.kind == "database-unsuitable"


async def test_accounts(mariadb_factory: Any) -> None:
    server = await mariadb_factory()
    lab = Lab(server)
    await lab.sql(
        "CREATE USER few IDENTIFIED BY 'pw'",
        "GRANT SELECT, BINLOG MONITOR ON *.* TO few",
        "CREATE USER enough IDENTIFIED BY 'pw'",
        "GRANT SELECT, BINLOG MONITOR, REPLICATION SLAVE ON *.* TO enough",
    )
    few = Lab(server, login=Login(user="few", password="pw"))
    with pytest.raises(DatabaseError) as caught:
        await few.capture()
    assert caught.value.kind == "database-rights-missing"
    assert "REPLICATION SLAVE" in (caught.value.next_step or "")
    found = await few.engine.examine(few.address, few.login)
    assert any("REPLICATION SLAVE" in one.text for one in found)
    await lab.sql("CREATE USER none IDENTIFIED BY 'pw'")
    none = Lab(server, login=Login(user="none", password="pw"))
    assert await none.engine.examine(none.address, none.login)
    wrong = Lab(server, login=Login(user="few", password="no"))
    with pytest.raises(DatabaseError) as caught:
        await wrong.capture()
    assert caught.value.kind == "database-refused-login"
    enough = Lab(server, login=Login(user="enough", password="pw"))
    assert len((await enough.capture()).gtids) == 5
    async with enough.read() as running:
        assert await running.reading.state("variables") is not None


async def test_over_tls(mariadb_factory: Any, certificates: Certificates) -> None:
    server = await mariadb_factory(options=tuple(certificates.mariadb_options()))
    tls = DatabaseTls(mode="verify-identity", ca=f"file:{certificates.ca}")
    lab = Lab(server, tls=tls)
    await lab.sql(*SEED, *insert(*range(500), text="y" * 50))
    captured = await lab.capture()
    captured.whole()
    assert len(captured.gtids) == 502


@pytest.mark.parametrize("reading", [True, False], ids=["while it is read", "between two sessions"])
async def test_a_domain_that_was_deleted_from_the_log(reading: bool, mariadb_factory: Any) -> None:
    """FLUSH BINARY LOGS DELETE_DOMAIN_ID: the server forgets what is held of the domain."""
    lab = Lab(await mariadb_factory())
    await held(lab)
    await lab.sql("SET gtid_domain_id = 5", *insert(50))
    captured = await lab.capture()
    assert str(captured.position) == "0-1-5,5-1-1"

    async def delete_domain() -> None:
        await lab.sql("FLUSH BINARY LOGS", *insert(4))
        await purge(lab, "binlog.000002")
        await lab.sql("FLUSH BINARY LOGS DELETE_DOMAIN_ID = (5)")

    if not reading:
        await delete_domain()
        assert "domain 5" in (await broken(lab, captured)).detail
        return
    await lab.sql("FLUSH BINARY LOGS", *insert(6))
    async with lab.read(captured.resume()) as running:
        await running.reading.mark()
        await running.until(lambda now: now.gtids == ["0-1-6"])
        await delete_domain()
        with pytest.raises(LogBroken) as caught:
            await running.reading.mark()
        assert caught.value.cause == "reset"
