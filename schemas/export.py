"""Writes the files that clients in other languages use: `python -m schemas.export`.

    schemas/json/<type>.json     JSON Schema 2020-12 of each message's body
    schemas/asyncapi.yaml        the whole contract as AsyncAPI 3.0
    docs/topics.md               the topics for people

A change that would break clients or readers is refused: a message that must change so gets a new type (`….v2`) beside
the old one. With `--check` nothing is written; the exit code is 1 if a file is not what it would be.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from schemas.asyncapi import document
from schemas.compatibility import incompatibilities
from schemas.messages import MESSAGES, on_topic
from schemas.topics import DAY_MS, DEFAULT_PARTITIONS, DEFAULT_PREFIX, TOPICS, Topic

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
_GENERATED = "Generated from schemas/ by `python -m schemas.export`; do not edit."

_INTRODUCTION = f"""# Topics

Every name has a prefix, by default `{DEFAULT_PREFIX}`. All topics have the same number of partitions, by default
{DEFAULT_PARTITIONS}; it is chosen once. The partition is murmur2 of the cluster id, as Java's clients count it; a
record that lies in another partition is moved by Tidewind.

`tidewind topics plan|apply|check` makes and checks them. Turn `auto.create.topics.enable` off: a topic made by accident
has the wrong number of partitions. With three replicas or more, `min.insync.replicas` is 2.

| topic | key | kept | written by | read by | for |
|---|---|---|---|---|---|"""


def generated() -> dict[Path, str]:
    """Every file and what it must contain."""
    files = {
        HERE / "json" / f"{message.name}.json": json.dumps(message.json_schema(), indent=2, ensure_ascii=False) + "\n"
        for message in MESSAGES
    }
    text = yaml.safe_dump(document(), sort_keys=False, allow_unicode=True, width=110)
    files[HERE / "asyncapi.yaml"] = f"# {_GENERATED}\n{text}"
    files[ROOT / "docs" / "topics.md"] = topics_page()
    return files


def breaking_changes(folder: Path = HERE / "json") -> dict[str, list[str]]:
    """By message: what its present model breaks of the schema committed in `folder`. A missing model breaks all."""
    present = {message.name: message for message in MESSAGES}
    found: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.json")):
        message = present.get(path.stem)
        if message is None:
            found[path.stem] = ["the message was removed"]
            continue
        problems = incompatibilities(json.loads(path.read_text()), message.json_schema(), message.role)
        if problems:
            found[path.stem] = problems
    return found


def topics_page() -> str:
    """docs/topics.md."""
    rows = [
        f"| `{topic.name}` | {topic.key.replace('|', '/')} | {_kept(topic)} | {', '.join(topic.written_by)} "
        f"| {', '.join(topic.read_by)} | {topic.purpose} |"
        for topic in TOPICS
    ]
    sections = []
    for topic in TOPICS:
        names = [f"- [`{message.name}`](../schemas/json/{message.name}.json)" for message in on_topic(topic)]
        settings = ", ".join(f"`{name}={value}`" for name, value in topic.config().items())
        body = "\n".join(names) + "\n\n" if names else ""
        sections.append(f"## {topic.name}\n\n{topic.purpose}.\n\n{body}Settings: {settings}\n")
    table = "\n".join(rows)
    return f"<!-- {_GENERATED} -->\n{_INTRODUCTION}\n{table}\n\n" + "\n".join(sections)


def _kept(topic: Topic) -> str:
    return "compacted" if topic.retention_ms is None else f"{topic.retention_ms // DAY_MS} d"


def outdated(files: Mapping[Path, str]) -> list[Path]:
    """Files that are missing or differ, and schemas of no message."""
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    return stale + [path for path in sorted((HERE / "json").glob("*.json")) if path not in files]


def main(arguments: list[str]) -> int:
    broken = breaking_changes()
    for name, problems in broken.items():
        for problem in problems:
            sys.stderr.write(f"{name}: {problem}\n")
    if broken:
        sys.stderr.write("These changes break clients or readers; give the message a new version instead.\n")
        return 1
    files = generated()
    if "--check" in arguments:
        for path in outdated(files):
            sys.stderr.write(f"{path.relative_to(ROOT)} is not up to date; run  python -m schemas.export\n")
        return 1 if outdated(files) else 0
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
