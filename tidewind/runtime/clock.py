"""The real clock and the real randomness."""

import asyncio
import secrets
import time
from datetime import UTC, datetime


class SystemClock:
    """Implements tidewind.ports.clock.Clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SystemRandomness:
    """Implements tidewind.ports.clock.Randomness."""

    def token(self, size: int) -> bytes:
        return secrets.token_bytes(size)
