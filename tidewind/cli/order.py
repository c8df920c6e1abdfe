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
from schemas.replies import FieldError
from schemas.topics import COMMANDS as COMMANDS_TOPIC
from schemas.topics import RESTORES, Topic
from tidewind.domain import ids
from tidewind.domain.problems import refused


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
        errors = tuple(
            FieldError(field=field, problem=_words(field, detail["type"], detail["msg"]))
            for detail in error.errors()
            for field in (".".join(str(part) for part in detail["loc"]) or "command",)
        )
        raise refused("invalid-command", f"{errors[0].field}: {errors[0].problem}", errors=errors) from None
    plain: dict[str, Any] = valid.model_dump(mode="json", exclude_unset=True)
    return plain


_PATTERNS = {
    "cluster_id": "must be lower-case letters, digits and hyphens, beginning with a letter or digit, at most 63",
    "backup_id": "must be a backup's id such as bkp_4TZ0A1B2C3; see  tidewind backup list",
    "restore_id": "must be a restore's id such as rst_8MM0A1B2C3; see  tidewind restore list",
    "timeline": 'must be "main" or a timeline\'s id such as tl_9XK0A1B2C3',
    "plan_hash": "must be the hash that the plan showed",
}
_REFERENCES = frozenset({"credentials", "restore_credentials", "ca", "certificate", "key"})


def _words(field: str, kind: str, text: str) -> str:
    """The contract's words where they are made for people, else ours."""
    name = field.rpartition(".")[2]
    if kind == "string_pattern_mismatch":
        if name in _REFERENCES:
            return 'must name where the secret is, never the secret: "env:NAME" or "file:/absolute/path"'
        return _PATTERNS.get(name, text)
    return text.removeprefix("Value error, ")
