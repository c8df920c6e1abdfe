"""The hold on the database: a session that is opened when it is needed, and again after the connection was lost."""

import contextlib

from services.restorer.handlers.connection import target_of
from services.restorer.handlers.memory import JobMemory
from services.restorer.handlers.tools import RestoreTools
from tidewind.domain.problems import refused
from tidewind.domain.records import RegistryEntry
from tidewind.ports.engine import RestoreScope
from tidewind.ports.jobs import JobContext
from tidewind.ports.restore import RestoreSession


class Hold:
    """Belongs to one epoch of one restore."""

    def __init__(
        self, tools: RestoreTools, context: JobContext, memory: JobMemory, entry: RegistryEntry, restore_id: str
    ) -> None:
        self._tools = tools
        self._context = context
        self._memory = memory
        self._entry = entry
        self._restore_id = restore_id
        self._stack = contextlib.AsyncExitStack()
        self._session: RestoreSession | None = None

    async def session(self) -> RestoreSession:
        """The open session. Raises LeaseLost, DatabaseError, Refused."""
        if self._session is None:
            await self._context.check_lease()
            target = target_of(self._entry)
            known = self._memory.known("server")
            opened = await self._stack.enter_async_context(
                self._tools.engines[self._entry.engine].session(
                    await self._scope(),
                    target.address,
                    target.login,
                    mint=self._tools.mint,
                    keep_accounts=target.kept_users,
                    began_on=None if known is None else str(known["identity"]),
                )
            )
            await self._memory.keep("server", {"identity": opened.identity})
            self._session = opened
        return self._session

    async def drop(self) -> None:
        """Close the session; the next use opens another under the same epoch."""
        self._session = None
        stack, self._stack = self._stack, contextlib.AsyncExitStack()
        await stack.aclose()

    async def _scope(self) -> RestoreScope:
        job = self._context.job
        holder = await self._tools.operations.holder(job.cluster_id)
        if holder is None or holder.job_id != job.job_id:
            raise refused("operation-running", f"{self._restore_id} does not hold the operation lock of the cluster")
        return RestoreScope(
            cluster_id=job.cluster_id,
            restore_id=self._restore_id,
            job_id=job.job_id,
            operation=holder.number,
            epoch=self._context.epoch,
            replicas=self._entry.replicas,
        )
