"""Names the adapters the tool uses; imported adapters stay out of sight of every command.

Imports stand inside the functions, so that `tidewind --help` does not load Kafka, S3 and database clients.
"""

import asyncio
import select
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import ValidationError

from schemas.envelope import Message
from schemas.topics import DEFAULT_PARTITIONS, Topic
from tidewind.cli.backup_checks import look_at_backups
from tidewind.cli.endings import CONFIGURATION, Complaint
from tidewind.cli.examination import (
    kafka_failed,
    look_at_database,
    look_at_key,
    look_at_store,
    look_at_topics,
    store_failed,
)
from tidewind.cli.interruption import raised
from tidewind.cli.order import new_message_id
from tidewind.cli.ports import Change, Check, Exchange, Feed, Statuses
from tidewind.cli.session import unknown
from tidewind.cli.settings import settings_checks, wrong_settings
from tidewind.ports.bus import BusError
from tidewind.ports.engine import SnapshotEngine
from tidewind.ports.store import StoreError

if TYPE_CHECKING:
    from tidewind.bus.admin import TopicAdmin
    from tidewind.bus.connection import Connection
    from tidewind.bus.dead_letter_box import DeadLetterBox
    from tidewind.bus.reader import Reader

_LOOK_S = 0.2


def connection() -> "Connection":
    """To the Kafka of the settings. Raises Complaint naming the setting that is wrong."""
    from tidewind.bus.connection import Connection
    from tidewind.environment import bus_settings
    from tidewind.runtime.secrets import resolve

    try:
        return Connection(bus_settings(), resolve)
    except ValidationError as error:
        raise settings_complaint(error, "TIDEWIND_KAFKA_") from None


def settings_complaint(error: ValidationError, prefix: str) -> Complaint:
    """What is wrong with the environment, by the names of its variables."""
    lines = []
    for name, text, fix in wrong_settings(error, prefix):
        lines += [(name, text), ("next", fix)]
    return Complaint(CONFIGURATION, "a setting is missing or wrong", *lines)


def topic_admin(partitions: int | None = None) -> "TopicAdmin":
    from tidewind.bus.admin import TopicAdmin

    return TopicAdmin(connection(), partitions=partitions)


@asynccontextmanager
async def dead_letter_box() -> AsyncIterator["DeadLetterBox"]:
    from tidewind.bus.dead_letter_box import DeadLetterBox
    from tidewind.bus.publisher import KafkaPublisher
    from tidewind.runtime.clock import SystemClock

    link = connection()
    publisher = KafkaPublisher(link)
    try:
        await publisher.start(deadline_s=15.0)
        yield DeadLetterBox(link, publisher, SystemClock())
    finally:
        await publisher.close(deadline_s=5.0)


class KafkaLine:
    """Implements tidewind.cli.ports.Line."""

    def __init__(self, link: "Connection") -> None:
        self._connection = link
        self.address = link.settings.bootstrap

    @asynccontextmanager
    async def exchange(
        self, cluster_id: str, *, since: datetime | None = None, deadline_s: float = 10.0
    ) -> AsyncIterator[Exchange]:
        from tidewind.bus.waiter import CommandClient
        from tidewind.runtime.clock import SystemClock

        client = CommandClient(self._connection, SystemClock())
        since_ms = None if since is None else round(since.timestamp() * 1000)
        try:
            await client.open(cluster_id, since_ms=since_ms, deadline_s=deadline_s)
            yield client
        finally:
            await client.close()

    async def statuses(self, *, deadline_s: float = 15.0) -> Statuses:
        from tidewind.bus.status_view import KafkaStatusView
        from tidewind.ports.bus import BusUnavailable
        from tidewind.runtime.clock import SystemClock

        view = KafkaStatusView(self._connection, SystemClock())
        await view.start(deadline_s=deadline_s)
        following = asyncio.create_task(view.run())
        try:
            if not await view.wait_until(view.caught_up, deadline_s=deadline_s):
                raise BusUnavailable(f"the status topic at {self.address} could not be read within {deadline_s:g} s")
            return Statuses({key: state for key in view.keys("") if (state := view.get(key)) is not None})
        finally:
            following.cancel()
            await asyncio.wait({following})

    @asynccontextmanager
    async def feed(
        self, topics: Sequence[Topic], *, since: datetime | None = None, deadline_s: float = 15.0
    ) -> AsyncIterator[Feed]:
        from tidewind.bus.reader import Reader

        reader = Reader(self._connection, topics)
        try:
            await reader.open(at_end=True, deadline_s=deadline_s)
            if since is not None:
                await reader.seek_to_time(round(since.timestamp() * 1000))
            yield _KafkaFeed(reader)
        finally:
            await reader.close()


class _KafkaFeed:
    """Decodes what a reader brings. Records that cannot be understood are for the dead letters, not for eyes."""

    def __init__(self, reader: "Reader") -> None:
        self._reader = reader

    async def read(self) -> list[Message]:
        from tidewind.bus.admission import intake_record

        decoded = [
            intake_record(record.key, record.value, record.headers, record.origin)
            for record in await self._reader.read()
        ]
        return [message for message in decoded if isinstance(message, Message)]


