"""The revisions that a service gives its status records."""

import pytest

from schemas import topics
from schemas.envelope import Message
from schemas.status import AvailabilityStatus
from tests.fakes import ManualClock, RecordingPublisher, SharedView
from tidewind.runtime.outbox import Composer

KEY = "availability/shop"


@pytest.mark.parametrize("odd", [None, [None, 1], ["2", "3"], [True, 7], [1], "1,2"])
async def test_an_odd_revision_on_the_topic_counts_as_the_lowest(odd: object) -> None:
    """As it does for whoever reads the topic: else what is composed would be lower than what is believed, or nothing
    could be composed at all."""
    clock, publisher = ManualClock(), RecordingPublisher()
    view = SharedView(publisher)
    body = {"revision": odd, "state": "Restoring"}
    found = Message(id="o", type="t", source="/other", time=clock.now(), key=KEY, data=body)
    await publisher.send(topics.STATUS, found)
    composer = Composer("/tests", clock, view)
    again = composer.again(KEY)
    assert again is not None
    assert again.data == body
    status = AvailabilityStatus(cluster_id="shop", at=clock.now(), state="Available")
    composed = composer.status("availability", status)
    assert composed.data is not None
    assert composed.data["revision"] == [0, 1]
