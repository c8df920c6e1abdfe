"""`tidewind.restore.undo.v1`: bring back what the cluster held before a completed restore. An undo is a restore too:
it has an id of its own, opens a timeline of its own, and can be undone."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from schemas.commands import RestoreUndo
from schemas.replies import Problem
from services.restorer.handlers import planning, restores
from services.restorer.handlers.notices import planned
from services.restorer.handlers.request import unfit
from services.restorer.handlers.sources import Origin, safeguard_origin
from services.restorer.handlers.tools import RestoreTools
from services.restorer.handlers.work import carry_out
from services.restorer.rules import refusals
from tidewind.domain import ids
from tidewind.domain.problems import problem
from tidewind.ports.jobs import Accept, Decision, Ending, Incoming, JobContext, Reject
from tidewind.runtime.intake import command_of


class UndoRestore:
    command = restores.UNDO

    def __init__(self, tools: RestoreTools) -> None:
        self._tools = tools

    async def decide(self, incoming: Incoming) -> Decision:
        command = incoming.command
        assert isinstance(command, RestoreUndo)
        wrong = refusals.cluster_refusal(incoming.cluster, command.cluster_id, self._tools.engines.keys())
        if wrong is None and not command.dry_run:
            other = await restores.running(self._tools.ledger, command.cluster_id, but=incoming.job_id)
            wrong = refusals.second_restore_refusal(command.cluster_id, other)
        if wrong is None:
            known = await restores.find(self._tools.store, self._tools.ledger, command.cluster_id, command.restore_id)
            wrong = refusals.unknown_refusal(command.restore_id, known=known is not None)
        if wrong is not None:
            return Reject(problem=wrong)
        assert incoming.cluster is not None
        origin = await safeguard_origin(self._tools, command.cluster_id, command.restore_id, checked=True)
        plan = await planning.make_plan(self._tools, incoming.cluster, origin, shown=True)
        shown = plan.to_json()
        if plan.blockers and not command.dry_run:
            return Reject(problem=problem("restore-blocked", "; ".join(plan.blockers), facts={"plan": shown}))
        answer: dict[str, Any] = {"plan": shown}
        if not command.dry_run:
            answer["restore_id"] = ids.restore_id(incoming.job_id)
        return Accept(answer=answer)

    async def work(self, context: JobContext) -> Ending:
        command = command_of(context.job, RestoreUndo)
        if command.dry_run:
            return planned(context.job, command.reason, context.job.answer["plan"])
        return await carry_out(
            self._tools,
            context,
            operation="undo",
            mode="undo",
            backup_id=None,
            reason=command.reason,
            find_origin=partial(self._find, command),
        )

    def failed(self, context: JobContext, problem: Problem) -> Ending:
        command = command_of(context.job, RestoreUndo)
        return unfit(context, "undo", command.reason, problem, touches=not command.dry_run)

    async def _find(self, command: RestoreUndo, plan: Mapping[str, Any] | None) -> Origin:
        return await safeguard_origin(self._tools, command.cluster_id, command.restore_id, checked=plan is None)
