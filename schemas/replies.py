"""The answer to a command: accepted, or rejected with a problem (RFC 9457)."""

from typing import Annotated, Any

from pydantic import Field

from schemas.base import ClusterId, Fact, JobId


class FieldError(Fact):
    """What is wrong with one field of the command. `field` is a path such as `setting.retention_days`."""

    field: str
    problem: str


class Problem(Fact):
    """An RFC 9457 problem. `type` is stable and documented; `next_step` says what to do."""

    type: Annotated[str, Field(pattern=r"^urn:tidewind:problem:[a-z0-9-]+$")]
    title: str
    detail: str
    retryable: bool = False
    next_step: str | None = None
    errors: tuple[FieldError, ...] = ()
    facts: dict[str, Any] = Field(default_factory=dict, description="Values a program may want, by name")


class CommandAccepted(Fact):
    """The command will be carried out; its terminal event carries the same `job_id` and correlation id.

    `answer` holds what the command's kind promises to answer with, for instance the effective setting or a plan.
    """

    job_id: JobId
    cluster_id: ClusterId
    command: str = Field(description="The type of the command answered")
    answer: dict[str, Any] = Field(default_factory=dict)


class CommandRejected(Fact):
    """Nothing was done and nothing will be."""

    job_id: JobId | None = None
    cluster_id: str | None = None
    command: str | None = None
    problem: Problem


REPLIES: dict[str, type[Fact]] = {
    "tidewind.command.accepted.v1": CommandAccepted,
    "tidewind.command.rejected.v1": CommandRejected,
}
