"""`tidewind`: the commands, and what becomes of a command line."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.exceptions import TyperException

from tidewind.cli.deferred import Root
from tidewind.cli.endings import INTERRUPTED, OK, USAGE, Complaint

if TYPE_CHECKING:
    from tidewind.cli.ports import Tools
    from tidewind.cli.screen import Output

app = typer.Typer(
    name="tidewind",
    cls=Root,
    help="Daily backups and in-place restore of databases, driven over Kafka.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes are listed in docs/errors.md; settings are variables TIDEWIND_*, see docs/operations.md.",
)


@app.callback()
def options(
    env_file: Annotated[
        Path | None,
        typer.Option("--env-file", help="Read settings from this file; variables that are set already win."),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also show what libraries log.")] = False,
) -> None:
    """Before every command."""
    from tidewind.runtime.logs import configure_logs

    configure_logs("cli", log_format="console", level="INFO" if verbose else "CRITICAL")
    if env_file is not None:
        _read_settings(env_file)


def _read_settings(path: Path) -> None:
    from dotenv import dotenv_values

    if not path.is_file():
        raise typer.BadParameter(f"{path} is not a file", param_hint="--env-file")
    for name, value in dotenv_values(path).items():
        if value is not None:
            os.environ.setdefault(name, value)


def execute(arguments: Sequence[str], tools: "Callable[[], Tools]") -> int:
    """Run one command line; the exit code. `tools` is called by a command that works, not by a help."""
    try:
        outcome = app(list(arguments), prog_name="tidewind", standalone_mode=False, obj=tools)
    except TyperException as error:
        text = error.format_message()
        if text.startswith("Usage: "):  # no command was named: this is its help
            sys.stderr.write(f"{text}\n")
        else:
            _complain(arguments, Complaint(USAGE, text, ("next", _help_for(error))))
        return USAGE
    except typer.Abort:
        return INTERRUPTED
    except typer.Exit as done:
        return done.exit_code
    return outcome if isinstance(outcome, int) else OK


def _complain(arguments: Sequence[str], complaint: Complaint) -> None:
    from tidewind.cli.screen import Screen
    from tidewind.cli.session import complain

    complain(Screen.of_process(_output_of(arguments)), complaint)


def _help_for(error: TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f"{context.command_path if context is not None else 'tidewind'} --help"


def _output_of(arguments: Sequence[str]) -> "Output":
    """A command line that cannot be parsed may still say what its errors should look like."""
    from tidewind.cli.screen import Output

    words = " ".join(arguments)
    as_json = any(way in words for way in ("-o json", "-ojson", "--output json", "--output=json"))
    return Output.json if as_json else Output.table
