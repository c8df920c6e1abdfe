"""`tidewind backup`: list, show, run, verify, delete."""

from collections.abc import Mapping
from typing import Annotated

import typer
from rich.console import Group

from schemas.envelope import Message
from tidewind.cli.commanding import Given, Words, end_of, give
from tidewind.cli.endings import OK
from tidewind.cli.order import Order, compose, sender
from tidewind.cli.ports import Statuses
from tidewind.cli.screen import Output
from tidewind.cli.session import (
    ClusterOption,
    KeyOption,
    OutputOption,
    OwnerOption,
    ReasonOption,
    Session,
    WaitOption,
    run,
    unknown,
)
from tidewind.cli.views.events import event_line
from tidewind.cli.views.layout import sentence
from tidewind.cli.views.states import backup_view, backups_view, newest_first
from tidewind.cli.views.stretches import window_lines
from tidewind.ports.bus import BusUnavailable

app = typer.Typer(help="What can be restored.", no_args_is_help=True)

BackupArgument = Annotated[str, typer.Argument(help="The backup's id, bkp_…", metavar="BACKUP")]


@app.command("list")
def list_(
    context: typer.Context,
    *,
    cluster: ClusterOption,
    everything: Annotated[bool, typer.Option("--all", help="Also hidden, failed and deleted ones.")] = False,
    output: OutputOption = Output.table,
) -> None:
    """The backups of a cluster, newest first."""

    async def work(session: Session) -> int:
        statuses = await session.statuses()
        session.known_cluster(statuses, cluster)
        view = backups_view(statuses, cluster, session.now(), everything=everything)
        session.screen.show(view, newest_first(statuses.of("backup", cluster)))
        return OK

    run(context, output, work)


@app.command()
def show(context: typer.Context, *, backup: BackupArgument, output: OutputOption = Output.table) -> None:
    """One backup in full."""

    async def work(session: Session) -> int:
        statuses = await session.statuses()
        owner = _owner(statuses, backup, None)
        found = statuses.one("backup", owner, backup)
        if found is None:
            raise unknown("backup", backup, _ids(statuses), "tidewind backup list --cluster CLUSTER")
        session.screen.show(backup_view(found, statuses.zone(owner), session.now()), found)
        return OK

    run(context, output, work)


@app.command("run")
def run_(
    context: typer.Context,
    *,
    cluster: ClusterOption,
    reason: ReasonOption = None,
    idempotency_key: KeyOption = None,
    wait: WaitOption = True,
    output: OutputOption = Output.table,
) -> None:
    """Back up now. Refused unless the deployment allows it: backups are daily and automatic."""

    async def work(session: Session) -> int:
        body = {"cluster_id": cluster, "reason": reason}
        order = _order(session, "tidewind.backup.run.v1", body, idempotency_key)
        return await _do(session, order, f"back up {cluster}", wait=wait)

    run(context, output, work)


@app.command()
def verify(
    context: typer.Context,
    *,
    backup: BackupArgument,
    cluster: OwnerOption = None,
    idempotency_key: KeyOption = None,
    wait: WaitOption = True,
    output: OutputOption = Output.table,
) -> None:
    """Read back every byte of a backup and compare it with its manifest."""

    async def work(session: Session) -> int:
        owner = await _find(session, backup, cluster)
        order = _order(
            session, "tidewind.backup.verify.v1", {"cluster_id": owner, "backup_id": backup}, idempotency_key
        )
        return await _do(session, order, f"verify {backup}", wait=wait)

    run(context, output, work)


@app.command()
def delete(
    context: typer.Context,
    *,
    backup: BackupArgument,
    cluster: OwnerOption = None,
    confirm_shorter_window: Annotated[
        bool, typer.Option("--confirm-shorter-window", help="Also if it is the newest good one.")
    ] = False,
    yes: Annotated[str | None, typer.Option("--yes", help="The cluster's id, instead of typing it.")] = None,
    idempotency_key: KeyOption = None,
    wait: WaitOption = True,
    output: OutputOption = Output.table,
) -> None:
    """Delete one backup for good."""

    async def work(session: Session) -> int:
        owner = await _find(session, backup, cluster)
        body = {
            "cluster_id": owner,
            "backup_id": backup,
            "confirm_shorter_window": True if confirm_shorter_window else None,
        }
        order = _order(session, "tidewind.backup.delete.v1", body, idempotency_key)
        session.confirm(owner, f"This deletes backup {backup} of {owner} for good.", yes)
        return await _do(session, order, f"delete {backup}", wait=wait)

    run(context, output, work)


async def _zone(session: Session, cluster: str) -> str:
    """What was done must be told, also if Kafka is gone meanwhile."""
    try:
        return (await session.statuses()).zone(cluster)
    except BusUnavailable:
        return "UTC"


def _order(session: Session, command: str, body: Mapping[str, object], key: str | None) -> Order:
    return compose(command, body, key=key, sender=sender(), now=session.now(), message_id=session.tools.message_id())


async def _find(session: Session, backup: str, cluster: str | None) -> str:
    """The cluster of a backup. One that the status topic does not know is for the services to judge."""
    return cluster if cluster is not None else _owner(await session.statuses(), backup, cluster)


def _owner(statuses: Statuses, backup: str, cluster: str | None) -> str:
    owner = cluster or statuses.owner("backup", backup)
    if owner is None:
        raise unknown("backup", backup, _ids(statuses), "tidewind backup list --cluster CLUSTER")
    return owner


def _ids(statuses: Statuses) -> list[str]:
    return [str(one.get("backup_id")) for one in statuses.of("backup")]


async def _do(session: Session, order: Order, deed: str, *, wait: bool) -> int:
    words = Words(deed=deed, returns=lambda sent: f"the same command with  --idempotency-key {sent.key}")
    given = await give(session.line(), session.screen, order, words, wait=wait)
    if given.terminal is None:
        _accepted(session, given)
        return OK

    zone = await _zone(session, order.message.key) if "window" in given.accepted.answer else "UTC"

    def shown(event: Message) -> None:
        session.screen.show(
            Group(event_line(event), *window_lines(given.accepted.answer.get("window"), zone)),
            {"event": event.type, "data": dict(event.data or {}), "answer": dict(given.accepted.answer)},
        )

    return end_of(given.terminal, session.screen, words, shown=shown)


def _accepted(session: Session, given: Given) -> None:
    answer = given.accepted.answer
    told = "".join(f", {name.replace('_', ' ')} {value}" for name, value in answer.items() if isinstance(value, str))
    session.screen.show(
        sentence(f"accepted as job {given.accepted.job_id}{told}"), {"accepted": given.accepted.model_dump(mode="json")}
    )
