"""Carries out a restore or an undo, from whatever point an earlier epoch reached.

The loop asks `rules.steps` what to do next and does that, until an end. Before the verdict, whatever goes wrong becomes
a note, and the rules lead to the way back; a lost connection is waited out until the time limit. After the verdict,
steps are tried again until they succeed or patience ends; then the cluster stays closed and says so. Once the users
are in, nothing that fails makes that untrue: what could not be cleared up is said at the restore's end.
"""

import asyncio
from collections.abc import Coroutine
from datetime import datetime
from typing import Any

import structlog

from schemas.replies import Problem
from services.restorer.handlers.hold import Hold
from services.restorer.handlers.memory import JobMemory
from services.restorer.handlers.notices import Notices
from services.restorer.handlers.stages import Stages
from services.restorer.handlers.tools import RestoreTools
from services.restorer.rules import steps
from services.restorer.rules.steps import Action, Next, Situation
from tidewind.domain.problems import Refused, problem
from tidewind.domain.records import Verdict
from tidewind.ports.engine import DatabaseError
from tidewind.ports.jobs import Ending, JobContext, LeaseLost
from tidewind.ports.restore import RestoreEnded, ServerReplaced
from tidewind.ports.store import StoreError, StoreUnavailable
from tidewind.runtime.failures import problem_of

log = structlog.get_logger()


