"""The scheduler's figures for `/metrics`: the clusters of this instance's partitions, by state."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import get_args

from services.scheduler.rules.statuses import SlotState
from tidewind.runtime import metrics

CLUSTER_STATES = ("protected", "retired")


class Figures:
    """What was seen of each cluster in its newest round."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, str | None]] = {}

    def forget(self) -> None:
        """Partitions were assigned anew: clusters of others are counted by others."""
        self._seen.clear()

    def saw(self, cluster: str, state: str, slot: str | None) -> None:
        self._seen[cluster] = (state, slot)

    def publish(self, oldest_open: Mapping[str, datetime], now: datetime) -> None:
        """`oldest_open`: when the oldest unfinished job of each service was taken in."""
        states = Counter(state for state, _ in self._seen.values())
        for name in CLUSTER_STATES:
            metrics.CLUSTERS.labels(name).set(states[name])
        slots = Counter(slot for _, slot in self._seen.values())
        for slot in get_args(SlotState):
            metrics.SLOTS.labels(slot).set(slots[slot])
        for service, since in oldest_open.items():
            metrics.OLDEST_JOB_SECONDS.labels(service).set(max(0.0, (now - since).total_seconds()))
