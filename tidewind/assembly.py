"""What the bootstrap of every service makes alike: store, bus, status view, publisher.

Only bootstraps import this. It names adapters so that they need not repeat each other.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.topics import STATUS, Topic
from tidewind.bus.admin import TopicAdmin
from tidewind.bus.connection import Connection
from tidewind.bus.consumer import Consumer, ConsumerRules
from tidewind.bus.partitioner import partition_of
from tidewind.bus.publisher import KafkaPublisher
from tidewind.bus.status_view import KafkaStatusView
from tidewind.domain.records import Repository
from tidewind.environment import bus_settings, store_settings
from tidewind.ports.bus import RecordHandler
from tidewind.ports.engine import StoreFactory
from tidewind.runtime.clock import SystemClock, SystemRandomness
from tidewind.runtime.health import Check, HealthServer
from tidewind.runtime.host import Host
from tidewind.runtime.logs import configure_logs
from tidewind.runtime.metrics import follow_consumer, follow_publisher
from tidewind.runtime.secrets import resolve
from tidewind.runtime.service import JobService
from tidewind.runtime.settings import ServiceSettings
from tidewind.store.conditional import require_conditional_puts
from tidewind.store.factory import open_store, sweep_uploads
from tidewind.store.homes import require_home
from tidewind.store.repository import open_repository
from tidewind.store.sealed import SealedStore


class _Deployment(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="TIDEWIND_", extra="ignore")

    deployment: str | None = None
    adopt_store_from: str | None = None


@dataclass(frozen=True, kw_only=True)
class Platform:
    """The outside of one service process, open and checked."""

    service: ServiceSettings
    clock: SystemClock
    store: SealedStore
    open_store: StoreFactory
    store_modules: tuple[str, ...]
    repository: Repository
    connection: Connection
    publisher: KafkaPublisher
    view: KafkaStatusView
    partitions: int
    host: Host

    def partition_of(self, cluster: str) -> int:
        return partition_of(cluster, self.partitions)


@asynccontextmanager
async def open_platform(name: str) -> AsyncGenerator[Platform, None]:
    """Open everything a service stands on, and give it to a host that closes it again.

    Order of closing: the jobs, the consumer, then the publisher with what it has not sent yet. Raises StoreError and
    BusUnavailable with the address and what to do.
    """
    service = ServiceSettings()
    configure_logs(name, log_format=service.log_format, level=service.log_level)
    clock = SystemClock()
    settings = store_settings()
    deployment = _Deployment()
    connection = Connection(bus_settings(), resolve)
    async with open_store(settings) as store:
        if not settings.single_writer:
            await require_conditional_puts(store.inner, SystemRandomness())
        publisher = KafkaPublisher(connection)
        follow_publisher(lambda: publisher.pending)
        view = KafkaStatusView(connection, clock)
        host = Host(name, stop_deadline_s=service.stop_deadline_s)
        host.on_close("publisher", publisher.close)
        try:
            await publisher.start()
            partitions = await publisher.partitions(STATUS)
            repository = await open_repository(
                store.inner,
                keyring=store.keyring,
                partitions=partitions,
                deployment=deployment.deployment,
                now=clock.now(),
                randomness=SystemRandomness(),
            )
            await require_home(
                store,
                kafka_cluster=(await TopicAdmin(connection).broker()).cluster_id,
                prefix=connection.settings.prefix,
                adopt_from=deployment.adopt_store_from,
                now=clock.now(),
            )
            await sweep_uploads(store.inner)  # only now: it might have been another deployment's
            await view.start()
        except BaseException:
            await publisher.close(deadline_s=0)
            raise
        host.add("publisher", publisher.run)
        host.add("status view", view.run)
        yield Platform(
            service=service,
            clock=clock,
            store=store,
            open_store=partial(open_store, settings),
            store_modules=settings.modules,
            repository=repository,
            connection=connection,
            publisher=publisher,
            view=view,
            partitions=partitions,
            host=host,
        )


def command_consumer(
    platform: Platform, service: JobService, topic: Topic, *, group: str, handle: RecordHandler | None = None
) -> Consumer:
    """What feeds a service its commands. The age above which the service refuses one is also that above which a
    misplaced one is not sent on: rerouting stamps it anew, and what was too old would be carried out."""
    limits = {} if service.max_age_s is None else {topic.name: service.max_age_s}
    consumer = Consumer(
        platform.connection,
        platform.publisher,
        ConsumerRules(group=f"{platform.connection.settings.prefix}{group}", max_age_s=limits),
        {topic: handle or service.handle},
        clock=platform.clock,
        on_assigned=service.assigned,
        on_poison=service.refuse_poison,
    )
    follow_consumer(service.name, consumer)
    return consumer


async def serve_health(platform: Platform, more: Mapping[str, Check] | None = None) -> None:
    """Add the health server to the platform's host: ready means Kafka and the status topic are followed, and what
    `more` of the service's own checks say."""
    health = HealthServer(
        platform.service.health_host,
        platform.service.health_port,
        {
            "kafka": lambda: None if platform.publisher.connected else "no connection to Kafka",
            "status": lambda: None if platform.view.caught_up() else "the status topic is not read to its end yet",
            **(more or {}),
        },
    )
    await health.start()
    platform.host.on_close("health server", health.stop)
