"""Retention against brute force: random histories, and simulated years of daily rounds.

PYTEST_DONT_REWRITE: millions of assertions hold here, and what those that fail say for themselves is enough.
"""

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest

from tidewind.domain.retention import (
    Backup,
    PointInTime,
    RetentionSettings,
    delete_effect,
    now_eligible,
    plan_retention,
)

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HISTORIES = 100_000
SHARES = 4
TICK = timedelta(microseconds=1)
TIMELINES = ("main", "tl_A", "tl_B")
HISTORY = "hst_A"
SPAN_HOURS = 3120
INSTANTS = [NOW - timedelta(hours=ago) for ago in range(-20, SPAN_HOURS - 20)]


@cache
def pool(number: int) -> tuple[Backup, ...]:
    """Backups of up to 130 days that may be a history's `number`th. To make them for each history took most of the time;
    what a verdict depends on is how those of a history lie to each other, and that is drawn for each."""
    pick = random.Random(f"pool {number}").random
    made = []
    for _ in range(3000):
        complete = pick() > 0.1
        made.append(
            Backup(
                backup_id=f"b{number}",
                at=INSTANTS[int(pick() * SPAN_HOURS)],
                timeline=TIMELINES[int(pick() * 3)] if complete else None,
                history=HISTORY,
                complete=complete,
                good=complete and pick() > 0.15,
                listed=pick() > 0.15,
            )
        )
    return tuple(made)


def history(chance: random.Random) -> list[Backup]:
    """Up to 12 backups, in no order."""
    pick = chance.random
    return [pool(number)[int(pick() * 3000)] for number in range(int(pick() * 13))]


def settings(chance: random.Random) -> RetentionSettings:
    pick = chance.random
    window = None
    if pick() < 0.6:
        ends = {name: NOW - timedelta(hours=int(pick() * 3000)) for name in TIMELINES[:2] if pick() < 0.5}
        window = PointInTime(
            window=timedelta(days=90), max_replay=timedelta(days=1 + int(pick() * 14)), timeline_ends=ends
        )
    return RetentionSettings(
        retention=timedelta(days=7 + int(pick() * 84)),
        retired=pick() < 0.1,
        point_in_time=window,
        clock_doubt="our clock jumped" if pick() < 0.05 else None,
    )


def newest(backups: Iterable[Backup]) -> Backup | None:
    found = None
    for backup in backups:
        if found is None or (backup.at, backup.backup_id) > (found.at, found.backup_id):
            found = backup
    return found


def spared(backups: Sequence[Backup], rules: RetentionSettings) -> Backup | None:
    """The one backup that is never removed for its age, said in another way than the rule says it."""
    if rules.retired:
        return None
    good = newest(one for one in backups if one.good)
    return newest(one for one in backups if one.complete) if good is None else good


def guarded(backup: Backup, rules: RetentionSettings, *, spare: Backup | None, in_use: frozenset[str]) -> bool:
    """Whether a backup must stay for a reason other than being a base."""
    if rules.clock_doubt or backup.backup_id in in_use or backup is spare:
        return True
    return NOW - backup.at < rules.retention and (backup.listed or not backup.complete)


def replay(bases: Sequence[datetime], instant: datetime) -> timedelta | None:
    """How much log a restore to the instant replays, or None where no base lies before it."""
    before = [base for base in bases if base <= instant]
    return instant - max(before) if before else None


def check_bases(backups: Sequence[Backup], kept: set[str], reasons: dict[str, str], window: PointInTime) -> None:
    start = NOW - window.window
    for timeline in TIMELINES:
        end = window.timeline_ends.get(timeline, NOW)
        every = [one for one in backups if one.good and one.timeline == timeline]
        if not every:
            continue
        left = [one for one in every if one.backup_id in kept]
        times, times_left = [one.at for one in every], [one.at for one in left]
        probes = [start, end, NOW, *(instant - TICK for instant in times), *times]
        for instant in probes:
            if not start <= instant <= end:
                continue
            before, after = replay(times, instant), replay(times_left, instant)
            if before is not None:
                assert after is not None, f"{timeline} at {instant} lost its base"
                assert after <= max(before, window.max_replay), f"{timeline} at {instant} needs {after} of log"
        for one in left:
            if reasons[one.backup_id] != "base" or times.count(one.at) > 1:
                continue
            later = [instant for instant in times if instant > one.at]
            if not later:
                continue
            instant = min(later) - TICK
            without = replay([other.at for other in left if other is not one], max(instant, start))
            bare = without is None or without > min(window.max_replay, instant - one.at)
            assert bare, f"{one.backup_id} is kept as a base without need"
            assert end >= start


