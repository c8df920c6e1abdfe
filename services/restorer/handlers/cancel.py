"""`tidewind.restore.cancel.v1`: take the way back from a running restore. Answered by this instance; the restore's
holder sees the request in the store."""

from typing import Literal

from schemas.commands import RestoreCancel
from schemas.events import CommandFailed, RestoreCancelEnded
from schemas.replies import Problem
from services.restorer.handlers import restores
from services.restorer.handlers.notices import who
from services.restorer.handlers.tools import RestoreTools
from services.restorer.rules import refusals
from tidewind.domain.problems import Refused, problem
from tidewind.domain.records import CancelRequest, Terminal
from tidewind.ports.jobs import Accept, Decision, Ending, Incoming, JobContext, Reject
from tidewind.runtime.intake import command_of

_OUTCOMES: dict[str, Literal["cancelled", "completed", "failed"]] = {
    "tidewind.restore.cancelled.v1": "cancelled",
    restores.COMPLETED: "completed",
}


class CancelRestore:
    command = "tidewind.restore.cancel.v1"

    def __init__(self, tools: RestoreTools) -> None:
        self._tools = tools

    async def decide(self, incoming: Incoming) -> Decision:
        command = incoming.command
        assert isinstance(command, RestoreCancel)
        tools = self._tools
        if incoming.cluster is None:
            return Reject(problem=problem("unknown-cluster", f"There is no cluster {command.cluster_id}"))
        known = await restores.find(tools.store, tools.ledger, command.cluster_id, command.restore_id)
        verdict = await tools.ledger.verdict(command.cluster_id, known.job.job_id) if known else None
        wrong = refusals.cancel_refusal(
            command.restore_id,
            known=known is not None,
            ended=known is not None and known.terminal is not None,
            verdict=verdict.verdict if verdict else None,
        )
        return Accept() if wrong is None else Reject(problem=wrong)

    async def work(self, context: JobContext) -> Ending:
        """Ask, then wait for the end of the restore and report it."""
        command = command_of(context.job, RestoreCancel)
        tools = self._tools
        known = await restores.find(tools.store, tools.ledger, command.cluster_id, command.restore_id)
        if known is None:
            raise Refused(problem("unknown-restore", f"There is no restore {command.restore_id} of this cluster"))
        await tools.ledger.request_cancel(
            command.cluster_id,
            CancelRequest(
                job_id=known.job.job_id,
                requested_by=context.job.job_id,
                actor=context.job.actor,
                reason=command.reason,
                requested_at=tools.clock.now(),
            ),
        )
        terminal = await self._end_of(context, known.job.job_id)
        body = RestoreCancelEnded(
            **who(context.job, command.reason),
            restore_id=command.restore_id,
            outcome=_OUTCOMES.get(terminal.event, "failed"),
        )
        return Ending(event="tidewind.restore.cancel-ended.v1", body=body)

    def failed(self, context: JobContext, problem: Problem) -> Ending:
        command = command_of(context.job, RestoreCancel)
        body = CommandFailed(**who(context.job, command.reason), command=self.command, problem=problem)
        return Ending(event="tidewind.command.failed.v1", body=body)

    async def _end_of(self, context: JobContext, job_id: str) -> Terminal:
        while True:
            terminal = await self._tools.ledger.terminal(context.job.cluster_id, job_id)
            if terminal is not None:
                return terminal
            await self._tools.clock.sleep(self._tools.settings.retry_pause_s)
