"""`tidewind.restore.request.v1`: put a cluster back, in place, to a backup or to a point of its log."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from schemas.commands import RestoreRequest
from schemas.events import RestoreFailed
from schemas.replies import Problem
from services.restorer.handlers import planning, restores
from services.restorer.handlers.notices import planned, who
from services.restorer.handlers.points import planned_origin, point_origin
from services.restorer.handlers.sources import Origin, backup_origin, completed_outcome, origin_of
from services.restorer.handlers.tools import RestoreTools
from services.restorer.handlers.work import carry_out
from services.restorer.rules import refusals
from tidewind.domain import ids
from tidewind.domain.problems import problem
from tidewind.ports.jobs import Accept, Decision, Ending, Incoming, JobContext, Reject
from tidewind.runtime.intake import command_of


class RequestRestore:
    command = restores.REQUEST

    def __init__(self, tools: RestoreTools) -> None:
        self._tools = tools

    async def decide(self, incoming: Incoming) -> Decision:
        """Accepted with the plan in the answer; the plan is made before anything is promised."""
        command = incoming.command
        assert isinstance(command, RestoreRequest)
        wrong = refusals.cluster_refusal(incoming.cluster, command.cluster_id, self._tools.engines.keys())
        if wrong is not None:
            return Reject(problem=wrong)
        assert incoming.cluster is not None
        if not command.dry_run:
            other = await restores.running(self._tools.ledger, command.cluster_id, but=incoming.job_id)
            wrong = refusals.second_restore_refusal(command.cluster_id, other)
            if wrong is not None:
                return Reject(problem=wrong)
        origin = await self._find(command, None)
        plan = await planning.make_plan(self._tools, incoming.cluster, origin, shown=True)
        shown = plan.to_json()
        wrong = refusals.hash_refusal(command.plan_hash, plan.plan_hash)
        if wrong is None and plan.blockers and not command.dry_run:
            wrong = problem("restore-blocked", "; ".join(plan.blockers))
        if wrong is not None:
            return Reject(problem=wrong.model_copy(update={"facts": {"plan": shown}}))
        answer: dict[str, Any] = {"plan": shown}
        if not command.dry_run:
            answer["restore_id"] = ids.restore_id(incoming.job_id)
        return Accept(answer=answer)

    async def work(self, context: JobContext) -> Ending:
        command = command_of(context.job, RestoreRequest)
        if command.dry_run:
            return planned(context.job, command.reason, context.job.answer["plan"])
        return await carry_out(
            self._tools,
            context,
            operation="restore",
            mode=command.mode,
            backup_id=command.backup_id,
            reason=command.reason,
            find_origin=partial(self._find, command),
        )

    def failed(self, context: JobContext, problem: Problem) -> Ending:
        command = command_of(context.job, RestoreRequest)
        return unfit(context, command.mode, command.reason, problem, touches=not command.dry_run)

    async def _find(self, command: RestoreRequest, plan: Mapping[str, Any] | None) -> Origin:
        if command.mode == "point_in_time":
            if plan is not None:
                return await planned_origin(self._tools, command.cluster_id, plan)
            return await point_origin(self._tools, command)
        assert command.backup_id is not None
        if plan is None:
            return await backup_origin(self._tools, command.cluster_id, command.backup_id, command.timeline)
        found = await self._tools.catalogue.backup(command.cluster_id, command.backup_id)
        if found is None:
            outcome = await completed_outcome(self._tools, command.cluster_id, command.backup_id)
        else:
            outcome = found.outcome
        return await origin_of(self._tools, outcome)


def unfit(context: JobContext, mode: str, reason: str | None, why: Problem, *, touches: bool) -> Ending:
    """The end of a job that failed outside of its restore, which ends by itself: nobody looked at the ledger, so unless
    it was only to be a plan (`touches`), nothing is claimed about the cluster."""
    body = RestoreFailed.model_validate(
        {
            **who(context.job, reason),
            "restore_id": ids.restore_id(context.job.job_id),
            "mode": mode,
            "step": "accepted",
            "returned": not touches,
            "problem": why,
        }
    )
    return Ending(event="tidewind.restore.failed.v1", body=body)
