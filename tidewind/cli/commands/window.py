"""`tidewind window`: what can be restored now."""

import typer

from tidewind.cli.endings import OK
from tidewind.cli.screen import Output
from tidewind.cli.session import ClusterOption, OutputOption, Session, run
from tidewind.cli.views.window import window_view


def window(context: typer.Context, *, cluster: ClusterOption, output: OutputOption = Output.table) -> None:
    """To which instants a cluster can be restored."""

    async def work(session: Session) -> int:
        statuses = await session.statuses()
        session.known_cluster(statuses, cluster)
        shown = {"window": statuses.one("window", cluster), "capture": statuses.one("capture", cluster)}
        session.screen.show(window_view(statuses, cluster, session.now()), shown)
        return OK

    run(context, output, work)
