"""The Faust application: ticks, their agent, and the table of clusters.

The one timer sends a tick to each partition this worker has; the agent handles it. Timers run on every worker and
cannot write tables, and after a rebalance a worker still sees rows of partitions it has lost; an agent has neither
trouble.

Ticks may be lost and repeated, and that is why they are all that runs here. Faust 0.15 loses records when instances
come and go: records fetched before a rebalance move its reading place on after it was set back, and what is skipped
like this is committed as if the log had a gap there. It acknowledges a message whose handler raised or was cancelled.
And a partition may not be read again after a rebalance. So commands, which must never be lost, are consumed by the
bus's own consumer, and a partition whose ticks do not come back makes the application begin anew.

What Faust would do by itself and must not: make topics (one replica, eight partitions), elect a leader over a topic of
its own, wait for handlers without end when it stops, serve its tables over HTTP on all interfaces, take over logging,
make folders for tables, which a killed process leaves behind, although ours are in memory.
"""

import asyncio
import contextlib
import json
import math
import ssl
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import faust
import structlog
from faust.types.auth import SASLMechanism

from schemas import topics
from services.scheduler.handlers.ticks import Rows
from tidewind.ports.clock import Clock

log = structlog.get_logger()

_TABLE = "clusters"
_START_S = 120.0
_RESTART_S = (1.0, 2.0, 5.0, 10.0, 30.0)
_STEADY_S = 300.0
_PATIENCE_TICKS = 6
_PATIENCE_S = 20.0

Tick = Callable[[int, bool, Rows], Awaitable[None]]
SendTick = Callable[[int], Awaitable[None]]
Assigned = Callable[[frozenset[int]], None]


@dataclass(frozen=True, kw_only=True)
class FaustSettings:
    """`security` are aiokafka's own arguments: security_protocol, ssl_context, sasl_…"""

    prefix: str
    bootstrap: str
    partitions: int
    session_timeout_s: float
    request_timeout_s: float
    tick_s: float
    stop_deadline_s: float
    security: Mapping[str, Any]

    @property
    def patience_s(self) -> float:
        """How long a tick may take to come back before its partition counts as stuck."""
        return max(_PATIENCE_TICKS * self.tick_s, _PATIENCE_S)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the application is for. All may raise."""

    tick: Tick
    send_tick: SendTick
    assigned: Assigned


class ApplicationStuck(RuntimeError):
    """An application goes on although it was told to stop."""


class _App(faust.App):  # type: ignore[misc]
    """A Faust application that touches no disk."""

    async def on_first_start(self) -> None:
        """Here Faust makes folders for tables on disk."""


class _TableRows:
    """The table as a tick uses it. Reads and writes happen within the tick agent, where Faust allows them."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def get(self, cluster: str) -> Mapping[str, Any] | None:
        raw = self._table.get(cluster.encode())
        return None if raw is None else dict(json.loads(raw))

    def put(self, cluster: str, row: Mapping[str, Any]) -> None:
        self._table[cluster.encode()] = json.dumps(row).encode()


