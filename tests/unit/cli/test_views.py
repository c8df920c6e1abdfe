"""What the operator sees, to the letter, at a fixed width."""

import re
from datetime import timedelta
from pathlib import Path

from schemas.events import EVENTS, RestoreFailed
from schemas.progress import Progress
from schemas.replies import FieldError
from tests.unit.cli.stand_ins import NOW, drawn, message
from tidewind.cli.endings import undocumented
from tidewind.cli.ports import Check, Statuses
from tidewind.cli.reference import errors_document
from tidewind.cli.views.ending import cancelled_view, completed_view
from tidewind.cli.views.events import event_line, told
from tidewind.cli.views.findings import exit_code, findings_view, verdict
from tidewind.cli.views.plan import plan_view
from tidewind.cli.views.problem import problem_view, restore_failed_safety
from tidewind.cli.views.progress import JobProgress
from tidewind.cli.views.states import backups_view, cluster_view, clusters_view, restores_view
from tidewind.domain.problems import problem

SHOP = {
    "cluster/shop": {
        "cluster_id": "shop",
        "engine": "mariadb",
        "engine_version": "10.11.19",
        "region": "eu-central-1",
        "zone": "Europe/Berlin",
        "endpoints": [{"host": "db-1", "port": 3306}],
        "replicas": "none",
        "state": "protected",
        "created_at": "2026-10-01T08:00:00Z",
    },
    "setting/shop": {
        "cluster_id": "shop",
        "setting": {"backup_time": None, "retention_days": 7},
        "zone": "Europe/Berlin",
        "next_backup_at": "2026-11-24T01:00:00Z",
    },
    "slot/shop": {"cluster_id": "shop", "slot_date": "2026-11-23", "state": "completed"},
    "availability/shop": {"cluster_id": "shop", "state": "Available"},
    "backup/shop/bkp_4TZ0000000": {
        "cluster_id": "shop",
        "backup_id": "bkp_4TZ0000000",
        "cause": "slot",
        "slot_date": "2026-11-23",
        "state": "completed",
        "snapshot_time": "2026-11-23T01:00:04Z",
        "stored_bytes": 41_200_000_000,
        "rows": 48_120_431,
        "expires_at": "2026-11-30T01:00:04Z",
        "verified_at": "2026-11-23T05:12:00Z",
    },
    "backup/shop/bkp_4SY0000000": {
        "cluster_id": "shop",
        "backup_id": "bkp_4SY0000000",
        "cause": "base",
        "state": "completed",
        "snapshot_time": "2026-11-22T01:00:03Z",
        "stored_bytes": 41_000_000_000,
        "rows": 48_000_112,
        "expires_at": "2026-11-29T01:00:03Z",
        "suspect": ["a drop of 95 % in size"],
    },
    "backup/shop/bkp_4RX0000000": {
        "cluster_id": "shop",
        "backup_id": "bkp_4RX0000000",
        "cause": "slot",
        "slot_date": "2026-11-21",
        "state": "failed",
        "started_at": "2026-11-21T01:00:00Z",
        "problem": problem("database-unreachable", "db-1:3306 did not answer").model_dump(mode="json"),
    },
}
STATUSES = Statuses(SHOP)

PLAN = {
    "cluster_id": "shop",
    "mode": "snapshot",
    "plan_hash": "5f3c91a0b4" + "0" * 54,
    "timeline": "main",
    "cut": "0-1-882112",
    "base": "bkp_4TZ0000000",
    "base_time": "2026-11-23T01:00:04+00:00",
    "tables": [
        {"schema": "shop", "table": "order_items", "fate": "replaced", "rows_now": 380, "rows_then": 48_500},
        {"schema": "shop", "table": "coupons", "fate": "returns", "rows_now": None, "rows_then": 2_500},
        {"schema": "shop", "table": "scratch\nx", "fate": "disappears", "rows_now": 12, "rows_then": None},
    ],
    "tables_total": 214,
    "rows_then": 48_120_431,
    "connections_ended": 83,
    "accounts": {"appear": [], "disappear": ["'reporting'@'%'"], "change": ["'app'@'%'", "'root'@'localhost'"]},
    "space_needed": 96_000_000_000,
    "space_free": 310_000_000_000,
    "estimate_s": 840,
    "limit_s": 10_800,
    "way_back": "undo keeps the present data for 7 days, then removes it",
    "blockers": [],
    "warnings": [],
}


