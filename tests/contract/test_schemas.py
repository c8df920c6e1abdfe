"""The published contract: generated files, golden examples, and agreement between JSON Schema and the models."""

import json
import re
from functools import cache

import pytest
import yaml
from jsonschema import Draft202012Validator, FormatChecker

from schemas.asyncapi import document
from schemas.envelope import decode
from schemas.events import EVENTS, TERMINAL
from schemas.export import HERE, breaking_changes, generated, outdated
from schemas.messages import MESSAGES, MessageType
from schemas.topics import DEFAULT_PREFIX, TOPICS

BY_NAME = {message.name: message for message in MESSAGES}
EXAMPLES = {path.stem: json.loads(path.read_text()) for path in sorted((HERE / "examples").glob("*.json"))}


@cache
def validator(message: MessageType) -> Draft202012Validator:
    return Draft202012Validator(message.json_schema(), format_checker=FormatChecker())


def test_generated_files_are_up_to_date():
    assert outdated(generated()) == [], "run  python -m schemas.export"


def test_no_model_breaks_a_published_schema():
    assert breaking_changes() == {}


def test_every_message_has_exactly_one_example():
    assert set(EXAMPLES) == set(BY_NAME)


@pytest.mark.parametrize("name", BY_NAME)
def test_the_schema_is_a_valid_one(name):
    Draft202012Validator.check_schema(BY_NAME[name].json_schema())


@pytest.mark.parametrize("name", BY_NAME)
def test_the_example_validates_both_ways(name):
    message, value = BY_NAME[name], EXAMPLES[name]["value"]
    assert [error.message for error in validator(message).iter_errors(value)] == []
    model = message.body.model_validate_json(json.dumps(value))
    written = model.model_dump(mode="json", exclude_unset=message.role == "command")
    assert written == value, "what the model writes is what the example shows"


@pytest.mark.parametrize("name", BY_NAME)
def test_the_example_s_key_and_headers_are_an_envelope_of_its_topic(name):
    example = EXAMPLES[name]
    message = decode(
        example["key"].encode(),
        json.dumps(example["value"]).encode(),
        [(header, text.encode()) for header, text in example["headers"].items()],
    )
    assert message.type == name
    assert example["topic"] == BY_NAME[name].topics[0].full_name()
    assert example["value"]["cluster_id"] in example["key"].split("/")
    if "job_id" in example["value"] and BY_NAME[name].topics[0].name == "events.v1":
        assert message.correlation_id
        assert message.subject == example["value"]["job_id"]


@pytest.mark.parametrize("name", [name for name, message in BY_NAME.items() if message.role == "fact"])
def test_readers_ignore_unknown_fields_of_facts(name):
    value = EXAMPLES[name]["value"] | {"added_in_a_later_release": {"any": ["thing"]}}
    assert list(validator(BY_NAME[name]).iter_errors(value)) == []
    BY_NAME[name].body.model_validate_json(json.dumps(value))


@pytest.mark.parametrize("name", [name for name, message in BY_NAME.items() if message.role == "command"])
def test_commands_refuse_unknown_and_missing_fields_in_schema_and_model_alike(name):
    message, value = BY_NAME[name], EXAMPLES[name]["value"]
    for wrong in (
        value | {"retentoin_days": 7},
        {field: given for field, given in value.items() if field != "cluster_id"},
        value | {"cluster_id": "Not An Id"},
        value | {"cluster_id": None},
    ):
        assert list(validator(message).iter_errors(wrong)), wrong
        with pytest.raises(ValueError, match="validation error"):
            message.body.model_validate_json(json.dumps(wrong))


RESTORE = {"cluster_id": "shop"}
BACKUP = {"backup_id": "bkp_4TZ8K2M0QA"}
TIME = {"target_time": "2026-11-23T10:31:52Z"}
POSITION = {"target_position": "0-1-882113"}


