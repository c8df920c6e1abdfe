"""The single steps of a restore, each with the note that says it is done.

The users' return is a step of its own: what must be true at that moment (the timeline, the note) comes right after it,
and what can fail and be repeated (events, the belt, what replicas are told) belongs to finishing.

A note is put when the step is whole, never before; what a successor must know of a step that is not whole is kept by
the engine itself. Kafka is waited for once, before anything is touched; from then on everything said is queued.
"""

import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog

from schemas.replies import Problem
from schemas.status import RestoreStep
from services.restorer.handlers import pins
from services.restorer.handlers.hold import Hold
from services.restorer.handlers.memory import JobMemory
from services.restorer.handlers.notices import Notices, State
from services.restorer.handlers.sources import OPENED_NOTE, Origin
from services.restorer.handlers.tools import RestoreTools
from services.restorer.rules.steps import Action, Next
from tidewind.domain import keys, timelines
from tidewind.domain.ids import timeline_id
from tidewind.domain.problems import problem, refused
from tidewind.domain.records import Timeline
from tidewind.ports.bus import BusUnavailable
from tidewind.ports.jobs import Ending, JobContext
from tidewind.ports.restore import Opened, PointSource, RestoreEnded, Source
from tidewind.ports.store import UNREADABLE

log = structlog.get_logger()

_SETTLED = "settled"


