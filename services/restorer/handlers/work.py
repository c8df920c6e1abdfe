"""The work of a restore and of an undo, from the accepted command to its ending: they differ in what they restore."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import structlog

from services.restorer.handlers import pins, planning
from services.restorer.handlers.hold import Hold
from services.restorer.handlers.memory import JobMemory
from services.restorer.handlers.notices import Mode, Notices
from services.restorer.handlers.restoration import Restoration, trouble_of
from services.restorer.handlers.sources import Origin
from services.restorer.handlers.stages import Stages
from services.restorer.handlers.tools import RestoreTools
from tidewind.domain import ids
from tidewind.domain.problems import Refused, problem, refused
from tidewind.domain.records import RegistryEntry
from tidewind.ports.jobs import Ending, JobContext, LeaseLost, OperationKind
from tidewind.ports.store import StoreError, StoreUnavailable

log = structlog.get_logger()

Result = TypeVar("Result")
_TOLD_ONCE = ("undone", "undone_transactions", "tables", "accounts")
FindOrigin = Callable[[Mapping[str, Any] | None], Awaitable[Origin]]
"""`await find(plan)`: what is restored. Without a plan it is refused if it may not be; a restore that was begun, by its
plan, is past that."""


class CancelledBefore(Exception):
    """Cancelled before the restore held the cluster: nothing was touched."""


async def carry_out(
    tools: RestoreTools,
    context: JobContext,
    *,
    operation: OperationKind,
    mode: Mode,
    backup_id: str | None,
    reason: str | None,
    find_origin: FindOrigin,
) -> Ending:
    """Ends as an ending, or raises LeaseLost, whatever happens: once the cluster may be closed, a restore that stopped
    in the middle would leave it so and nobody would come back to it. Only a restore that announced nothing, as its
    ledger says, may fail as never begun."""
    restore_id = ids.restore_id(context.job.job_id)
    notices = Notices(context, tools.clock, restore_id=restore_id, mode=mode, backup_id=backup_id, reason=reason)
    while True:
        try:
            return await _attempt(
                tools,
                context,
                notices=notices,
                restore_id=restore_id,
                operation=operation,
                backup_id=backup_id,
                find_origin=find_origin,
            )
        except LeaseLost:
            raise
        except Exception as error:
            why = trouble_of(error)
            log.warning(
                why.detail,
                action="restore-attempt-failed",
                job=context.job.job_id,
                exc_info=why.type.endswith("internal-error"),
            )
            if not await _announced(tools, context):
                await _unpin(tools, context)
                return notices.failed("accepted", why, returned=True)
            await tools.clock.sleep(tools.settings.retry_pause_s)


async def _announced(tools: RestoreTools, context: JobContext) -> bool:
    """Whether the cluster may have been touched, by whichever epoch. Asks until the ledger can be read: while nobody
    knows, nothing may be said, and no end could be recorded either."""
    while True:
        try:
            return "announced" in await context.notes()
        except LeaseLost:
            raise
        except Exception as error:
            log.warning(trouble_of(error).detail, action="restore-ledger-unreadable", job=context.job.job_id)
            await tools.clock.sleep(tools.settings.retry_pause_s)


async def _attempt(
    tools: RestoreTools,
    context: JobContext,
    *,
    notices: Notices,
    restore_id: str,
    operation: OperationKind,
    backup_id: str | None,
    find_origin: FindOrigin,
) -> Ending:
    """From what the ledger says to the end. Raises whatever the way there meets."""
    notices.step("accepted")
    memory = await _patiently(tools, lambda: JobMemory.recall(context))
    standing = memory.known("plan")
    try:
        await _patiently(tools, lambda: _take(context, operation, begun=standing is not None))
    except CancelledBefore:
        await _unpin(tools, context)
        notices.step("accepted", state="cancelled")
        return notices.cancelled("accepted", 0)
    entry = await _patiently(tools, lambda: _entry(tools, context.job.cluster_id))
    if standing is not None:
        origin, notices.plan = await _origin_again(tools, memory, standing, find_origin), standing
    else:
        origin = await _pinned(tools, context, backup_id, find_origin)
        notices.plan = await _planned(tools, context, memory, entry, origin)
    hold = Hold(tools, context, memory, entry, restore_id)
    stages = Stages(tools, context, memory=memory, hold=hold, notices=notices, origin=origin, restore_id=restore_id)
    restoration = Restoration(tools, context, memory=memory, hold=hold, stages=stages, notices=notices)
    return await restoration.run()


async def _take(context: JobContext, operation: OperationKind, *, begun: bool) -> None:
    """The operation lock; a running backup is asked to stop. Raises CancelledBefore, but not for a restore that was
    begun: whoever noted its plan held the lock, may have touched the cluster, and only the rules know the way back."""
    taking = asyncio.ensure_future(context.take_operation(operation, cancel_backup=True))
    cancel = asyncio.ensure_future(context.cancel_requested.wait())
    waited_for = {taking} if begun else {taking, cancel}
    try:
        await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
        if not taking.done():
            raise CancelledBefore
        await taking
    finally:
        for task in (taking, cancel):
            task.cancel()
        await asyncio.gather(taking, cancel, return_exceptions=True)


async def _pinned(tools: RestoreTools, context: JobContext, backup_id: str | None, find_origin: FindOrigin) -> Origin:
    """The source, pinned. The pin is put before the source is looked at for tombstones: a delete puts its tombstone
    before it looks for pins, so one of the two sees the other."""
    if backup_id is not None:
        await pins.pin(tools, context, backup_id)
    origin = await find_origin(None)
    if backup_id is None and origin.backup_id is not None:
        await pins.pin(tools, context, origin.backup_id, origin.log)
        again = await find_origin(None)
        if (again.backup_id, again.log) != (origin.backup_id, origin.log):
            raise refused("plan-changed", "The backup or log the point is reached by changed while it was pinned")
    return origin


async def _unpin(tools: RestoreTools, context: JobContext) -> None:
    """What this epoch has pinned, or one before it that died before its plan stood. A store that refuses is no reason
    to fail otherwise: the pins of a job that has ended hold nothing. Raises LeaseLost: a successor may need them."""
    try:
        await _patiently(tools, context.check_lease)
        await _patiently(tools, lambda: pins.release(tools, context))
    except StoreError as error:
        log.warning(str(error), action="restore-pins-left", job=context.job.job_id)


async def _planned(
    tools: RestoreTools, context: JobContext, memory: JobMemory, entry: RegistryEntry, origin: Origin
) -> Mapping[str, Any]:
    """The plan as it is now that nobody else works on the cluster; kept, so that successors carry out the same. What
    the log behind the point told when the command was accepted is not read again while everybody waits."""
    plan = await planning.make_plan(tools, entry, origin, shown=False)
    if plan.blockers:
        raise refused("restore-blocked", "; ".join(plan.blockers), facts={"plan": plan.to_json()})
    told = context.job.answer.get("plan") or {}
    again = told if told.get("plan_hash") == plan.plan_hash else {}
    return await memory.keep("plan", plan.to_json() | {name: again[name] for name in _TOLD_ONCE if name in again})


async def _origin_again(
    tools: RestoreTools, memory: JobMemory, plan: Mapping[str, Any], find_origin: FindOrigin
) -> Origin:
    """The source of a restore that was begun: if it cannot be read any more, that is a failure of the restore, which
    leads to the way back."""
    try:
        return await _patiently(tools, lambda: find_origin(plan))
    except LeaseLost:
        raise
    except Exception as error:
        why = trouble_of(error)
        await memory.keep("failure", {"step": "load", "problem": why.model_dump(mode="json")})
        return Origin(source=None, timeline=ids.ROOT_TIMELINE, cut=None, backup_id=None)


async def _patiently(tools: RestoreTools, call: Callable[[], Awaitable[Result]]) -> Result:
    """Repeat while the store does not answer."""
    while True:
        try:
            return await call()
        except StoreUnavailable:
            await tools.clock.sleep(tools.settings.retry_pause_s)


async def _entry(tools: RestoreTools, cluster: str) -> RegistryEntry:
    entry = await tools.registry.newest(cluster)
    if entry is None:
        raise Refused(problem("unknown-cluster", f"There is no cluster {cluster}"))
    return entry