@pytest.mark.parametrize(
    ("command", "value", "valid"),
    [
        ("tidewind.restore.request.v1", {"mode": "snapshot", **BACKUP}, True),
        ("tidewind.restore.request.v1", {"mode": "snapshot", **BACKUP, "target_time": None}, True),
        ("tidewind.restore.request.v1", {"mode": "snapshot"}, False),
        ("tidewind.restore.request.v1", {"mode": "snapshot", "backup_id": None}, False),
        ("tidewind.restore.request.v1", {"mode": "snapshot", **BACKUP, **TIME}, False),
        ("tidewind.restore.request.v1", {"mode": "snapshot", **BACKUP, **POSITION}, False),
        ("tidewind.restore.request.v1", {"mode": "point_in_time", **TIME}, True),
        ("tidewind.restore.request.v1", {"mode": "point_in_time", **POSITION}, True),
        ("tidewind.restore.request.v1", {"mode": "point_in_time"}, False),
        ("tidewind.restore.request.v1", {"mode": "point_in_time", **TIME, **POSITION}, False),
        ("tidewind.restore.request.v1", {"mode": "point_in_time", **TIME, **BACKUP}, False),
        ("tidewind.restore.request.v1", {"mode": "other", **BACKUP}, False),
        ("tidewind.backup-setting.set.v1", {}, True),
        ("tidewind.backup-setting.set.v1", {"retention_days": 7, "backup_time": None}, True),
        ("tidewind.backup-setting.set.v1", {"retention_days": 6}, False),
        ("tidewind.backup-setting.set.v1", {"retention_days": 91}, False),
        ("tidewind.backup-setting.set.v1", {"retention_days": 7.5}, False),
        ("tidewind.backup-setting.set.v1", {"retention_days": "7"}, False),
        ("tidewind.backup-setting.set.v1", {"retention_days": None}, False),
        ("tidewind.backup-setting.set.v1", {"retention_days": True}, False),
        ("tidewind.backup-setting.set.v1", {"backup_time": "24:00"}, False),
        ("tidewind.backup-setting.set.v1", {"backup_time": "2am"}, False),
        ("tidewind.cluster.update.v1", {}, False),
        ("tidewind.cluster.update.v1", {"region": "eu-west-1"}, True),
    ],
)
def test_schema_and_model_agree(command, value, valid):
    message, body = BY_NAME[command], RESTORE | value
    assert (not list(validator(message).iter_errors(body))) == valid
    try:
        message.body.model_validate_json(json.dumps(body))
        accepted = True
    except ValueError:
        accepted = False
    assert accepted == valid


def test_every_command_has_terminal_events_that_exist():
    commands = {name for name, message in BY_NAME.items() if message.role == "command"}
    assert set(TERMINAL) == commands
    assert {end for ends in TERMINAL.values() for end in ends} <= set(EVENTS)


def test_every_reference_of_the_asyncapi_document_leads_somewhere():
    whole = yaml.safe_load((HERE / "asyncapi.yaml").read_text())
    assert whole == json.loads(json.dumps(document()))
    references = re.findall(r'"\$ref": "([^"]+)"', json.dumps(whole))
    assert len(references) > 150
    for reference in references:
        if reference.startswith("#/"):
            found = whole
            for part in reference[2:].split("/"):
                found = found[part]
        else:
            assert (HERE / reference).is_file(), reference


def test_the_asyncapi_document_names_every_public_topic_and_no_internal_one():
    channels = {channel["address"]: channel for channel in document()["channels"].values()}
    assert set(channels) == {topic.full_name(DEFAULT_PREFIX) for topic in TOPICS if not topic.internal}
    used = {operation["channel"]["$ref"].rsplit("/", 1)[1] for operation in document()["operations"].values()} | {
        operation["reply"]["channel"]["$ref"].rsplit("/", 1)[1]
        for operation in document()["operations"].values()
        if "reply" in operation
    }
    assert {"commands", "restores", "replies", "events", "status", "progress"} <= used


def test_the_contract_imports_nothing_else_of_ours():
    for path in HERE.glob("*.py"):
        imported = re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE)
        assert not {"tidewind", "services", "tests"} & set(imported), path
