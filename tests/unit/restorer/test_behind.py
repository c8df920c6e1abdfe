"""What a plan tells of the log behind a point: how much is undone, what comes and goes, and what it does not know."""

from pathlib import Path

import pytest

from services.restorer.handlers.behind import look_behind
from services.restorer.handlers.points import read_lived
from services.restorer.handlers.sources import Origin, backup_origin
from services.restorer.rules.behind import Tally, accounts_at_point, tables_at_point
from services.restorer.rules.fates import AccountFates, Fate, TableFate
from tests.point_bench import BASE, CLUSTER, HISTORY, PointBench, at
from tests.unit.restorer.bench import entry
from tidewind.domain import keys
from tidewind.domain.lived import microseconds
from tidewind.domain.log_stream import Transaction
from tidewind.engines.mariadb.log.summary import MariaDBLogDecoder
from tidewind.ports.capture import Summary, TableChange
from tidewind.runtime.log_reader import transactions

ONE = Transaction("0-1-7", 0, 10, 1_000_000)


async def told(bench: PointBench, since: int) -> list[Summary]:
    """What each transaction did from the one of that number on, found by time."""
    begin, end = microseconds(at(since)), microseconds(at(len(bench.gtids)))
    decoder, found = MariaDBLogDecoder(), []
    walk = transactions(bench.tools.archived, CLUSTER, HISTORY, first=1, from_us=begin, to_us=end)
    async for read in walk:
        assert read.data is not None
        found.append(decoder.summary(read.preamble, read.data))
    assert len(found) == len(bench.gtids) - since
    return found


@pytest.fixture
async def bench(tmp_path: Path) -> PointBench:
    return await PointBench(tmp_path).begin(base_after=0)


@pytest.mark.parametrize("cut", [1, 5, 12, 33, 47])
async def test_all_that_lies_behind_a_point_is_counted_by_table(bench: PointBench, cut: int) -> None:
    seen = await bench.behind(target_position=bench.gtids[cut])
    assert seen is not None
    expected: dict[tuple[str, str], list[int]] = {}
    statements = 0
    for summary in await told(bench, cut + 1):
        statements += len(summary.statements)
        for one in summary.tables:
            counts = expected.setdefault((one.schema, one.table), [0, 0, 0])
            for index, count in enumerate((one.inserted, one.updated, one.deleted)):
                counts[index] += count
    behind = seen.behind
    assert (behind.transactions, behind.transactions_at_least) == (len(bench.gtids) - cut - 1, False)
    assert (behind.looked_into, behind.rows_at_least) == (behind.transactions, False)
    assert {(one.schema, one.table): [one.inserted, one.updated, one.deleted] for one in behind.tables} == expected
    assert len(behind.statements) + behind.statements_not_listed == statements
    assert seen.touched is not None


async def test_at_the_very_end_nothing_is_undone(bench: PointBench) -> None:
    seen = await bench.behind(target_position=bench.gtids[-1])
    assert seen is not None
    assert (seen.behind.transactions, seen.behind.tables, seen.behind.transactions_at_least) == (0, (), False)


async def test_what_the_server_has_written_beyond_the_archive_makes_the_count_a_lower_bound(bench: PointBench) -> None:
    seen = await bench.behind(target_position=bench.gtids[20], server_position="0-1-999999,5-1-999")
    assert seen is not None
    assert seen.behind.transactions == len(bench.gtids) - 21
    assert seen.behind.transactions_at_least


async def test_more_log_than_a_plan_reads_is_said_and_counted_all_the_same(tmp_path: Path) -> None:
    bench = await PointBench(tmp_path, plan_read_mib=0).begin()
    seen = await bench.behind(target_position=bench.gtids[20])
    assert seen is not None
    assert seen.behind.transactions == len(bench.gtids) - 21
    assert not seen.behind.transactions_at_least
    assert (seen.behind.looked_into, seen.behind.rows_at_least, seen.touched) == (0, True, None)


async def test_damage_behind_a_point_makes_the_count_a_lower_bound_and_blocks_nothing(bench: PointBench) -> None:
    lost = bench.segments[-3].number
    await bench.store.delete([keys.segment(CLUSTER, HISTORY, lost)])
    await bench.store.put(keys.segment(CLUSTER, HISTORY, lost), b"not a segment")
    bench.forget()
    seen = await bench.behind(target_position=bench.gtids[8])
    assert seen is not None
    assert 0 < seen.behind.transactions < len(bench.gtids) - 9
    assert seen.behind.transactions_at_least
    assert seen.behind.rows_at_least
    assert seen.touched is None


async def test_behind_a_backup_lies_what_came_after_it(bench: PointBench) -> None:
    origin = await backup_origin(bench.tools, CLUSTER, BASE, None)
    seen = await look_behind(bench.tools, entry(), await read_lived(bench.tools, CLUSTER), origin, bench.after[-1])
    assert seen is not None
    assert seen.behind.transactions == len(bench.gtids) - 1


