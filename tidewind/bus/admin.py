"""Makes and checks the declared topics. Services only check; `tidewind topics apply` and `tidewind up` make them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError, for_code

from schemas.topics import TOPICS
from tidewind.bus.connection import Connection, end
from tidewind.bus.topic_plan import TopicChange, TopicState, Wanted, partitions_of, plan
from tidewind.ports.bus import BusError, BusUnavailable, fewer_replicas

log = structlog.get_logger()

_TOPIC_OVERRIDE = 1
_ALREADY_EXISTS = 36
_TOO_FEW_BROKERS = 38
_VISIBLE_S = 30.0
_CALL_S = 30.0


@dataclass(frozen=True, kw_only=True)
class BrokerFacts:
    """`brokers` as host:port."""

    brokers: tuple[str, ...]
    cluster_id: str | None


class TopicAdmin:
    """Each call makes a connection of its own. All raise BusUnavailable if Kafka does not answer.

    Without `partitions` the topics that are there say how many each has (`partitions_of`).
    """

    def __init__(self, connection: Connection, *, partitions: int | None = None) -> None:
        self._connection = connection
        self._partitions = partitions

    def _wanted(self, existing: Mapping[str, TopicState]) -> Wanted:
        settings = self._connection.settings
        partitions = partitions_of(existing, self._partitions)
        return Wanted(prefix=settings.prefix, partitions=partitions, replicas=settings.replication_factor)

    async def plan(self, *, deadline_s: float = 30.0) -> tuple[TopicChange, ...]:
        """What differs from the declared topics."""
        client = await self._connection.admin(deadline_s=deadline_s)
        try:
            existing = await self._describe(client)
            return plan(existing, self._wanted(existing))
        finally:
            await end(client)

    async def apply(self, *, deadline_s: float = 30.0) -> tuple[TopicChange, ...]:
        """Create what is missing and set what drifted; returns what was done. Safe to run twice, or by two at once.

        Raises BusError if something must be refused (nothing is done then) or the broker refuses.
        """
        client = await self._connection.admin(deadline_s=deadline_s)
        try:
            existing = await self._describe(client)
            wanted = self._wanted(existing)
            changes = plan(existing, wanted)
            _raise_refused(changes)
            done = tuple(change for change in changes if change.action in ("create", "configure"))
            await self._create([change for change in done if change.action == "create"], wanted, client)
            await self._configure([change for change in done if change.action == "configure"], client)
            await self._wait_visible(wanted, client)
            return done
        finally:
            await end(client)

    async def check(self, *, deadline_s: float = 30.0) -> tuple[TopicChange, ...]:
        """What services must not start with; raises nothing for them, so that all can be shown at once."""
        return tuple(change for change in await self.plan(deadline_s=deadline_s) if change.hinders)

    async def require(self, *, deadline_s: float = 30.0) -> None:
        """Raises BusError naming every topic that is wrong and its fix."""
        wrong = await self.check(deadline_s=deadline_s)
        if wrong:
            listed = "\n".join(f"  {change.topic} {change.text}\n    →  {change.fix}" for change in wrong)
            raise BusError(f"The topics are not as they must be:\n{listed}")

    async def broker(self, *, deadline_s: float = 30.0) -> BrokerFacts:
        """Who answers."""
        client = await self._connection.admin(deadline_s=deadline_s)
        try:
            async with asyncio.timeout(_CALL_S):
                cluster = await client.describe_cluster()
        except (KafkaError, TimeoutError) as error:
            raise self._unavailable(error) from error
        finally:
            await end(client)
        brokers = tuple(f"{broker['host']}:{broker['port']}" for broker in cluster["brokers"])
        return BrokerFacts(brokers=brokers, cluster_id=cluster.get("cluster_id"))

    async def _describe(self, client: Any) -> dict[str, TopicState]:
        # Asking for all topics, never by name: a broker may make a topic that is asked for.
        try:
            async with asyncio.timeout(_CALL_S):
                listed = await client.describe_topics()
                ours = {self._connection.name(topic) for topic in TOPICS}
                found = {entry["topic"]: entry for entry in listed if entry["topic"] in ours}
                configs = await self._configs(client, sorted(found))
        except (KafkaError, TimeoutError) as error:
            raise self._unavailable(error) from error
        return {name: _state(entry, configs.get(name)) for name, entry in found.items()}

    async def _configs(self, client: Any, names: list[str]) -> dict[str, Mapping[str, tuple[str, bool]]]:
        """By topic: setting -> (value, whether it was set for this topic). Empty where the broker does not tell."""
        if not names:
            return {}
        try:
            responses = await client.describe_configs(
                [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
            )
        except IncompatibleBrokerVersion:
            return {}
        configs: dict[str, Mapping[str, tuple[str, bool]]] = {}
        for response in responses:
            for code, text, _, name, entries in (tuple(resource)[:5] for resource in response.resources):
                if code:
                    raise BusError(f"Kafka does not tell the settings of {name}: {text or for_code(code).__name__}")
                configs[name] = {entry[0]: (entry[1] or "", entry[3] == _TOPIC_OVERRIDE) for entry in entries}
        return configs

    async def _create(self, changes: list[TopicChange], wanted: Wanted, client: Any) -> None:
        if not changes:
            return
        topics = [
            NewTopic(change.topic, wanted.partitions, wanted.replicas, topic_configs=dict(change.settings))
            for change in changes
        ]
        try:
            async with asyncio.timeout(_CALL_S):
                response = await client.create_topics(topics)
        except (KafkaError, TimeoutError, AttributeError) as error:
            # A broker without a controller (the embedded one) shows as a missing attribute in the client.
            raise self._unavailable(error) from error
        for name, code, text in (tuple(entry)[:3] for entry in response.topic_errors):
            if code and code != _ALREADY_EXISTS:
                hint = fewer_replicas(1) if code == _TOO_FEW_BROKERS and wanted.replicas > 1 else ""
                raise BusError(f"Kafka refuses to make {name}: {text or for_code(code).__name__}", hint)

    async def _configure(self, changes: list[TopicChange], client: Any) -> None:
        if not changes:
            return
        resources = [
            ConfigResource(ConfigResourceType.TOPIC, change.topic, dict(change.settings)) for change in changes
        ]
        try:
            async with asyncio.timeout(_CALL_S):
                responses = await client.alter_configs(resources)
        except (KafkaError, TimeoutError) as error:
            raise self._unavailable(error) from error
        for response in responses:
            for code, text, _, name in (tuple(resource)[:4] for resource in response.resources):
                if code:
                    raise BusError(f"Kafka refuses the settings of {name}: {text or for_code(code).__name__}")

    async def _wait_visible(self, wanted: Wanted, client: Any) -> None:
        """What was made or set is known to all brokers a moment later."""
        try:
            async with asyncio.timeout(_VISIBLE_S):
                while True:
                    left = plan(await self._describe(client), wanted)
                    _raise_refused(left)
                    if all(change.action == "advise" for change in left):
                        return
                    await asyncio.sleep(0.1)
        except TimeoutError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: BaseException) -> BusUnavailable:
        cause = str(error) or type(error).__name__
        return BusUnavailable(f"Kafka at {self._connection.settings.bootstrap} did not answer: {cause}")


def _raise_refused(changes: tuple[TopicChange, ...]) -> None:
    refused = [change for change in changes if change.action == "refuse"]
    if refused:
        raise BusError("; ".join(f"{change.topic} {change.text}. {change.fix}" for change in refused))


def _state(entry: Mapping[str, Any], config: Mapping[str, tuple[str, bool]] | None) -> TopicState:
    replicas = [len(partition["replicas"]) for partition in entry["partitions"]]
    return TopicState(
        partitions=len(entry["partitions"]),
        replicas=min(replicas, default=0),
        config=None if config is None else {name: value for name, (value, _) in config.items()},
        overrides={name: value for name, (value, own) in (config or {}).items() if own},
    )
