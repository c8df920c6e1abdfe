"""Notices that the snapshotter changed a cluster's registry entry, so that what follows is said at once.

Enrolling a cluster, and moving it, end with a revision that another service puts. Its job's status tells that it is
there: the cluster is then looked at without waiting for the next tick. A change that is not noticed, because nobody was
running, is found by that tick.
"""

from collections.abc import Callable

from services.scheduler.handlers.registry_changes import Nudge
from tidewind.ports.bus import StatusView
from tidewind.ports.clock import Clock

LOOK_EVERY_S = 0.5
COMMANDS = frozenset({"tidewind.cluster.enroll.v1", "tidewind.cluster.update.v1"})
_JOBS = "job/"


class Enrolments:
    """`owns` tells whether this instance takes in a cluster's commands."""

    def __init__(self, view: StatusView, clock: Clock, nudge: Nudge, *, owns: Callable[[str], bool]) -> None:
        self._view = view
        self._clock = clock
        self._nudge = nudge
        self._owns = owns
        self._known: frozenset[str] | None = None

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await self._clock.sleep(LOOK_EVERY_S)

    def look(self) -> list[str]:
        """The clusters that were changed since the last look. What had ended before the first is no news."""
        if not self._view.caught_up():
            return []
        ended = {key: str(body.get("cluster_id")) for key in self._view.keys(_JOBS) if (body := self._ended(key))}
        before, self._known = self._known, frozenset(ended)
        changed = [] if before is None else [cluster for key, cluster in ended.items() if key not in before]
        found = [cluster for cluster in dict.fromkeys(changed) if self._owns(cluster)]
        for cluster in found:
            self._nudge(cluster)
        return found

    def _ended(self, key: str) -> dict[str, object] | None:
        body = self._view.get(key)
        if body is None or body.get("command") not in COMMANDS or body.get("state") != "ended":
            return None
        return dict(body)
