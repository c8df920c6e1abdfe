"""Composes the messages of a service: ids that follow from the job, correlation, revisions of status records."""

from collections.abc import Mapping
from typing import Any

from schemas.base import Fact
from schemas.envelope import Message
from schemas.replies import CommandAccepted, CommandRejected, Problem
from schemas.status import Status, status_type
from tidewind.domain import ids
from tidewind.domain.records import Accepted, Terminal
from tidewind.domain.revisions import NONE, Revision, revision_of
from tidewind.ports.bus import StatusView
from tidewind.ports.clock import Clock

_KINDS_OF_ONE_JOB = frozenset({"job", "restore"})


def body_of(value: Fact) -> dict[str, Any]:
    """A model as plain JSON values."""
    return value.model_dump(mode="json")


class Composer:
    """`source` names the service and instance, as `/tidewind/<service>/<instance>`."""

    def __init__(self, source: str, clock: Clock, view: StatusView) -> None:
        self.source = source
        self._clock = clock
        self._view = view
        self._revisions: dict[str, Revision] = {}

    def reply(self, job: Accepted) -> Message:
        """The one answer to a command; the same again each time it is composed."""
        if job.rejected is not None:
            return self.rejection(
                job.rejected,
                message_id=job.message_id,
                reply_id=ids.message_id(job.job_id, "reply"),
                cluster=job.cluster_id,
                command=job.command,
                job=job.job_id,
            )
        accepted = CommandAccepted(job_id=job.job_id, cluster_id=job.cluster_id, command=job.command, answer=job.answer)
        return self._of_job(job, "tidewind.command.accepted.v1", body_of(accepted), "reply")

    def rejection(
        self,
        problem: Problem,
        *,
        message_id: str,
        reply_id: str,
        cluster: str,
        command: str | None,
        job: str | None = None,
    ) -> Message:
        rejected = CommandRejected(job_id=job, cluster_id=cluster or None, command=command, problem=problem)
        return Message(
            id=reply_id,
            type="tidewind.command.rejected.v1",
            source=self.source,
            time=self._clock.now(),
            key=cluster,
            subject=job,
            correlation_id=message_id,
            causation_id=message_id,
            data=body_of(rejected),
        )

    def event(self, job: Accepted, event: str, body: Fact, step: str) -> Message:
        return self._of_job(job, event, body_of(body), f"{event}\n{step}")

    def terminal(self, job: Accepted, terminal: Terminal) -> Message:
        return self._of_job(job, terminal.event, terminal.data, "terminal")

    def progress(self, job: Accepted, event: str, body: Fact, number: int, epoch: int) -> Message:
        return self._of_job(job, event, body_of(body), f"progress\n{epoch}\n{number}")

    def status(
        self, kind: str, status: Status, *, entity: str | None = None, epoch: int = 0, continued: bool = False
    ) -> Message:
        """A status record with its revision (epoch, count).

        Records of a job's own life (`job`, `restore`) count within the job's epoch, so that a predecessor's late record
        is lower. Things that outlive a job (`backup`, `availability`, …) continue from what their key holds now; so,
        `continued`, does what is said of a job's record after the job's end.
        """
        key = f"{kind}/{status.cluster_id}" + (f"/{entity}" if entity else "")
        revision = self._next_revision(key, epoch, continued=continued or kind not in _KINDS_OF_ONE_JOB)
        self._revisions[key] = revision
        return Message(
            id=ids.derived_id(self.source, key, str(revision[0]), str(revision[1])),
            type=status_type(kind),
            source=self.source,
            time=self._clock.now(),
            key=key,
            data=body_of(status) | {"revision": list(revision)},
        )

    def again(self, key: str) -> Message | None:
        """The newest record of a status key, word for word; None if there is none, or if a newer one was composed here
        and is on its way."""
        known = self._view.get(key)
        if known is None or self._revisions.get(key, NONE) > revision_of(known):
            return None
        now = self._clock.now()
        return Message(
            id=ids.derived_id(self.source, key, "again", now.isoformat()),
            type=status_type(key.split("/", maxsplit=1)[0]),
            source=self.source,
            time=now,
            key=key,
            data={**known},
        )

    def tombstone(self, kind: str, cluster: str, *, entity: str | None = None) -> Message:
        """The record that removes a status key."""
        key = f"{kind}/{cluster}" + (f"/{entity}" if entity else "")
        now = self._clock.now()
        return Message(
            id=ids.derived_id(self.source, key, "tombstone", now.isoformat()),
            type=status_type(kind),
            source=self.source,
            time=now,
            key=key,
            data=None,
        )

    def _next_revision(self, key: str, epoch: int, *, continued: bool) -> Revision:
        own = self._revisions.get(key, NONE)
        if not continued:
            return (epoch, own[1] + 1) if own[0] == epoch else (epoch, 1)
        highest = max(own, revision_of(self._view.get(key) or {}))
        return (highest[0], highest[1] + 1) if highest[0] >= epoch else (epoch, 1)

    def _of_job(self, job: Accepted, kind: str, data: Mapping[str, Any], step: str) -> Message:
        return Message(
            id=ids.message_id(job.job_id, step),
            type=kind,
            source=self.source,
            time=self._clock.now(),
            key=job.cluster_id,
            subject=job.job_id,
            correlation_id=job.message_id,
            causation_id=job.message_id,
            traceparent=job.traceparent,
            idempotency_key=job.idempotency_key,
            actor=job.actor,
            data=data,
        )