def test_clusters():
    heads, values = drawn(clusters_view(STATUSES, NOW), width=150).splitlines()
    assert re.split("  +", heads.strip()) == [
        "cluster",
        "state",
        "engine",
        "region",
        "newest backup",
        "next",
        "backups",
    ]
    assert re.split("  +", values.strip()) == [
        "shop",
        "protected",
        "mariadb 10.11.19",
        "eu-central-1 (Europe/Berlin)",
        "2026-11-23 02:00 CET, 9 h 41 min ago",
        "2026-11-24 02:00 CET",
        "2",
    ]


def test_no_cluster_teaches_how_to_enrol_one():
    assert "tidewind cluster enroll shop --engine mariadb" in drawn(clusters_view(Statuses({}), NOW), width=200)


def test_one_cluster():
    assert (
        drawn(cluster_view(STATUSES, "shop", NOW))
        == """\
 shop
 state       protected
 engine      mariadb 10.11.19
 region      eu-central-1 (Europe/Berlin)
 endpoints   db-1:3306
 replicas    none
 enrolled    2026-10-01 10:00:00 CEST
 backup      daily at 02:00 in Europe/Berlin (the default)
 kept        at least 7 days
 next        2026-11-24 02:00 CET (in 14 h 18 min)
 backups     2 listed, 82.2 GB stored; newest 2026-11-23 02:00 CET (9 h 41 min ago), verified
 newest day  2026-11-23 completed"""
    )


def test_a_cluster_that_failed_to_restore_shows_how_to_open_it():
    states = SHOP | {
        "availability/shop": {
            "state": "RestoreFailed",
            "detail": "the way back failed",
            "open_by_hand": ["RENAME TABLE a TO b;"],
        }
    }
    shown = drawn(cluster_view(Statuses(states), "shop", NOW))
    assert "state       RestoreFailed" in shown
    assert "It can be opened by hand with:\n   RENAME TABLE a TO b;" in shown


def test_backups_newest_first():
    shown = drawn(backups_view(STATUSES, "shop", NOW, everything=False), width=170)
    assert [line.split()[0] for line in shown.splitlines()] == ["backup", "bkp_4TZ0000000", "bkp_4SY0000000"]
    assert "2026-11-23 02:00:04 CET" in shown
    assert "daily 2026-11-23" in shown
    assert "completed, suspect: a drop of 95 % in size" in shown
    everything = drawn(backups_view(STATUSES, "shop", NOW, everything=True), width=170)
    assert "failed: db-1:3306 did not answer" in everything


def test_no_backup_says_when_the_next_is_due():
    states = {key: value for key, value in SHOP.items() if not key.startswith("backup/")}
    shown = drawn(backups_view(Statuses(states), "shop", NOW, everything=False))
    assert shown == " shop has no backup yet; the next is due 2026-11-24 02:00 CET."


def test_restores():
    one = {
        "cluster_id": "shop",
        "restore_id": "rst_8MM0000000",
        "mode": "snapshot",
        "state": "completed",
        "step": "opened",
        "backup_id": "bkp_4TZ0000000",
        "started_at": "2026-11-23T10:00:00Z",
        "ended_at": "2026-11-23T10:14:00Z",
        "undo_until": "2026-11-30T10:14:00Z",
    }
    assert (
        drawn(restores_view([one], {"shop": "Europe/Berlin"}, NOW), width=150)
        == """\
 restore         cluster  state      what                   began                    took    undo until
 rst_8MM0000000  shop     completed  backup bkp_4TZ0000000  2026-11-23 11:00:00 CET  14 min  2026-11-30 11:14 CET"""
    )


