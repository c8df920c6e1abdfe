"""What documents and messages tell people to type exists, and every setting is on the page of settings."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from services.changelog.settings import ChangelogSettings
from services.restorer.settings import RestorerSettings
from services.scheduler.settings import SchedulerSettings
from services.snapshotter.settings import SnapshotterSettings
from tidewind.assembly import _Deployment
from tidewind.bus.settings import BusSettings
from tidewind.cli.deferred import ENTRIES, load
from tidewind.runtime.settings import LeaseSettings, RegionSettings, ServiceSettings
from tidewind.store.factory import StoreSettings

ROOT = Path(__file__).parents[3]
COMMANDS = {entry.name: load(entry.name) for entry in ENTRIES}
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = sorted(path for folder in ("tidewind", "services") for path in (ROOT / folder).rglob("*.py"))
_LINE = re.compile(r"\btidewind((?: +(?!→|tidewind\b)[^\s`;|()]+)+)")
_TOOL = re.compile(r"tidewind(?![\w.])")
"""Stands in every source that holds a command, and in few others: imports go on with a point."""
_NOT_TYPED = {"object", "scheduler"}
"""Texts that begin like a command and are none: what keys are derived for, and who acts."""


def _in_document(text: str) -> Iterator[str]:
    """Code only: prose may say the name of the product before any word."""
    fenced = re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    indented = re.findall(r"^(?: {4})(.+)$", text, re.MULTILINE)
    spans = re.findall(r"`([^`]+)`", re.sub(r"^```\n.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    for code in (*"\n".join((*fenced, *indented)).splitlines(), *(span.replace("\n", " ") for span in spans)):
        yield code.partition("  #")[0]


def _in_source(tree: ast.AST) -> Iterator[str]:
    """Texts, with a word in place of each value; docstrings are for readers of the code."""
    nodes = list(ast.walk(tree))
    documentation = {
        id(node.body[0].value)
        for node in nodes
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    parts = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(one.value) if isinstance(one, ast.Constant) else "VALUE" for one in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation | parts:
            yield node.value


def _wrong(text: str, *, whole: bool) -> list[str]:
    """`whole`: a line that is to be typed as it is, so that what the command requires must be there."""
    return [why for found in _LINE.finditer(text) if (why := _why_wrong(found[1].split(), whole=whole)) is not None]


def _why_wrong(words: list[str], *, whole: bool) -> str | None:
    words = [word.rstrip(".,:") for word in words]
    if words[0].startswith("-") or words[0] in _NOT_TYPED or not re.fullmatch(r"[a-z]+", words[0]):
        return None
    command = COMMANDS.get(words[0])
    if command is None:
        return f"there is no  tidewind {words[0]}"
    rest = words[1:]
    if getattr(command, "commands", None) is not None:
        if not rest or not re.fullmatch(r"[a-z]+", rest[0]):
            return None
        if rest[0] not in command.commands:
            return f"there is no  tidewind {words[0]} {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    # A value where no argument is taken holds options of its own.
    options = {name: one for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help": None}
    given = [word.partition("=")[0] for word in rest if word.startswith("-")]
    for name in given:
        if name not in options:
            return f"tidewind {' '.join(words)}: there is no {name}"
    unseen = rest[:1] == ["VALUE"] and not any(one.param_type_name == "argument" for one in command.params)
    if whole and "--help" not in given and not unseen:
        for one in command.params:
            if one.required and one.param_type_name == "option" and not set(one.opts) & set(given):
                return f"tidewind {' '.join(words)}: without {one.opts[0]} it is refused"
    return None


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_documents_exist(path):
    assert [why for code in _in_document(path.read_text()) for why in _wrong(code, whole=False)] == []


def test_commands_in_messages_exist_and_are_whole():
    wrong, named = {}, 0
    for path in SOURCES:
        source = path.read_text()
        if not _TOOL.search(source):
            continue
        named += 1
        said = [why for text in _in_source(ast.parse(source)) for why in _wrong(text, whole=True)]
        if said:
            wrong[str(path.relative_to(ROOT))] = said
    assert wrong == {}
    assert named > 30


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("tidewind backup list --cluster shop", False),
        ("tidewind backup list", True),
        ("tidewind backup lst --cluster shop", True),
        ("tidewind restore cancel rst_1 --now", True),
        ("tidewind restore list", False),
        ("tidewind cluster enroll --help", False),
    ],
)
def test_what_is_wrong_is_found(text, wrong):
    assert bool(_wrong(text, whole=True)) is wrong


@pytest.mark.parametrize(
    ("settings", "prefix"),
    [
        (BusSettings, "TIDEWIND_KAFKA_"),
        (StoreSettings, "TIDEWIND_STORE_"),
        (ServiceSettings, "TIDEWIND_"),
        (LeaseSettings, "TIDEWIND_"),
        (RegionSettings, "TIDEWIND_"),
        (SchedulerSettings, "TIDEWIND_"),
        (SnapshotterSettings, "TIDEWIND_"),
        (RestorerSettings, "TIDEWIND_"),
        (ChangelogSettings, "TIDEWIND_"),
        (_Deployment, "TIDEWIND_"),
    ],
)
def test_every_setting_is_on_the_page(settings: type[BaseModel], prefix: str):
    page = (ROOT / "docs" / "operations.md").read_text().partition("\n## Settings\n")[2].partition("\n## ")[0]
    named = {"TIDEWIND_STORE_KEYRING": "TIDEWIND_KEYRING"}
    variables = [f"{prefix}{field.upper()}" for field in settings.model_fields]
    assert [name for name in variables if f"`{named.get(name, name)}`" not in page] == []
