"""What preflight says of a server, and that the rights it asks for are those a snapshot needs."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.commands import DatabaseTls
from tests.integration.mariadb.snapshot_support import (
    Reports,
    address_of,
    client,
    difference,
    load,
    login_of,
    request_for,
    rows,
    run,
    sealed_store,
)
from tests.servers.certificates import Certificates
from tidewind.engines.mariadb.capture import MariaDBCaptureEngine
from tidewind.engines.mariadb.grants import BACKUP_GRANTS, CAPTURE_GRANTS
from tidewind.engines.mariadb.snapshot import MariaDBSnapshotEngine
from tidewind.ports.capture import Resume
from tidewind.ports.engine import Address, DatabaseError, Finding, Login

BACKUP = Login(user="backup", password="canary-backup")
ENGINE = MariaDBSnapshotEngine()


def make_backup_account(server: Any, *, without: str = "") -> None:
    connection = client(server)
    names = ", ".join(name for name in (*BACKUP_GRANTS, *CAPTURE_GRANTS) if name != without)
    run(
        connection,
        f"CREATE OR REPLACE USER backup@'%' IDENTIFIED BY '{BACKUP.password}'",
        f"GRANT {names} ON *.* TO backup@'%'",
    )
    connection.close()


def of_level(findings: tuple[Finding, ...], level: str) -> list[str]:
    return [f"{finding.subject}: {finding.text} → {finding.fix}" for finding in findings if finding.level == level]


async def test_the_named_rights_suffice(mariadb_factory: Callable[..., Awaitable[Any]], tmp_path: Path) -> None:
    source, target = await mariadb_factory(), await mariadb_factory(server_id=2)
    make_backup_account(source)
    connection = client(source)
    run(
        connection,
        "SET GLOBAL sync_binlog = 1",
        "CREATE DATABASE d",
        "USE d",
        "CREATE TABLE t (id INT PRIMARY KEY) WITH SYSTEM VERSIONING",
        "INSERT INTO t VALUES (1)",
        "CREATE SEQUENCE s",
        "CREATE VIEW v AS SELECT * FROM t",
        "CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1",
        "CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET @a = 1",
        "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DISABLE DO SET @a = 1",
    )
    before = rows(connection, "SELECT @@gtid_binlog_pos")
    seen = await ENGINE.preflight(address_of(source), BACKUP, login_of(source))
    assert of_level(seen.findings, "error") == []
    assert of_level(seen.findings, "warn") == []
    end = await MariaDBCaptureEngine().log_end(address_of(source), BACKUP)
    resume = Resume(position=end)
    async with MariaDBCaptureEngine().read(address_of(source), BACKUP, resume, server_id=4_000_000_000) as reading:
        assert (await reading.mark()).position == end
        for kind in MariaDBCaptureEngine.state_kinds:
            assert await reading.state(kind) is not None
        await reading.headroom_s(end)
    store = sealed_store(tmp_path)
    content = await ENGINE.take(address_of(source), BACKUP, request_for(store), Reports())
    assert rows(connection, "SELECT @@gtid_binlog_pos") == before, "a backup writes nothing"
    connection.close()
    await load(content, store, target)
    assert difference(source, target) == []


@pytest.mark.parametrize("right", BACKUP_GRANTS)
async def test_each_missing_right_is_named_with_its_grant(mariadb: Any, right: str) -> None:
    make_backup_account(mariadb, without=right)
    try:
        seen = await ENGINE.preflight(address_of(mariadb), BACKUP, None)
    finally:
        connection = client(mariadb)
        run(connection, "DROP USER backup@'%'")
        connection.close()
    errors = of_level(seen.findings, "error")
    assert [line for line in errors if f"GRANT {right} ON *.* TO `backup`@`%`;" in line], errors


async def test_rights_in_excess(mariadb: Any) -> None:
    make_backup_account(mariadb)
    connection = client(mariadb)
    run(connection, "GRANT DROP, FILE ON *.* TO backup@'%'")
    seen = await ENGINE.preflight(address_of(mariadb), BACKUP, login_of(mariadb))
    run(connection, "DROP USER backup@'%'")
    connection.close()
    warnings = " ".join(of_level(seen.findings, "warn"))
    assert "has DROP, which it never needs" in warnings
    assert "REVOKE FILE ON *.* FROM `backup`@`%`;" in warnings


async def test_unsuitable_servers(mariadb_factory: Callable[..., Awaitable[Any]]) -> None:
    server = await mariadb_factory(
        options=("--binlog-format=MIXED", "--gtid-strict-mode=OFF", "--binlog-row-image=MINIMAL")
    )
    connection = client(server)
    run(
        connection,
        "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = 1, MASTER_USER = 'x'",
        "CREATE DATABASE tidewind",
        "CREATE DATABASE far",
        "INSTALL SONAME 'ha_sphinx'",
        "CREATE TABLE far.away (id BIGINT UNSIGNED NOT NULL, weight INT NOT NULL, query VARCHAR(3072) NOT NULL,"
        " INDEX (query)) ENGINE=SPHINX CONNECTION='sphinx://127.0.0.1:1/x'",
    )
    connection.close()
    seen = await ENGINE.preflight(address_of(server), login_of(server), None)
    errors = " ".join(of_level(seen.findings, "error"))
    assert "is itself a replica" in errors
    assert "`far`.`away` has engine SPHINX" in errors
    assert "a schema named `tidewind` exists" in errors
    warnings = " ".join(of_level(seen.findings, "warn"))
    for name in ("binlog_format", "gtid_strict_mode", "binlog_row_image", "sync_binlog"):
        assert f"SET GLOBAL {name} =" in warnings


async def test_tls(
    mariadb_factory: Callable[..., Awaitable[Any]],
    certificates: Certificates,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = await mariadb_factory(options=certificates.mariadb_options())
    connection = client(server)
    run(connection, "ALTER USER 'root'@'127.0.0.1' REQUIRE SSL", "ALTER USER 'root'@'localhost' REQUIRE SSL")
    connection.close()
    monkeypatch.setenv("TIDEWIND_TEST_CA", certificates.ca.read_text())

    def address(tls: DatabaseTls | None) -> Address:
        return address_of(server).__class__(cluster_id="shop", endpoints=address_of(server).endpoints, tls=tls)

    for reference in (f"file:{certificates.ca}", "env:TIDEWIND_TEST_CA"):
        seen = await ENGINE.preflight(address(DatabaseTls(ca=reference)), login_of(server), None)
        assert seen.facts.engine == "mariadb"
    tls = DatabaseTls(ca=f"file:{certificates.ca}")
    await ENGINE.take(address(tls), login_of(server), request_for(sealed_store(tmp_path)), Reports())
    with pytest.raises(DatabaseError):
        await ENGINE.preflight(address(DatabaseTls()), login_of(server), None)
    with pytest.raises(DatabaseError):
        await ENGINE.preflight(address(None), login_of(server), None)


async def test_never_falls_back_to_plain_text(mariadb_factory: Callable[..., Awaitable[Any]]) -> None:
    server = await mariadb_factory(options=("--skip-ssl",))
    address = Address(cluster_id="shop", endpoints=address_of(server).endpoints, tls=DatabaseTls())
    with pytest.raises(DatabaseError, match="does not offer TLS"):
        await ENGINE.preflight(address, login_of(server), None)
