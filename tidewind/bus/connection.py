"""Makes every Kafka client of this package: the one place where aiokafka's settings are chosen.

aiokafka's defaults lose data here (acks=1, commits on a timer, unread topics begun at their end, uncommitted records
delivered, a deserializer that raises pins the consumer), so nothing is left to them.
"""

import asyncio
import contextlib
import os
import ssl
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import create_conn
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError

from schemas.topics import MAX_DEAD_LETTER_BYTES, MAX_RECORD_BYTES, Topic
from tidewind.bus.settings import BusSettings
from tidewind.ports.bus import BusUnavailable

log = structlog.get_logger()

SecretResolver = Callable[[str], str]
"""Reads a secret reference. May raise; must not put the secret into the error."""

Client = TypeVar("Client")

_CHECK = "check that the broker runs, and that TIDEWIND_KAFKA_* says how to reach it; then start again"
_BACKOFF_S = 0.5
_CLOSE_S = 5.0
_PROBE_S = 5.0


class Connection:
    """Makes clients and starts them under a deadline. Holds no connection itself."""

    def __init__(self, settings: BusSettings, resolve: SecretResolver) -> None:
        self.settings = settings
        self._resolve = resolve

    def name(self, topic: Topic) -> str:
        """The topic's name in this deployment."""
        return topic.full_name(self.settings.prefix)

    async def producer(self, *, deadline_s: float | None) -> Any:
        """A started producer: acknowledged by all in-sync replicas, idempotent. Raises BusUnavailable."""
        return await self._started(
            lambda common: AIOKafkaProducer(
                **common,
                acks="all",
                enable_idempotence=True,
                compression_type=None,
                linger_ms=0,
                # A batch may hold many records and must pass every topic's limit; one larger record still passes alone.
                max_batch_size=MAX_RECORD_BYTES,
                max_request_size=MAX_DEAD_LETTER_BYTES + 200_000,
            ),
            deadline_s,
        )

    async def group_consumer(self, group: str, *, deadline_s: float | None) -> Any:
        """A started consumer in a group, not yet subscribed. Raises BusUnavailable."""

        def make(common: dict[str, Any]) -> Any:
            session_ms = round(self.settings.session_timeout_s * 1000)
            return AIOKafkaConsumer(
                **common,
                **_reading(),
                group_id=group,
                partition_assignment_strategy=(RangePartitionAssignor,),
                session_timeout_ms=session_ms,
                heartbeat_interval_ms=max(200, session_ms // 5),
                rebalance_timeout_ms=max(30_000, session_ms),
                max_poll_interval_ms=300_000,
            )

        return await self._started(make, deadline_s)

    async def reader(self, *, deadline_s: float | None) -> Any:
        """A started consumer without a group: partitions are assigned by hand. Raises BusUnavailable."""
        return await self._started(lambda common: AIOKafkaConsumer(**common, **_reading(), group_id=None), deadline_s)

    async def admin(self, *, deadline_s: float | None) -> Any:
        """A started admin client, to be ended by `close`. Raises BusUnavailable."""

        def make(common: dict[str, Any]) -> Any:
            common.pop("metadata_max_age_ms")
            return AIOKafkaAdminClient(**common)

        return await self._started(make, deadline_s)

    async def _started(self, make: Callable[[dict[str, Any]], Client], deadline_s: float | None) -> Client:
        """`deadline_s` None: wait for ever, with a warning at each doubling of the wait."""
        began = time.monotonic()
        until = None if deadline_s is None else began + deadline_s
        warn_after = 10.0
        while True:
            client: Any = make(await asyncio.to_thread(self._common))
            left = None if until is None else max(0.05, until - time.monotonic())
            try:
                async with asyncio.timeout(left):
                    await client.start()
            except (KafkaError, OSError, TimeoutError) as error:
                await end(client)
                waited = time.monotonic() - began
                if until is not None and time.monotonic() + _BACKOFF_S >= until:
                    raise BusUnavailable(await self._explain(error, waited), _CHECK) from error
                if waited > warn_after:
                    warn_after *= 2
                    log.warning(await self._explain(error, waited), action="kafka-unavailable")
                await asyncio.sleep(_BACKOFF_S)
            except BaseException:
                await end(client)
                raise
            else:
                started: Client = client
                return started

    async def security(self) -> dict[str, Any]:
        """aiokafka's own arguments for TLS and SASL, for a client that is made elsewhere (the scheduler's)."""
        common = await asyncio.to_thread(self._common)
        return {name: value for name, value in common.items() if name.startswith(("security_", "ssl_", "sasl_"))}

    def _common(self) -> dict[str, Any]:
        settings = self.settings
        common: dict[str, Any] = {
            "bootstrap_servers": settings.bootstrap,
            "client_id": settings.client_id,
            "request_timeout_ms": round(settings.request_timeout_s * 1000),
            "retry_backoff_ms": 500,
            "metadata_max_age_ms": 60_000,
            "security_protocol": settings.security_protocol,
        }
        if settings.encrypted:
            common["ssl_context"] = self._tls()
        if settings.security_protocol.startswith("SASL"):
            assert settings.sasl_password is not None
            common["sasl_mechanism"] = settings.sasl_mechanism
            common["sasl_plain_username"] = settings.sasl_username
            common["sasl_plain_password"] = self._resolve(settings.sasl_password)
        return common

    def _tls(self) -> ssl.SSLContext:
        settings = self.settings
        authorities = self._resolve(settings.ca) if settings.ca is not None else None
        context = ssl.create_default_context(cadata=authorities)
        if settings.certificate is not None and settings.key is not None:
            # Python loads a client certificate from files only: a private folder, gone at once.
            with tempfile.TemporaryDirectory(prefix="tidewind-") as folder:
                certificate, key = Path(folder, "certificate.pem"), Path(folder, "key.pem")
                certificate.write_text(self._resolve(settings.certificate))
                key.touch(mode=0o600)
                key.write_text(self._resolve(settings.key))
                context.load_cert_chain(certificate, key)
        return context

    async def _explain(self, error: BaseException, waited: float) -> str:
        cause = await self._probe() or str(error) or type(error).__name__
        return (
            f"Kafka at {self.settings.bootstrap} ({self.settings.security_protocol}) did not answer "
            f"within {waited:.0f} s: {cause}"
        )

    async def _probe(self) -> str | None:
        """Why the first address does not work: the client only says that it could not bootstrap."""
        host, _, port = self.settings.bootstrap.split(",")[0].rpartition(":")
        try:
            common = await asyncio.to_thread(self._common)
            for unused in ("bootstrap_servers", "retry_backoff_ms", "metadata_max_age_ms"):
                common.pop(unused)
            async with asyncio.timeout(_PROBE_S):
                connection = await create_conn(host.strip("[]"), int(port), **common)
            connection.close()
        except TimeoutError:
            return f"{host}:{port} accepts connections but does not speak"
        except ssl.SSLError as error:
            return f"TLS failed: {error}"
        except OSError as error:
            return os.strerror(error.errno) if error.errno is not None and error.errno > 0 else str(error)
        except KafkaError as error:
            return str(error) or type(error).__name__
        return None


def _reading() -> dict[str, Any]:
    return {
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "isolation_level": "read_committed",
        "fetch_max_wait_ms": 250,
        "max_partition_fetch_bytes": MAX_RECORD_BYTES + 200_000,
        "fetch_max_bytes": 16 * 1024 * 1024,
        "check_crcs": True,
    }


async def partition_counts(client: Any, names: Iterable[str], *, deadline_s: float) -> dict[str, int]:
    """How many partitions the topics have, by full name; a topic that is not there by the deadline is left out.

    Asks for all topics, never by name: a broker may make a topic that a client asks for, with a number of its own.
    """
    wanted = frozenset(names)
    inner = getattr(client, "client", None) or client._client
    until = time.monotonic() + deadline_s
    while True:
        cluster = await inner.fetch_all_metadata()
        found = {name: len(cluster.partitions_for_topic(name) or ()) for name in wanted}
        if all(found.values()) or time.monotonic() > until:
            return {name: count for name, count in found.items() if count}
        await asyncio.sleep(0.2)


async def end(client: Any) -> None:
    """Close a client of any kind, bounded, whatever state it is in."""
    stop: Callable[[], Awaitable[None]] = getattr(client, "stop", None) or client.close
    try:
        async with asyncio.timeout(_CLOSE_S):
            await stop()
    except (TimeoutError, KafkaError, OSError):
        await abandon(client)


async def abandon(client: Any) -> None:
    """End a client's tasks and sockets without its goodbye: a producer's waits for records that a dead broker never
    takes, or stores ones that are being sent again elsewhere."""
    sender = getattr(client, "_sender", None)
    client._closed = True
    parts: list[Callable[[], Awaitable[None]]] = [] if sender is None else [sender.close]
    inner = getattr(client, "client", None) or getattr(client, "_client", None)
    if inner is not None:
        parts.append(inner.close)
    for close in parts:
        with contextlib.suppress(TimeoutError, KafkaError, OSError):
            async with asyncio.timeout(_CLOSE_S):
                await close()
