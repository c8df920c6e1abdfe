"""`tidewind setting`: when a cluster is backed up and how long its backups are kept."""

from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from schemas.envelope import Message
from tidewind.cli.arguments import whole_number
from tidewind.cli.commanding import Words, end_of, give
from tidewind.cli.endings import OK
from tidewind.cli.order import compose, sender
from tidewind.cli.screen import Output
from tidewind.cli.session import ClusterOption, KeyOption, OutputOption, Session, WaitOption, run
from tidewind.cli.views.layout import facts, sentence
from tidewind.cli.views.states import effective_setting_rows, setting_view

app = typer.Typer(help="When backups are taken and how long they are kept.", no_args_is_help=True)


@app.command()
def show(context: typer.Context, *, cluster: ClusterOption, output: OutputOption = Output.table) -> None:
    """The setting in force, and when the next backup is due."""

    async def work(session: Session) -> int:
        statuses = await session.statuses()
        session.known_cluster(statuses, cluster)
        session.screen.show(setting_view(statuses, cluster, session.now()), statuses.one("setting", cluster))
        return OK

    run(context, output, work)


@app.command("set")
def set_(
    context: typer.Context,
    *,
    cluster: ClusterOption,
    retention_days: Annotated[
        str | None, typer.Option(help="7 to 90 days; 7 if left out: a setting is replaced whole.", metavar="DAYS")
    ] = None,
    backup_time: Annotated[
        str | None, typer.Option(help='"HH:MM" in the zone of the cluster\'s region; 02:00 if left out.')
    ] = None,
    idempotency_key: KeyOption = None,
    wait: WaitOption = True,
    output: OutputOption = Output.table,
) -> None:
    """Replace the setting. Nothing is deleted by a shorter retention at once; what may go then is listed."""

    async def work(session: Session) -> int:
        order = compose(
            "tidewind.backup-setting.set.v1",
            {"cluster_id": cluster, "backup_time": backup_time, "retention_days": whole_number(retention_days)},
            key=idempotency_key,
            sender=sender(),
            now=session.now(),
            message_id=session.tools.message_id(),
        )
        words = Words(
            deed=f"set the backups of {cluster}",
            returns=lambda sent: f"the same command with  --idempotency-key {sent.key}",
        )
        given = await give(session.line(), session.screen, order, words, wait=wait)
        answer = dict(given.accepted.answer)
        if given.terminal is None:
            session.screen.show(sentence(f"accepted as job {given.accepted.job_id}"), {"answer": answer})
            return OK

        def shown(event: Message) -> None:
            data = event.data or {}
            parts: list[RenderableType] = [
                facts(
                    effective_setting_rows(data.get("setting") or {}, str(data.get("zone", "UTC"))),
                    title=Text(f" {cluster}", style="bold"),
                )
            ]
            eligible = data.get("now_eligible") or ()
            if eligible:
                parts.append(
                    sentence(f"older than the new retention, may be removed now: {', '.join(eligible)}", "yellow")
                )
            session.screen.show(Group(*parts), {"event": event.type, "data": dict(data), "answer": answer})

        return end_of(given.terminal, session.screen, words, shown=shown)

    run(context, output, work)