def test_a_plan():
    assert (
        drawn(plan_view(PLAN, "Europe/Berlin", "tidewind restore run --cluster shop --plan 5f3c91a0b4"))
        == """\
 shop back to 2026-11-23 01:00:04 UTC (02:00:04 in Europe/Berlin)
 from      backup bkp_4TZ0000000, 48,120,431 rows, position 0-1-882112, timeline main
 tables    shop.coupons  returns, 2,500 rows
           shop.scratch\\nx  disappears, about 12 rows
           shop.order_items  about 380 → 48,500 rows
           and 211 more
 accounts  'reporting'@'%' disappears
           'app'@'%', 'root'@'localhost' get back their secret and rights of then
 takes     about 14 min closed, given up and taken back after 3 h
 ends      83 connections
 space     needs 96.0 GB free, has 310.0 GB
 way back  undo keeps the present data for 7 days, then removes it
 Nothing stands in the way. Plan 5f3c91a0b4:
   tidewind restore run --cluster shop --plan 5f3c91a0b4"""
    )


POINT = PLAN | {
    "mode": "point_in_time",
    "point": {
        "target_time": None,
        "last_kept": "0-1-882112",
        "last_kept_at": "2026-11-23T10:31:52.401+00:00",
        "first_undone": "0-1-882113",
        "first_undone_at": "2026-11-23T10:31:52.418+00:00",
        "precision": "clock",
    },
    "legs": [{"history": "hst_1", "after": "0-1-1", "upto": "0-1-882112", "first": 1, "last": 9}],
    "replayed_transactions": 31_204,
    "estimate_replay_s": 120.0,
    "undone_transactions": 9_371,
    "undone": {
        "transactions": 9_371,
        "transactions_at_least": False,
        "looked_into": 9_371,
        "rows_at_least": False,
        "tables": [
            {"schema": "shop", "table": "order_items", "inserted": 431, "updated": 0, "deleted": 48_120},
            {"schema": "shop", "table": "orders", "inserted": 212, "updated": 7, "deleted": 0},
        ],
        "tables_not_listed": 0,
        "statements": [
            {"position": "0-1-882140", "at": "2026-11-23T10:31:58+00:00", "statement": "DROP TABLE coupons (in shop)"}
        ],
        "statements_not_listed": 0,
    },
}


def test_the_plan_of_a_point_tells_what_is_undone():
    assert (
        drawn(plan_view(POINT, "Europe/Berlin", "tidewind restore run --cluster shop --plan 5f3c91a0b4"))
        == """\
 shop back to 2026-11-23 10:31:52 UTC (11:31:52 in Europe/Berlin), precise to the transaction (beta)
 last kept     0-1-882112  2026-11-23 10:31:52.401 UTC
 first undone  0-1-882113  2026-11-23 10:31:52.418 UTC
 from          backup bkp_4TZ0000000, 48,120,431 rows and 31,204 transactions of log, timeline main
 undone        9,371 transactions
               shop.order_items  +431 −48,120 rows
               shop.orders  +212 7 changed rows
               0-1-882140  DROP TABLE coupons (in shop)
 tables        shop.coupons  returns, 2,500 rows
               shop.scratch\\nx  disappears, about 12 rows
               212 tables as of the point
 accounts      'reporting'@'%' disappears
               'app'@'%', 'root'@'localhost' get back their secret and rights of then
 takes         about 14 min closed (2 min of it replay), given up and taken back after 3 h
 ends          83 connections
 space         needs 96.0 GB free, has 310.0 GB
 way back      undo keeps the present data for 7 days, then removes it
 Nothing stands in the way. Plan 5f3c91a0b4:
   tidewind restore run --cluster shop --plan 5f3c91a0b4"""
    )


def test_a_number_that_is_a_lower_bound_says_so():
    undone = POINT["undone"] | {"transactions_at_least": True, "rows_at_least": True, "looked_into": 4_000}
    more = {"tables_not_listed": 12, "statements_not_listed": 3}
    shown = drawn(plan_view(POINT | {"undone": undone | more}, "UTC", None))
    assert "at least 9,371 transactions; the rows below are of the first 4,000, so there may be more" in shown
    assert "and 12 more tables" in shown
    assert "and 3 more statements" in shown


def test_a_blocked_plan_offers_no_line_to_run():
    shown = drawn(plan_view(PLAN | {"blockers": ["too little space → free space"]}, "UTC", "tidewind restore run …"))
    assert "blocked   too little space → free space" in shown
    assert shown.splitlines()[-1] == " This cannot be done until what blocks it is gone."


