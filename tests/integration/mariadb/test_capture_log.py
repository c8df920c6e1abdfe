"""Everything that a log can hold is captured, byte for byte, on every release."""

import asyncio
from typing import Any

import pytest

from tests.integration.mariadb.capture_lab import SERVER_ID, Lab
from tests.servers import binlog_workload, installed
from tidewind.domain import log_stream
from tidewind.engines.mariadb.log import events
from tidewind.engines.mariadb.log.transactions import log_flags
from tidewind.ports.capture import Resume

OWN = "10.11"


async def workload(lab: Lab, release: str = OWN) -> None:
    connection = await lab.server.connect()
    try:
        await binlog_workload.run(connection, binlog_workload.release_of(release))
    finally:
        connection.close()


@pytest.mark.parametrize("release", ["10.5", OWN, "11.4", "11.8"])
async def test_all_that_a_log_holds(release: str, mariadb_factory: Any) -> None:
    options = {} if release == OWN else {"installation": installed.mariadb(release)}
    lab = Lab(await mariadb_factory(**options))
    async with lab.read() as running:
        assert running.reading.server_version.startswith(release)
        await workload(lab, release)
        await running.up_to(await lab.end())
        live = running.captured
    assert all(live.lives)
    live.whole()
    _, groups = lab.logged()
    assert live.gtids == [group[0] for group in groups]
    assert [one.flags for one in live.transactions] == [group[6] for group in groups]
    kinds = {one.flags for one in live.transactions}
    assert {0, log_stream.DDL, log_stream.XA_PREPARE, log_stream.XA_END, log_stream.UNTRANSACTED} <= kinds
    late = await lab.capture()
    assert not any(late.lives)
    late.whole()
    assert late.data == live.data
    assert [one[:3] + one[4:] for one in late.transactions] == [one[:3] + one[4:] for one in live.transactions]
    assert await lab.engine.log_end(lab.address, lab.login) == str(live.position)
    for at in (1, len(groups) // 2, len(groups) - 1):
        held = live.transactions[:at]
        resume = Resume(position=_position(held), last=held[-1])
        rest = await lab.capture(resume)
        rest.whole()
        assert rest.gtids == live.gtids[at:]
        assert rest.data[len(running.reading.preamble) :] == live.data[held[-1].end :]


def _position(held: list[log_stream.Transaction]) -> str:
    last: dict[str, str] = {}
    for one in held:
        last[one.gtid.split("-")[0]] = one.gtid
    return ",".join(last[domain] for domain in sorted(last))


async def test_an_encrypted_log(mariadb_factory: Any, tmp_path: Any) -> None:
    keys = tmp_path / "keys"
    keys.write_text("1;" + "ab" * 32 + "\n")
    server = await mariadb_factory(
        options=(
            "--plugin-load-add=file_key_management",
            f"--file-key-management-filename={keys}",
            "--encrypt-binlog=ON",
        )
    )
    lab = Lab(server)
    await workload(lab)
    captured = await lab.capture()
    captured.whole()
    assert b"every_type" in captured.data
    assert b"every_type" not in lab.files()
    kinds = {one.type for one in events.iterate(captured.data)}
    assert events.START_ENCRYPTION not in kinds
    assert events.WRITE_ROWS_COMPRESSED_V1 in kinds


async def test_a_history_begins_at_the_end_of_a_log_that_nobody_writes(mariadb_factory: Any) -> None:
    lab = Lab(await mariadb_factory())
    assert await lab.end() == ""
    async with lab.read() as running:
        assert running.reading.position == ""
        await lab.sql("CREATE DATABASE a")
        await running.until(lambda captured: captured.gtids == ["0-1-1"])
    await lab.sql("CREATE DATABASE b", "FLUSH LOGS", "FLUSH LOGS")
    end = await lab.end()
    async with lab.read(end) as running:
        assert running.reading.preamble
        await lab.sql("CREATE DATABASE c")
        await running.until(lambda captured: captured.gtids == ["0-1-3"])
        assert running.captured.lives == [True]
        running.captured.whole()


async def test_marks_times_and_the_clock(mariadb_factory: Any) -> None:
    lab = Lab(await mariadb_factory())
    await lab.sql("CREATE DATABASE a", "CREATE TABLE a.t (i INT PRIMARY KEY)")
    async with lab.read(await lab.end()) as running:
        before = await running.reading.mark()
        assert before.position == "0-1-2"
        assert before.before_us <= before.after_us
        await lab.sql(
            "SET timestamp = 1",
            "INSERT INTO a.t VALUES (1)",
            "SET timestamp = 4102444800",
            "INSERT INTO a.t VALUES (2)",
        )
        await running.until(lambda captured: len(captured.gtids) == 2)
        after = await running.reading.mark()
        assert after.position == "0-1-4"
        times = [one.time_us for one in running.captured.transactions]
        slack = 50_000
        assert before.before_us - slack <= times[0] <= times[1] <= after.after_us + slack
    await lab.sql("INSERT INTO a.t VALUES (3)")
    late = await lab.capture("0-1-2")
    assert all(one.time_us <= after.after_us + 60_000_000 for one in late.transactions)
    assert late.transactions[-1].time_us >= before.before_us - 2_000_000


async def test_what_no_log_holds(mariadb_factory: Any) -> None:
    lab = Lab(await mariadb_factory())
    await lab.sql("CREATE DATABASE a")
    async with lab.read(await lab.end()) as running:
        reading = running.reading
        first = {kind: await reading.state(kind) for kind in lab.engine.state_kinds}
        assert first["variables"].content["max_connections"] == "151"
        assert first["servers"].content == {}
        assert first["variables"].position == "0-1-1"
        await lab.sql(
            "SET GLOBAL max_connections = 77",
            "CREATE SERVER far FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'h', DATABASE 'd', PASSWORD 'p')",
            "INSTALL SONAME 'auth_ed25519'",
        )
        again = {kind: await reading.state(kind) for kind in lab.engine.state_kinds}
        assert again["variables"].content["max_connections"] == "77"
        assert again["servers"].content["far"]["Host"] == "h"
        assert again["plugins"].content == {**first["plugins"].content, "ed25519": "auth_ed25519.so"}
        assert again["variables"].time_us >= first["variables"].time_us


async def test_headroom(mariadb_factory: Any) -> None:
    lab = Lab(await mariadb_factory())
    await lab.sql("SET GLOBAL binlog_expire_logs_seconds = 0", "CREATE DATABASE a")
    async with lab.read(await lab.end()) as running:
        assert await running.reading.headroom_s("0-1-1") is None
        await lab.sql("SET GLOBAL binlog_expire_logs_seconds = 5000")
        assert await running.reading.headroom_s("0-1-1") == 5000
        await lab.sql("CREATE DATABASE b", "FLUSH LOGS", "CREATE DATABASE c")
        await running.until(lambda captured: len(captured.gtids) == 2)
        behind = await running.reading.headroom_s("0-1-1")
        assert 4900 <= behind <= 5000
        assert await running.reading.headroom_s("0-1-3") == 5000


async def test_a_quiet_server_is_known_to_live(mariadb_factory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tidewind.engines.mariadb.log import dump
    from tidewind.ports.engine import DatabaseError

    monkeypatch.setattr(dump, "SILENCE_SECONDS", 3.0)
    server = await mariadb_factory()
    lab = Lab(server)
    async with lab.read() as running:
        with pytest.raises(TimeoutError):
            await running.failure(6)
        server.pause()
        try:
            failure = await running.failure(10)
        finally:
            server.resume()
        assert isinstance(failure, DatabaseError)
        assert failure.kind == "database-unreachable"


async def test_many_domains_interleaved(mariadb_factory: Any) -> None:
    lab = Lab(await mariadb_factory())
    await lab.sql("CREATE DATABASE a", "CREATE TABLE a.t (i INT PRIMARY KEY AUTO_INCREMENT, d INT)")

    async def write(domain: int) -> None:
        await lab.sql(f"SET gtid_domain_id = {domain}", *[f"INSERT INTO a.t (d) VALUES ({domain})" for _ in range(50)])

    await asyncio.gather(*(write(domain) for domain in (1, 2, 3)))
    whole = await lab.capture()
    assert len(whole.gtids) == 152
    for at in (3, 17, 64, 99, 151):
        held = whole.transactions[:at]
        rest = await lab.capture(Resume(position=_position(held), last=held[-1]), server_id=SERVER_ID + at)
        assert rest.gtids == whole.gtids[at:]


def test_flags() -> None:
    assert log_flags(events.TRANSACTIONAL) == 0
    assert log_flags(0) == log_stream.UNTRANSACTED
    assert log_flags(events.IS_DDL | events.STANDALONE) == log_stream.DDL
