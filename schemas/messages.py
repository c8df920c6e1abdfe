"""All messages in one table: the type, the body, the topics it travels on and who reads it how."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from schemas.commands import COMMANDS as COMMAND_BODIES
from schemas.events import EVENTS as EVENT_BODIES
from schemas.progress import PROGRESS_TYPE, Progress
from schemas.replies import REPLIES as REPLY_BODIES
from schemas.status import STATUSES, status_type
from schemas.topics import BACKUPS, COMMANDS, EVENTS, PROGRESS, REPLIES, RESTORES, STATUS, Topic

Role = Literal["command", "fact"]

SCHEMA_ID = "urn:tidewind:schema:"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True)
class MessageType:
    """`topics`: the first is where clients send or read it; a command may be routed on to the next."""

    name: str
    body: type[BaseModel]
    role: Role
    topics: tuple[Topic, ...]

    def json_schema(self) -> dict[str, Any]:
        """What may be sent (commands), or what will be found (all else): there every field is always present."""
        mode: Literal["validation", "serialization"] = "validation" if self.role == "command" else "serialization"
        body = self.body.model_json_schema(mode=mode)
        return {"$schema": DIALECT, "$id": SCHEMA_ID + self.name, **body, "title": self.name}


def _all() -> Iterator[MessageType]:
    for name, body in COMMAND_BODIES.items():
        if name.startswith("tidewind.restore."):
            yield MessageType(name, body, "command", (RESTORES,))
        elif name.startswith("tidewind.segments."):
            yield MessageType(name, body, "command", (BACKUPS,))
        elif name.startswith(("tidewind.backup.", "tidewind.cluster.enroll", "tidewind.cluster.update")):
            yield MessageType(name, body, "command", (COMMANDS, BACKUPS))
        else:
            yield MessageType(name, body, "command", (COMMANDS,))
    for reply, reply_body in REPLY_BODIES.items():
        yield MessageType(reply, reply_body, "fact", (REPLIES,))
    for event, event_body in EVENT_BODIES.items():
        yield MessageType(event, event_body, "fact", (EVENTS,))
    for kind, status in STATUSES.items():
        yield MessageType(status_type(kind), status, "fact", (STATUS,))
    yield MessageType(PROGRESS_TYPE, Progress, "fact", (PROGRESS,))


MESSAGES: tuple[MessageType, ...] = tuple(_all())


def on_topic(topic: Topic) -> tuple[MessageType, ...]:
    """The messages that travel on a topic."""
    return tuple(message for message in MESSAGES if topic in message.topics)
