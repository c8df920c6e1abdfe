"""What all captures of a service may hold together.

Each has a limit of its own, which is small; of hundreds at once, while Kafka takes nothing, the sum is not.
"""

import asyncio


class Room:
    """Counts bytes that were read from logs and are not in Kafka."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._changed = asyncio.Condition()
        self.held = 0

    def take(self, size: int) -> None:
        """They are in memory already; who took them waits for `free` before reading on."""
        self.held += size

    async def free(self) -> None:
        """Wait until less than the limit is held."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.held < self.limit)

    async def give_back(self, size: int) -> None:
        self.held -= size
        async with self._changed:
            self._changed.notify_all()
