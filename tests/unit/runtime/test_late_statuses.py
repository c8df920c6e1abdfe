"""A predecessor's late record is published over, so that a reader after compaction finds the present."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from schemas import topics
from schemas.envelope import Message
from schemas.status import AvailabilityStatus
from tests.fakes import ManualClock, RecordingPublisher, SharedView
from tidewind.bus.status_view import StatusFold
from tidewind.runtime.late_statuses import LateStatuses
from tidewind.runtime.outbox import Composer


class Desk:
    """One instance of a service, and a topic to write to."""

    def __init__(self, service: str = "restorer", owned: str = "shop") -> None:
        self.clock = ManualClock()
        self.publisher = RecordingPublisher()
        self.view = SharedView(self.publisher)
        self.composer = Composer("/tests", self.clock, self.view)
        self.late = LateStatuses(
            service,
            publisher=self.publisher,
            composer=self.composer,
            view=self.view,
            clock=self.clock,
            owns=lambda cluster: cluster == owned,
        )

    async def arrives(self, key: str, revision: tuple[int, int], **body: Any) -> None:
        message = Message(
            id=f"{key} {revision}",
            type="tidewind.status.availability.v1",
            source="/other",
            time=self.clock.now(),
            key=key,
            data={"revision": list(revision), **body},
        )
        await self.publisher.send(topics.STATUS, message)

    def after_compaction(self, key: str) -> Mapping[str, object] | None:
        """What a reader finds that comes when only the last record of each key is left."""
        last = {message.key: message for message in self.publisher.of(topics.STATUS)}
        fold = StatusFold()
        fold.apply(last[key])
        return fold.get(key)


async def test_the_newest_record_is_published_over_a_late_one() -> None:
    desk = Desk()
    await desk.arrives("availability/shop", (2, 3), state="Available")
    await desk.arrives("availability/shop", (1, 9), state="Restoring")
    assert desk.late.look() == ["availability/shop"]
    assert desk.after_compaction("availability/shop") == {"revision": [2, 3], "state": "Available"}
    assert desk.late.look() == [], "it is said once"
    await desk.arrives("availability/shop", (2, 4), state="Restoring")
    assert desk.view.get("availability/shop") == {"revision": [2, 4], "state": "Restoring"}


async def test_others_keys_are_left_to_their_writers() -> None:
    desk = Desk()
    for key, body in (
        ("availability/book", {}),
        ("backup/shop/bkp_0123456789", {}),
        ("job/shop/1", {"service": "snapshotter"}),
    ):
        await desk.arrives(key, (2, 1), **body)
        await desk.arrives(key, (1, 1), **body)
    assert desk.late.look() == []
    await desk.arrives("job/shop/2", (2, 1), service="restorer")
    await desk.arrives("job/shop/2", (1, 1), service="restorer")
    assert desk.late.look() == ["job/shop/2"]


async def test_what_is_on_its_way_is_never_replaced_by_what_it_replaces() -> None:
    """The outbox holds one unsent record per key: an older one posted now would take the newer one's place."""
    desk = Desk()
    await desk.arrives("availability/shop", (2, 3), state="Restoring")
    at: datetime = desk.clock.now()
    desk.composer.status("availability", AvailabilityStatus(cluster_id="shop", at=at, state="Available"), epoch=2)
    await desk.arrives("availability/shop", (1, 9), state="Restoring")
    assert desk.late.look() == []


async def test_it_is_said_once_while_kafka_takes_no_writes() -> None:
    desk = Desk()
    await desk.arrives("availability/shop", (2, 3), state="Available")
    await desk.arrives("availability/shop", (1, 9), state="Restoring")
    posted = RecordingPublisher()
    desk.late._publisher = posted
    assert [desk.late.look() for _ in range(3)] == [["availability/shop"], [], []]
    assert len(posted.messages) == 1
    await desk.arrives("availability/shop", (2, 4), state="Restoring")
    await desk.arrives("availability/shop", (1, 10), state="Restoring")
    assert desk.late.look() == ["availability/shop"], "there is something newer to be said"


async def test_it_is_said_again_where_another_late_record_follows_what_was_said() -> None:
    """Both arrive between two looks."""
    desk = Desk()
    await desk.arrives("availability/shop", (2, 3), state="Available")
    await desk.arrives("availability/shop", (1, 9), state="Restoring")
    assert desk.late.look() == ["availability/shop"]
    await desk.arrives("availability/shop", (1, 10), state="Restoring")
    assert desk.late.look() == ["availability/shop"]
    assert desk.after_compaction("availability/shop") == {"revision": [2, 3], "state": "Available"}


async def test_keys_that_name_no_cluster_are_nobody_s() -> None:
    desk = Desk(owned="")
    for key in ("availability", "availability/"):
        await desk.arrives(key, (2, 1))
        await desk.arrives(key, (1, 1))
    assert desk.late.look() == []
