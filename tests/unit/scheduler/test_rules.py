"""Rules of the scheduler that are small enough for single cases."""

from datetime import UTC, date, datetime, timedelta

import pytest

from schemas.envelope import Message
from services.scheduler.faust_app import asks_for_fresh_look
from services.scheduler.rules.clockwatch import STEADY, ClockWatch, Look, observe
from services.scheduler.rules.emission import (
    Emitted,
    base_work,
    forged,
    removal_work,
    say_again,
    slot_work,
)
from services.scheduler.rules.overdue import Limits, not_begun, not_ended
from tidewind.domain import ids
from tidewind.domain.problems import Refused
from tidewind.domain.regions import extend_regions, shipped_regions, zone_exists, zone_of
from tidewind.domain.slots import (
    MAX_GRACE,
    Revision,
    day_exists,
    decide_slots,
    first_slot_date,
    local_instant,
    next_backup,
)

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
GRACE = timedelta(hours=6)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("zone", "day", "clock_time", "expected"),
    [
        ("Europe/Berlin", "2026-11-24", None, "2026-11-24T01:00+00:00"),
        ("Europe/Berlin", "2026-03-29", "02:30", "2026-03-29T01:00+00:00"),
        ("Europe/Berlin", "2026-10-25", "02:30", "2026-10-25T00:30+00:00"),
        ("America/New_York", "2026-03-08", "02:00", "2026-03-08T07:00+00:00"),
        ("America/New_York", "2026-11-01", "01:30", "2026-11-01T05:30+00:00"),
        ("America/Sao_Paulo", "2018-11-04", "00:30", "2018-11-04T03:00+00:00"),
        ("Australia/Lord_Howe", "2026-10-04", "02:15", "2026-10-03T15:30+00:00"),
        ("Antarctica/Troll", "2026-03-29", "02:30", "2026-03-29T01:00+00:00"),
        ("Asia/Kolkata", "2026-11-24", "02:00", "2026-11-23T20:30+00:00"),
    ],
)
def test_local_times_become_instants(zone: str, day: str, clock_time: str | None, expected: str) -> None:
    assert local_instant(date.fromisoformat(day), clock_time, zone) == at(expected)


def test_a_day_that_a_zone_leaves_out_is_not_owed() -> None:
    assert not day_exists(date(2011, 12, 30), "Pacific/Apia")
    assert not day_exists(date(1993, 8, 21), "Pacific/Kwajalein")
    revision = Revision(since=at("2011-12-27T00:00+00:00"), zone="Pacific/Apia", backup_time="02:00")
    world = []
    settled = None
    for hours in range(24 * 10):
        now = revision.since + timedelta(hours=hours)
        for action in decide_slots(
            [revision], first_day=date(2011, 12, 27), settled_through=settled, now=now, grace=GRACE
        ):
            world.append((action.day.day, action.kind))
            settled = action.day
    assert [day for day, _ in world][:5] == [27, 28, 29, 31, 1]
    assert {kind for _, kind in world} == {"run"}


def test_the_first_day_is_that_of_enrolment_if_its_time_is_to_come() -> None:
    enrolled = at("2026-11-23T12:00+01:00")
    assert first_slot_date(enrolled, "Europe/Berlin", "13:00") == date(2026, 11, 23)
    assert first_slot_date(enrolled, "Europe/Berlin", None) == date(2026, 11, 24)


def test_a_backup_waits_for_a_restore_and_its_grace_begins_when_that_ends() -> None:
    revision = Revision(since=NOW - timedelta(days=1), zone="Etc/UTC", backup_time="02:00")

    def decide(**more: object) -> list[tuple[str, str]]:
        found = decide_slots(
            [revision],
            first_day=NOW.date(),
            settled_through=None,
            now=NOW,
            grace=GRACE,
            **more,  # type: ignore[arg-type]
        )
        return [(action.kind, action.reason) for action in found]

    assert [kind for kind, _ in decide(restoring=True)] == ["deferred"]
    assert [kind for kind, _ in decide(deferred_until=NOW - timedelta(hours=1))] == ["run"]
    assert decide() == [("missed", "the backup did not begin within 6 h of its time")]


def test_a_retired_cluster_owes_nothing_more() -> None:
    revisions = [
        Revision(since=NOW - timedelta(days=9), zone="Etc/UTC", backup_time="02:00"),
        Revision(since=NOW - timedelta(days=1), zone="Etc/UTC", backup_time="02:00", retired=True),
    ]
    first = (NOW - timedelta(days=3)).date()
    actions = decide_slots(revisions, first_day=first, settled_through=None, now=NOW, grace=MAX_GRACE)
    assert [(action.day.day, action.kind) for action in actions] == [(20, "missed"), (21, "missed"), (22, "missed")]
    assert next_backup(revisions, first_day=first, settled_through=None, now=NOW) is None


