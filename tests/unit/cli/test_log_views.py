"""`tidewind window` and `tidewind changes` as they stand in the terminal."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.point_bench import CLUSTER, HISTORY, PointBench, at
from tests.unit.cli.test_views import NOW, SHOP, drawn
from tests.unit.restorer.bench import entry
from tidewind.cli.change_log import read_changes
from tidewind.cli.endings import NOT_FOUND, Complaint
from tidewind.cli.ports import Change, Statuses
from tidewind.cli.views.changes import change_view, worth_showing
from tidewind.cli.views.window import BAR, window_view
from tidewind.domain import keys
from tidewind.domain.lived import microseconds
from tidewind.engines.mariadb.log.summary import MariaDBLogDecoder
from tidewind.ports.capture import Summary, TableChange


def interval(start: str, end: str, timeline: str = "main", precision: str = "clock") -> dict[str, str]:
    return {
        "start": f"2026-11-{start}:00+00:00",
        "end": f"2026-11-{end}:00+00:00",
        "timeline": timeline,
        "precision": precision,
    }


WINDOW: dict[str, Any] = {
    "cluster_id": "shop",
    "intervals": [
        interval("01T00:00", "10T00:00"),
        interval("10T00:00", "12T00:00", precision="stamps"),
        interval("12T00:00", "15T00:00"),
        interval("16T00:00", "20T10:00"),
        interval("20T11:00", "23T10:40", "tl_CCCCCCCCCC"),
    ],
    "gaps": [
        {
            "start": "2026-11-15T00:00:00+00:00",
            "end": "2026-11-16T00:00:00+00:00",
            "cause": "purged",
            "detail": "the log was purged before it was read",
        }
    ],
    "timelines": [
        {"timeline": "main", "parent": None, "started_at": "2026-11-01T00:00:00Z", "ended_at": "2026-11-20T10:00:00Z"},
        {
            "timeline": "tl_CCCCCCCCCC",
            "parent": "main",
            "restored_to": "2026-11-20T09:58:00Z",
            "restore_id": "rst_CCCCCCCCCC",
            "started_at": "2026-11-20T11:00:00Z",
            "ended_at": None,
        },
    ],
    "store_lag_s": 4.0,
}
CAPTURE = {"state": "capturing", "lag_s": 0.3, "headroom_s": 86_400.0}


def shown(window: dict[str, Any] | None, capture: dict[str, Any] | None = CAPTURE) -> str:
    known = dict(SHOP)
    if window is not None:
        known["window/shop"] = window
    if capture is not None:
        known["capture/shop"] = capture
    return drawn(window_view(Statuses(known), "shop", NOW), width=200)


def test_a_window_is_a_picture_of_what_can_be_restored() -> None:
    lines = shown(WINDOW).splitlines()
    picture = next(line for line in lines if "●" in line)
    before, cells, after = picture.partition("─")[0], picture[picture.index("─") : picture.index("●")], picture
    assert before.strip() == "2026-11-01 01:00:00 CET"
    assert len(cells) == BAR
    assert cells.startswith("─" * 20)
    assert "╌╌╌╌" in cells
    assert "╳╳" in cells
    assert "2026-11-23 11:40:00 CET" in after
    text = "\n".join(lines)
    assert "can be restored to any second of" not in text, "there is a gap"
    assert "2026-11-01 01:00:00 CET – 2026-11-15 01:00:00 CET   main" in text, "whatever the precision"
    assert "gap 24 h, 2026-11-15 01:00:00 CET – 2026-11-16 01:00:00 CET: the log was purged before it was read" in text
    assert "╌ 2026-11-10 01:00:00 CET – 2026-11-12 01:00:00 CET: read after the fact" in text
    assert "└─ tl_CCCCCCCCCC  restored 2026-11-20 12:00:00 CET to 2026-11-20 10:58:00 CET of main" in text
    assert "left 2026-11-20 11:00:00 CET" in text
    assert "behind       Kafka 0.3 s · store 4.0 s" in text
    assert "head-room    24 h until the server purges what was not read" in text


def test_a_window_without_a_break_can_be_restored_to_any_second() -> None:
    text = shown({**WINDOW, "intervals": WINDOW["intervals"][:3], "gaps": [], "timelines": WINDOW["timelines"][:1]})
    assert "can be restored to any second of" in text
    assert "╳" not in text
    assert "timelines" not in text


def test_before_the_first_base_and_without_capture_it_says_why_nothing_can() -> None:
    assert "can be restored to its backups only: no log is captured yet" in shown(None, None)
    empty = {**WINDOW, "intervals": [], "gaps": [], "timelines": []}
    assert "the first backup of the log is not complete yet" in shown(empty)


def test_what_stops_capture_is_shown_with_the_line_that_mends_it() -> None:
    problem = {"detail": "binlog_format is MIXED", "next_step": "SET GLOBAL binlog_format = ROW;"}
    text = shown(WINDOW, {"state": "unsuitable", "problem": problem})
    assert "capture      unsuitable: binlog_format is MIXED" in text
    assert "→  SET GLOBAL binlog_format = ROW;" in text


def change(*statements: str, schema: str = "shop", tables: tuple[TableChange, ...] = ()) -> Change:
    return Change(
        at=datetime(2026, 11, 23, 10, 31, 52, 418_000, tzinfo=UTC),
        position="0-1-882113",
        precision="clock",
        summary=Summary(tables=tables, statements=statements, schemas=(schema,) * len(statements)),
        unread=False,
    )


ROWS = TableChange(schema="shop", table="order_items", inserted=3, updated=2, deleted=48_120)


def test_a_transaction_is_one_line() -> None:
    assert drawn(change_view(change(tables=(ROWS,)))) == (
        " 2026-11-23 10:31:52.418  0-1-882113        shop.order_items  +3 −48,120 2 changed rows"
    )
    assert drawn(change_view(change("DROP TABLE `coupons`")), width=120).endswith("DROP TABLE `coupons`")
    assert drawn(change_view(change("CREATE TABLE t (" + "c INT, " * 100)), width=400).endswith("…")


@pytest.mark.parametrize(
    ("one", "tables", "least", "ddl", "expected"),
    [
        (change(tables=(ROWS,)), (), 0, False, True),
        (change(tables=(ROWS,)), (), 50_000, False, False),
        (change(tables=(ROWS,)), (), 0, True, False),
        (change(tables=(ROWS,)), ("shop.order_items",), 0, False, True),
        (change(tables=(ROWS,)), ("shop.order",), 0, False, False),
        (change("DROP TABLE order_items"), ("shop.order_items",), 9_999, True, True),
        (change("DROP TABLE order_items"), ("shop.order",), 0, False, False),
        (change("DROP TABLE `order_items`", schema="bank"), ("shop.order_items",), 0, False, False),
        (change("DROP TABLE shop.`order_items`", schema="bank"), ("shop.order_items",), 0, False, True),
        (change("ALTER USER app ACCOUNT LOCK", schema=""), (), 9_999, False, True),
    ],
)
def test_what_is_looked_for(one: Change, tables: tuple[str, ...], least: int, ddl: bool, expected: bool) -> None:
    assert worth_showing(one, frozenset(tables), least, ddl_only=ddl) is expected


async def changes(bench: PointBench, begin: float, end: float) -> list[Change]:
    await bench.store.put_if_absent(keys.registry(CLUSTER, 1), entry().to_bytes())
    decoders = {"mariadb": MariaDBLogDecoder()}
    return [one async for one in read_changes(bench.store, decoders, CLUSTER, at(begin), at(end))]


async def test_a_gap_stands_where_it_is_and_the_log_goes_on_behind_it(tmp_path: Path) -> None:
    bench = await PointBench(tmp_path).begin()
    last = len(bench.gtids) - 1
    await bench.history(
        2, begin_us=microseconds(at(200)), cause="purged", detail="purged before it was read", after=HISTORY
    )
    found = await changes(bench, last - 2, 300)
    assert [one.position for one in found[:-1]] == bench.gtids[last - 2 :]
    assert (found[-1].at, found[-1].gap) == (at(200), "purged before it was read")
    assert "╳ gap up to here: purged before it was read" in drawn(change_view(found[-1]), width=120)
    assert worth_showing(found[-1], frozenset({"a.b"}), 9_999, ddl_only=True)
    assert await changes(bench, 0, 3) == (await changes(bench, 0, 4))[:-1], "both instants included"


async def test_a_cluster_that_was_never_captured_has_no_changes_and_says_why(tmp_path: Path) -> None:
    bench = PointBench(tmp_path)
    await bench.inner.open()
    with pytest.raises(Complaint, match="no log of shop was captured") as caught:
        await changes(bench, 0, 300)
    assert caught.value.code == NOT_FOUND
