"""Time, ids and randomness, so that rules and handlers can be replayed."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The wall clock, with zone UTC. May step; never used to judge leases."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start that never go back; leases and deadlines count on this."""

    async def sleep(self, seconds: float) -> None:
        """Wait; ends early only by cancellation."""


class Randomness(Protocol):
    def token(self, size: int) -> bytes:
        """`size` unpredictable bytes."""
