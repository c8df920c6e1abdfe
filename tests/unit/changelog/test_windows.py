"""What the archive says of a cluster's window: also where it has no log yet."""

from pathlib import Path

from schemas.topics import STATUS
from services.changelog.handlers.windows import Windows
from services.changelog.settings import ChangelogSettings
from tests.fakes import RecordingPublisher, SharedView
from tests.unit.changelog.logs import MadeUpLog
from tests.unit.changelog.test_archive import Bench, first_session
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
