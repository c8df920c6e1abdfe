"""The AsyncAPI 3.0 document of the whole contract, from the tables of topics and messages. Pure."""

from typing import Any

from schemas.events import TERMINAL
from schemas.messages import MESSAGES, MessageType, on_topic
from schemas.topics import DEFAULT_PARTITIONS, DEFAULT_PREFIX, EVENTS, PROGRESS, REPLIES, STATUS, TOPICS, Topic

KAFKA_BINDING = "0.5.0"
CONTRACT_VERSION = "1.0.0"
_ANSWERS = ("tidewind.command.accepted.v1", "tidewind.command.rejected.v1")

_TEXT = {"type": "string"}
_HEADERS: dict[str, Any] = {
    "type": "object",
    "required": ["ce_specversion", "ce_id", "ce_type", "ce_source"],
    "properties": {
        "ce_specversion": {"const": "1.0"},
        "ce_id": {**_TEXT, "description": "Unique for its source; the same again means the same message again"},
        "ce_type": {**_TEXT, "description": "The message's name"},
        "ce_source": {**_TEXT, "description": "Who sent it"},
        "ce_time": {**_TEXT, "format": "date-time"},
        "ce_subject": {**_TEXT, "description": "The job, in replies and events"},
        "content-type": {**_TEXT, "description": "application/json, or application/cloudevents+json"},
        "correlation-id": {**_TEXT, "description": "The ce_id of the command that all this is about"},
        "causation-id": {**_TEXT, "description": "The ce_id of the message that led to this one"},
        "traceparent": {**_TEXT, "description": "W3C trace context; carried through"},
        "idempotency-key": {
            **_TEXT,
            "description": "The same command under the same key has one effect and one answer",
        },
        "actor": {**_TEXT, "description": "The person or program on whose behalf it was sent"},
        "rerouted": {"const": "true", "description": "Was sent to this partition by Tidewind; clients never set it"},
    },
}


def document() -> dict[str, Any]:
    """The document as plain values, in a stable order."""
    public = [topic for topic in TOPICS if not topic.internal]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tidewind",
            "version": CONTRACT_VERSION,
            "description": (
                "Daily backups and in-place restore of TiDB, MariaDB and MySQL clusters, commanded and watched over "
                "Kafka. Publish a command; exactly one reply (accepted or rejected) carries its id as correlation-id, "
                "and an accepted command ends with exactly one terminal event that carries the reply's job_id. "
                "Messages are CloudEvents 1.0 in Kafka's binary mode; structured mode is understood too."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "{bootstrap}",
                "protocol": "kafka",
                "description": "The deployment's Kafka",
                "variables": {"bootstrap": {"default": "localhost:9092"}},
            }
        },
        "channels": {_channel_name(topic): _channel(topic) for topic in public},
        "operations": _operations(),
        "components": {
            "messages": {message.name: _message(message) for message in MESSAGES},
            "messageTraits": {"cloudevent": {"headers": _HEADERS}},
        },
    }


def _channel_name(topic: Topic) -> str:
    return topic.name.rsplit(".", 1)[0]


def _channel(topic: Topic) -> dict[str, Any]:
    configuration: dict[str, Any] = {"cleanup.policy": [topic.cleanup], "max.message.bytes": topic.max_message_bytes}
    if topic.retention_ms is not None:
        configuration["retention.ms"] = topic.retention_ms
    else:
        configuration["delete.retention.ms"] = int(topic.config()["delete.retention.ms"])
    name = topic.full_name(DEFAULT_PREFIX)
    return {
        "address": name,
        "title": topic.name,
        "description": f"{topic.purpose}. Key: {topic.key}. The prefix {DEFAULT_PREFIX} is a setting.",
        "messages": {message.name: {"$ref": f"#/components/messages/{message.name}"} for message in on_topic(topic)},
        "bindings": {
            "kafka": {
                "topic": name,
                "partitions": DEFAULT_PARTITIONS,
                "topicConfiguration": configuration,
                "bindingVersion": KAFKA_BINDING,
            }
        },
    }


def _message(message: MessageType) -> dict[str, Any]:
    topic = message.topics[0]
    described: dict[str, Any] = {
        "name": message.name,
        "title": message.body.__name__,
        "contentType": "application/json",
        "traits": [{"$ref": "#/components/messageTraits/cloudevent"}],
        "payload": {"$ref": f"./json/{message.name}.json"},
        "bindings": {"kafka": {"key": {"type": "string", "description": topic.key}, "bindingVersion": KAFKA_BINDING}},
    }
    summary = (message.body.__doc__ or "").strip().split("\n\n")[0]
    if summary:
        described["summary"] = " ".join(summary.split())
    if topic in (REPLIES, EVENTS, PROGRESS) or message.role == "command":
        location = "ce_id" if message.role == "command" else "correlation-id"
        described["correlationId"] = {"location": f"$message.header#/{location}"}
    return described


def _operations() -> dict[str, Any]:
    """As seen from Tidewind: it receives commands, and sends all else."""
    operations: dict[str, Any] = {}
    for message in MESSAGES:
        if message.role == "command":
            operations[_operation_name(message)] = _command_operation(message)
    for name, topic, summary in (
        ("publishEvents", EVENTS, "Facts, among them the terminal event of every accepted command"),
        ("publishStatus", STATUS, "The present, whole; replay the topic to know everything"),
        ("publishProgress", PROGRESS, "How far running jobs are"),
    ):
        channel = _channel_name(topic)
        operations[name] = {
            "action": "send",
            "channel": {"$ref": f"#/channels/{channel}"},
            "summary": summary,
            "messages": [_reference(channel, message.name) for message in on_topic(topic)],
        }
    return operations


def _command_operation(message: MessageType) -> dict[str, Any]:
    channel, replies = _channel_name(message.topics[0]), _channel_name(REPLIES)
    ends = ", ".join(sorted(TERMINAL[message.name]))
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": " ".join((message.body.__doc__ or message.name).split()),
        "description": f"Ends with one of: {ends}.",
        "messages": [_reference(channel, message.name)],
        "reply": {
            "channel": {"$ref": f"#/channels/{replies}"},
            "messages": [_reference(replies, answer) for answer in _ANSWERS],
        },
    }


def _operation_name(message: MessageType) -> str:
    """`tidewind.backup-setting.set.v1` -> `backupSettingSet`."""
    words = message.name.removeprefix("tidewind.").rsplit(".", 1)[0].replace(".", "-").split("-")
    return words[0] + "".join(word.capitalize() for word in words[1:])


def _reference(channel: str, message: str) -> dict[str, str]:
    return {"$ref": f"#/channels/{channel}/messages/{message}"}