class TickApplication:
    """`run` as a part of the service until cancelled."""

    def __init__(self, settings: FaustSettings, work: Work, clock: Clock) -> None:
        self._settings = settings
        self._work = work
        self._clock = clock
        self._owned: frozenset[int] = frozenset()
        self._ticked: dict[int, float] = {}
        self._waiting: dict[int, float] = {}
        self._returned = -math.inf
        self._idle_since: float | None = None
        self.restarts = 0

    def stuck(self) -> frozenset[int]:
        """Partitions of ours whose ticks do not come back: ones sent much later did, or the agent has long been idle.
        An agent that works on one tick for long is slow, not stuck."""
        now, late = self._clock.monotonic(), self._settings.patience_s
        return frozenset(
            partition
            for partition, sent in self._waiting.items()
            if self._returned - sent > late
            or (self._idle_since is not None and now - max(sent, self._idle_since) > late)
        )

    async def run(self) -> None:
        """Run the application; when it ends by itself or gets stuck, run another. Raises only what stops the service:
        an application that cannot be stopped would go on reading beside the next one."""
        failures = 0
        while True:
            began = self._clock.monotonic()
            try:
                await self._run_once()
            except ApplicationStuck:
                raise
            except Exception:
                log.exception("the stream application ended and is started again", action="stream-restart")
            failures = 0 if self._clock.monotonic() - began > _STEADY_S else failures + 1
            self.restarts += 1
            await self._clock.sleep(_RESTART_S[min(failures, len(_RESTART_S)) - 1])

    async def _run_once(self) -> None:
        app = self._make()
        self._begin(frozenset())
        try:
            async with asyncio.timeout(_START_S):
                await app.start()
            stopped = asyncio.create_task(app.wait_until_stopped())
            try:
                while not stopped.done():
                    await asyncio.wait({stopped}, timeout=1.0)
                    if self.stuck():
                        raise RuntimeError(f"no tick comes back from the partitions {sorted(self.stuck())}")
            finally:
                stopped.cancel()
            raise RuntimeError("it ended by itself") from app.crash_reason
        finally:
            self._begin(frozenset())
            await self._stop(app)

    async def _stop(self, app: Any) -> None:
        stopping = asyncio.create_task(app.stop())
        _, late = await asyncio.wait({stopping}, timeout=self._settings.stop_deadline_s)
        if late:
            stopping.cancel()
            raise ApplicationStuck("the stream application does not stop")
        with contextlib.suppress(Exception):
            stopping.result()

    def _make(self) -> Any:
        settings = self._settings
        app = _App(
            f"{settings.prefix}scheduler",
            broker=[f"kafka://{address}" for address in settings.bootstrap.split(",")],
            broker_credentials=_credentials(settings.security),
            broker_session_timeout=settings.session_timeout_s,
            broker_heartbeat_interval=max(0.2, settings.session_timeout_s / 5),
            broker_request_timeout=max(settings.request_timeout_s, settings.session_timeout_s),
            broker_commit_interval=1.0,
            consumer_auto_offset_reset="earliest",
            store="memory://",
            key_serializer="raw",
            value_serializer="raw",
            topic_partitions=settings.partitions,
            topic_allow_declare=False,
            topic_disable_leader=True,
            stream_wait_empty=False,
            web_enabled=False,
            worker_redirect_stdouts=False,
            loghandlers=[],
            autodiscover=False,
        )
        ticks = app.topic(
            topics.SCHEDULER_TICKS.full_name(settings.prefix),
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            partitions=settings.partitions,
        )
        rows = _TableRows(app.Table(_TABLE, key_type=bytes, value_type=bytes, partitions=settings.partitions))

        async def handle(stream: Any) -> None:
            async for event in stream.events():
                await self._tick(event.message.partition, event.message.value, rows)

        app.agent(ticks, name="ticks")(handle)
        app.on_partitions_assigned.connect(self._assigned)
        app.timer(interval=settings.tick_s, on_leader=False)(self._send_ticks)
        return app

    async def _assigned(self, _: Any, assigned: Any, **__: Any) -> None:
        name = topics.SCHEDULER_TICKS.full_name(self._settings.prefix)
        self._begin(frozenset(tp.partition for tp in assigned if tp.topic == name))
        self._work.assigned(self._owned)

    def _begin(self, owned: frozenset[int]) -> None:
        self._owned = owned
        self._waiting.clear()
        self._ticked.clear()
        self._returned = -math.inf
        self._idle_since = self._clock.monotonic()

    async def _send_ticks(self) -> None:
        """One tick to each partition of ours. The wait is counted from the first that has not come back."""
        now = self._clock.monotonic()
        for partition in sorted(self._owned):
            try:
                await self._work.send_tick(partition)
            except Exception as error:
                self._waiting.pop(partition, None)
                log.warning("a tick could not be sent", action="tick-unsent", error=str(error))
                return
            self._waiting.setdefault(partition, now)

    async def _tick(self, partition: int, value: bytes | None, rows: Rows) -> None:
        """The envelope of the agent: nothing raises out of here but cancellation. A tick that fails is made up for by
        the next; those left over from a pause are dropped."""
        self._returned = max(self._returned, self._waiting.pop(partition, -math.inf))
        fresh = asks_for_fresh_look(value)
        began = self._clock.monotonic()
        if partition not in self._owned:
            return
        if not fresh and began - self._ticked.get(partition, -math.inf) < self._settings.tick_s / 2:
            return
        self._ticked[partition] = began
        self._idle_since = None
        try:
            await self._work.tick(partition, fresh, rows)
        except Exception:
            log.exception("a tick failed", action="tick-failed", partition=partition)
        finally:
            self._idle_since = self._clock.monotonic()


def without_cancellations(failure: threading.ExceptHookArgs) -> None:
    """For `threading.excepthook`: Faust's thread dies of the cancellations by which it stops a client without a broker,
    and a stop is no reason for a traceback."""
    if failure.exc_type is not asyncio.CancelledError:
        threading.__excepthook__(failure)


def asks_for_fresh_look(value: bytes | None) -> bool:
    """Whether a tick was sent because something has just changed. Any bytes may lie on the topic; all are ticks."""
    try:
        body = json.loads(value or b"")
    except ValueError:
        return False
    return isinstance(body, dict) and body.get("fresh") is True


def _credentials(security: Mapping[str, Any]) -> Any:
    """Faust's form of aiokafka's arguments."""
    protocol = security["security_protocol"]
    context: ssl.SSLContext | None = security.get("ssl_context")
    if protocol.startswith("SASL"):
        return faust.SASLCredentials(
            mechanism=SASLMechanism(security["sasl_mechanism"]),
            username=security["sasl_plain_username"],
            password=security["sasl_plain_password"],
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if protocol == "SSL" else None
