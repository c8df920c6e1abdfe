"""Every owed local day gets exactly one backup or one missed, in every zone, over years of changes and downtime."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest

from tidewind.domain.slots import (
    Revision,
    day_exists,
    decide_slots,
    due_of,
    first_slot_date,
    local_date,
    local_instant,
    next_backup,
)

ZONES = sorted(available_timezones() - {"localtime"})
"""Every name of the IANA database, also those without a slash; "localtime" is a file that Debian puts beside them."""
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
GRACE = timedelta(hours=6)
START = datetime(2021, 1, 1, tzinfo=UTC)
END = START + timedelta(days=5 * 365 + 2)


@dataclass
class World:
    """A scheduler and what becomes of its decisions: a backup is taken in at once."""

    revisions: list[Revision]
    first_day: date
    settled_through: date | None = None
    backups: Counter[date] = field(default_factory=Counter)
    missed: Counter[date] = field(default_factory=Counter)
    begun_at: dict[date, datetime] = field(default_factory=dict)

    def tick(self, now: datetime) -> int:
        actions = decide_slots(
            self.revisions,
            first_day=self.first_day,
            settled_through=self.settled_through,
            now=now,
            grace=GRACE,
        )
        for action in actions:
            (self.backups if action.kind == "run" else self.missed)[action.day] += 1
            self.begun_at[action.day] = now
            self.settled_through = action.day
        return sum(action.kind == "run" for action in actions)


def minutes(chance: random.Random) -> str:
    return f"{chance.randrange(24):02d}:{chance.randrange(60):02d}"


def live(
    zone: str, chance: random.Random, *, changes: int, outages: int
) -> tuple[World, list[tuple[datetime, datetime]]]:
    """Five years of one cluster. Ticks are placed where something can happen: around due times, changes and the ends of
    outages; whatever lies between them decides nothing."""
    changed = sorted(START + (END - START) * chance.random() for _ in range(changes))
    revisions = [Revision(since=START, zone=zone, backup_time=chance.choice([None, minutes(chance)]))]
    for moment in changed:
        place = chance.choice(ZONES) if chance.random() < 0.4 else revisions[-1].zone
        revisions.append(Revision(since=moment, zone=place, backup_time=chance.choice([None, minutes(chance)])))
    down = []
    for _ in range(outages):
        begin = START + (END - START) * chance.random()
        down.append((begin, begin + timedelta(hours=chance.choice([0.2, 1, 5, 7, 30, 100, 1000]))))
    first = first_slot_date(START, zone, revisions[0].backup_time)
    world = World(revisions=[revisions[0]], first_day=first)
    pending = revisions[1:]
    now = START
    while now < END:
        while pending and pending[0].since <= now:
            world.revisions.append(pending.pop(0))
        back = max((end for begin, end in down if begin <= now < end), default=None)
        if back is not None:
            now = back
            continue
        world.tick(now)
        following = next_backup(world.revisions, first_day=first, settled_through=world.settled_through, now=now)
        assert following is not None
        candidates = [max(following.at, now + timedelta(seconds=1)) + timedelta(seconds=chance.random() * 20)]
        candidates += [revision.since for revision in pending[:1]]
        candidates += [end for _, end in down if end > now]
        now = max(min(candidates), now + timedelta(seconds=1))
    while pending and pending[0].since <= END:
        world.revisions.append(pending.pop(0))
    world.tick(END)
    return world, down


def owed_days(world: World) -> Iterator[date]:
    """Independently: every calendar date from the first owed one to the newest that fell due by the end, but for those
    that the zone in force leaves out. What was in force: the revision under which the date's time came first."""
    day = world.first_day
    while True:
        in_force = None
        for index, revision in enumerate(world.revisions):
            end = world.revisions[index + 1].since if index + 1 < len(world.revisions) else None
            due = local_instant(day, revision.backup_time, revision.zone)
            if end is None or due < end:
                in_force = (revision, max(due, revision.since))
                break
        assert in_force is not None
        if in_force[1] > END:
            return
        if day_exists(day, in_force[0].zone):
            yield day
        day += DAY


