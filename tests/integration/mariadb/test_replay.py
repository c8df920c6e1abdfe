"""Base and log on a real server, judged by a native replica stopped at the same position."""

from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.integration.mariadb.snapshot_support import client, run
from tests.point_lab import PointLab, lab_in

PLAIN = (
    "CREATE DATABASE shop",
    "CREATE TABLE shop.items (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40), price DECIMAL(10,2)) ENGINE=InnoDB",
    "INSERT INTO shop.items (name, price) VALUES ('a', 1), ('b', 2), ('c', 3)",
)


@pytest.fixture
async def lab(mariadb_factory: Any, tmp_path: Path) -> PointLab:
    source = await mariadb_factory(server_id=1)
    replica = await mariadb_factory(server_id=2)
    target = await mariadb_factory(server_id=3)
    return lab_in(tmp_path / "deployment", source, target, replica)


async def test_rows_and_definitions_of_a_point_are_those_of_a_replica_stopped_there(lab: PointLab) -> None:
    connection = client(lab.source)
    run(connection, *PLAIN)
    await lab.base()
    run(
        connection,
        "UPDATE shop.items SET price = price * 2",
        "CREATE TABLE shop.later (id INT PRIMARY KEY, at TIMESTAMP DEFAULT CURRENT_TIMESTAMP) ENGINE=InnoDB",
        "INSERT INTO shop.later (id) VALUES (1), (2)",
        "ALTER TABLE shop.items ADD COLUMN note TEXT",
        "INSERT INTO shop.items (name, note) VALUES ('d', 'new')",
        "DELETE FROM shop.items WHERE name = 'b'",
        "DROP TABLE shop.later",
    )
    await lab.archive(Random(1), mean_bytes=300)
    for position in lab.points():
        await lab.restore(position)
        lab.replicate_to(position)
        assert await lab.differences() == [], position
