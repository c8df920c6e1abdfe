"""What the archive says of a cluster's window: also where it has no log yet, and how precise its times are."""

import random
from dataclasses import replace
from pathlib import Path

from schemas.status import Interval, WindowStatus
from schemas.topics import EVENTS, STATUS
from services.changelog.handlers.windows import Windows
from services.changelog.rules import windows as rules
from services.changelog.settings import ChangelogSettings
from tests.fakes import RecordingPublisher, SharedView
from tests.unit.changelog.logs import MadeUpLog
from tests.unit.changelog.test_archive import Bench, first_session
from tests.unit.test_lived import FIRST, ONE, at, base, main, restored
from tidewind.domain.lived import Lived, microseconds
from tidewind.domain.segments import STRETCHES, with_stamped
from tidewind.runtime.catalogue import Catalogue
from tidewind.runtime.outbox import Composer


async def test_a_hole_is_said_although_no_history_has_begun(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.inner.open()
    publisher = RecordingPublisher()
    view = SharedView(publisher)
    windows = Windows(
        bench.archive,
        bench.archived,
        Catalogue(bench.store),
        publisher=publisher,
        composer=Composer("/tidewind/changelog/test", bench.clock, view),
        view=view,
        clock=bench.clock,
        settings=ChangelogSettings(),
    )
    await bench.send(first_session(MadeUpLog([10] * 3), "01", 0, 3))
    (known,) = bench.archive.logs.values()
    assert known.assembly.place is None
    await windows._publish(known)
    (said,) = publisher.of(STATUS)
    assert said.data is not None
    assert said.data["reread"] == "the beginning"
    assert (said.data["history"], said.data["complete_at"]) == (None, None)


async def test_only_a_stretch_that_comes_or_goes_is_an_event_not_one_whose_times_are_stamps(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    publisher = RecordingPublisher()
    view = SharedView(publisher)
    composer = Composer("/tidewind/changelog/test", bench.clock, view)
    windows = Windows(
        bench.archive,
        bench.archived,
        Catalogue(bench.store),
        publisher=publisher,
        composer=composer,
        view=view,
        clock=bench.clock,
        settings=ChangelogSettings(),
    )

    def told(*intervals: Interval) -> list[str]:
        publisher.messages = [one for one in publisher.messages if one[0] is STATUS]
        windows._tell_changes("shop", rules.Window(intervals=intervals, gaps=(), timelines=()))
        body = WindowStatus(cluster_id="shop", at=bench.clock.now(), intervals=intervals)
        publisher.post(STATUS, composer.status("window", body))
        return [str((message.data or {})["detail"]) for message in publisher.of(EVENTS)]

    assert told(span(2, 50)) == ["an interval appeared"]
    assert told(span(2, 30), span(30, 40, "stamps"), span(40, 60)) == []
    assert told(span(2, 30), span(30, 40, "stamps"), span(40, 60), span(70, 80)) == ["an interval appeared"]
    assert told(span(70, 90)) == ["an interval vanished"]


def span(start: float, end: float, precision: str = "clock") -> Interval:
    return Interval.model_validate({"start": at(start), "end": at(end), "timeline": "main", "precision": precision})


def us(minute: float) -> int:
    return microseconds(at(minute))


def test_a_stretch_read_after_an_outage_is_told_as_one_whose_times_are_stamps() -> None:
    reach = replace(ONE, stamped=((us(0), us(1)), (us(30), us(40)), (us(95), us(120))))
    found = rules.window(Lived(timelines=(main(),), reaches=(reach,), bases=(FIRST,)), at(101), 90 * (at(1440) - at(0)))
    assert found.intervals == (span(2, 30), span(30, 40, "stamps"), span(40, 95), span(95, 100, "stamps"))
    assert rules.stretches(found.intervals) == ["main"]
    assert rules.by_precision(span(2, 100), ((us(2), us(100)),)) == [span(2, 100, "stamps")]
    assert rules.by_precision(span(5, 5), ((us(2), us(9)),)) == [span(5, 5)]


def test_stretches_that_touch_are_one_and_of_many_the_closest_are_joined() -> None:
    assert with_stamped(((10, 20),), 20, 30) == ((10, 30),)
    assert with_stamped(((10, 20),), 15, 18) == ((10, 20),)
    many: tuple[tuple[int, int], ...] = ()
    for number in range(STRETCHES + 1):
        many = with_stamped(many, number * 100, number * 100 + (99 if number == 7 else 50))
    assert len(many) == STRETCHES
    assert many[7] == (700, 850)


async def test_stamped_times_are_remembered_by_every_later_segment_and_by_a_successor(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.inner.open()
    log = MadeUpLog([10] * 9)
    late = [replace(one, precision="stamps") for one in log.session("02", 3, 6, random.Random(1))]
    await bench.send(first_session(log, "01", 0, 3, begins=True))
    await bench.archive.flush()
    await bench.send(late)
    await bench.archive.flush()
    bench.begin()
    await bench.send(log.session("03", 6, 9, random.Random(2)))
    await bench.archive.flush()
    (history,) = await bench.archived.histories("shop")
    (stretch,) = (await bench.archived.reach(history)).stamped
    assert log.time_us(3) <= stretch[0] <= log.time_us(4)
    assert stretch[1] == log.time_us(6)


def test_a_timeline_ended_where_its_last_user_was_seen_and_not_where_the_next_one_began() -> None:
    child = restored("C", minute=60, ended_at=None)
    seen = base("B", minute=40, position="0-1-40")
    found = rules.told(Lived(timelines=(main(), child), reaches=(ONE,), bases=(FIRST, seen)))
    assert [(one.timeline, one.ended_at) for one in found] == [("main", at(40)), (child.timeline, None)]