def check(world: World, down: list[tuple[datetime, datetime]], seed: object) -> None:
    """Each owed day's due time is asked for while the instants it follows from are still remembered."""
    told = world.backups + world.missed
    due = {day: due_of(day, world.revisions).at for day in owed_days(world)}
    owed = list(due)
    assert sorted(told) == owed, f"seed {seed}: {sorted(set(told) ^ set(owed))[:5]}"
    assert set(told.values()) <= {1}, f"seed {seed}: {[day for day, count in told.items() if count > 1]}"
    for day in world.missed:
        assert any(begin < due[day] + GRACE and end > due[day] for begin, end in down), (
            f"seed {seed}: {day} missed without cause"
        )
    for day in world.backups:
        late = world.begun_at[day] - due[day]
        assert timedelta(0) <= late <= GRACE, f"seed {seed}: {day} begun {late} after its time"


def five_years_in(zones: list[str]) -> None:
    """Each zone once, with changes of time and region and with downtime."""
    for zone in zones:
        seed = f"20260824 {zone}"
        world, down = live(zone, random.Random(seed), changes=6, outages=6)
        check(world, down, seed)


def test_five_years_in_a_sample_of_zones() -> None:
    """Every zone is gone through by tests/integration/test_scheduler_every_zone.py."""
    five_years_in(ZONES[:: len(ZONES) // 12])


def test_undisturbed_years_have_a_backup_every_day() -> None:
    for zone in ("Europe/Berlin", "America/New_York", "Pacific/Apia", "Australia/Lord_Howe", "Antarctica/Troll"):
        world, down = live(zone, random.Random(zone), changes=0, outages=0)
        check(world, down, zone)
        assert not world.missed


def test_a_day_of_downtime_is_made_up_for_once() -> None:
    chance = random.Random(3)
    for _ in range(300):
        zone, clock_time = chance.choice(ZONES), minutes(chance)
        revision = Revision(since=START, zone=zone, backup_time=clock_time)
        world = World(revisions=[revision], first_day=first_slot_date(START, zone, clock_time))
        back = START + timedelta(days=chance.randrange(2, 60), seconds=chance.randrange(86_400))
        assert world.tick(back) <= 1, "downtime of any length is followed by at most one catch-up"
        assert sum(world.backups.values()) + sum(world.missed.values()) >= 1


@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "America/Sao_Paulo", "Africa/Casablanca", "Asia/Tehran", "Europe/Lisbon"]
)
def test_instants_agree_with_a_search_minute_by_minute(zone: str) -> None:
    """The oracle walks through the day in UTC and takes the first minute at which the zone's clock shows the time, or,
    where it never does, the first minute at which it shows a later one."""
    chance = random.Random(zone)
    place = ZoneInfo(zone)
    for _ in range(60):
        day = date(2000, 1, 1) + timedelta(days=chance.randrange(9_000))
        if chance.random() < 0.7:
            day = _near_a_change(place, day)
        clock_time = (
            minutes(chance) if chance.random() < 0.5 else f"{chance.randrange(4):02d}:{chance.randrange(60):02d}"
        )
        wanted = datetime.combine(day, datetime.strptime(clock_time, "%H:%M").time())  # noqa: DTZ007
        moment = datetime.combine(day, datetime.min.time(), UTC) - timedelta(hours=16)
        expected = later = None
        for _ in range(48 * 60):
            shown = moment.astimezone(place).replace(tzinfo=None)
            if shown == wanted:
                expected = moment
                break
            if shown > wanted and later is None:
                later = moment
            moment += MINUTE
        if expected is None:
            expected = later
        assert local_instant(day, clock_time, zone) == expected, (zone, day, clock_time)


def _near_a_change(place: ZoneInfo, day: date) -> date:
    for ahead in range(200):
        one = day + timedelta(days=ahead)
        before = datetime.combine(one, datetime.min.time(), place).utcoffset()
        if before != datetime.combine(one + DAY, datetime.min.time(), place).utcoffset():
            return one
    return day


def test_due_times_never_fall() -> None:
    chance = random.Random(11)
    for _ in range(300):
        revisions = [Revision(since=START, zone=chance.choice(ZONES), backup_time=minutes(chance))]
        for _ in range(chance.randrange(5)):
            since = revisions[-1].since + timedelta(hours=chance.random() * 100)
            revisions.append(Revision(since=since, zone=chance.choice(ZONES), backup_time=minutes(chance)))
        days = [START.date() + timedelta(days=number) for number in range(40)]
        times = [due_of(day, revisions).at for day in days]
        assert times == sorted(times)
        assert all(local_date(one, "UTC") >= START.date() - DAY for one in times)