def test_regions_are_found_refused_and_added() -> None:
    table = shipped_regions()
    assert all(zone_exists(zone) for zone in table.values())
    assert zone_of("eu-central-1", table) == "Europe/Berlin"
    assert zone_of("alibaba:ap-southeast-3", table) == "Asia/Kuala_Lumpur"
    assert zone_of("ap-southeast-3", table) == "Asia/Jakarta"
    own = extend_regions(table, "cellar=Europe/Oslo, eu-central-1 = Europe/Zurich")
    assert (zone_of("cellar", own), zone_of("eu-central-1", own)) == ("Europe/Oslo", "Europe/Zurich")
    with pytest.raises(Refused, match="near it are eu-central-1"):
        zone_of("eu-central1", table)
    for wrong in ("cellar", "cellar=", "=Europe/Oslo", "cellar=Mars/Base", "cellar=../etc/passwd"):
        with pytest.raises(ValueError, match="TIDEWIND_REGIONS"):
            extend_regions(table, wrong)


def test_the_same_work_has_the_same_ids() -> None:
    day = date(2026, 11, 24)
    assert slot_work("shop", day).message(NOW).id == slot_work("shop", day).message(NOW + GRACE).id
    assert slot_work("shop", day).job_id == ids.job_id(
        "shop", "tidewind.backup.run.v1", idempotency_key="slot:2026-11-24", source="any", message_id="any"
    )
    jobs = {slot_work("shop", day).job_id, slot_work("book", day).job_id, base_work("shop", "main", None, 1).job_id}
    jobs |= {base_work("shop", "main", "hst_1", 1).job_id, base_work("shop", "main", None, 2).job_id}
    jobs |= {removal_work("shop", "bkp_1", NOW, retired=False).job_id}
    assert len(jobs) == 6


def test_work_is_said_again_ever_more_slowly() -> None:
    assert say_again(None, NOW)
    pauses = []
    for count in range(1, 8):
        said = Emitted(count=count, at=NOW.timestamp())
        pauses.append(next(s for s in range(10_000) if say_again(said, NOW + timedelta(seconds=s))))
    assert pauses == [30, 60, 120, 300, 600, 600, 600]
    assert say_again(Emitted(count=3, at=(NOW + timedelta(days=1)).timestamp()), NOW), "the clock was set back"


@pytest.mark.parametrize("key", ["slot:2026-11-24", "base:main", "retention:bkp_1:2026-11-24"])
def test_users_cannot_take_the_names_of_the_schedulers_work(key: str) -> None:
    def sent(**more: str) -> Message:
        return Message(**{"id": "1", "type": "t", "source": "/me", "time": NOW, "key": "shop", "data": {}, **more})  # type: ignore[arg-type]

    poison = forged(sent(idempotency_key=key))
    assert poison is not None
    assert poison.reason == "reserved-key"
    assert forged(sent(idempotency_key=f"my-{key}")) is None
    assert forged(sent(source="/tidewind/scheduler")) is not None


def test_a_clock_that_jumped_is_doubted_until_an_hour_was_steady() -> None:
    watch, doubts = ClockWatch(), []
    wall, monotonic = NOW, 0.0
    for jump in [0.0] * 3 + [2 * 86_400.0] + [0.0] * 420:
        wall += timedelta(seconds=10 + jump)
        monotonic += 10
        watch, doubt = observe(watch, Look(now=wall, store_now=wall, monotonic=monotonic))
        doubts.append(doubt)
    assert doubts[:3] == [None] * 3
    steady = int(STEADY.total_seconds() // 10)
    assert all(doubts[3 : 3 + steady])
    assert not any(doubts[3 + steady :])


def test_a_clock_apart_from_the_stores_is_doubted_while_it_is() -> None:
    apart = Look(now=NOW, store_now=NOW + timedelta(minutes=6), monotonic=0.0)
    watch, doubt = observe(ClockWatch(), apart)
    assert doubt == "our clock and the store's differ by 360 s"
    assert observe(watch, Look(now=NOW, store_now=NOW, monotonic=1.0))[1] is None


def test_lateness_is_reported_under_one_name() -> None:
    limits = Limits(begin=timedelta(minutes=30), end=timedelta(hours=6))
    day = NOW.date()
    assert not_begun(day, NOW, NOW + timedelta(minutes=29), limits, deferred=False) is None
    early = not_begun(day, NOW, NOW + timedelta(minutes=30), limits, deferred=False)
    late = not_begun(day, NOW, NOW + timedelta(hours=3), limits, deferred=False)
    assert early is not None
    assert early == late
    assert not_ended(day, NOW, NOW, NOW + timedelta(hours=5), limits) is None
    assert not_ended(day, NOW, NOW, NOW + timedelta(hours=7), limits) is not None


@pytest.mark.parametrize(
    ("value", "fresh"), [(b'{"fresh": true}', True), (b'{"fresh": 1}', False), (b"\xff", False), (None, False)]
)
def test_any_bytes_are_a_tick(value: bytes | None, fresh: bool) -> None:
    assert asks_for_fresh_look(value) is fresh
