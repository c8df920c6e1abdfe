"""`tidewind setting`: when a cluster is backed up and how long its backups are kept."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from schemas.envelope import Message
from tidewind.cli.arguments import whole_number
from tidewind.cli.commanding import Words, end_of, give
from tidewind.cli.endings import OK, USAGE, Complaint
from tidewind.cli.order import compose, sender
from tidewind.cli.ports import State
from tidewind.cli.screen import Output
from tidewind.cli.session import ClusterOption, KeyOption, OutputOption, Session, WaitOption, run
from tidewind.cli.views.layout import facts, sentence
from tidewind.cli.views.states import changed_setting_rows, setting_view
from tidewind.ports.bus import BusUnavailable

_GLANCE_S = 3.0

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
        str | None, typer.Option(help="7 to 90 days; as it is if left out.", metavar="DAYS")
    ] = None,
    backup_time: Annotated[
        str | None, typer.Option(help='"HH:MM" in the zone of the cluster\'s region; as it is if left out.')
    ] = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="What is left out goes back to its default: 02:00 and 7 days.")
    ] = False,
    idempotency_key: KeyOption = None,
    wait: WaitOption = True,
    output: OutputOption = Output.table,
) -> None:
    """Change the setting. Nothing is deleted by a shorter retention at once; what may go then is listed."""

    async def work(session: Session) -> int:
        chosen = {"backup_time": backup_time, "retention_days": whole_number(retention_days)}
        given = {name: value for name, value in chosen.items() if value is not None}
        if not given and not reset:
            next_step = "give --backup-time or --retention-days, or --reset for the defaults"
            raise Complaint(USAGE, "that names nothing to change", ("next", next_step))
        known = await _known(session, cluster, needed=not reset)
        body = given if reset else {**_present(known), **given}
        order = compose(
            "tidewind.backup-setting.set.v1",
            {"cluster_id": cluster, **body},
            key=idempotency_key,
            sender=sender(),
            now=session.now(),
            message_id=session.tools.message_id(),
        )
        words = Words(
            deed=f"set the backups of {cluster}",
            returns=lambda sent: f"the same command with  --idempotency-key {sent.key}",
        )
        done = await give(session.line(), session.screen, order, words, wait=wait)
        answer = dict(done.accepted.answer)
        if done.terminal is None:
            session.screen.show(sentence(f"accepted as job {done.accepted.job_id}"), {"answer": answer})
            return OK

        def shown(event: Message) -> None:
            data = event.data or {}
            zone = str(data.get("zone", "UTC"))
            rows = changed_setting_rows(data.get("setting") or {}, (known or {}).get("setting"), zone)
            parts: list[RenderableType] = [facts(rows, title=Text(f" {cluster}", style="bold"))]
            eligible = data.get("now_eligible") or ()
            if eligible:
                parts.append(
                    sentence(f"older than the new retention, may be removed now: {', '.join(eligible)}", "yellow")
                )
            session.screen.show(Group(*parts), {"event": event.type, "data": dict(data), "answer": answer})

        return end_of(done.terminal, session.screen, words, shown=shown)

    run(context, output, work)


async def _known(session: Session, cluster: str, *, needed: bool) -> State | None:
    """The setting as it is published. `needed`: what is left out of the command is taken from it."""
    try:
        # Only to show what changed: not worth keeping somebody waiting whom the command itself will tell.
        statuses = await (session.statuses() if needed else session.line().statuses(deadline_s=_GLANCE_S))
        found = statuses.one("setting", cluster)
    except BusUnavailable:
        if needed:
            raise
        return None
    if found is None and needed:
        session.screen.say(f" ! the setting of {cluster} is not known; what is left out takes its default", "yellow")
    return found


def _present(known: State | None) -> Mapping[str, Any]:
    """The service replaces a setting whole, so that what stays as it is must be said too."""
    return {name: value for name, value in ((known or {}).get("setting") or {}).items() if value is not None}
