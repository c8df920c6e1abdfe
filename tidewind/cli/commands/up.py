"""`tidewind up`: all services in one process tree, for a small installation."""

from typing import Annotated

import typer

from tidewind.cli.endings import CONFIGURATION
from tidewind.cli.screen import Output
from tidewind.cli.session import Session, run
from tidewind.cli.views.findings import findings_view


def up(
    context: typer.Context,
    *,
    make_topics: Annotated[
        bool, typer.Option("--topics/--no-topics", help="Make missing topics first, as `topics apply` does.")
    ] = True,
    partitions: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Of topics to be made: as many as the others have, else 12.")
    ] = None,
) -> None:
    """Run all services here until Ctrl-C. Settings are variables TIDEWIND_*; their logs are shown with their names."""

    async def work(session: Session) -> int:
        wrong = [one for one in await session.tools.keys.check() if one.level == "error"]
        if wrong:
            session.screen.err.print(findings_view(wrong))
            return CONFIGURATION
        if make_topics:
            done = await session.tools.topics(partitions).apply()
            if done:
                session.screen.say(f" {len(done)} topics made or set", "dim")
        # Here, so that no other command waits for what only this one loads.
        from tidewind.cli.serving import serve

        return await serve(session.screen)

    run(context, Output.table, work)