class Restoration:
    """One restore in hand. `stages` does single steps; this decides, retries and ends."""

    def __init__(
        self,
        tools: RestoreTools,
        context: JobContext,
        *,
        memory: JobMemory,
        hold: Hold,
        stages: Stages,
        notices: Notices,
    ) -> None:
        self._tools = tools
        self._context = context
        self._memory = memory
        self._hold = hold
        self._stages = stages
        self._notices = notices
        self._verdict: Verdict | None = None
        self._trouble_since: float | None = None

    async def run(self) -> Ending:
        """Raises LeaseLost; everything else ends as an ending. While the ledger cannot be read or written, nothing is
        done and nothing ends."""
        try:
            while True:
                try:
                    ending = await self._turn()
                except StoreError as error:
                    log.warning(str(error), action="restore-ledger-unreachable", job=self._context.job.job_id)
                    await self._tools.clock.sleep(self._tools.settings.retry_pause_s)
                    continue
                if ending is not None:
                    return ending
        finally:
            await self._hold.drop()

    async def _turn(self) -> Ending | None:
        job = self._context.job
        self._verdict = await self._tools.ledger.verdict(job.cluster_id, job.job_id)
        now = steps.next_action(self._situation())
        log.info(now.reason, action=f"restore-{now.action}", job=job.job_id, epoch=self._context.epoch)
        if now.action in steps.ENDS:
            return await self._stages.end(now)
        return await self._try(now)

    def _situation(self) -> Situation:
        self._notices.deadline = self._deadline()
        failure = self._memory.known("failure")
        return Situation(
            done=self._memory.names,
            verdict=self._verdict.verdict if self._verdict else None,
            now=self._tools.clock.now(),
            replays=self._stages.replays,
            deadline=self._deadline(),
            cancelled=self._context.cancel_requested.is_set(),
            failure=None if failure is None else str(failure["problem"]["detail"]),
        )

    def _deadline(self) -> datetime | None:
        began = self._memory.known("gating")
        return steps.deadline(datetime.fromisoformat(began["at"]) if began else None, self._tools.settings.limit)

    async def _try(self, now: Next) -> Ending | None:
        """Do one step. An ending only if the restore can go neither forward nor back."""
        try:
            await self._do(now)
        except (LeaseLost, asyncio.CancelledError):
            raise
        except ServerReplaced as replaced:
            return await self._past_hope(now.action, trouble_of(replaced))
        except RestoreEnded as ended:
            if self._verdict is not None:
                return await self._past_hope(now.action, trouble_of(ended))
            return await self._cope(now.action, ended)
        except Exception as error:
            return await self._cope(now.action, error)
        self._trouble_since = None
        return None

    async def _do(self, now: Next) -> None:
        if now.action is Action.DECIDE_RETURN:
            await self._decide("return", now.reason)
        elif now.action is Action.DECIDE_OPEN:
            await self._stages.before_opening()
            await self._decide("open", now.reason)
        elif steps.may_be_interrupted(now.action) or now.action is Action.ANNOUNCE:
            await self._interruptible(self._stages.perform(now.action))
        else:
            await self._stages.perform(now.action)

    async def _decide(self, verdict: Any, cause: str) -> None:
        """The point of no return: put once, by whoever comes first; everybody obeys what stands."""
        await self._context.check_lease()
        job = self._context.job
        await self._tools.ledger.decide_verdict(
            job.cluster_id,
            Verdict(
                job_id=job.job_id,
                verdict=verdict,
                epoch=self._context.epoch,
                cause=cause,
                decided_at=self._tools.clock.now(),
            ),
        )

    async def _interruptible(self, step: Coroutine[Any, Any, None]) -> None:
        """Run a step until it ends, or somebody cancels the restore, or its time is up; the rules then decide anew."""
        work = asyncio.ensure_future(step)
        cancel = asyncio.ensure_future(self._context.cancel_requested.wait())
        try:
            await asyncio.wait({work, cancel}, timeout=self._seconds_left(), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
        finally:
            for task in (work, cancel):
                task.cancel()
            await asyncio.gather(work, cancel, return_exceptions=True)
            if work.cancelled():
                await self._hold.drop()

    def _seconds_left(self) -> float | None:
        """Until the time limit; before the gate was begun, the whole of it."""
        deadline = self._deadline()
        if deadline is None:
            return self._tools.settings.limit.total_seconds()
        return max(0.0, (deadline - self._tools.clock.now()).total_seconds())

    async def _cope(self, action: Action, error: Exception) -> Ending | None:
        why = trouble_of(error)
        lasting = not _transient(error)
        log.warning(
            why.detail,
            action="restore-step-failed",
            step=action,
            job=self._context.job.job_id,
            lasting=lasting,
            exc_info=why.type.endswith("internal-error"),
        )
        await self._hold.drop()
        if self._trouble_since is None:
            self._trouble_since = self._tools.clock.monotonic()
        waited = self._tools.clock.monotonic() - self._trouble_since
        if self._verdict is None:
            if lasting or (self._deadline() is None and waited > self._tools.settings.announce_timeout_s):
                await self._memory.keep("failure", {"step": action.value, "problem": why.model_dump(mode="json")})
                return None
        elif not isinstance(error, StoreError) and waited > self._tools.settings.return_patience_h * 3600:
            return await self._past_hope(action, why)
        await self._tools.clock.sleep(self._tools.settings.retry_pause_s)
        return None

    async def _past_hope(self, action: Action, why: Problem) -> Ending | None:
        """Nothing will get better by waiting. If the users are in, the restore ends as what it is."""
        if action is not Action.FINISH:
            return await self._give_up(action, why)
        log.error(why.detail, action="restore-left-over", job=self._context.job.job_id)
        await self._stages.leave_unfinished(why.detail)
        return None

    async def _give_up(self, action: Action, why: Problem) -> Ending:
        """Neither forward nor back: the cluster stays closed, and everybody is told how to open it by hand."""
        by_hand = await self._stages.open_by_hand()
        self._notices.stays_closed(why.detail, by_hand)
        self._notices.step("returning", state="failed", problem=why)
        return self._notices.failed(action.value, why, returned=False, open_by_hand=by_hand)


def trouble_of(error: Exception) -> Problem:
    """Whatever ended a step. A defect of ours is told in the log only: its text may hold anything."""
    if isinstance(error, (Refused, DatabaseError, StoreError)):
        return problem_of(error)
    return problem("internal-error", f"An unexpected {type(error).__name__}; the restorer's log tells more")


def _transient(error: Exception) -> bool:
    if isinstance(error, DatabaseError):
        return error.kind == "database-unreachable"
    return isinstance(error, StoreUnavailable)
