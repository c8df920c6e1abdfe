"""Kills or stops a process of a simulated world at one of its calls to the outside, before it takes effect or after."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeVar

from tests.fakes import ManualClock

Result = TypeVar("Result")
How = Literal["killed", "stopped"]
Moment = Literal["before", "after"]


@dataclass(frozen=True)
class Strike:
    """At the call of that number: killed or stopped, before it takes effect or after."""

    at: int
    moment: Moment
    how: How


class Turnstile:
    """Every call to the outside passes it."""

    def __init__(self, strike: Strike | None) -> None:
        self._strike = strike
        self.calls: list[str] = []
        self.dead = False
        self.struck: str | None = None
        self._going = asyncio.Event()
        self._going.set()

    @property
    def stopped(self) -> bool:
        return not self._going.is_set()

    def wake(self) -> None:
        self._going.set()

    async def going(self) -> None:
        """Wait while the process stands still; a dead one goes no further."""
        await self._going.wait()
        if self.dead:
            raise asyncio.CancelledError

    def _reached(self, moment: Moment, number: int) -> None:
        strike = self._strike
        if strike is not None and (strike.at, strike.moment) == (number, moment):
            self.struck = self.calls[number - 1]
            self.dead = strike.how == "killed"
            if strike.how == "stopped":
                self._going.clear()

    def _counted(self, name: str) -> int:
        """A call's number; while it lasts there may be others."""
        self.calls.append(name)
        return len(self.calls)

    async def call(self, name: str, outside: Callable[[], Awaitable[Result]]) -> Result:
        await self.going()
        number = self._counted(name)
        self._reached("before", number)
        await self.going()
        result = await outside()
        self._reached("after", number)
        await self.going()
        return result

    def post(self, name: str, outside: Callable[[], None]) -> None:
        """One that nobody waits for: what is posted while the process stands still is in its queue, and waits."""
        if self.dead:
            return
        number = self._counted(name)
        self._reached("before", number)
        if not self.dead:
            outside()
        self._reached("after", number)


class Clock:
    """The world's, as a process that may stand still sees it."""

    def __init__(self, inner: ManualClock, gate: Turnstile) -> None:
        self._inner, self._gate = inner, gate

    def now(self) -> datetime:
        return self._inner.now()

    def monotonic(self) -> float:
        return self._inner.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)
        await self._gate.going()
