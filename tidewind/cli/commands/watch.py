"""`tidewind watch`: events as they happen."""

from typing import Annotated

import typer

from schemas.topics import EVENTS
from tidewind.cli.arguments import instant
from tidewind.cli.screen import Output
from tidewind.cli.session import OutputOption, Session, run
from tidewind.cli.views.events import event_data, event_line

PLANNED = "tidewind.restore.planned.v1"
"""Every dry run makes one: who watches what happens is not told of what might."""


def watch(
    context: typer.Context,
    *,
    cluster: Annotated[str | None, typer.Option("--cluster", "-c", help="Only this cluster's.")] = None,
    since: Annotated[
        str | None, typer.Option(help='Begin in the past: "1 hour ago" or a time with its zone.', metavar="TIME")
    ] = None,
    plans: Annotated[bool, typer.Option("--plans", help="Also each restore that was only planned.")] = False,
    output: OutputOption = Output.table,
) -> None:
    """Events of all clusters, live, until Ctrl-C."""

    async def work(session: Session) -> int:
        begin = instant(since, field="since", now=session.now()) if since is not None else None
        if cluster is not None:
            # Of a name that is mistyped nothing would ever come.
            session.known_cluster(await session.statuses(), cluster)
        line = session.line()
        async with line.feed([EVENTS], since=begin) as feed:
            if not session.screen.as_json:
                session.screen.say(f" watching {cluster or 'all clusters'} at {line.address}; Ctrl-C ends it", "dim")
            while True:
                for message in sorted(await feed.read(), key=lambda one: one.time):
                    if (cluster is None or message.key == cluster) and (plans or message.type != PLANNED):
                        session.screen.show(event_line(message), event_data(message))

    run(context, output, work)
