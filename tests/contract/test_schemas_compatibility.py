"""The rules that refuse an incompatible change, shown to catch each kind of it, on real schemas."""

import copy
import json

import pytest

from schemas.compatibility import incompatibilities
from schemas.export import breaking_changes
from schemas.messages import MESSAGES

BY_NAME = {message.name: message for message in MESSAGES}
COMMAND = BY_NAME["tidewind.cluster.enroll.v1"].json_schema()
SETTING = BY_NAME["tidewind.backup-setting.set.v1"].json_schema()
RESTORE = BY_NAME["tidewind.restore.request.v1"].json_schema()
EVENT = BY_NAME["tidewind.backup.completed.v1"].json_schema()
STATUS = BY_NAME["tidewind.status.window.v1"].json_schema()


def changed(schema, change):
    new = copy.deepcopy(schema)
    change(new)
    assert new != schema, "the change must change something"
    return new


def put(path, value):
    def change(schema):
        for part in path[:-1]:
            schema = schema[part]
        schema[path[-1]] = value

    return change


def drop(*path):
    def change(schema):
        for part in path[:-1]:
            schema = schema[part]
        del schema[path[-1]]

    return change


def also(*changes):
    def change(schema):
        for one in changes:
            one(schema)

    return change


TEXT = {"type": "string"}
NULLABLE = {"anyOf": [{"type": "string"}, {"type": "null"}]}

COMMAND_BREAKS = {
    "a new required field": (
        COMMAND,
        also(put(["properties", "owner"], TEXT), put(["required"], [*COMMAND["required"], "owner"])),
    ),
    "an optional field becomes required": (COMMAND, put(["required"], [*COMMAND["required"], "tls"])),
    "a removed field": (COMMAND, drop("properties", "replicas")),
    "a renamed field": (COMMAND, also(drop("properties", "replicas"), put(["properties", "followers"], TEXT))),
    "a value less in an enumeration": (COMMAND, put(["properties", "engine", "enum"], ["mariadb", "mysql"])),
    "an enumeration where any text was": (COMMAND, put(["properties", "region", "enum"], ["eu-central-1"])),
    "a higher minimum": (SETTING, put(["properties", "retention_days", "minimum"], 14)),
    "a lower maximum": (SETTING, put(["properties", "retention_days", "maximum"], 60)),
    "a maximum where none was": (COMMAND, put(["properties", "region", "maxLength"], 10)),
    "fewer items": (COMMAND, put(["properties", "endpoints", "maxItems"], 1)),
    "another type": (COMMAND, put(["properties", "region"], {"type": "integer"})),
    "null no longer taken": (SETTING, put(["properties", "backup_time"], TEXT)),
    "another pattern": (COMMAND, put(["properties", "cluster_id", "pattern"], "^[a-z]+$")),
    "another format": (RESTORE, put(["properties", "target_time"], {"type": "string", "format": "date"})),
    "a narrowed nested object": (COMMAND, put(["$defs", "Endpoint", "properties", "port", "maximum"], 1024)),
    "a removed nested field": (COMMAND, drop("$defs", "DatabaseTls", "properties", "ca")),
    "a new required nested field": (COMMAND, put(["$defs", "Endpoint", "required"], ["host", "port", "weight"])),
    "another rule between fields": (RESTORE, put(["oneOf"], RESTORE["oneOf"][:1])),
    "a keyword the check does not know": (COMMAND, put(["dependentRequired"], {"tls": ["replicas"]})),
}