async def test_behind_an_undo_lies_what_was_written_since_the_restore_opened(bench: PointBench) -> None:
    child = {
        "cut": bench.after[10],
        "cut_history": HISTORY,
        "cut_at": at(10),
        "parent_end": bench.after[20],
        "end_history": HISTORY,
        "ended_at": at(20.5),
        "history": HISTORY,
        "start": bench.after[25],
        "started_at": at(25.5),
        "restore_id": "rst_CCCCCCCCCC",
        "operation": 3,
    }
    await bench.timeline("tl_CCCCCCCCCC", **child)
    origin = Origin(source=None, timeline="main", cut=bench.after[20], backup_id=None, cut_history=HISTORY)
    seen = await look_behind(bench.tools, entry(), await read_lived(bench.tools, CLUSTER), origin, bench.after[-1])
    assert seen is not None
    assert seen.behind.transactions == len(bench.gtids) - 26
    assert not seen.behind.transactions_at_least
    point = await bench.behind(target_position=bench.gtids[8])
    assert point is not None
    assert point.behind.transactions == len(bench.gtids) - 26 + 2, "what the restore had undone is not counted again"


def tally(*statements: str, rows: tuple[TableChange, ...] = ()) -> Tally:
    found = Tally()
    found.add(ONE, Summary(tables=rows, statements=statements, schemas=("shop",) * len(statements)))
    return found


def fate(table: str, what: Fate) -> TableFate:
    return TableFate(schema="shop", table=table, fate=what, rows_now=1, rows_then=1)


@pytest.mark.parametrize(
    ("statement", "known_by_backup", "at_point"),
    [
        ("DROP TABLE `coupons` /* generated by server */", ("coupons", "returns"), "returns"),
        ("CREATE TABLE shop.coupons (id INT)", ("coupons", "disappears"), "disappears"),
        ("ALTER TABLE other ADD c INT", ("coupons", "returns"), None),
        ("ALTER TABLE other ADD c INT", ("coupons", "disappears"), "replaced"),
        ("ALTER TABLE coupons_old ADD c INT", ("coupons", "disappears"), "replaced"),
        ("RENAME TABLE Coupons TO was", ("coupons", "returns"), "returns"),
        ("DROP DATABASE shop", ("coupons", "returns"), "returns"),
        ("CREATE TABLE t (a INT) COMMENT 'of shop'", ("coupons", "disappears"), "replaced"),
        ("DROP TABLE `a``b ` , coupons", ("coupons", "returns"), "returns"),
    ],
)
def test_a_table_that_no_statement_behind_the_point_names_is_what_it_is_now(
    statement: str, known_by_backup: tuple[str, Fate], at_point: str | None
) -> None:
    touched = tally(statement).touches(whole=True)
    found = tables_at_point([fate(*known_by_backup)], touched)
    assert [one.fate for one in found] == ([] if at_point is None else [at_point])
    assert tables_at_point([fate(*known_by_backup)], None) == [fate(*known_by_backup)]


ACCOUNTS = AccountFates(appear=("'gone'@'%'",), disappear=("'new'@'%'",), change=("'app'@'%'",))


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        ((), AccountFates()),
        (("DROP USER gone",), AccountFates(appear=ACCOUNTS.appear)),
        (("CREATE USER 'new'@'%' IDENTIFIED BY '…'",), AccountFates(disappear=ACCOUNTS.disappear)),
        (("GRANT SELECT ON *.* TO `new`@`%`",), AccountFates(change=ACCOUNTS.disappear)),
        (("ALTER USER app@'%' ACCOUNT LOCK",), AccountFates(change=ACCOUNTS.change)),
        (("CREATE TABLE app (gone INT, new INT)",), AccountFates()),
    ],
)
def test_an_account_that_no_statement_behind_the_point_names_stays(
    statements: tuple[str, ...], expected: AccountFates
) -> None:
    assert accounts_at_point(ACCOUNTS, tally(*statements).touches(whole=True)) == expected


def test_where_account_tables_were_written_directly_the_backup_tells() -> None:
    touched = tally(rows=(TableChange(schema="mysql", table="global_priv", updated=1),)).touches(whole=True)
    assert touched is not None
    assert accounts_at_point(ACCOUNTS, touched) == ACCOUNTS


def test_names_are_not_known_where_a_statement_was_cut_off_or_something_was_not_read() -> None:
    assert tally("DROP TABLE a, …").touches(whole=True) is None
    assert tally("DROP TABLE a\ufffd").touches(whole=True) is None
    assert tally("DROP TABLE a").touches(whole=False) is None
    unread = tally("DROP TABLE a")
    unread.add(ONE, None)
    assert unread.touches(whole=True) is None
    assert unread.result(2, transactions_at_least=False, whole=True).rows_at_least
