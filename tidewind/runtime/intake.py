"""From a record on a topic to an answer: the same rules for every service.

Invariants: a reply is published only after `accepted.json` stands in the store, so a second delivery finds it and
answers the same; a command is committed by the consumer only after `handle` returned, so a crash anywhere in between
delivers it again. A store or broker that does not answer leaves the command uncommitted, to be handled again; an error
of ours is answered as such and the command goes to the dead letters, from where it can be replayed: it must not stall
the clusters that share its partition.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import structlog
from pydantic import ValidationError

from schemas import topics
from schemas.base import Command
from schemas.commands import COMMANDS
from schemas.envelope import Message, Poison
from schemas.replies import Problem
from tidewind.domain import ids
from tidewind.domain.problems import Refused, problem
from tidewind.domain.records import Accepted
from tidewind.domain.wrong_fields import wrong_fields
from tidewind.ports.bus import BusUnavailable, Publisher
from tidewind.ports.clock import Clock
from tidewind.ports.engine import DatabaseError
from tidewind.ports.jobs import Accept, Incoming, JobKind, Reject, Route
from tidewind.ports.store import UNREADABLE, StoreError, StoreUnavailable
from tidewind.runtime import metrics
from tidewind.runtime.failures import problem_of, store_problem
from tidewind.runtime.ledger import Ledger
from tidewind.runtime.outbox import Composer
from tidewind.runtime.registry import Registry

_MOST_FIELD_ERRORS = 20
"""More would not help anybody, and a reply must stay far below the limit of a record."""

log = structlog.get_logger()
CommandType = TypeVar("CommandType", bound=Command)


@dataclass(frozen=True, kw_only=True)
class IntakeRules:
    """`max_age_s`: a command older than this when it is taken in, counted from its first arrival on the topic, is
    rejected (restores); None: any age is taken. `for_others`: commands of the topic that another service answers."""

    service: str
    max_age_s: float | None = None
    for_others: frozenset[str] = frozenset()


class Intake:
    """`start` begins an accepted job's work; it is told of every job that is accepted and unfinished."""

    def __init__(
        self,
        rules: IntakeRules,
        kinds: Mapping[str, JobKind],
        *,
        ledger: Ledger,
        registry: Registry,
        composer: Composer,
        publisher: Publisher,
        clock: Clock,
        start: Callable[[Accepted], None],
    ) -> None:
        self._rules = rules
        self._kinds = kinds
        self._ledger = ledger
        self._registry = registry
        self._composer = composer
        self._publisher = publisher
        self._clock = clock
        self._start = start

    async def handle(self, message: Message) -> None:
        """Answer one command. Raises Poison for a type this topic does not know, after answering its sender."""
        if message.type in self._rules.for_others:
            return
        kind = self._kinds.get(message.type)
        if kind is None:
            await self._refuse_unknown(message)
            return
        try:
            await self._handle_known(message, kind)
        except UNREADABLE as error:
            # Trying again would end the same way for ever, and the clusters that share the partition would wait.
            log.warning("a command's records cannot be read", action="intake-unreadable", error=str(error))
            await self._reject_unrecorded(message.id, _named_cluster(message), message.type, store_problem(error))
            raise Poison("record-unreadable", str(error), message.id) from error

    async def refuse_poison(self, poison: Poison, key: str) -> None:
        """Answer the sender of a record that could not be understood but whose id could be read."""
        if poison.message_id is not None:
            why = problem("invalid-command", poison.detail, next_step="Correct the message and send it again")
            await self._reject_unrecorded(poison.message_id, key, None, why)

    async def _handle_known(self, message: Message, kind: JobKind) -> None:
        try:
            command = read_command(message)
        except Refused as refusal:
            cluster = _named_cluster(message)
            await self._reject_unrecorded(message.id, cluster, message.type, refusal.problem)
            return
        cluster = str(getattr(command, "cluster_id", ""))
        job = ids.job_id(
            cluster,
            message.type,
            idempotency_key=message.idempotency_key,
            source=message.source,
            message_id=message.id,
        )
        earlier = await self._ledger.accepted(cluster, job)
        if earlier is not None:
            await self._answer_again(message, earlier)
            return
        verdict = self._too_old(message) or await self._decide(message, kind, command, job, cluster)
        if isinstance(verdict, Route):
            await self._publisher.send(
                verdict.topic, replace(message, key=cluster, causation_id=message.id, origin=None)
            )
            return
        await self._record(message, verdict, job, cluster)

    async def _decide(
        self, message: Message, kind: JobKind, command: Command, job: str, cluster: str
    ) -> Accept | Reject | Route:
        incoming = Incoming(message=message, command=command, job_id=job, cluster=await self._registry.newest(cluster))
        try:
            return await kind.decide(incoming)
        except (StoreUnavailable, BusUnavailable):
            raise
        except (Refused, DatabaseError, StoreError) as error:
            return Reject(problem=problem_of(error))
        except Exception as error:
            log.exception("a command could not be decided", action="decide-failed", command=message.type)
            why = problem("internal-error", f"{message.type} could not be decided; see the log and the dead letters")
            await self._reject_unrecorded(message.id, cluster, message.type, why)
            raise Poison("internal-error", f"{type(error).__name__} while deciding", message.id) from error

    async def _record(self, message: Message, verdict: Accept | Reject, job: str, cluster: str) -> None:
        standing = await self._ledger.accept(
            Accepted(
                job_id=job,
                service=self._rules.service,
                cluster_id=cluster,
                command=message.type,
                body=dict(message.data or {}),
                body_sha256=body_digest(message),
                message_id=message.id,
                source=message.source,
                idempotency_key=message.idempotency_key,
                actor=message.actor,
                traceparent=message.traceparent,
                accepted_at=self._clock.now(),
                answer=dict(verdict.answer) if isinstance(verdict, Accept) else {},
                rejected=verdict.problem if isinstance(verdict, Reject) else None,
            )
        )
        await self._publisher.send(topics.REPLIES, self._composer.reply(standing))
        metrics.COMMANDS.labels(message.type, "rejected" if standing.rejected else "accepted").inc()
        if standing.rejected is None:
            self._start(standing)

    async def _answer_again(self, message: Message, earlier: Accepted) -> None:
        if earlier.body_sha256 != body_digest(message):
            reused = problem(
                "idempotency-key-reused",
                f"The key or id of this {message.type} was used before with another body, as job {earlier.job_id}",
            )
            await self._reject_unrecorded(message.id, earlier.cluster_id, message.type, reused)
            return
        await self._publisher.send(topics.REPLIES, self._composer.reply(earlier))
        if earlier.rejected is not None:
            return
        terminal = await self._ledger.terminal(earlier.cluster_id, earlier.job_id)
        if terminal is not None:
            await self._publisher.send(topics.EVENTS, self._composer.terminal(earlier, terminal))
        elif earlier.service == self._rules.service:
            self._start(earlier)

    def _too_old(self, message: Message) -> Reject | None:
        limit = self._rules.max_age_s
        if limit is None or message.origin is None:
            return None
        age = self._clock.now().timestamp() - message.origin.arrived_ms / 1000
        if age <= limit:
            return None
        detail = f"The command lay on the topic for {age:.0f} s; above {limit:.0f} s it is no longer carried out"
        return Reject(problem=problem("command-expired", detail))

    async def _refuse_unknown(self, message: Message) -> None:
        known = message.type in COMMANDS
        detail = (
            f"{message.type} does not belong on this topic"
            if known
            else f"{message.type} is not a command; known are {', '.join(sorted(self._kinds))}"
        )
        await self._reject_unrecorded(message.id, message.key, message.type, problem("unknown-command", detail))
        raise Poison("unknown-command", detail, message.id)

    async def _reject_unrecorded(self, message_id: str, cluster: str, command: str | None, why: Problem) -> None:
        reply_id = ids.derived_id("rejection", message_id, why.type, why.detail)
        reply = self._composer.rejection(
            why, message_id=message_id, reply_id=reply_id, cluster=cluster, command=command
        )
        await self._publisher.send(topics.REPLIES, reply)
        # What a stranger calls a command must not become a label.
        metrics.COMMANDS.labels(command if command in COMMANDS else "unknown", "rejected").inc()


def read_command(message: Message) -> Command:
    """The validated body. Raises Refused with an entry per wrong field."""
    model = COMMANDS[message.type]
    if message.data is None:
        raise Refused(problem("invalid-command", f"{message.type} has no body"))
    try:
        return model.model_validate_json(json.dumps(message.data))
    except ValidationError as error:
        errors = wrong_fields(error, whole="(body)", most=_MOST_FIELD_ERRORS)
        names = ", ".join(dict.fromkeys(entry.field for entry in errors))
        detail = f"{message.type}: {names}: {errors[0].problem}"
        raise Refused(problem("invalid-command", detail, errors=errors)) from error


def command_of(job: Accepted, model: type[CommandType]) -> CommandType:
    """The command of an accepted job, as it was validated at intake."""
    return model.model_validate_json(json.dumps(job.body))


def body_digest(message: Message) -> str:
    """The sha256 of the body, written in one canonical way."""
    canonical = json.dumps(message.data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _named_cluster(message: Message) -> str:
    named = (message.data or {}).get("cluster_id")
    return named if isinstance(named, str) and ids.is_cluster_id(named) else message.key
