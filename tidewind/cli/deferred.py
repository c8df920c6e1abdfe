"""The tree of commands, each imported when it is called: `--help` and shell completion must not wait for Kafka clients.

The short helps stand here a second time; a test compares them with those of the commands.
"""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group


@dataclass(frozen=True)
class Entry:
    """A module of `tidewind.cli.commands`, which holds `app`, or the one command as a function of its name."""

    name: str
    help: str


ENTRIES = (
    Entry("cluster", "Which databases are protected."),
    Entry("setting", "When backups are taken and how long they are kept."),
    Entry("backup", "What can be restored."),
    Entry("window", "To which instants a cluster can be restored."),
    Entry("changes", "What was written to a cluster, and when."),
    Entry("restore", "Put a cluster back, in place."),
    Entry("watch", "Events of all clusters, live, until Ctrl-C."),
    Entry("doctor", "What is missing or wrong, each with the line that mends it."),
    Entry("up", "Run all services here until Ctrl-C."),
    Entry("topics", "The topics Tidewind lives on."),
    Entry("dlt", "Dead letters: messages nobody could handle."),
    Entry("key", "The keys backups are encrypted under."),
    Entry("demo", "An accident and its undo, on a private MariaDB."),
    Entry("version", "Which release this is, and the newest formats it reads."),
)
"""In the order in which they are listed."""


@cache
def load(name: str) -> Any:
    """The command itself, with everything it needs imported."""
    module = import_module(f"tidewind.cli.commands.{name}")
    holder = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    # A lone command would become the group's own.
    holder.callback()(lambda: None)
    app = getattr(module, "app", None)
    if app is None:
        holder.command(name)(getattr(module, name))
    else:
        holder.add_typer(app, name=name)
    return get_group(holder).commands[name]


class Deferred(TyperCommand):
    """Stands in a list for a command; whatever is done with it beyond listing is done with the command itself."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        assert self.name is not None
        return load(self.name).make_context(info_name, args, parent=parent, **extra)


class Root(TyperGroup):
    """The group of all entries."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for entry in ENTRIES:
            self.add_command(Deferred(name=entry.name, help=entry.help, rich_markup_mode=None))
