"""Capture: reads one cluster's log and sends it, sealed, to Kafka.

Invariant: what the next session begins behind is held, by the store or acknowledged by Kafka; a transaction that is
neither is read again. A new history begins only when the engine says that the log cannot be read on.
"""

import zlib

import structlog

from services.changelog.handlers.sending import CaptureTools, Reread, Sending
from services.changelog.rules.places import Held, acknowledged, later
from tidewind.domain import keys
from tidewind.domain.ids import history_id
from tidewind.domain.log_stream import SessionStart
from tidewind.domain.problems import Refused, problem
from tidewind.domain.records import RegistryEntry
from tidewind.ports.capture import CaptureEngine, LogBroken, LogUnsuitable, Resume
from tidewind.ports.engine import Address, DatabaseError
from tidewind.ports.store import StoreError
from tidewind.runtime.failures import problem_of
from tidewind.runtime.secrets import resolve_login

log = structlog.get_logger()

_SERVER_IDS = 1_000_000_000


class Capture:
    """One cluster. `run` until cancelled; every failure is said in the cluster's status and tried again."""

    def __init__(
        self,
        entry: RegistryEntry,
        engine: CaptureEngine,
        tools: CaptureTools,
    ) -> None:
        self.entry = entry
        self._engine = engine
        self._tools = tools
        self._notices = tools.notices(entry.cluster_id)
        self._broken: LogBroken | None = None
        """Why a history must begin, until Kafka holds the first block of the one that does."""
        self._read: frozenset[str] = frozenset()
        """The histories that the newest session ends and begins."""
        self._broken_of: frozenset[str] = frozenset()
        self._from_store = False
        self._sent: Held | None = None
        """What Kafka has acknowledged to this capture: the status topic says the same a moment later."""

    async def run(self) -> None:
        while True:
            pause = self._tools.settings.capture_retry_s
            try:
                await self._session()
            except LogBroken as broken:
                log.warning(broken.detail, action="log-broken", cluster=self._cluster, cause=broken.cause)
                self._broken, self._broken_of, pause = broken, self._read, 0.0
            except LogUnsuitable as unsuitable:
                pause = self._tools.settings.capture_unsuitable_retry_s
                why = problem("log-unsuitable", unsuitable.detail, next_step=unsuitable.next_step)
                self._notices.stopped(why, state="unsuitable")
            except Reread:
                log.warning("The archive misses something; the log is read again", cluster=self._cluster)
                self._from_store, self._sent, pause = True, None, 0.0
            except (Refused, DatabaseError, StoreError) as error:
                self._notices.stopped(problem_of(error), state="waiting")
            await self._tools.clock.sleep(pause)

    @property
    def _cluster(self) -> str:
        return self.entry.cluster_id

    async def _session(self) -> None:
        """Read until something ends it; returns never."""
        entry = self.entry
        address = Address(cluster_id=entry.cluster_id, endpoints=entry.endpoints, tls=entry.tls)
        login = resolve_login(entry.credentials)
        held = await self._held()
        if held is not None and held.history not in self._broken_of:
            # The new one has begun: Kafka held its first block, and who sent it died before it knew.
            self._broken = None
        self._read = frozenset() if held is None else frozenset({held.history})
        broken = self._broken
        begins_anew = held is None or broken is not None
        if held is None or broken is not None:
            resume = Resume(position=await self._engine.log_end(address, login))
        else:
            resume = Resume(position=held.position, last=held.last)
        session = await self._claim_session()
        async with self._engine.read(address, login, resume, server_id=self._server_id) as reading:
            history = history_id(self._cluster, session) if held is None or begins_anew else held.history
            self._read |= {history}
            begins = SessionStart(
                history=history,
                position=reading.position,
                cause=None if not begins_anew else broken.cause if broken else "first",
                detail=broken.detail if broken else "",
                after_history=held.history if held and begins_anew else None,
                server_identity=reading.server_identity,
                server_version=reading.server_version,
                opened_us=reading.opened_us,
                preamble=reading.preamble.hex(),
            )
            sending = Sending(
                self._tools,
                self._notices,
                reading,
                begins,
                cluster=self._cluster,
                session=session,
                held=None if begins_anew else held,
                kinds=self._engine.state_kinds,
                on_acknowledged=self._reached,
            )
            self._notices.started(begins)
            await sending.run()

    def _reached(self, held: Held) -> None:
        """Kafka holds a block of the session, so that the next one goes on from there."""
        self._sent, self._broken, self._from_store = held, None, False

    async def _held(self) -> Held | None:
        histories = await self._tools.archived.histories(self._cluster)
        stored = None
        if histories:
            newest = histories[-1]
            last = await self._tools.archived.last(self._cluster, newest.history)
            stored = Held(history=newest.history, position=newest.position, last=None)
            if last is not None:
                stored = Held(
                    history=newest.history,
                    position=last.head.to_position,
                    last=await self._tools.archived.last_transaction(self._cluster, newest.history),
                )
        kafka = None
        if not self._from_store:
            kafka = self._sent or acknowledged(self._tools.view.get(f"capture/{self._cluster}"))
        return later(stored, kafka, known=frozenset(one.history for one in histories))

    async def _claim_session(self) -> str:
        prefix = keys.capture_sessions(self._cluster)
        taken = [int(found.key.removeprefix(prefix)) async for found in self._tools.store.list(prefix)]
        number = max(taken, default=0) + 1
        while not await self._tools.store.put_if_absent(
            keys.capture_session(self._cluster, keys.session_name(number)), b"-"
        ):
            number += 1
        await self._tools.store.delete(
            [keys.capture_session(self._cluster, keys.session_name(old)) for old in taken if old < number - 1]
        )
        return keys.session_name(number)

    @property
    def _server_id(self) -> int:
        return self._tools.settings.capture_server_id + zlib.crc32(self._cluster.encode()) % _SERVER_IDS