def check_against_brute_force(
    backups: Sequence[Backup], rules: RetentionSettings, in_use: frozenset[str]
) -> tuple[int, int]:
    """How many were removed, and how many were kept as bases alone."""
    removed = based = 0
    verdicts = plan_retention(backups, rules, NOW, in_use=in_use)
    assert [one.backup_id for one in verdicts] == [one.backup_id for one in backups]
    spare = spared(backups, rules)
    for backup, verdict in zip(backups, verdicts, strict=True):
        assert verdict.expires_at == backup.at + rules.retention, backup
        if guarded(backup, rules, spare=spare, in_use=in_use):
            assert verdict.keep, backup
        elif verdict.keep:
            assert verdict.reason == "base", backup
            assert rules.point_in_time is not None, backup
            assert not verdict.listed, backup
            based += 1
        else:
            assert not verdict.listed, backup
            removed += 1
        if verdict.listed:
            assert backup.listed, backup
            assert backup.complete, backup
    if rules.point_in_time is not None and not rules.retired:
        kept = {one.backup_id for one in verdicts if one.keep}
        reasons = {one.backup_id: one.reason for one in verdicts}
        check_bases(backups, kept, reasons, rules.point_in_time)
    return removed, based


@pytest.mark.parametrize("share", range(SHARES))
def test_random_histories_against_brute_force(share: int) -> None:
    seed = 4_711 + share
    chance = random.Random(seed)
    removed = based = 0
    for number in range(HISTORIES // SHARES):
        backups, rules = history(chance), settings(chance)
        in_use = frozenset(one.backup_id for one in backups if chance.random() < 0.05)
        try:
            gone, bases = check_against_brute_force(backups, rules, in_use)
        except AssertionError as failed:
            failed.add_note(f"seed {seed}, history {number}: {backups} under {rules}")
            raise
        removed, based = removed + gone, based + bases
    assert removed > 1000, "the histories must hold what can be removed"
    assert based > 300, "and bases that only the window keeps"


def test_the_window_stays_whole_through_years_of_removals() -> None:
    """Removals of one day must not make those of a later day wrong: the kept backups are carried on from day to day,
    and compared with a world in which nothing is ever removed."""
    chance = random.Random(99)
    for _ in range(25):
        max_replay = timedelta(days=chance.choice([3, 7, 10]))
        retention = timedelta(days=chance.choice([7, 14, 30]))
        window = PointInTime(window=timedelta(days=90), max_replay=max_replay, timeline_ends={})
        rules = RetentionSettings(retention=retention, point_in_time=window)
        every: list[Backup] = []
        left: list[Backup] = []
        now = NOW
        for day in range(250):
            now = NOW + timedelta(days=day)
            if chance.random() > 0.1:
                at = now - timedelta(hours=chance.random() * 3)
                made = Backup(backup_id=f"b{day}", at=at, timeline="main", history=HISTORY)
                every.append(made)
                left.append(made)
            verdicts = plan_retention(left, rules, now)
            left = [one for one, verdict in zip(left, verdicts, strict=True) if verdict.keep]
            every_at, left_at = [one.at for one in every], [one.at for one in left]
            for back in (0, 1, 45, 88, 90):
                instant = now - timedelta(days=back)
                before, after = replay(every_at, instant), replay(left_at, instant)
                if before is not None:
                    assert after is not None
                    assert after <= max(before, max_replay)
        spacing = 90 / (max_replay.days / 2)
        assert len(left) <= retention.days + spacing + 3, "bases are thinned out, not hoarded"


def test_a_shorter_retention_names_exactly_what_it_frees() -> None:
    chance = random.Random(5)
    for _ in range(2_000):
        backups = history(chance)
        days = sorted(chance.sample(range(7, 91), 2))
        shorter, longer = (RetentionSettings(retention=timedelta(days=number)) for number in days)
        freed = now_eligible(backups, longer, shorter, NOW)
        guard = newest(one for one in backups if one.good) or newest(one for one in backups if one.complete)
        expected = {
            one.backup_id
            for one in backups
            if one.complete and one.listed and one != guard and shorter.retention <= NOW - one.at < longer.retention
        }
        assert set(freed) == expected
        assert now_eligible(backups, shorter, longer, NOW) == ()


def test_a_delete_is_judged_by_what_it_takes_away() -> None:
    chance = random.Random(6)
    for _ in range(2_000):
        backups = [one for one in history(chance) if one.complete]
        if not backups:
            continue
        gone = chance.choice(backups)
        effect = delete_effect(backups, gone.backup_id)
        points = {(one.timeline, one.at) for one in backups}
        after = {(one.timeline, one.at) for one in backups if one != gone}
        assert {(one.timeline, one.start) for one in effect.before} == points
        assert {(one.timeline, one.start) for one in effect.after} == after
        assert effect.shorter == (points != after)
