"""Backups from which only what a restore opened can be reached."""

from datetime import UTC, datetime, timedelta

from tidewind.domain.records import Timeline
from tidewind.domain.retention import Backup, PointInTime, RetentionSettings, plan_retention

NOW = datetime(2026, 11, 23, tzinfo=UTC)
OLD, OLDER, OWN = "bkp_0000000002", "bkp_0000000001", "bkp_0000000003"
CHILD, GRANDCHILD = "tl_CCCCCCCCCC", "tl_DDDDDDDDDD"


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def opened(name: str = CHILD, **more: object) -> Timeline:
    """50 days ago a restore opened it, with a backup of 95 days ago."""
    values: dict[str, object] = {
        "cluster_id": "shop",
        "timeline": name,
        "parent": "main",
        "cut": None,
        "cut_backup": OLD,
        "parent_end": "0-1-50",
        "history": "hst_1",
        "start": "0-1-51",
        "started_at": ago(50),
        **more,
    }
    return Timeline.model_validate(values)


def backup(name: str, days: float, timeline: str = "main", history: str | None = "hst_1") -> Backup:
    return Backup(backup_id=name, at=ago(days), timeline=timeline, history=history)


def bases(backups: list[Backup], *timelines: Timeline, main_ended: float = 91, now: datetime = NOW) -> set[str]:
    """Those kept for the window alone: the log of `main` has left it, unless it ended later."""
    window = PointInTime(
        window=timedelta(days=90),
        max_replay=timedelta(days=7),
        timeline_ends={"main": ago(main_ended)},
        timelines=timelines,
    )
    settings = RetentionSettings(retention=timedelta(days=7), point_in_time=window)
    return {one.backup_id for one in plan_retention(backups, settings, now) if one.reason == "base"}


NEWEST = backup("bkp_0000000009", 1, CHILD)


def test_the_backup_a_restore_opened_with_stays_while_only_it_leads_to_the_first_instants() -> None:
    backups = [backup(OLDER, 96), backup(OLD, 95), backup(OWN, 49, CHILD), NEWEST]
    assert OLD in bases(backups, opened())
    assert OLDER not in bases(backups, opened())
    assert OLD not in bases(backups, opened(), now=NOW + timedelta(days=41, hours=1)), "its own base has become old"


def test_what_leads_to_a_restored_point_stays_too_and_through_the_parent_s_parent() -> None:
    backups = [backup(OLDER, 96), backup(OLD, 94), NEWEST]
    point = opened(cut="0-1-30", cut_backup=None, cut_history="hst_1", cut_at=ago(95))
    assert OLDER in bases(backups, point)
    assert OLD not in bases(backups, point)
    after = opened(
        GRANDCHILD, parent=CHILD, cut="0-1-60", cut_backup=None, cut_history="hst_1", cut_at=ago(49.5), start="0-1-70"
    )
    assert OLDER in bases(backups[:2], point, after)


def test_a_backup_in_no_log_is_a_base_only_of_what_was_opened_with_it() -> None:
    backups = [backup(OLDER, 96, history=None), backup(OLD, 95, history=None), NEWEST]
    assert bases(backups, opened(), main_ended=50) == {OLD}
    assert bases(backups, opened(history=None, start=None), main_ended=50) == set()
