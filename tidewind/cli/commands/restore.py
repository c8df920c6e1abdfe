"""`tidewind restore`: plan, run, undo, cancel, status, list."""

from dataclasses import replace
from typing import Annotated, Any

import typer

from schemas.envelope import Message
from schemas.events import RestoreFailed
from tidewind.cli.arguments import instant
from tidewind.cli.commanding import Words, end_of, follow, give
from tidewind.cli.endings import INTERRUPTED, OK, Complaint, Left, Stop, code_of
from tidewind.cli.formats import parse_moment
from tidewind.cli.order import Order, compose, sender
from tidewind.cli.ports import State, Statuses
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
from tidewind.cli.views.ending import cancelled_view, completed_view
from tidewind.cli.views.layout import sentence
from tidewind.cli.views.plan import blockers_of, hash_of, plan_view
from tidewind.cli.views.problem import restore_failed_safety, statements_view
from tidewind.cli.views.states import restore_view, restores_view
from tidewind.domain import ids
from tidewind.domain.problems import KINDS

app = typer.Typer(help="Put a cluster back, in place.", no_args_is_help=True)

REQUEST = "tidewind.restore.request.v1"
UNDO = "tidewind.restore.undo.v1"
CANCEL = "tidewind.restore.cancel.v1"
COMPLETED = "tidewind.restore.completed.v1"
FAILED = "tidewind.restore.failed.v1"
CANCELLED = "tidewind.restore.cancelled.v1"

RestoreArgument = Annotated[str, typer.Argument(help="The restore's id, rst_…", metavar="RESTORE")]
BackupOption = Annotated[str | None, typer.Option("--backup", help="Back to this backup.", metavar="BACKUP")]
TimeOption = Annotated[
    str | None, typer.Option("--to-time", help='Back to an instant with its zone, or "10 minutes ago".', metavar="TIME")
]
PositionOption = Annotated[str | None, typer.Option("--to-position", help="Back to a log position.")]
BeforeOption = Annotated[
    str | None,
    typer.Option(
        "--before",
        help="Back to just before this transaction; find it with  tidewind changes --cluster CLUSTER.",
        metavar="POSITION",
    ),
]
TimelineOption = Annotated[str | None, typer.Option("--timeline", help="Which past, if there are several.")]
YesOption = Annotated[
    str | None, typer.Option("--yes", help="The cluster's id, instead of typing it.", metavar="CLUSTER")
]


@app.command()
def plan(
    context: typer.Context,
    *,
    cluster: ClusterOption,
    backup: BackupOption = None,
    to_time: TimeOption = None,
    to_position: PositionOption = None,
    before: BeforeOption = None,
    timeline: TimelineOption = None,
    output: OutputOption = Output.table,
) -> None:
    """What a restore would do. Nothing is touched."""

    async def work(session: Session) -> int:
        target = _target(
            session,
            cluster,
            {"--backup": backup, "--to-time": to_time, "--to-position": to_position, "--before": before},
            timeline,
        )
        found = await _planned(session, _order(session, REQUEST, target | {"dry_run": True}, None), cluster)
        again = f"tidewind restore run {_words_of(target)} --plan {hash_of(found)}"
        zone = (await session.statuses()).zone(cluster)
        session.screen.show(plan_view(found, zone, again), found)
        return KINDS["restore-blocked"].exit_code if blockers_of(found) else OK

    run(context, output, work)


@app.command("run")
def run_(
    context: typer.Context,
    *,
    cluster: ClusterOption,
    backup: BackupOption = None,
    to_time: TimeOption = None,
    to_position: PositionOption = None,
    before: BeforeOption = None,
    timeline: TimelineOption = None,
    plan: Annotated[
        str | None,
        typer.Option(
            help="The hash of the plan you looked at. Refused if it now leads to another point; it does not cover what"
            " the cluster holds at present, which is shown again.",
            metavar="HASH",
        ),
    ] = None,
    reason: ReasonOption = None,
    yes: YesOption = None,
    idempotency_key: KeyOption = None,
    wait: WaitOption = True,
    output: OutputOption = Output.table,
) -> None:
    """Restore. Closes the cluster; shows its plan first, as it is now.

    With --plan and -o json, or with --plan and the key of a command that was sent before, it is not shown again.
    """

    async def work(session: Session) -> int:
        target = _target(
            session,
            cluster,
            {"--backup": backup, "--to-time": to_time, "--to-position": to_position, "--before": before},
            timeline,
        )
        chosen = plan
        # Nobody reads it in JSON; and a command that is repeated under its key may be running already: a plan made
        # now would be one of a closed cluster.
        if chosen is None or not (session.screen.as_json or idempotency_key):
            looked_at = {} if chosen is None else {"plan_hash": chosen}
            dry = _order(session, REQUEST, target | looked_at | {"dry_run": True}, None)
            found = await _planned(session, dry, cluster, again=_run_line(target, chosen, cluster))
            chosen = chosen or hash_of(found)
            if not session.screen.as_json:
                zone = (await session.statuses()).zone(cluster)
                session.screen.err.print(plan_view(found, zone, None))
            if blockers_of(found):
                raise Stop(KINDS["restore-blocked"].exit_code)
        order = _order(session, REQUEST, target | {"plan_hash": chosen, "reason": reason}, idempotency_key)
        session.confirm(cluster, f"This closes {cluster} and undoes what was written since.", yes)
        again = _run_line(target, chosen, cluster)
        return await _restore(session, order, f"restore {cluster}", again, wait=wait)

    run(context, output, work)