class Stages:
    """Does one step at a time for one restore."""

    def __init__(
        self,
        tools: RestoreTools,
        context: JobContext,
        *,
        memory: JobMemory,
        hold: Hold,
        notices: Notices,
        origin: Origin,
        restore_id: str,
    ) -> None:
        self._tools = tools
        self._context = context
        self._memory = memory
        self._hold = hold
        self._notices = notices
        self._origin = origin
        self._restore_id = restore_id

    @property
    def replays(self) -> bool:
        """Whether the restore leads to a point of the log; one whose source is lost does nothing but return."""
        return isinstance(self._origin.source, PointSource)

    async def perform(self, action: Action) -> None:
        """Raises DatabaseError, StoreError, Refused, LeaseLost."""
        perform = {
            Action.ANNOUNCE: self._announce,
            Action.GATE: self._gate,
            Action.SAFEGUARD: self._safeguard,
            Action.LOAD: self._load,
            Action.REPLAY: self._replay,
            Action.DEFINE: self._define,
            Action.VERIFY: self._verify,
            Action.OPEN: self._open,
            Action.GIVE_BACK: self._give_back,
            Action.FINISH: self._finish,
        }[action]
        await perform()

    async def before_opening(self) -> None:
        """The last look before the verdict. Raises Refused if somebody else wrote since the gate was closed."""
        session = await self._hold.session()
        gated = self._memory.known("gated") or {}
        if not await session.unchanged_since(gated.get("position")):
            raise refused(
                "database-failed",
                "something was written to the log while the cluster was closed, and not by this restore",
                next_step="Find who writes past the account tables, and repeat; the old data is back",
            )
        self._notices.step("opening")

    async def end(self, now: Next) -> Ending:
        """The terminal event; what only the running restore needed goes."""
        await pins.release(self._tools, self._context)
        if now.action is Action.END_OPENED:
            return self._completed()
        step, why = self._failure(now.reason)
        returned = now.action is Action.END_RETURNED
        missing = self._missing("returned")
        self._notices.available(f"open with the data it had before{missing}" if returned else "nothing was touched")
        state: State = "cancelled" if why is None else "failed"
        seen = why
        if missing:
            base = why or problem("database-failed", "The restore was cancelled")
            seen = base.model_copy(update={"detail": f"{base.detail}{missing}"})
        self._notices.step("returned" if returned else "accepted", state=state, problem=seen)
        if why is None or seen is None:
            return self._notices.cancelled(step, self._return_ms())
        return self._notices.failed(step, seen, returned=True)

    async def open_by_hand(self) -> tuple[str, ...]:
        try:
            return await (await self._hold.session()).open_by_hand(self._memory)
        except Exception:
            gated = self._memory.known("gated") or {}
            return tuple(gated.get("open_by_hand", ()))

    async def _announce(self) -> None:
        self._notices.step("planned")
        self._notices.started()
        began = self._tools.clock.monotonic()
        while True:
            try:
                await self._context.status_acknowledged("availability", self._notices.restoring())
                break
            except BusUnavailable as error:
                if self._tools.clock.monotonic() - began > self._tools.settings.announce_timeout_s:
                    raise refused(
                        "operation-running",
                        f"Kafka has not acknowledged that the cluster will be closed: {error}",
                        next_step="Bring Kafka back and ask for the restore again; nothing was touched",
                    ) from None
                await self._tools.clock.sleep(self._tools.settings.retry_pause_s)
        await self._memory.keep("announced", {"at": self._now()})

    async def _gate(self) -> None:
        session = await self._hold.session()
        began = await self._memory.keep("gating", {"at": self._now()})
        gated = await session.gate(self._source, self._memory, self._report)
        note = await self._memory.keep(
            "gated",
            {
                "at": self._now(),
                "position": gated.position,
                "clock": gated.clock.isoformat() if gated.clock else None,
                "history": await self._newest_history(),
                "connections_ended": gated.connections_ended,
                "open_by_hand": list(gated.open_by_hand),
            },
        )
        took = _ms(began["at"], note["at"])
        self._notices.gated(int(note["connections_ended"]), took, tuple(note["open_by_hand"]))
        self._notices.step("gated")

    async def _safeguard(self) -> None:
        tables = await (await self._hold.session()).safeguard(self._memory, self._report)
        await self._done("safeguarded", {"tables": tables})

    async def _load(self) -> None:
        loaded = await (await self._hold.session()).load(self._source, self._report)
        await self._done("loaded", {"tables": loaded.tables, "rows": loaded.rows, "row_bytes": loaded.row_bytes})

    async def _replay(self) -> None:
        source = self._source
        assert isinstance(source, PointSource)
        replayed = await (await self._hold.session()).replay(source, self._memory, self._report)
        await self._done(
            "replayed",
            {"transactions": replayed.transactions, "rows": replayed.rows, "ddl": replayed.ddl},
        )

    async def _define(self) -> None:
        session = await self._hold.session()
        refused_things = await session.define(self._source, self._memory, self._report)
        await self._done("accounts", {"not_taken": list(refused_things)})

    async def _verify(self) -> None:
        verified = await (await self._hold.session()).verify(self._source, self._report)
        await self._done("verified", {"tables": verified.tables, "rows": verified.rows})

    async def _open(self) -> None:
        opened = await (await self._hold.session()).open(self._memory, self._report)
        moment = self._tools.clock.now()
        await self._put_timeline(opened, moment)
        undo_until = moment + self._tools.settings.undo_kept
        note = await self._memory.keep(
            OPENED_NOTE,
            {"at": moment.isoformat(), "position": opened.position, "undo_until": undo_until.isoformat()},
        )
        self._notices.available("open with the restored data")
        self._notices.step(
            "opened", timeline=timeline_id(self._restore_id), undo_until=datetime.fromisoformat(note["undo_until"])
        )

    async def _give_back(self) -> None:
        self._notices.step("returning")
        began = await self._memory.keep("returning", {"at": self._now()})
        session = await self._hold.session()
        not_made = await session.give_back(self._origin.source, self._memory, self._report)
        self._log_missing(not_made)
        await self._memory.keep("returned", {"at": self._now(), "began": began["at"], "not_made": list(not_made)})
        self._notices.available("open with the data it had before")

    async def _finish(self) -> None:
        opened = OPENED_NOTE in self._memory.names
        source = self._origin.source
        with contextlib.suppress(RestoreEnded):  # a predecessor finished it and died before it could say so
            session = await self._hold.session()
            if _SETTLED not in self._memory.names:
                not_made = await session.settle(source, self._memory, opened=opened)
                self._log_missing(not_made)
                await self._memory.keep(_SETTLED, {"at": self._now(), "not_made": list(not_made)})
            await session.finish(source, self._memory, opened=opened)
        await self._memory.keep("finished", {"at": self._now()})

    async def leave_unfinished(self, why: str) -> None:
        """The users are in and stay in: what could not be cleared up is said at the end, and is no failure."""
        await self._memory.keep("finished", {"at": self._now(), "not_made": [f"not cleared up: {why}"]})

    def _log_missing(self, not_made: Sequence[str]) -> None:
        for reason in not_made:
            log.warning(reason, action="restore-not-made", job=self._context.job.job_id)

    def _missing(self, *notes: str) -> str:
        """What these steps, and what follows the users' return, could not make; for the end of a sentence."""
        reasons: list[str] = []
        for name in (*notes, _SETTLED, "finished"):
            note = self._memory.known(name) or {}
            reasons += [str(reason) for reason in (*note.get("not_taken", ()), *note.get("not_made", ()))]
        if not reasons:
            return ""
        listed = "; ".join(reasons)[:2000]
        return f"; the server would not take: {listed}; the definitions are kept in the notes of the restore's job"

    async def _put_timeline(self, opened: Opened, moment: datetime) -> None:
        gated = self._memory.known("gated") or {}
        cluster, job = self._context.job.cluster_id, self._context.job.job_id
        # Ours, and the newest: a job holds the lock until its end is recorded.
        holder = await self._tools.operations.holder(cluster)
        document: Timeline = timelines.opened(
            cluster_id=cluster,
            restore_id=self._restore_id,
            job_id=job,
            parent=self._origin.timeline,
            cut=self._origin.cut,
            cut_backup=self._origin.backup_id if self._origin.cut_history is None else None,
            cut_history=self._origin.cut_history,
            cut_at=self._origin.cut_at,
            parent_end=gated.get("position"),
            end_history=gated.get("history"),
            ended_at=datetime.fromisoformat(str(gated["clock"])) if gated.get("clock") else None,
            history=await self._newest_history() if opened.position is not None else None,
            start=opened.position,
            started_at=opened.clock or moment,
            operation=holder.number if holder is not None and holder.job_id == job else None,
        )
        await self._tools.store.put_if_absent(keys.timeline(cluster, document.timeline), document.to_bytes())

    async def _newest_history(self) -> str | None:
        """The log that is being captured now: positions of the server lie in it. None where nobody captures, and where
        it cannot be read: no restore fails for that, and what cannot be told is not restored from later."""
        try:
            histories = await self._tools.archived.histories(self._context.job.cluster_id)
        except UNREADABLE as error:
            log.warning(str(error), action="histories-unreadable", job=self._context.job.job_id)
            return None
        return histories[-1].history if histories else None

    async def _done(self, note: RestoreStep, facts: Mapping[str, Any]) -> None:
        await self._memory.keep(note, {"at": self._now(), **facts})
        self._notices.step(note)

    def _completed(self) -> Ending:
        opened = self._memory.known(OPENED_NOTE) or {}
        gating = self._memory.known("gating") or {}
        verified = self._memory.known("verified") or {}
        undo_until = datetime.fromisoformat(opened["undo_until"])
        timeline = timeline_id(self._restore_id)
        self._notices.available("open with the restored data")
        self._notices.step("opened", state="completed", timeline=timeline, undo_until=undo_until)
        accepted = self._context.job.accepted_at.isoformat()
        untaken = self._missing("accounts")
        return self._notices.completed(
            {
                "timeline": timeline,
                "point": self._origin.point,
                "closed_ms": _ms(gating["at"], opened["at"]),
                "duration_ms": _ms(accepted, opened["at"]),
                "tables": verified["tables"],
                "rows": verified["rows"],
                "undo_until": undo_until,
                "way_back": f"tidewind restore undo {self._restore_id} until {undo_until:%Y-%m-%d %H:%M} UTC{untaken}",
            }
        )

    def _failure(self, reason: str) -> tuple[str, Problem | None]:
        """Where it stopped, and why; None for a cancel."""
        note = self._memory.known("failure")
        step = next((name for name in reversed(_STEPS) if name in self._memory.names), "accepted")
        if note is not None:
            return str(note["step"]), Problem.model_validate(note["problem"])
        if self._context.cancel_requested.is_set():
            return step, None
        return step, problem("time-limit", f"The restore was not done within {self._tools.settings.limit}: {reason}")

    def _return_ms(self) -> int:
        returned = self._memory.known("returned")
        return _ms(returned["began"], returned["at"]) if returned else 0

    @property
    def _source(self) -> Source:
        if self._origin.source is None:
            raise refused("backup-damaged", "the backup can no longer be read")
        return self._origin.source

    def _report(self, step: str, done: float, total: float | None, unit: str) -> None:
        self._context.report(step, done, total, unit)

    def _now(self) -> str:
        return self._tools.clock.now().isoformat()


_STEPS = ("gated", "safeguarded", "loaded", "replayed", "accounts", "verified")


def _ms(began: str, ended: str) -> int:
    return round((datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds() * 1000)
