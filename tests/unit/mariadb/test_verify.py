"""What a restore finds lost between the load and the opening, and how a table is compared with its chunks."""

from types import SimpleNamespace

import pytest

from tests.unit.restorer.bench import manifest, table
from tidewind.domain.manifest import Chunk
from tidewind.engines.mariadb.restore.checker import Counted
from tidewind.engines.mariadb.restore.verify import compare, lost_since_loading, require_readable
from tidewind.ports.engine import DatabaseError


def chunk(number, rows, checksum="0000000000000005"):
    stored = {"key": f"c/{number}", "size": 1, "sha256": "0" * 64, "row_bytes": rows}
    return Chunk(number=number, rows=rows, checksum=checksum, **stored)


HELD = manifest(
    (
        table("orders", rows=30, chunks=(1, 2)),
        table("log", rows=7, chunks=(3,), engine="MyISAM"),
        table("empty", rows=0, engine="Aria"),
    ),
    chunks=(chunk(1, 10), chunk(2, 20), chunk(3, 7)),
)
ALL = {"chunk 1": 10, "chunk 2": 20, "table 3": 7}


def test_nothing_is_lost_while_every_progress_row_stands():
    assert lost_since_loading(HELD, ALL) is None
    assert lost_since_loading(HELD, ALL | {"chunk 9": 1}) is None


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        ({"chunk 1": 10, "table 3": 7}, "`shop`.`orders`: the server has lost chunk 2 of 20 rows"),
        (ALL | {"chunk 1": 9}, "`shop`.`orders`: the server has lost chunk 1 of 10 rows"),
        ({"chunk 1": 10, "chunk 2": 20}, "`shop`.`log`: the server has lost table 3 of 7 rows"),
        ({}, "`shop`.`orders`"),
    ],
)
def test_a_progress_row_that_is_gone_or_another_names_its_table(progress, words):
    lost = lost_since_loading(HELD, progress)
    assert lost is not None
    assert words in lost


@pytest.mark.parametrize(
    ("counted", "words"),
    [
        (Counted(rows=29, row_bytes=0, checksum=10), "29 rows instead of 30"),
        (Counted(rows=30, row_bytes=0, checksum=11), "30 rows that differ"),
    ],
)
def test_a_table_that_is_not_its_chunks_is_named(counted, words):
    chunks = {one.number: one for one in HELD.chunks}
    compare(HELD.tables[0], chunks, Counted(rows=30, row_bytes=0, checksum=10))
    with pytest.raises(DatabaseError, match=words):
        compare(HELD.tables[0], chunks, counted)


@pytest.mark.parametrize(
    ("closed", "kind"), [(False, "restore-verification-failed"), (True, "database-failed")], ids=["missing", "gone"]
)
async def test_a_table_that_cannot_be_read_fails_the_verification_and_a_lost_connection_does_not(closed, kind):
    async def rows(sql):
        if "`log`" in sql:
            raise DatabaseError("database-failed", "doesn't exist in engine")
        return [(1,)]

    link = SimpleNamespace(rows=rows, control=SimpleNamespace(closed=closed))
    with pytest.raises(DatabaseError) as caught:
        await require_readable(link, HELD)
    assert caught.value.kind == kind