class KeyringKeys:
    """Implements tidewind.cli.ports.Keys."""

    def new(self, name: str) -> str:
        from tidewind.runtime.clock import SystemRandomness
        from tidewind.store.keyring import Keyring

        return Keyring.generate(name, SystemRandomness()).to_text()

    def extended(self, text: str, name: str) -> str:
        from tidewind.runtime.clock import SystemRandomness
        from tidewind.store.keyring import Keyring

        return Keyring.parse(text).with_newest(name, SystemRandomness()).to_text()

    async def check(self) -> list[Check]:
        return await _store_checks(only_key=True)


async def _store_checks(*, only_key: bool) -> list[Check]:
    from tidewind.environment import store_settings
    from tidewind.runtime.clock import SystemClock, SystemRandomness
    from tidewind.store.conditional import check_conditional_puts
    from tidewind.store.factory import open_store

    try:
        settings = store_settings()
    except ValidationError as error:
        return settings_checks(error, "TIDEWIND_STORE_")
    checks: list[Check] = []
    try:
        async with open_store(settings) as store:
            if not only_key:
                honoured = await check_conditional_puts(store.inner, SystemRandomness()) == "honours"
                checks += await look_at_store(
                    store.inner,
                    url=settings.url,
                    conditional=honoured,
                    single_writer=settings.single_writer,
                    now=SystemClock().now(),
                )
            checks += await look_at_key(store, store.inner, store.keyring, settings.keyring)
    except StoreError as error:
        checks.append(store_failed(error))
    return checks


async def _database_checks(cluster: str | None) -> list[Check]:
    """Nothing where the store cannot be opened: that was said already."""
    from tidewind.engines.mariadb.snapshot import MariaDBSnapshotEngine
    from tidewind.environment import store_settings
    from tidewind.runtime.registry import Registry
    from tidewind.store.factory import open_store

    engines: dict[str, SnapshotEngine] = {"mariadb": MariaDBSnapshotEngine()}
    try:
        async with open_store(store_settings()) as store:
            entries = [entry async for entry in Registry(store).clusters()]
    except (ValidationError, StoreError):
        return []
    chosen = [
        entry for entry in entries if entry.cluster_id == cluster or (cluster is None and entry.state == "protected")
    ]
    if cluster is not None and not chosen:
        raise unknown("cluster", cluster, [entry.cluster_id for entry in entries], "tidewind cluster list")
    checks: list[Check] = []
    for entry in chosen:
        checks += await look_at_database(entry, engines.get(entry.engine), named=len(chosen) > 1)
    return checks


async def _kafka_checks() -> list[Check]:
    from tidewind.bus.admin import TopicAdmin
    from tidewind.bus.connection import Connection
    from tidewind.environment import bus_settings
    from tidewind.runtime.secrets import resolve

    try:
        settings = bus_settings()
        admin = TopicAdmin(Connection(settings, resolve))
        broker = await admin.broker(deadline_s=10.0)
        return await look_at_topics(admin, broker, DEFAULT_PARTITIONS, replicas=settings.replication_factor)
    except ValidationError as error:
        return settings_checks(error, "TIDEWIND_KAFKA_")
    except BusError as error:
        return [kafka_failed(error)]


async def _backup_checks(cluster: str | None) -> list[Check]:
    """Nothing where Kafka does not answer: that was said already."""
    from tidewind.bus.connection import Connection
    from tidewind.environment import bus_settings
    from tidewind.runtime.secrets import resolve

    try:
        statuses = await KafkaLine(Connection(bus_settings(), resolve)).statuses()
    except (ValidationError, BusError):
        return []
    return look_at_backups(statuses, cluster)


class SystemTools:
    """Implements tidewind.cli.ports.Tools with the real things."""

    keys = KeyringKeys()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def message_id(self) -> str:
        return new_message_id()

    def line(self) -> KafkaLine:
        return KafkaLine(connection())

    def topics(self, partitions: int | None) -> "TopicAdmin":
        return topic_admin(partitions)

    def letters(self) -> AbstractAsyncContextManager["DeadLetterBox"]:
        return dead_letter_box()

    async def examine(self, cluster: str | None) -> list[Check]:
        return [
            *await _kafka_checks(),
            *await _store_checks(only_key=False),
            *await _database_checks(cluster),
            *await _backup_checks(cluster),
        ]

    async def changes(self, cluster: str, begin: datetime, end: datetime) -> AsyncIterator[Change]:
        from tidewind.cli.change_log import read_changes
        from tidewind.engines.mariadb.log.summary import MariaDBLogDecoder
        from tidewind.environment import store_settings
        from tidewind.store.factory import open_store

        try:
            settings = store_settings()
        except ValidationError as error:
            raise settings_complaint(error, "TIDEWIND_STORE_") from None
        async with open_store(settings) as store:
            async for change in read_changes(store, {"mariadb": MariaDBLogDecoder()}, cluster, begin, end):
                yield change

    def ask(self, question: str) -> str:
        sys.stdout.write(question)
        sys.stdout.flush()
        with raised():
            # A Ctrl-C between here and the read would be noted and the read begin all the same: it is begun only when
            # there is something to read.
            while not select.select([sys.stdin], [], [], _LOOK_S)[0]:
                pass
            try:
                return input()
            except EOFError:
                # Nobody ended the line of the question, and what is said next is to stand on one of its own.
                sys.stdout.write("\n")
                sys.stdout.flush()
                raise
