"""What the operator wants, as a message: checked here with the contract's own rules before anything is sent."""

import getpass
import json
import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from schemas.commands import COMMANDS
from schemas.envelope import Message
from schemas.topics import COMMANDS as COMMANDS_TOPIC
from schemas.topics import RESTORES, Topic
from tidewind.domain import ids
from tidewind.domain.problems import refused
from tidewind.domain.wrong_fields import wrong_fields


@dataclass(frozen=True, kw_only=True)
class Order:
    """A valid command and where it goes. `job_id` follows from the message, so it is known before any answer."""

    topic: Topic
    message: Message
    job_id: str

    @property
    def key(self) -> str:
        """What to repeat the command with, for the same effect only once."""
        return self.message.idempotency_key or self.message.id


def compose(
    command: str, body: Mapping[str, Any], *, key: str | None, sender: str, now: datetime, message_id: str
) -> Order:
    """Fields that are None are left out. Raises Refused (invalid-command) with an entry per wrong field."""
    given = {name: value for name, value in body.items() if value is not None}
    checked = _checked(command, given)
    cluster = str(checked["cluster_id"])
    chosen = key or f"cli-{message_id}"
    message = Message(
        id=message_id,
        type=command,
        source="/tidewind/cli",
        time=now,
        key=cluster,
        idempotency_key=chosen,
        actor=sender,
        data=checked,
    )
    job = ids.job_id(cluster, command, idempotency_key=chosen, source=message.source, message_id=message.id)
    return Order(topic=RESTORES if ".restore." in command else COMMANDS_TOPIC, message=message, job_id=job)


def new_message_id() -> str:
    return str(uuid.uuid4())


def sender() -> str:
    """Who gives the command, for the record: `user@host`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _checked(command: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields given, as the contract's model reads them."""
    model = COMMANDS[command]
    try:
        valid = model.model_validate_json(json.dumps(body))
    except ValidationError as error:
        errors = wrong_fields(error, whole="command", most=len(error.errors()))
        raise refused("invalid-command", f"{errors[0].field}: {errors[0].problem}", errors=errors) from None
    plain: dict[str, Any] = valid.model_dump(mode="json", exclude_unset=True)
    return plain
