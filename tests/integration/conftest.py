"""What the tests of the bus stand on: topics of their own on the shared Kafka, and a publisher."""

import pytest

from tests.integration.bus_support import connection, make_topics
from tidewind.bus.publisher import KafkaPublisher


@pytest.fixture
async def link(kafka):
    made = connection(kafka)
    await make_topics(made)
    return made


@pytest.fixture
async def publisher(link):
    made = KafkaPublisher(link)
    await made.start()
    yield made
    await made.close()
