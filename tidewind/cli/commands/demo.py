"""`tidewind demo`: the story of `tidewind.embedded.story` on a stage of its own, told in the terminal."""

from typing import Annotated

import typer

from tidewind.cli.endings import Stop
from tidewind.cli.screen import Output
from tidewind.cli.session import Session, run
from tidewind.domain.problems import KINDS, problem


def demo(
    context: typer.Context,
    *,
    engine: Annotated[str, typer.Option(help="mariadb is the one this release supports.")] = "mariadb",
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running afterwards, until Ctrl-C.")] = False,
    fast: Annotated[bool, typer.Option("--fast", help="No pauses, for machines that watch.")] = False,
) -> None:
    """An accident and its undo, on a private MariaDB.

    A backup, a DROP TABLE in the middle of business, the way back to just before it and the undo, in under a minute.
    Needs nothing but an installed MariaDB server; everything is private, on loopback, and removed at the end.
    """

    async def work(session: Session) -> int:
        if engine != "mariadb":
            found = problem("unsupported-engine", f"the demo plays on mariadb; {engine} is not supported yet")
            session.screen.problem(found, headline="")
            raise Stop(KINDS["unsupported-engine"].exit_code)
        # Here, so that no other command waits for what only the demo loads.
        from tidewind.cli.playing import play

        return await play(session, keep=keep, fast=fast)

    run(context, Output.table, work)
