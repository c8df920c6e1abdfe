"""A database's log for a simulated world, and the capture engine that reads it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.fakes import ManualClock
from tests.faults.turnstile import Clock, Turnstile
from tests.unit.changelog.logs import PREAMBLE
from tidewind.domain.lived import microseconds
from tidewind.domain.log_stream import Mark, State, StateKind, Transaction
from tidewind.ports.capture import LogBroken, Piece, Resume
from tidewind.ports.engine import Address, DatabaseError, Finding, Login

TICK_S = 0.5


@dataclass
class DatabaseLog:
    """The log of the database. `size_of` a transaction is fixed by its number; `reset` begins a log of other bytes."""

    clock: ManualClock
    reader: int = 0
    """The newest reading has the server id: those before it are ended."""
    lives: list[int] = field(default_factory=lambda: [0])
    """How many transactions each life of the log has."""
    skew_s: float = 0.0
    """What somebody has set the database's clock to, against the true time."""

    latest_us: int = 0
    """The latest that its clock has ever shown."""

    @property
    def now_us(self) -> int:
        now_us = microseconds(self.clock.now()) + round(self.skew_s * 1_000_000)
        self.latest_us = max(self.latest_us, now_us + 10)
        return now_us

    def write(self, count: int = 1) -> None:
        self.lives[-1] += count

    def reset(self) -> None:
        self.lives.append(0)

    @property
    def life(self) -> int:
        return len(self.lives) - 1

    @property
    def end(self) -> int:
        return self.lives[-1]

    @staticmethod
    def body(life: int, number: int) -> bytes:
        return f"<{life}:{number}:".encode() + bytes((65 + number % 26,)) * (number * 37 % 140) + b">"

    @staticmethod
    def checksum(life: int, number: int) -> int:
        return life * 1_000_000 + number

    def whole(self, life: int, after: int = 0) -> list[tuple[str, bytes]]:
        return [(f"0-1-{number}", self.body(life, number)) for number in range(after + 1, self.lives[life] + 1)]


class Reading:
    preamble = PREAMBLE
    server_identity = "1-abc"
    server_version = "10.11.19"

    def __init__(self, log: DatabaseLog, gate: Turnstile, clock: Clock, resume: Resume) -> None:
        self.position = resume.position
        self.opened_us = log.now_us
        self._log, self._gate, self._clock = log, gate, clock
        self._life = log.life
        log.reader += 1
        self._mine = log.reader
        self._next = number_of(resume.position) + 1
        if resume.last is not None:
            held = number_of(resume.last.gtid)
            if log.end < held or resume.last.checksum != log.checksum(log.life, held):
                raise LogBroken("reset", f"the log no longer holds {resume.last.gtid}")
        elif log.end < self._next - 1:
            raise LogBroken("reset", f"the log ends before {resume.position}")

    async def pieces(self) -> AsyncIterator[Piece]:
        """A transaction comes in two halves, so that nothing that cuts between pieces cuts between transactions."""
        yield Piece(data=PREAMBLE)
        end = len(PREAMBLE)
        while True:
            await self._gate.going()
            self._look()
            if self._next > self._log.end:
                await self._clock.sleep(TICK_S)
                continue
            body, start = self._log.body(self._life, self._next), end
            end += len(body)
            now_us = self._log.now_us
            checksum = self._log.checksum(self._life, self._next)
            whole = Transaction(f"0-1-{self._next}", start, end, now_us, 0, checksum)
            self._next += 1
            yield Piece(data=body[:5])
            await self._gate.going()
            yield Piece(data=body[5:], transactions=(whole,))

    async def mark(self) -> Mark:
        await self._gate.going()
        self._look()
        now_us = self._log.now_us
        return Mark(position=f"0-1-{self._log.end}" if self._log.end else "", before_us=now_us, after_us=now_us + 10)

    async def state(self, kind: StateKind) -> State | None:
        await self._gate.going()
        now_us = self._log.now_us
        return State(kind=kind, position=self.position, time_us=now_us, content={"life": self._life})

    async def headroom_s(self, position: str) -> float | None:
        return None

    def _look(self) -> None:
        if self._log.reader != self._mine:
            raise DatabaseError("database-unreachable", "another replica reads the log under our number")
        if self._log.life != self._life:
            raise LogBroken("reset", "the log was begun anew")


class Engine:
    state_kinds: tuple[StateKind, ...] = ("variables",)

    def __init__(self, log: DatabaseLog, gate: Turnstile, clock: Clock) -> None:
        self._log, self._gate, self._clock = log, gate, clock

    async def examine(self, address: Address, login: Login) -> tuple[Finding, ...]:
        return ()

    async def log_end(self, address: Address, login: Login) -> str:
        await self._gate.going()
        return f"0-1-{self._log.end}" if self._log.end else ""

    @asynccontextmanager
    async def read(self, address: Address, login: Login, resume: Resume, *, server_id: int) -> AsyncIterator[Reading]:
        await self._gate.going()
        yield Reading(self._log, self._gate, self._clock, resume)


def number_of(position: str) -> int:
    """Of a position in one domain of one server; 0 before the first transaction."""
    return int(position.rpartition("-")[2] or 0)
