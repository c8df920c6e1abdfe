"""`tidewind topics` against a real Kafka: plan, apply, check, and what is never done."""

import asyncio
import time

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from schemas.topics import COMMANDS, DEFAULT_PARTITIONS, EVENTS, RESTORES, STATUS, TOPICS
from tests.integration.bus_support import connection, make_topics
from tidewind.bus.admin import TopicAdmin
from tidewind.ports.bus import BusError, BusUnavailable


async def plain_admin(kafka):
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    return admin


async def configure(kafka, topic, settings):
    admin = await plain_admin(kafka)
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, settings)])
    await admin.close()


async def described(kafka, topic):
    admin = await plain_admin(kafka)
    response = (await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)]))[0]
    topics = await admin.describe_topics([topic])
    await admin.close()
    return len(topics[0]["partitions"]), {entry[0]: entry[1] for entry in response.resources[0][4]}


async def test_plan_lists_all_apply_makes_them_and_then_nothing_is_left(kafka):
    link = connection(kafka)
    admin = TopicAdmin(link)
    planned = await admin.plan()
    assert [(change.topic, change.action) for change in planned] == [(link.name(topic), "create") for topic in TOPICS]
    with pytest.raises(BusError, match="tidewind topics apply"):
        await admin.require()
    assert await admin.apply() == planned
    assert await admin.plan() == ()
    assert await admin.apply() == ()
    await admin.require()
    partitions, config = await described(kafka, link.name(RESTORES))
    assert partitions == DEFAULT_PARTITIONS
    assert config["message.timestamp.type"] == "LogAppendTime"
    assert (await described(kafka, link.name(STATUS)))[1]["cleanup.policy"] == "compact"


async def test_two_may_apply_at_once(kafka):
    link = connection(kafka)
    await asyncio.gather(TopicAdmin(link).apply(), TopicAdmin(link).apply())
    assert await TopicAdmin(link).plan() == ()


async def test_drift_is_found_and_mended_without_losing_other_settings_or_shrinking_anything(kafka):
    link = connection(kafka)
    admin = TopicAdmin(link)
    await admin.apply()
    longer = str(60 * 24 * 60 * 60 * 1000)
    await configure(kafka, link.name(EVENTS), EVENTS.config() | {"retention.ms": longer})
    await configure(
        kafka,
        link.name(RESTORES),
        RESTORES.config() | {"message.timestamp.type": "CreateTime", "segment.bytes": "52428800"},
    )
    until = time.monotonic() + 10
    while not (found := await admin.check()):
        assert time.monotonic() < until, "the drift was not found"
    (change,) = found
    assert (change.topic, change.action) == (link.name(RESTORES), "configure")
    assert "message.timestamp.type=CreateTime instead of message.timestamp.type=LogAppendTime" in change.text
    await admin.apply()
    assert await admin.plan() == ()
    _, restores = await described(kafka, link.name(RESTORES))
    assert restores["message.timestamp.type"] == "LogAppendTime"
    assert restores["segment.bytes"] == "52428800", "an operator's own setting stays"
    _, events = await described(kafka, link.name(EVENTS))
    assert events["retention.ms"] == longer


async def test_a_topic_with_a_wrong_number_of_partitions_is_refused_with_the_fix(kafka):
    link = connection(kafka)
    admin = await plain_admin(kafka)
    await admin.create_topics([NewTopic(link.name(COMMANDS), 4, 1)])
    await admin.close()
    topics = TopicAdmin(link)
    with pytest.raises(BusError, match=r"has 4 partitions instead of 12.*kafka-topics\.sh --delete"):
        await topics.apply()
    with pytest.raises(BusError, match="4 partitions instead of 12"):
        await topics.require()


async def test_too_few_replicas_are_a_piece_of_advice(kafka):
    link = connection(kafka)
    await make_topics(link)
    demanding = connection(kafka, prefix=link.settings.prefix, replication_factor=3)
    plan = await TopicAdmin(demanding).plan()
    assert {change.action for change in plan} >= {"advise"}
    assert all("1 replica(s) instead of 3" in change.text for change in plan if change.action == "advise")


async def test_the_brokers_are_named(kafka):
    assert (await TopicAdmin(connection(kafka)).broker()).brokers == (kafka,)


async def test_no_broker_is_an_error_with_the_address():
    with pytest.raises(BusUnavailable, match=r"127\.0\.0\.1:9"):
        await TopicAdmin(connection("127.0.0.1:9")).plan(deadline_s=0.6)
