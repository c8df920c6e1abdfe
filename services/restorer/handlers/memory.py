"""What a restore keeps across crashes: the notes of its job. Only the holder of the job writes them, so what was read
once stays true for as long as the lease does."""

from collections.abc import Mapping
from typing import Any

from tidewind.ports.jobs import JobContext


class JobMemory:
    """Implements tidewind.ports.restore.Memory. Use `JobMemory.recall`."""

    def __init__(self, context: JobContext, notes: Mapping[str, Mapping[str, Any]]) -> None:
        self._context = context
        self._notes = dict(notes)

    @classmethod
    async def recall(cls, context: JobContext) -> "JobMemory":
        return cls(context, await context.notes())

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._notes)

    def known(self, name: str) -> Mapping[str, Any] | None:
        return self._notes.get(name)

    async def get(self, name: str) -> Mapping[str, Any] | None:
        return self._notes.get(name)

    async def keep(self, name: str, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        if name not in self._notes:
            self._notes[name] = await self._context.note(name, facts)
        return self._notes[name]
