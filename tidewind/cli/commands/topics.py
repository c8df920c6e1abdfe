"""`tidewind topics`: the declared topics against those of the broker."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from tidewind.cli.endings import FAILED, OK
from tidewind.cli.ports import TopicDifference
from tidewind.cli.screen import Output
from tidewind.cli.session import OutputOption, Session, run
from tidewind.cli.views.layout import sentence, state, table

app = typer.Typer(help="The topics Tidewind lives on.", no_args_is_help=True)

PartitionsOption = Annotated[
    int | None,
    typer.Option(
        min=1, max=1000, help="Of topics to be made: as many as the others have, else 12. Never changed later."
    ),
]
_WORDS = {"create": "missing", "configure": "differs", "refuse": "error", "advise": "warn"}


@app.command()
def plan(context: typer.Context, *, partitions: PartitionsOption = None, output: OutputOption = Output.table) -> None:
    """What `apply` would do. Nothing is changed."""

    async def work(session: Session) -> int:
        found = await session.tools.topics(partitions).plan()
        session.screen.show(differences_view(found, "All topics are as declared."), _data(found))
        return OK

    run(context, output, work)


@app.command()
def apply(context: typer.Context, *, partitions: PartitionsOption = None, output: OutputOption = Output.table) -> None:
    """Make missing topics and set what differs. Nothing is ever deleted or shrunk."""

    async def work(session: Session) -> int:
        done = await session.tools.topics(partitions).apply()
        made = sum(one.action == "create" for one in done)
        text = f"{made} topics made, {len(done) - made} changed." if done else "All topics are as declared."
        session.screen.show(sentence(text), _data(done))
        return OK

    run(context, output, work)


@app.command()
def check(context: typer.Context, *, partitions: PartitionsOption = None, output: OutputOption = Output.table) -> None:
    """Whether services can start: exit code 1 if a topic is missing or wrong."""

    async def work(session: Session) -> int:
        found = await session.tools.topics(partitions).plan()
        session.screen.show(differences_view(found, "All topics are as declared."), _data(found))
        return FAILED if any(one.hinders for one in found) else OK

    run(context, output, work)


def differences_view(found: Sequence[TopicDifference], none: str) -> RenderableType:
    if not found:
        return sentence(none)
    rows: list[list[str | Text]] = [
        [one.topic, state(_WORDS.get(one.action, one.action)), _with_fix(one)] for one in found
    ]
    return table(["topic", "", "what"], rows)


def _with_fix(one: TopicDifference) -> Text:
    text = Text(one.text)
    if one.fix:
        text.append(f"\n→  {one.fix}", style="dim")
    return text


def _data(found: Sequence[TopicDifference]) -> list[dict[str, str]]:
    return [{"topic": one.topic, "action": one.action, "text": one.text, "fix": one.fix} for one in found]