def test_a_problem():
    found = problem(
        "invalid-command",
        "region: 'mars' is not a known region; near it are …",
        errors=(
            FieldError(field="region", problem="'mars' is not a known region"),
            FieldError(field="setting.retention_days", problem="must be from 7 to 90 days; 6 is outside"),
        ),
        facts={"restore_id": "rst_8MM0000000", "deep": {"not": "shown"}},
    )
    assert (
        drawn(problem_view(found, headline="could not enrol shop", safe="nothing was done"))
        == """\
 ✗ could not enrol shop: region: 'mars' is not a known region; near it are …  [invalid-command]
     setting.retention_days  must be from 7 to 90 days; 6 is outside
     restore id              rst_8MM0000000
     now                     nothing was done
     next                    Correct the fields named and send it again"""
    )


def test_a_problem_cannot_draw_on_the_terminal():
    found = problem("internal-error", "table \x1b[2J`a\nb` [bold]x[/bold]")
    assert drawn(problem_view(found, headline="")).splitlines()[0] == (
        " ✗ table \\x1b[2J`a\\nb` [bold]x[/bold]  [internal-error]"
    )


def test_what_is_safe_after_a_failed_restore():
    event = RestoreFailed(
        cluster_id="shop",
        job_id="00000000-0000-5000-8000-000000000000",
        restore_id="rst_8MM0000000",
        mode="snapshot",
        step="loaded",
        returned=True,
        problem=problem("backup-damaged", "chunk 17"),
    )
    assert restore_failed_safety(event) == "shop is open again with the data it had before; nothing was lost"
    assert "still closed" in restore_failed_safety(event.model_copy(update={"returned": False}))


def test_the_end_of_a_restore():
    data = {
        "cluster_id": "shop",
        "restore_id": "rst_8MM0000000",
        "mode": "snapshot",
        "backup_id": "bkp_4TZ0000000",
        "timeline": "tl_9XK0000000",
        "closed_ms": 812_400,
        "duration_ms": 815_000,
        "tables": 214,
        "rows": 48_120_431,
        "undo_until": "2026-11-30T10:14:00Z",
    }
    assert (
        drawn(completed_view(data, "Europe/Berlin"))
        == """\
 ✓ shop is open, back to bkp_4TZ0000000
     content   48,120,431 rows of 214 tables, checked
     closed    13 min 32 s, the whole took 13 min 35 s
     timeline  tl_9XK0000000; a new base backup is on its way
     way back  until 2026-11-30 11:14:00 CET:  tidewind restore undo rst_8MM0000000"""
    )
    undone = drawn(completed_view(data | {"mode": "undo", "rows": 0}, "UTC"))
    assert "holds what it held before" in undone
    assert "content   214 tables moved back" in undone
    cancelled = {"restore_id": "rst_8MM0000000", "cluster_id": "shop", "step": "loaded", "return_ms": 1400}
    assert "the way back took 1.4 s" in drawn(cancelled_view(cancelled), width=200)


def _progress(step: str, seconds: float, done: float, total: float | None, unit: str, **more: object) -> Progress:
    return Progress(
        cluster_id="shop",
        job_id="00000000-0000-5000-8000-000000000000",
        at=NOW + timedelta(seconds=seconds),
        step=step,
        steps=(step,),
        done=done,
        total=total,
        unit=unit,
        **more,
    )


def test_progress_of_a_restore():
    job = JobProgress()
    assert "accepted, waiting to begin" in drawn(job.view(1.0))
    assert job.take(_progress("gating", 0, 0, None, "")) is None
    closed = job.take(_progress("safeguarding", 2.1, 0, 214, "tables"))
    assert closed is not None
    assert closed.plain.split() == ["✓", "closed", "2.1", "s"]
    job.take(_progress("safeguarding", 2.9, 214, 214, "tables"))
    job.take(_progress("loading", 3.0, 0, 41_200_000_000, "bytes"))
    job.take(
        _progress("loading", 63.0, 25_100_000_000, 41_200_000_000, "bytes", rate=78e6, eta_s=206.0, detail="orders")
    )
    lines = drawn(job.view(63.0)).splitlines()
    assert lines[0] == " ✓ closed                  2.1 s"
    assert lines[1] == " ✓ set aside               0.9 s   214 tables"
    assert lines[2].endswith("loading            61 %   25.1 of 41.2 GB   78.0 MB/s   3 min 26 s left   orders")
    assert job.take(_progress("loading", 50.0, 1, 41_200_000_000, "bytes")) is None, "a late record changes nothing"
    assert "25.1 of 41.2 GB" in drawn(job.view(63.0))
    ended = job.finish()
    assert ended is not None
    assert ended.plain.startswith(" ✓ loaded")