@app.command()
def undo(
    context: typer.Context,
    *,
    restore: RestoreArgument,
    cluster: OwnerOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it would do.")] = False,
    reason: ReasonOption = None,
    yes: YesOption = None,
    idempotency_key: KeyOption = None,
    wait: WaitOption = True,
    output: OutputOption = Output.table,
) -> None:
    """Bring back what the cluster held before a restore."""

    async def work(session: Session) -> int:
        statuses = await session.statuses()
        owner = cluster or _owner(statuses, restore)
        body = {"cluster_id": owner, "restore_id": restore}
        if dry_run:
            found = await _planned(session, _order(session, UNDO, body | {"dry_run": True}, None), owner)
            session.screen.show(plan_view(found, statuses.zone(owner), None), found)
            return OK
        order = _order(session, UNDO, body | {"reason": reason}, idempotency_key)
        session.confirm(owner, f"This closes {owner} and undoes what was written since {restore}.", yes)
        again = f"tidewind restore undo {restore} --cluster {owner} --yes {owner}"
        return await _restore(session, order, f"undo {restore}", again, wait=wait)

    run(context, output, work)


@app.command()
def cancel(
    context: typer.Context,
    *,
    restore: RestoreArgument,
    cluster: OwnerOption = None,
    reason: ReasonOption = None,
    idempotency_key: KeyOption = None,
    wait: WaitOption = True,
    output: OutputOption = Output.table,
) -> None:
    """Stop a running restore: it takes the way back, and the cluster opens with the data it had."""

    async def work(session: Session) -> int:
        owner = cluster or _owner(await session.statuses(), restore)
        order = _order(session, CANCEL, {"cluster_id": owner, "restore_id": restore, "reason": reason}, idempotency_key)
        words = Words(deed=f"cancel {restore}", returns=lambda _: f"tidewind restore status {restore} --follow")
        given = await give(session.line(), session.screen, order, words, wait=wait)
        if given.terminal is None:
            session.screen.show(sentence(f"{restore} was asked to turn back"), {"restore_id": restore})
            return OK

        def shown(event: Message) -> None:
            data = event.data or {}
            outcome = str(data.get("outcome"))
            said = {
                "cancelled": f"{restore} took the way back: {owner} is open with the data it had before",
                "completed": f"{restore} had passed the point of no return and completed",
                "failed": f"{restore} ended as failed: tidewind restore status {restore}",
            }
            session.screen.show(sentence(said.get(outcome, outcome)), {"event": event.type, "data": dict(data)})

        return end_of(given.terminal, session.screen, words, shown=shown)

    run(context, output, work)


@app.command()
def status(
    context: typer.Context,
    *,
    restore: Annotated[str | None, typer.Argument(help="The restore's id; all if left out.", metavar="RESTORE")] = None,
    follow_it: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Go on watching while it runs; by default on a terminal.")
    ] = True,
    output: OutputOption = Output.table,
) -> None:
    """Where a restore is. Returns to one that runs."""

    async def work(session: Session) -> int:
        statuses = await session.statuses()
        if restore is None:
            _list(session, statuses, statuses.of("restore"))
            return OK
        owner = _owner(statuses, restore)
        found = statuses.one("restore", owner, restore) or {}
        zone = statuses.zone(owner)
        session.screen.show(restore_view(found, zone, session.now()), found)
        job = _job_of(statuses, owner, restore)
        if found.get("state") != "running" or not follow_it or not session.screen.live or job is None:
            return OK
        return await _return_to(session, owner, restore, job, found)

    run(context, output, work)


@app.command("list")
def list_(
    context: typer.Context,
    *,
    cluster: Annotated[str | None, typer.Option("--cluster", "-c", help="Only this cluster's.")] = None,
    output: OutputOption = Output.table,
) -> None:
    """Restores and undos, newest first."""

    async def work(session: Session) -> int:
        statuses = await session.statuses()
        if cluster is not None:
            session.known_cluster(statuses, cluster)
        _list(session, statuses, statuses.of("restore", cluster))
        return OK

    run(context, output, work)


def _list(session: Session, statuses: Statuses, found: list[State]) -> None:
    zones = {name: statuses.zone(name) for name in {str(one["cluster_id"]) for one in found}}
    session.screen.show(restores_view(found, zones, session.now()), found)


