"""Data in the shape of sysbench's OLTP tables, made inside the server."""

from typing import Any

TABLES = 4
_ROW_BYTES = 190


async def fill(connection: Any, size_mb: int) -> int:
    """Make `bench.sbtest1…4` with about `size_mb` of rows as text; returns the number of rows."""
    rows = size_mb * 1_000_000 // _ROW_BYTES // TABLES
    async with connection.cursor() as cursor:
        await cursor.execute("CREATE DATABASE bench")
        await cursor.execute("USE bench")
        for number in range(1, TABLES + 1):
            await cursor.execute(
                f"CREATE TABLE bench.sbtest{number} (id INT NOT NULL AUTO_INCREMENT, k INT NOT NULL DEFAULT 0, "
                "c CHAR(120) NOT NULL DEFAULT '', pad CHAR(60) NOT NULL DEFAULT '', PRIMARY KEY (id), KEY k_1 (k))"
            )
            groups = ", '-', ".join(f"LPAD(FLOOR(RAND(seq * 11 + {part}) * 1e11), 11, '0')" for part in range(10))
            tail = ", '-', ".join(f"LPAD(FLOOR(RAND(seq * 5 + {part}) * 1e11), 11, '0')" for part in range(5))
            await cursor.execute(
                f"INSERT INTO bench.sbtest{number} (k, c, pad) "
                f"SELECT FLOOR(RAND(seq) * {rows}), CONCAT({groups}), CONCAT({tail}) FROM seq_1_to_{rows}"
            )
            await cursor.execute("COMMIT")
        await cursor.execute("CREATE TABLE bench.writes (id INT PRIMARY KEY AUTO_INCREMENT, at DATETIME(6))")
        await cursor.execute("ANALYZE TABLE " + ", ".join(f"bench.sbtest{n}" for n in range(1, TABLES + 1)))
    return rows * TABLES
