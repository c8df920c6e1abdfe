"""`tidewind doctor`: what is missing or wrong, each with the line that mends it."""

from typing import Annotated

import typer
from rich.console import Group

from tidewind.cli.screen import Output
from tidewind.cli.session import OutputOption, Session, run
from tidewind.cli.views.findings import exit_code, findings_data, findings_view, verdict


def doctor(
    context: typer.Context,
    *,
    cluster: Annotated[
        str | None, typer.Option("--cluster", "-c", help="Also look at this cluster's database; by default at all.")
    ] = None,
    output: OutputOption = Output.table,
) -> None:
    """What is missing or wrong, each with the line that mends it.

    Looks at settings, Kafka, store, key, databases, and at the last backup of each cluster. Takes a service's settings
    and changes nothing.
    Exit code 1 if there is an error; warnings do not fail.
    """

    async def work(session: Session) -> int:
        found = await session.tools.examine(cluster)
        session.screen.show(Group(findings_view(found), verdict(found)), findings_data(found))
        return exit_code(found)

    run(context, output, work)