FACT_BREAKS = {
    "a removed field": (
        EVENT,
        also(drop("properties", "rows"), put(["required"], [name for name in EVENT["required"] if name != "rows"])),
    ),
    "a field no longer always there": (
        EVENT,
        put(["required"], [name for name in EVENT["required"] if name != "position"]),
    ),
    "another type": (EVENT, put(["properties", "rows"], TEXT)),
    "a whole number becomes any number": (EVENT, put(["properties", "rows", "type"], "number")),
    "null where none was": (EVENT, put(["properties", "timeline"], NULLABLE)),
    "an enumeration becomes free text": (EVENT, put(["properties", "cause"], TEXT)),
    "another item type": (EVENT, put(["properties", "suspect", "items"], {"type": "integer"})),
    "a list becomes an object": (EVENT, put(["properties", "suspect"], {"type": "object"})),
    "another shape of the revision": (STATUS, put(["properties", "revision"], {"type": "integer"})),
    "a longer revision": (STATUS, put(["properties", "revision", "prefixItems"], [{"type": "integer"}] * 3)),
    "a removed nested field": (STATUS, drop("$defs", "Interval", "properties", "end")),
    "another pattern of an id": (EVENT, put(["properties", "backup_id", "pattern"], "^b[0-9]+$")),
}

COMMAND_MAY = {
    "a new optional field": (COMMAND, put(["properties", "labels"], {"type": "object"})),
    "one more value in an enumeration": (
        COMMAND,
        put(["properties", "engine", "enum"], ["mariadb", "mysql", "tidb", "percona"]),
    ),
    "a required field becomes optional": (COMMAND, put(["required"], COMMAND["required"][:-1])),
    "a lower minimum": (SETTING, put(["properties", "retention_days", "minimum"], 1)),
    "a higher maximum": (SETTING, put(["properties", "retention_days", "maximum"], 365)),
    "null taken too": (
        COMMAND,
        put(["properties", "region"], {"anyOf": [COMMAND["properties"]["region"], {"type": "null"}]}),
    ),
    "another description": (COMMAND, put(["description"], "Better words")),
    "another default": (SETTING, put(["properties", "retention_days", "default"], 8)),
}

FACT_MAY = {
    "a new field": (
        EVENT,
        also(
            put(["properties", "compressed"], {"type": "boolean"}),
            put(["required"], [*EVENT["required"], "compressed"]),
        ),
    ),
    "one more value in an enumeration": (
        EVENT,
        put(["properties", "cause", "enum"], ["slot", "base", "manual", "drill"]),
    ),
    "never null any more": (EVENT, put(["properties", "position"], TEXT)),
    "another description": (EVENT, put(["description"], "Better words")),
    "a new nested field": (STATUS, put(["$defs", "Interval", "properties", "certainty"], TEXT)),
}


@pytest.mark.parametrize("name", COMMAND_BREAKS)
def test_a_command_may_not_have(name):
    schema, change = COMMAND_BREAKS[name]
    assert incompatibilities(schema, changed(schema, change), "command")


@pytest.mark.parametrize("name", FACT_BREAKS)
def test_a_fact_may_not_have(name):
    schema, change = FACT_BREAKS[name]
    assert incompatibilities(schema, changed(schema, change), "fact")


@pytest.mark.parametrize("name", COMMAND_MAY)
def test_a_command_may_have(name):
    schema, change = COMMAND_MAY[name]
    assert incompatibilities(schema, changed(schema, change), "command") == []


@pytest.mark.parametrize("name", FACT_MAY)
def test_a_fact_may_have(name):
    schema, change = FACT_MAY[name]
    assert incompatibilities(schema, changed(schema, change), "fact") == []


@pytest.mark.parametrize("name", BY_NAME)
def test_no_change_is_compatible(name):
    schema = BY_NAME[name].json_schema()
    assert incompatibilities(schema, json.loads(json.dumps(schema)), BY_NAME[name].role) == []


def test_a_message_names_the_field_and_what_happened():
    schema, change = COMMAND_BREAKS["a narrowed nested object"]
    assert incompatibilities(schema, changed(schema, change), "command") == [
        "endpoints[].port: maximum is 1024, and was 65535"
    ]


def test_breaking_changes_are_found_against_a_published_folder(tmp_path):
    published = changed(EVENT, put(["properties", "was_there_before"], TEXT))
    (tmp_path / "tidewind.backup.completed.v1.json").write_text(json.dumps(published))
    (tmp_path / "tidewind.gone.v1.json").write_text("{}")
    assert breaking_changes(tmp_path) == {
        "tidewind.backup.completed.v1": ["was_there_before: the field was removed"],
        "tidewind.gone.v1": ["the message was removed"],
    }