def test_every_event_is_told_in_words():
    assert told() == set(EVENTS)


def test_an_event_is_one_line():
    data = {
        "cluster_id": "shop",
        "backup_id": "bkp_4TZ0000000",
        "rows": 48_120_431,
        "tables": 214,
        "actor": "eve\x07@host",
        "stored_bytes": 41_200_000_000,
        "duration_ms": 612_000,
        "suspect": [],
    }
    assert drawn(event_line(message("tidewind.backup.completed.v1", data)), width=200) == (
        " 2026-11-23 10:41:09 UTC  shop          backup bkp_4TZ0000000 completed: 48,120,431 rows of 214 tables, "
        "41.2 GB stored, in 10 min 12 s  by eve\\x07@host"
    )
    strange = message("tidewind.cluster.painted.v2", {"cluster_id": "shop"})
    assert drawn(event_line(strange)).endswith("shop          cluster.painted")


def test_findings():
    found = [
        Check(group="broker", level="ok", text="kafka-1:9092, 3 brokers, 12 partitions a topic"),
        Check(
            group="log",
            level="warn",
            text="sequence numbers could run backwards unnoticed",
            fix="SET GLOBAL gtid_strict_mode = ON;",
        ),
        Check(
            group="grants",
            level="error",
            text="backup account lacks BINLOG MONITOR",
            fix="GRANT BINLOG MONITOR ON *.* TO 'tidewind'@'%';",
        ),
        Check(group="grants", level="warn", text="backup account has DROP, which it never needs"),
    ]
    assert (
        drawn(findings_view(found))
        == """\
 broker  kafka-1:9092, 3 brokers, 12 partitions a topic       ok
 log     sequence numbers could run backwards unnoticed       warn
           →  SET GLOBAL gtid_strict_mode = ON;
 grants  backup account lacks BINLOG MONITOR                  error
           →  GRANT BINLOG MONITOR ON *.* TO 'tidewind'@'%';
         backup account has DROP, which it never needs        warn"""
    )
    assert verdict(found).plain == " 1 error, 2 warnings. Backups cannot be relied on until the error is gone."
    assert exit_code(found) == 1
    assert exit_code(found[:2]) == 0
    assert verdict(found[:2]).plain == " 1 warning. Backups and restores work."
    assert verdict(found[:1]).plain == " Everything is well."


def test_every_exit_code_is_documented():
    assert undocumented() == set()


def test_the_errors_page_is_up_to_date():
    page = Path(__file__).parents[3] / "docs" / "errors.md"
    assert page.read_text() == errors_document(), "run: python -m tidewind.cli.reference docs/errors.md"


def test_a_restore_to_a_point_ends_with_the_point_and_claims_no_rows() -> None:
    """A replay changes what was loaded and counted; that it "held 0 rows" made a good restore look like a bad one."""
    data = {
        "cluster_id": "shop",
        "restore_id": "rst_A",
        "timeline": "tl_A",
        "mode": "point_in_time",
        "tables": 2,
        "rows": 0,
        "point": {
            "target_time": "2026-11-27T13:51:04Z",
            "last_kept": "0-1-7",
            "last_kept_at": "2026-11-27T13:51:03.5Z",
        },
    }
    told = drawn(completed_view(data, "Europe/Berlin"))
    assert "back to 2026-11-27 14:51:04" in told
    assert "the last transaction is 0-1-7" in told
    assert "2 tables, each can be read" in told
    assert "rows" not in told
    assert "None" not in told
    by_position = drawn(completed_view(data | {"point": {"last_kept": "0-1-7"}}, "UTC"))
    assert "back to transaction 0-1-7" in by_position
    assert "back to the base" in drawn(
        completed_view(data | {"point": {"last_kept": None, "first_undone": "0-1-1"}}, "UTC")
    )
