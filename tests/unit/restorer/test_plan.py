"""Plans: what is undone, what stands in the way, and what a confirmation covers."""

from services.restorer.rules import plan as plans
from tests.unit.restorer.bench import ASSUMED, RESTORE, entry, manifest, source, table, target
from tidewind.ports.engine import Finding


def plan_of(now=None, then=(), *, accounts=None, cluster=None, found=(), **seen):
    held = source(account_prints=accounts, findings=found)
    return plans.of_snapshot(cluster or entry(), manifest(then), target(now, **seen), held, ASSUMED)


def rows(count):
    return {"rows": count, "bytes": count * 100, "engine": "InnoDB"}


def test_every_table_has_a_fate_and_the_largest_change_comes_first():
    plan = plan_of(
        {("shop", "orders"): rows(48_000), ("shop", "newer"): rows(3)},
        (table("orders", rows=120), table("coupons", rows=5)),
    )
    assert [(one.table, one.fate, one.rows_now, one.rows_then) for one in plan.tables] == [
        ("orders", "replaced", 48_000, 120),
        ("coupons", "returns", None, 5),
        ("newer", "disappears", 3, None),
    ]
    assert (plan.rows_now, plan.rows_then) == (48_003, 125)
    assert plan.blockers == ()


def test_long_lists_are_cut_and_say_so():
    many = {("shop", f"t{number}"): rows(number) for number in range(500)}
    plan = plan_of(many)
    assert len(plan.tables) == plans.LISTED_TABLES
    assert (plan.tables_total, plan.tables_not_listed) == (500, 300)
    assert plan.tables[0].table == "t499"


def test_accounts_that_appear_disappear_and_change():
    plan = plan_of(
        account_prints={"'a'@'%'": "1", "'b'@'%'": "2", "'same'@'%'": "9"},
        accounts={"'b'@'%'": "3", "'c'@'%'": "4", "'same'@'%'": "9"},
    )
    assert plan.accounts.appear == ("'c'@'%'",)
    assert plan.accounts.disappear == ("'a'@'%'",)
    assert plan.accounts.change == ("'b'@'%'",)


def test_the_service_s_own_accounts_stay_as_they_are_and_are_not_spoken_of():
    now = target(account_prints={"'tidewind'@'%'": "1", "'tidewind'@'db'": "1", "role": "1"})
    held = source(account_prints={"'tidewind'@'%'": "2", "role": "2"}, kept_users=frozenset({"tidewind"}))
    plan = plans.of_snapshot(entry(), manifest(()), now, held, ASSUMED)
    assert plan.accounts == plans.AccountFates(change=("role",))


def test_a_suspect_backup_is_warned_of():
    plan = plans.of_snapshot(entry(), manifest(()), target(), source(), ASSUMED, suspect=("90 % fewer rows",))
    assert any("suspect: 90 % fewer rows" in text for text in plan.warnings)
    assert not any("suspect" in text for text in plan_of().warnings)


def test_too_little_space_blocks_and_names_both_figures():
    plan = plan_of(then=(table("big", row_bytes=10**11),), free_bytes=10**10)
    assert plan.space_needed == 15 * 10**10
    assert "10.0 GB free" in plan.blockers[0]
    assert "150.0 GB" in plan.blockers[0]


def test_replicas_need_space_for_the_log_too():
    alone = plan_of(then=(table("big", row_bytes=10**9),))
    attached = plan_of(then=(table("big", row_bytes=10**9),), cluster=entry(replicas="attached"))
    assert attached.space_needed == alone.space_needed + 10**9


def test_unknown_space_is_a_warning_with_the_way_to_know_it():
    plan = plan_of(then=(table("big"),), free_bytes=None)
    assert plan.blockers == ()
    assert any("INSTALL SONAME 'disks'" in text for text in plan.warnings)


def test_findings_of_the_server_block_with_their_fix():
    found = Finding(subject="server", level="error", text="the server is a replica", fix="Restore the primary instead")
    assert plan_of(findings=(found,)).blockers == ("the server is a replica → Restore the primary instead",)


def test_findings_about_the_source_block_and_warn_like_those_of_the_server_and_once():
    lacks = Finding(subject="rights", level="error", text="lacks FILE", fix="GRANT FILE")
    weaker = Finding(subject="gate", level="warn", text="one after another")
    plan = plan_of(findings=(lacks,), found=(lacks, weaker))
    assert plan.blockers == ("lacks FILE → GRANT FILE",)
    assert plan.warnings == ("one after another",)
    assert plan.to_json()["closing"] == "in a way"


def test_another_server_at_the_address_blocks():
    assert "is not the one enrolled" in plan_of(cluster=entry(server_identity="1-bbbb")).blockers[0]


def test_a_backup_of_another_engine_blocks():
    assert plans.of_snapshot(entry(), manifest(), target(), source(), ASSUMED).blockers == ()
    blocked = plans.of_snapshot(entry(), manifest(engine="tidb"), target(), source(), ASSUMED)
    assert blocked.blockers == ("the backup is of tidb, the cluster runs mariadb",)


def test_prepared_transactions_are_listed_and_warned_of():
    plan = plan_of(prepared_xa=("X'01',X'',1",))
    assert plan.transactions_rolled_back == ("X'01',X'',1",)
    assert any("rolled back for good" in text for text in plan.warnings)


def test_live_figures_do_not_change_the_hash_and_the_target_does():
    one = plan_of({("shop", "t"): rows(1)}, (table("t"),), connections=1, free_bytes=1)
    other = plan_of({("shop", "t"): rows(999)}, (table("t"),), connections=77)
    assert one.plan_hash == other.plan_hash
    base = {"cluster": "shop", "timeline": "main", "cut": "0-1-100", "base": "bkp_0123456789"}
    changed = [
        plans.plan_hash(**(base | change))
        for change in ({}, {"cluster": "bank"}, {"timeline": "tl_0"}, {"cut": None}, {"base": "bkp_1"})
    ]
    assert len({*changed, plans.plan_hash(**base, segments=("a",))}) == 6
    assert one.plan_hash == changed[0]


def test_an_undo_needs_no_space_and_moves_what_was_kept():
    plan = plans.of_undo(
        entry(),
        target({("shop", "now"): rows(5)}, free_bytes=0),
        source(),
        ASSUMED,
        restore_id=RESTORE,
        timeline="main",
        cut="0-1-150",
        kept_tables=(("shop", "before"),),
    )
    assert plan.blockers == ()
    assert {(one.table, one.fate) for one in plan.tables} == {("now", "disappears"), ("before", "returns")}
    assert plan.rows_then is None


def test_a_plan_is_plain_json():
    shown = plan_of({("shop", "t"): rows(1)}, (table("t"),)).to_json()
    assert shown["base_time"] == "2026-11-23T02:00:00+00:00"
    assert shown["tables"][0]["fate"] == "replaced"
