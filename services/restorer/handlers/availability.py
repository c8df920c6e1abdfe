"""Says of every cluster whether clients may use it, also of those that were never restored.

A restore's holder speaks for its cluster while it runs. This speaks for the rest: for a cluster that was just enrolled,
for all of them when the status topic was lost, and where what was said last is no longer so. A cluster that a failed
restore left closed is open again when its server says that no restore is unfinished on it: the last of the statements
that open it by hand sees to that.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from schemas import topics
from schemas.events import RestoreFailed
from schemas.status import AvailabilityStatus
from services.restorer.handlers import restores
from services.restorer.handlers.connection import target_of
from services.restorer.handlers.tools import RestoreTools
from services.restorer.rules.availability import still_closed, worth_a_look
from tidewind.domain.problems import Refused
from tidewind.domain.records import Operation
from tidewind.ports.bus import Publisher, StatusView
from tidewind.ports.engine import DatabaseError
from tidewind.ports.store import StoreError, StoreUnavailable
from tidewind.runtime.operations import operations_of
from tidewind.runtime.outbox import Composer

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
OPENED_BY_HAND_NOTE = "opened-by-hand"
_FAILED = "tidewind.restore.failed.v1"


@dataclass(frozen=True)
class _LeftClosed:
    """The last restore, which failed and could not give the cluster back."""

    job_id: str
    epoch: int
    failed: RestoreFailed


@dataclass(frozen=True)
class _Look:
    """`at` by the monotonic clock."""

    at: float
    failed: bool


class AvailabilityKeeper:
    """`owns` tells whether this instance takes in a cluster's commands."""

    def __init__(
        self,
        tools: RestoreTools,
        *,
        publisher: Publisher,
        composer: Composer,
        view: StatusView,
        owns: Callable[[str], bool],
    ) -> None:
        self._tools = tools
        self._publisher = publisher
        self._composer = composer
        self._view = view
        self._owns = owns
        self._looked: dict[str, _Look] = {}

    async def run(self) -> None:
        """Look until cancelled. The status topic tells of new clusters and of states that pass, so nothing is asked of
        the store or of a server in between."""
        while True:
            try:
                await self.look()
            except StoreError as error:
                log.warning(str(error), action="availability-unknown")
            await self._tools.clock.sleep(LOOK_EVERY_S)

    async def look(self) -> list[str]:
        """Speak for every owned cluster of which nothing was said, or something that is no longer so; returns them.
        Raises StoreUnavailable."""
        if not self._view.caught_up():
            return []
        owned = [name for key in self._view.keys("cluster/") if self._owns(name := key.removeprefix("cluster/"))]
        self._looked = {name: self._looked[name] for name in owned if name in self._looked}
        return [cluster for cluster in owned if await self._speak(cluster)]

    async def _speak(self, cluster: str) -> bool:
        key, moment = f"availability/{cluster}", self._tools.clock.monotonic()
        known, looked = self._view.get(key), self._looked.get(cluster)
        since, failed = (moment - looked.at, looked.failed) if looked else (None, False)
        if worth_a_look(known, since, failed=failed) is None:
            return False
        status, done = None, False
        try:
            status = await self._present(cluster)
            done = True
        except StoreUnavailable:
            raise
        except Exception:
            # One damaged record must not keep the restorer from speaking for the clusters after it.
            log.exception("a cluster's availability cannot be told", action="availability-unknown", cluster=cluster)
        finally:
            self._looked[cluster] = _Look(moment, failed=not done)
        # A holder that spoke meanwhile knows better.
        if status is None or self._view.get(key) != known or (known or {}).get("state") == status.state:
            return False
        self._publisher.post(topics.STATUS, self._composer.status("availability", status))
        return True

    async def _present(self, cluster: str) -> AvailabilityStatus | None:
        """None while a restore runs, whose holder speaks."""
        ledger = self._tools.ledger
        if await restores.running(ledger, cluster, but="") is not None:
            return None
        now = self._tools.clock.now()
        last = await self._last_restore(cluster)
        if last is not None and not await ledger.ended(cluster, last.job_id):
            return None
        left = await self._left_closed(last) if last is not None else None
        if left is None:
            return AvailabilityStatus(cluster_id=cluster, at=now, state="Available")
        failed = left.failed
        if await self._opened_by_hand(cluster, left):
            detail = f"opened by hand after {failed.restore_id} failed"
            return AvailabilityStatus(
                cluster_id=cluster, at=now, state="Available", restore_id=failed.restore_id, detail=detail
            )
        return AvailabilityStatus(
            cluster_id=cluster,
            at=now,
            state="RestoreFailed",
            restore_id=failed.restore_id,
            detail=failed.problem.detail,
            open_by_hand=failed.open_by_hand,
        )

    async def _opened_by_hand(self, cluster: str, left: _LeftClosed) -> bool:
        """Whether the server has said that no restore is unfinished on it. Once it has, that is kept in the ledger."""
        tools = self._tools
        if OPENED_BY_HAND_NOTE in await tools.ledger.notes(cluster, left.job_id):
            return True
        entry = await tools.registry.newest(cluster)
        if entry is None or entry.engine not in tools.engines:
            return False
        try:
            target = target_of(entry)
            async with asyncio.timeout(tools.settings.plan_timeout_s):
                found = await tools.engines[entry.engine].survey(target.address, target.login)
        except (DatabaseError, Refused, TimeoutError) as error:
            log.info(
                "a closed server cannot be asked", action="availability-unknown", cluster=cluster, error=str(error)
            )
            return False
        except Exception:
            # Whatever the server answered, the ledger says that the cluster was left closed.
            log.exception("a closed server cannot be asked", action="availability-unknown", cluster=cluster)
            return False
        reason = still_closed(found, entry)
        if reason is not None:
            log.info("a cluster is still closed", action="still-closed", cluster=cluster, reason=reason)
            return False
        facts = {"at": tools.clock.now().isoformat()}
        await tools.ledger.note(cluster, left.job_id, OPENED_BY_HAND_NOTE, left.epoch, facts)
        return True

    async def _last_restore(self, cluster: str) -> Operation | None:
        async for operation in operations_of(self._tools.store, cluster):
            if operation.kind != "backup":
                return operation
        return None

    async def _left_closed(self, last: Operation) -> _LeftClosed | None:
        """The last restore's failure, if it left the cluster closed."""
        terminal = await self._tools.ledger.terminal(last.cluster_id, last.job_id)
        if terminal is None or terminal.event != _FAILED:
            return None
        failed = RestoreFailed.model_validate(terminal.data)
        return None if failed.returned else _LeftClosed(last.job_id, terminal.epoch, failed)
