"""`tidewind changes`: what was written to a cluster, from the archived log, so that an accident can be found."""

from typing import Annotated

import typer

from tidewind.cli.arguments import instant
from tidewind.cli.endings import OK
from tidewind.cli.ports import Change
from tidewind.cli.screen import Output
from tidewind.cli.session import ClusterOption, OutputOption, Session, run
from tidewind.cli.views.changes import change_data, change_view, end_view, worth_showing


def changes(
    context: typer.Context,
    *,
    cluster: ClusterOption,
    from_: Annotated[
        str, typer.Option("--from", help='From here on: "10 minutes ago" or a time with its zone.', metavar="TIME")
    ] = "10 minutes ago",
    to: Annotated[str | None, typer.Option("--to", help="Up to here; now if left out.", metavar="TIME")] = None,
    table: Annotated[
        list[str] | None, typer.Option("--table", help="Only these tables, schema.table.", metavar="TABLE")
    ] = None,
    min_rows: Annotated[int, typer.Option("--min-rows", help="Only what wrote so many rows, and all DDL.")] = 0,
    ddl: Annotated[bool, typer.Option("--ddl", help="Only statements: DDL and accounts.")] = False,
    output: OutputOption = Output.table,
) -> None:
    """What was written to a cluster, and when.

    One line a transaction; find the accident here, then  tidewind restore plan --before POSITION.
    """

    async def work(session: Session) -> int:
        now = session.now()
        begin = instant(from_, field="from", now=now)
        end = instant(to, field="to", now=now) if to is not None else now
        wanted = frozenset(table or ())
        seen = shown = 0
        first: Change | None = None
        async for change in session.tools.changes(cluster, begin, end):
            seen += change.gap is None
            if not worth_showing(change, wanted, min_rows, ddl_only=ddl):
                continue
            shown += change.gap is None
            first = first or (change if change.gap is None else None)
            session.screen.show(change_view(change), change_data(change))
        if not session.screen.as_json:
            session.screen.show(end_view(cluster, seen, shown, first), None)
        return OK

    run(context, output, work)
