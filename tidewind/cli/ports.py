"""What the commands need of Kafka, as small protocols; `bootstrap` gives them, tests give stand-ins."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from schemas.envelope import Message
from schemas.topics import Topic
from tidewind.ports.capture import Summary

Listener = Callable[[Message], None]
State = Mapping[str, Any]


class Answer(Protocol):
    """What is known when a waiting ended; both None if nothing came in time."""

    @property
    def reply(self) -> Message | None: ...

    @property
    def terminal(self) -> Message | None: ...


class Exchange(Protocol):
    """One cluster's commands: the places to read answers from are taken before anything is sent."""

    async def send(self, topic: Topic, command: Message, *, deadline_s: float) -> None:
        """Raises BusUnavailable without an acknowledgement by the deadline."""

    def follow(self, job_id: str) -> None:
        """Wait for a job that is known by its id, not for something sent."""

    async def wait(
        self,
        *,
        until_reply: bool = False,
        on_progress: Listener | None = None,
        deadline_s: float | None = None,
    ) -> Answer:
        """Wait for the reply, or for the end; lost connections are waited out. Call it again to go on waiting."""


@dataclass(frozen=True)
class Statuses:
    """The status topic at one moment: whole states by key `<kind>/<cluster>[/<id>]`."""

    states: Mapping[str, State]

    def one(self, kind: str, cluster: str, entity: str | None = None) -> State | None:
        return self.states.get(f"{kind}/{cluster}" + (f"/{entity}" if entity else ""))

    def of(self, kind: str, cluster: str | None = None) -> list[State]:
        """All states of a kind, of one cluster or of all, by key."""
        prefix = f"{kind}/{cluster}" if cluster is not None else f"{kind}/"
        return [
            state
            for key, state in sorted(self.states.items())
            if key.startswith(prefix) and (cluster is None or key == prefix or key.startswith(f"{prefix}/"))
        ]

    def clusters(self) -> list[str]:
        return sorted(key.partition("/")[2] for key in self.states if key.startswith("cluster/"))

    def owner(self, kind: str, entity: str) -> str | None:
        """The cluster that a backup or restore id belongs to."""
        for key in self.states:
            parts = key.split("/")
            if len(parts) == 3 and parts[0] == kind and parts[2] == entity:
                return parts[1]
        return None

    def zone(self, cluster: str) -> str:
        """The zone of the cluster's region; UTC while it is not known."""
        known = self.one("cluster", cluster) or self.one("setting", cluster) or {}
        return str(known.get("zone") or "UTC")


class Feed(Protocol):
    """Messages as they come."""

    async def read(self) -> list[Message]:
        """What has come since the last call, perhaps nothing after a fraction of a second."""


class Line(Protocol):
    """The connection to Kafka. Every method raises BusUnavailable if Kafka does not answer by the deadline."""

    address: str

    def exchange(
        self, cluster_id: str, *, since: datetime | None = None, deadline_s: float = 10.0
    ) -> AbstractAsyncContextManager[Exchange]:
        """Answers from now on, or from a moment in the past to follow a job that runs already."""

    async def statuses(self, *, deadline_s: float = 15.0) -> Statuses: ...

    def feed(
        self, topics: Sequence[Topic], *, since: datetime | None = None, deadline_s: float = 15.0
    ) -> AbstractAsyncContextManager[Feed]: ...


class TopicDifference(Protocol):
    """One line of a plan for the topics. `action`: create, configure, refuse or advise."""

    @property
    def topic(self) -> str: ...
    @property
    def action(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def fix(self) -> str: ...
    @property
    def hinders(self) -> bool: ...


class Topics(Protocol):
    """The declared topics against the broker's. All raise BusUnavailable."""

    async def plan(self) -> Sequence[TopicDifference]: ...

    async def apply(self) -> Sequence[TopicDifference]:
        """What was done. Raises BusError if something must be refused; nothing is done then."""


class Letter(Protocol):
    """A message nobody could handle, and what became of it."""

    @property
    def id(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def detail(self) -> str: ...
    @property
    def groups(self) -> tuple[str, ...]: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> tuple[tuple[str, bytes], ...]: ...
    @property
    def size(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    @property
    def whole(self) -> bool: ...
    @property
    def died_at(self) -> datetime: ...
    @property
    def fate(self) -> str: ...
    @property
    def fate_at(self) -> datetime | None: ...
    @property
    def fate_by(self) -> str | None: ...
    @property
    def fate_why(self) -> str | None: ...
    def header(self, name: str) -> str | None: ...


class Letters(Protocol):
    """The dead letters. Raises BusUnavailable, and BusError for what cannot be done, with what can."""

    async def letters(self, *, settled: bool = False) -> Sequence[Letter]: ...
    async def show(self, letter_id: str) -> Letter: ...
    async def replay(self, letter_id: str, *, actor: str | None, why: str | None = None) -> Letter: ...
    async def drop(self, letter_id: str, *, actor: str | None, why: str | None = None) -> Letter: ...


@dataclass(frozen=True, kw_only=True)
class Check:
    """One finding of `doctor`. `group` is what was looked at: broker, store, key, database, …"""

    group: str
    level: Literal["ok", "warn", "error"]
    text: str
    fix: str | None = None


class Keys(Protocol):
    """Keyrings, without ever showing a key but in the text of a new one. Raises StoreError."""

    def new(self, name: str) -> str:
        """The text of a keyring of one new key."""

    def extended(self, text: str, name: str) -> str:
        """The text of the keyring with one more key in front, which encrypts from now on."""

    async def check(self) -> list[Check]:
        """Whether the keyring of the settings opens the store and each backup in it."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One transaction of the archived log. `unread`: it is too large to be looked into, or begins before what is
    kept. Or, with `gap`, a place where the log was broken off and begun anew, and why: what was written between the two
    is not known."""

    at: datetime
    position: str
    precision: str
    summary: Summary
    unread: bool
    gap: str | None = None


class Tools(Protocol):
    """What the composition root gives to the commands."""

    @property
    def keys(self) -> Keys: ...

    def now(self) -> datetime: ...

    def message_id(self) -> str: ...

    def line(self) -> Line:
        """Raises Complaint if the settings are wrong."""

    def topics(self, partitions: int | None) -> Topics: ...

    def letters(self) -> AbstractAsyncContextManager[Letters]: ...

    async def examine(self, cluster: str | None) -> list[Check]:
        """Everything `doctor` looks at, as far as it can be reached."""

    def changes(self, cluster: str, begin: datetime, end: datetime) -> AsyncIterator[Change]:
        """Transactions of the archived log, oldest first, both instants included. Reads the store itself. Raises
        Complaint, StoreError."""

    def ask(self, question: str) -> str:
        """A line from the terminal; EOFError if there is none."""