def _target(session: Session, cluster: str, options: dict[str, str | None], timeline: str | None) -> dict[str, Any]:
    """The body of a request: exactly one target, by whichever option. Raises Complaint."""
    given = {name: value for name, value in options.items() if value}
    if len(given) != 1:
        said = " and ".join(given) if given else "no target"
        raise Complaint(
            64,
            f"a restore goes back to exactly one point; {said} was given",
            ("next", f"name a backup:  --backup ID  (tidewind backup list --cluster {cluster})"),
            ("or", f"an instant or a transaction:  --to-time, --before  (tidewind window --cluster {cluster})"),
        )
    ((option, value),) = given.items()
    body: dict[str, Any] = {"cluster_id": cluster, "mode": "snapshot" if option == "--backup" else "point_in_time"}
    if option == "--to-time":
        body["target_time"] = instant(value, field="target_time", now=session.now()).isoformat()
    elif option == "--backup":
        body["backup_id"] = value
    else:
        body["target_position"] = value
        if option == "--before":
            body["before"] = True
    return body | ({"timeline": timeline} if timeline is not None else {})


def _words_of(target: dict[str, Any]) -> str:
    options = {
        "backup_id": "--backup",
        "target_time": "--to-time",
        "target_position": "--before" if target.get("before") else "--to-position",
        "timeline": "--timeline",
    }
    parts = [f"--cluster {target['cluster_id']}"]
    parts += [f"{option} {target[name]}" for name, option in options.items() if name in target]
    return " ".join(parts)


def _run_line(target: dict[str, Any], plan: str | None, cluster: str) -> str:
    words = _words_of(target) + ("" if plan is None else f" --plan {plan}")
    return f"tidewind restore run {words} --yes {cluster}"


def _order(session: Session, command: str, body: dict[str, Any], key: str | None) -> Order:
    return compose(command, body, key=key, sender=sender(), now=session.now(), message_id=session.tools.message_id())


async def _planned(session: Session, order: Order, cluster: str, *, again: str | None = None) -> dict[str, Any]:
    """The plan of a dry run. Raises Stop if it is refused. `again`: the line to repeat if nobody answers, where the key
    of the dry run is not that of the command."""
    words = Words(deed=f"plan a restore of {cluster}", returns=lambda _: f"tidewind restore plan --cluster {cluster}")
    if again is not None:
        words = replace(words, again=lambda _: again)
    given = await give(session.line(), session.screen, order, words, wait=False)
    found = given.accepted.answer.get("plan") or given.accepted.answer
    return dict(found)


async def _restore(session: Session, order: Order, deed: str, again: str, *, wait: bool) -> int:
    restore = ids.restore_id(order.job_id)
    words = Words(
        deed=deed,
        returns=lambda _: f"tidewind restore status {restore}",
        cancels=f"tidewind restore cancel {restore}",
        again=lambda sent: f"{again} --idempotency-key {sent.key}",
    )
    given = await give(session.line(), session.screen, order, words, wait=wait)
    if given.terminal is None:
        session.screen.show(
            sentence(f"accepted as {restore}; follow it with  tidewind restore status {restore}"),
            {"restore_id": restore, "accepted": given.accepted.model_dump(mode="json")},
        )
        return OK
    zone = (await session.statuses()).zone(order.message.key)
    return show_end(session, given.terminal, zone)


async def _return_to(session: Session, owner: str, restore: str, job: str, found: State) -> int:
    def left() -> None:
        raise Left(
            INTERRUPTED,
            "left running",
            ("returns", f"tidewind restore status {restore}"),
            ("cancels", f"tidewind restore cancel {restore}"),
        )

    began = parse_moment(found.get("started_at")) or session.now()
    async with session.line().exchange(owner, since=began) as exchange:
        exchange.follow(job)
        terminal = await follow(exchange, session.screen, left=left)
    return show_end(session, terminal, (await session.statuses()).zone(owner))


def show_end(session: Session, event: Message, zone: str) -> int:
    """Show how a restore ended; the exit code."""
    data = dict(event.data or {})
    record = {"event": event.type, "data": data}
    if event.type == FAILED:
        failed = RestoreFailed.model_validate(data)
        headline = f"restore {failed.restore_id} stopped at {failed.step}"
        session.screen.problem(failed.problem, headline=headline, safe=restore_failed_safety(failed), **record)
        if failed.open_by_hand and not failed.returned and not session.screen.as_json:
            session.screen.err.print(statements_view(failed.open_by_hand))
        return code_of(failed.problem)
    if event.type == CANCELLED:
        session.screen.show(cancelled_view(data), record)
        return KINDS["cancelled"].exit_code
    session.screen.show(completed_view(data, zone), record)
    return OK


def _owner(statuses: Statuses, restore: str) -> str:
    owner = statuses.owner("restore", restore)
    if owner is None:
        known = [str(one.get("restore_id")) for one in statuses.of("restore")]
        raise unknown("restore", restore, known, "tidewind restore list")
    return owner


def _job_of(statuses: Statuses, cluster: str, restore: str) -> str | None:
    """A restore's id follows from its job's."""
    jobs = [str(one.get("job_id")) for one in statuses.of("job", cluster)]
    return next((job for job in jobs if ids.restore_id(job) == restore), None)
