"""`tidewind dlt`: messages nobody could handle."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from tidewind.cli.endings import OK
from tidewind.cli.formats import moment, number, printable
from tidewind.cli.order import sender
from tidewind.cli.ports import Letter
from tidewind.cli.screen import Output
from tidewind.cli.session import OutputOption, Session, run
from tidewind.cli.views.layout import facts, sentence, state, table

app = typer.Typer(help="Dead letters: messages nobody could handle.", no_args_is_help=True)

LetterArgument = Annotated[str, typer.Argument(help="topic/partition/offset, as the list shows it.", metavar="ID")]
WhyOption = Annotated[str | None, typer.Option("--reason", help="Why, for the record.")]
_BODY_SHOWN = 4000


@app.command("list")
def list_(
    context: typer.Context,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Also those replayed or dropped.")] = False,
    output: OutputOption = Output.table,
) -> None:
    """Those that wait for somebody, newest first."""

    async def work(session: Session) -> int:
        async with session.tools.letters() as box:
            found = await box.letters(settled=everything)
        session.screen.show(letters_view(found), [_data(one) for one in found])
        return OK

    run(context, output, work)


@app.command()
def show(context: typer.Context, *, letter: LetterArgument, output: OutputOption = Output.table) -> None:
    """One in full: reason, headers, body."""

    async def work(session: Session) -> int:
        async with session.tools.letters() as box:
            found = await box.show(letter)
        session.screen.show(letter_view(found), _data(found) | {"body": _text(found.value)})
        return OK

    run(context, output, work)


@app.command()
def replay(
    context: typer.Context, letter: LetterArgument, reason: WhyOption = None, output: OutputOption = Output.table
) -> None:
    """Send it again, byte for byte, to where it came from. Restores are never replayed."""

    async def work(session: Session) -> int:
        async with session.tools.letters() as box:
            found = await box.replay(letter, actor=sender(), why=reason)
        session.screen.show(sentence(f"{found.id} was sent again"), _data(found))
        return OK

    run(context, output, work)


@app.command()
def drop(
    context: typer.Context, letter: LetterArgument, reason: WhyOption = None, output: OutputOption = Output.table
) -> None:
    """Note that nothing more is to be done about it. Its bytes stay for the topic's 30 days."""

    async def work(session: Session) -> int:
        async with session.tools.letters() as box:
            found = await box.drop(letter, actor=sender(), why=reason)
        session.screen.show(sentence(f"{found.id} was dropped"), _data(found))
        return OK

    run(context, output, work)


def letters_view(found: Sequence[Letter]) -> RenderableType:
    if not found:
        return sentence("No dead letter waits.")
    rows: list[list[str | Text]] = [
        [one.id, state(one.fate), moment(one.died_at), one.header("ce_type") or "–", f"{one.reason}: {one.detail}"]
        for one in found
    ]
    return table(["id", "state", "since", "type", "why"], rows)


def letter_view(one: Letter) -> RenderableType:
    rows: list[tuple[str, str | Text]] = [
        ("state", state(one.fate)),
        ("why", f"{one.reason}: {one.detail}"),
        ("refused by", ", ".join(one.groups)),
        ("since", moment(one.died_at)),
        ("key", _text(one.key) if one.key is not None else "none"),
        ("size", f"{number(one.size)} B, sha256 {one.sha256}"),
    ]
    if one.fate_at is not None:
        by = f" by {one.fate_by}" if one.fate_by else ""
        why = f": {one.fate_why}" if one.fate_why else ""
        rows.append((one.fate, f"{moment(one.fate_at)}{by}{why}"))
    rows += [(printable(name, limit=40), _text(value)) for name, value in one.headers]
    parts: list[RenderableType] = [facts(rows, title=Text(f" {one.id}", style="bold"))]
    if not one.whole:
        parts.append(sentence("Only the beginning was kept: it was too large to be sent again.", "yellow"))
    if one.value is not None:
        parts.append(sentence("body", "dim"))
        parts.append(Text(f" {printable(_text(one.value), limit=_BODY_SHOWN)}"))
    return Group(*parts)


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "backslashreplace")


def _data(one: Letter) -> dict[str, Any]:
    return {
        "id": one.id,
        "fate": one.fate,
        "reason": one.reason,
        "detail": one.detail,
        "groups": list(one.groups),
        "died_at": one.died_at.isoformat(),
        "size": one.size,
        "sha256": one.sha256,
        "whole": one.whole,
        "key": _text(one.key) if one.key is not None else None,
        "headers": [[name, _text(value)] for name, value in one.headers],
        "fate_at": one.fate_at.isoformat() if one.fate_at else None,
        "fate_by": one.fate_by,
        "fate_why": one.fate_why,
    }
