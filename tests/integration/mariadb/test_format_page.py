"""A backup is restored without Tidewind, from what docs/format.md says alone, and the content is equal."""

import ast
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests import oracle
from tests.integration.mariadb import outsider
from tests.integration.mariadb.restore_data import SEED, differing, picture
from tests.integration.mariadb.restore_lab import CLUSTER, SERVICE_LOGIN, Lab, lab_on
from tests.integration.mariadb.snapshot_support import client

PAGE = Path(__file__).parents[3] / "docs" / "format.md"
MORE = (
    "CREATE TABLE stock.sizes (id INT PRIMARY KEY, size ENUM('', 'S', 's') COLLATE utf8mb4_bin, "
    "tags SET('x', 'X') COLLATE utf8mb4_bin, at TIMESTAMP(6) NULL, made DATETIME, data JSON) ENGINE=InnoDB",
    "SET sql_mode = 'ALLOW_INVALID_DATES'",
    "INSERT INTO stock.sizes VALUES (0 + 7, 2, 1, '2026-10-25 02:30:00.123456', '2026-02-31', '{\"a\": 1}'), "
    "(8, 0, 3, NULL, '0000-00-00', NULL)",
    "CREATE TABLE stock.refers (id INT PRIMARY KEY, FOREIGN KEY (id) REFERENCES stock.zz_parent (id)) ENGINE=InnoDB",
)


@pytest.fixture
async def lab(mariadb_factory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    monkeypatch.setenv("TIDEWIND_TEST_SERVICE", f"{SERVICE_LOGIN.user}:{SERVICE_LOGIN.password}")
    server = await mariadb_factory()
    async with lab_on(server, tmp_path / "deployment") as made:
        await made.enroll()
        yield made


def test_the_program_imports_nothing_of_ours() -> None:
    tree = ast.parse(Path(outsider.__file__).read_text())
    named = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    named |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in named if name.split(".")[0] in ("tidewind", "services", "schemas", "tests")}


async def test_a_program_written_from_the_page_restores_a_backup(
    lab: Lab, mariadb_factory: Any, tmp_path: Path
) -> None:
    lab.sql(*SEED, *MORE[:3], "CREATE TABLE stock.zz_parent (id INT PRIMARY KEY) ENGINE=InnoDB", MORE[3])
    before = client(lab.server)
    then, seen = await lab.content(), picture(before)
    before.close()
    backup = await lab.backup()

    fresh = await mariadb_factory()
    reader = await fresh.connect()  # the restore takes root's password away, as it is told to
    looking = client(fresh)
    connection = pymysql.connect(
        host=fresh.host,
        port=fresh.port,
        user=fresh.user,
        password=fresh.password,
        charset="utf8mb4",
        local_infile=True,
        autocommit=True,
    )
    page: dict[str, Any] = {}
    programs = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    exec(compile("\n".join(programs), str(PAGE), "exec"), page)
    folder = tmp_path / "deployment"
    keyring = page["read_keyring"]((folder / "keyring").read_text())
    outsider.Outsider(
        folder / "store", lambda key, stored: page["open_object"](key, stored, keyring), connection
    ).restore(CLUSTER, backup)
    connection.close()

    found = await oracle.content(reader, spared_accounts=(SERVICE_LOGIN.user,))
    assert then.differences(found) == []
    assert differing(seen, picture(looking)) == {}
    looking.close()
    reader.close()
