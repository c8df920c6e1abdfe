"""`tidewind key`: the keys everything stored is encrypted under."""

import asyncio
import os
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from tidewind.cli.endings import OK, Complaint
from tidewind.cli.screen import Output
from tidewind.cli.session import OutputOption, Session, run
from tidewind.cli.views.findings import exit_code, findings_data, findings_view
from tidewind.cli.views.layout import sentence

app = typer.Typer(help="The keys backups are encrypted under.", no_args_is_help=True)

_LOST = "Keep a copy in another place: without this key no backup can ever be read."


@app.command()
def init(
    context: typer.Context,
    *,
    path: Annotated[Path, typer.Argument(help="The keyring's file; it must not exist yet.", metavar="FILE")],
    name: Annotated[str | None, typer.Option(help="The key's name; by default made of the year.")] = None,
    add: Annotated[
        bool, typer.Option("--add", help="Put a new key into an existing keyring; it encrypts from now on.")
    ] = False,
    output: OutputOption = Output.table,
) -> None:
    """Make a keyring with one new key, readable for its owner only."""

    async def work(session: Session) -> int:
        chosen = name or default_name(session.now())
        keys = session.tools.keys
        if add:
            text = keys.extended(await asyncio.to_thread(_read, path), chosen)
            await asyncio.to_thread(_replace, path, text)
        else:
            await asyncio.to_thread(_create, path, keys.new(chosen))
        reference = f"file:{path.absolute()}"
        session.screen.show(
            sentence(f"key {chosen} made; give the services  TIDEWIND_KEYRING={reference}"),
            {"key": chosen, "keyring": reference},
        )
        session.screen.say(f" {_LOST}", "yellow")
        return OK

    run(context, output, work)


@app.command()
def check(context: typer.Context, *, output: OutputOption = Output.table) -> None:
    """Whether the keyring opens this deployment's store and every backup in it."""

    async def work(session: Session) -> int:
        found = await session.tools.keys.check()
        session.screen.show(findings_view(found), findings_data(found))
        return exit_code(found)

    run(context, output, work)


def default_name(now: datetime) -> str:
    """Two keys of one month need names of their own."""
    return f"key-{now:%Y-%m}"


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise Complaint(
            66, f"{path} cannot be read: {error.strerror}", ("next", f"make one:  tidewind key init {path}")
        ) from None


def _create(path: Path, text: str) -> None:
    """Never over an existing file: it may be the only copy of a key."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path.parent, error, "made") from None
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Complaint(
            65,
            f"{path} exists and is left as it is",
            ("next", f"use it, choose another file, or add a key to it:  tidewind key init {path} --add --name NAME"),
        ) from None
    except OSError as error:
        raise _unwritable(path, error) from None
    _write(descriptor, text)


def _replace(path: Path, text: str) -> None:
    """A crash leaves the old keyring or the new one, never half of one."""
    beside = path.with_name(f".{path.name}.new")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        _write(descriptor, text)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError, what: str = "written") -> Complaint:
    return Complaint(
        74,
        f"{path} cannot be {what}: {error.strerror}",
        ("next", "choose a place that this user may write to, or run this as one who may"),
    )


def _write(descriptor: int, text: str) -> None:
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
