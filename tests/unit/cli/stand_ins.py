"""A Kafka for the commands that is a script: what it answers is said by the test."""

import asyncio
import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, RenderableType

from schemas.envelope import Message
from tidewind.cli.ports import Check, Statuses
from tidewind.ports.bus import BusUnavailable

NOW = datetime(2026, 11, 23, 10, 41, 9, tzinfo=UTC)
WIDTH = 110


def drawn(view: RenderableType, *, width: int = WIDTH) -> str:
    """What a terminal of that width shows, without colour and trailing blanks."""
    console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False, legacy_windows=False)
    console.print(view)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


@dataclass
class Answered:
    reply: Message | None = None
    terminal: Message | None = None


Script = Callable[[Message], Answered]


def message(kind: str, data: Mapping[str, Any], **more: Any) -> Message:
    return Message(id="m", type=kind, source="/test", time=NOW, key=str(data.get("cluster_id", "")), data=data, **more)


def accepted(
    command: Message, answer: Mapping[str, Any] | None = None, job: str = "0" * 8 + "-0000-5000-8000-" + "0" * 12
) -> Message:
    body = {"job_id": job, "cluster_id": command.key, "command": command.type, "answer": dict(answer or {})}
    return message("tidewind.command.accepted.v1", body)


def rejected(command: Message, problem: Mapping[str, Any]) -> Message:
    return message("tidewind.command.rejected.v1", {"cluster_id": command.key, "problem": dict(problem)})


@dataclass
class ScriptedLine:
    """Implements tidewind.cli.ports.Line."""

    script: Script
    states: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    sent: list[Message] = field(default_factory=list)
    down: bool = False
    silent: bool = False
    interrupted: bool = False
    address: str = "kafka-1:9092"

    @asynccontextmanager
    async def exchange(self, cluster_id: str, *, since: datetime | None = None, deadline_s: float = 10.0):
        if self.down:
            raise BusUnavailable("Kafka at kafka-1:9092 did not answer within 10 s")
        yield _ScriptedExchange(self)

    async def statuses(self, *, deadline_s: float = 15.0) -> Statuses:
        if self.down:
            raise BusUnavailable("Kafka at kafka-1:9092 did not answer within 15 s")
        return Statuses(self.states)

    def feed(self, *_: object, **__: object):
        raise AssertionError("not used here")


@dataclass
class _ScriptedExchange:
    line: ScriptedLine
    answer: Answered = field(default_factory=Answered)

    async def send(self, topic: object, command: Message, *, deadline_s: float) -> None:
        if self.line.silent:
            raise BusUnavailable("no acknowledgement within 10 s")
        self.line.sent.append(command)
        self.answer = self.line.script(command)

    def follow(self, job_id: str) -> None:
        raise AssertionError("not used here")

    async def wait(self, *, until_reply: bool = False, on_progress: object = None, deadline_s: float | None = None):
        if not until_reply and self.line.interrupted:
            raise asyncio.CancelledError
        return replace(self.answer, terminal=None) if until_reply else self.answer


@dataclass
class ScriptedTools:
    """Implements tidewind.cli.ports.Tools."""

    the_line: ScriptedLine
    typed: list[str] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    the_keys: object = None
    the_topics: object = None
    the_letters: object = None

    @property
    def keys(self) -> Any:
        return self.the_keys

    def now(self) -> datetime:
        return NOW

    def message_id(self) -> str:
        return "11111111-2222-4333-8444-555555555555"

    def line(self) -> ScriptedLine:
        return self.the_line

    def topics(self, partitions: int | None) -> Any:
        return self.the_topics

    @asynccontextmanager
    async def letters(self):
        yield self.the_letters

    async def examine(self, cluster: str | None) -> Sequence[Check]:
        return self.checks

    def ask(self, question: str) -> str:
        self.questions.append(question)
        if not self.typed:
            raise EOFError
        return self.typed.pop(0)
