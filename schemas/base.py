"""Shared building blocks of every message body."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_snake


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


Instant = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""A moment with a zone; carried as UTC."""

ClusterId = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$"),
    Field(description="Lower-case letters, digits and hyphens, at most 63, never used for another cluster again"),
]
BackupId = Annotated[str, StringConstraints(pattern=r"^bkp_[0-9A-Z]{10}$")]
RestoreId = Annotated[str, StringConstraints(pattern=r"^rst_[0-9A-Z]{10}$")]
JobId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
TimelineId = Annotated[str, StringConstraints(pattern=r"^(main|tl_[0-9A-Z]{10})$")]
SecretReference = Annotated[
    str,
    StringConstraints(pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)$"),
    Field(description='Where the secret is, never the secret: "env:NAME" or "file:/absolute/path"'),
]


class Command(BaseModel):
    """A body sent by a user. Unknown fields are refused: a misspelt option must never be ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Fact(BaseModel):
    """A body published by Tidewind. Readers ignore unknown fields, so that fields may be added."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def message_name(model: type[BaseModel]) -> str:
    """`BackupCompleted` -> `backup_completed`; names files of schemas and examples."""
    return to_snake(model.__name__)


JsonObject = dict[str, Any]
