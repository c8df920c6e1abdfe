"""`tidewind cluster`: enrol, list, show, update, retire."""

import asyncio
from typing import Annotated, Any

import typer
from rich.console import Group

from schemas.envelope import Message
from tidewind.cli.arguments import database_tls, endpoints, whole_number
from tidewind.cli.commanding import Words, end_of, give
from tidewind.cli.endings import OK
from tidewind.cli.order import Order, compose, sender
from tidewind.cli.screen import Output
from tidewind.cli.session import KeyOption, OutputOption, ReasonOption, Session, WaitOption, run
from tidewind.cli.views.events import event_line
from tidewind.cli.views.layout import facts, sentence
from tidewind.cli.views.states import cluster_view, clusters_view, effective_setting_rows
from tidewind.ports.bus import BusUnavailable

app = typer.Typer(help="Which databases are protected.", no_args_is_help=True)

LISTED_S = 30.0
LOOK_S = 1.0

ClusterArgument = Annotated[str, typer.Argument(help="The cluster's id.", metavar="CLUSTER")]
EndpointOption = Annotated[
    list[str] | None, typer.Option("--endpoint", help="host:port; repeat it for several.", metavar="HOST:PORT")
]
TlsOption = Annotated[str | None, typer.Option("--tls", help="disabled, verify-ca or verify-identity.")]
CaOption = Annotated[str | None, typer.Option("--tls-ca", help="env:NAME or file:/path of the authorities.")]
CertificateOption = Annotated[str | None, typer.Option("--tls-certificate", help="env:NAME or file:/path.")]
CertificateKeyOption = Annotated[str | None, typer.Option("--tls-key", help="env:NAME or file:/path.")]


@app.command()
def enroll(
    context: typer.Context,
    *,
    cluster: ClusterArgument,
    engine: Annotated[str, typer.Option(help="mariadb, mysql or tidb.")],
    region: Annotated[str, typer.Option(help="Where it runs; decides the zone of its backup time.")],
    endpoint: EndpointOption,
    credentials: Annotated[str, typer.Option(help="env:NAME or file:/path of user:password, as the services see it.")],
    restore_credentials: Annotated[
        str | None, typer.Option(help="An account with the stronger rights of a restore; by default the same.")
    ] = None,
    replicas: Annotated[str | None, typer.Option(help="none, or attached: whether replicas hang on it.")] = None,
    tls: TlsOption = None,
    tls_ca: CaOption = None,
    tls_certificate: CertificateOption = None,
    tls_key: CertificateKeyOption = None,
    backup_time: Annotated[str | None, typer.Option(help='"HH:MM" in the region\'s zone; 02:00 if left out.')] = None,
    retention_days: Annotated[str | None, typer.Option(help="7 to 90; 7 if left out.", metavar="DAYS")] = None,
    idempotency_key: KeyOption = None,
    wait: WaitOption = True,
    output: OutputOption = Output.table,
) -> None:
    """Protect a database: daily backups from now on."""

    async def work(session: Session) -> int:
        setting = {"backup_time": backup_time, "retention_days": whole_number(retention_days)}
        given = {name: value for name, value in setting.items() if value is not None}
        order = compose(
            "tidewind.cluster.enroll.v1",
            {
                "cluster_id": cluster,
                "engine": engine,
                "region": region,
                "endpoints": endpoints(endpoint),
                "credentials": credentials,
                "restore_credentials": restore_credentials,
                "replicas": replicas,
                "tls": database_tls(tls, tls_ca, tls_certificate, tls_key),
                "setting": given or None,
            },
            key=idempotency_key,
            sender=sender(),
            now=session.now(),
            message_id=session.tools.message_id(),
        )
        code = await _do(session, order, f"enrol {cluster}", wait=wait)
        if wait and code == OK:
            await _until_listed(session, cluster)
        return code

    run(context, output, work)


@app.command("list")
def list_(context: typer.Context, *, output: OutputOption = Output.table) -> None:
    """All clusters: state, newest backup, what comes next."""

    async def work(session: Session) -> int:
        statuses = await session.statuses()
        data = [
            {kind: statuses.one(kind, name) for kind in ("cluster", "setting", "slot", "availability")}
            for name in statuses.clusters()
        ]
        session.screen.show(clusters_view(statuses, session.now()), data)
        return OK

    run(context, output, work)


@app.command()
def show(context: typer.Context, *, cluster: ClusterArgument, output: OutputOption = Output.table) -> None:
    """Everything that is known of one cluster."""

    async def work(session: Session) -> int:
        statuses = await session.statuses()
        session.known_cluster(statuses, cluster)
        data: dict[str, Any] = {
            kind: statuses.one(kind, cluster) for kind in ("cluster", "setting", "slot", "availability")
        }
        data["backups"] = statuses.of("backup", cluster)
        session.screen.show(cluster_view(statuses, cluster, session.now()), data)
        return OK

    run(context, output, work)


@app.command()
def update(
    context: typer.Context,
    *,
    cluster: ClusterArgument,
    region: Annotated[str | None, typer.Option(help="A new region; the backup time moves with its zone.")] = None,
    endpoint: EndpointOption = None,
    credentials: Annotated[str | None, typer.Option(help="env:NAME or file:/path.")] = None,
    restore_credentials: Annotated[str | None, typer.Option(help="env:NAME or file:/path.")] = None,
    replicas: Annotated[str | None, typer.Option(help="none or attached.")] = None,
    tls: TlsOption = None,
    tls_ca: CaOption = None,
    tls_certificate: CertificateOption = None,
    tls_key: CertificateKeyOption = None,
    idempotency_key: KeyOption = None,
    wait: WaitOption = True,
    output: OutputOption = Output.table,
) -> None:
    """Change where a cluster is or how it is reached. Only what is given changes; the database is tried first."""

    async def work(session: Session) -> int:
        order = compose(
            "tidewind.cluster.update.v1",
            {
                "cluster_id": cluster,
                "region": region,
                "endpoints": endpoints(endpoint) or None,
                "credentials": credentials,
                "restore_credentials": restore_credentials,
                "replicas": replicas,
                "tls": database_tls(tls, tls_ca, tls_certificate, tls_key),
            },
            key=idempotency_key,
            sender=sender(),
            now=session.now(),
            message_id=session.tools.message_id(),
        )
        return await _do(session, order, f"update {cluster}", wait=wait)

    run(context, output, work)


@app.command()
def retire(
    context: typer.Context,
    *,
    cluster: ClusterArgument,
    reason: ReasonOption = None,
    yes: Annotated[str | None, typer.Option("--yes", help="The cluster's id, instead of typing it.")] = None,
    idempotency_key: KeyOption = None,
    wait: WaitOption = True,
    output: OutputOption = Output.table,
) -> None:
    """No further backups. Those that exist stay restorable until they expire; the id is never used again."""

    async def work(session: Session) -> int:
        order = compose(
            "tidewind.cluster.retire.v1",
            {"cluster_id": cluster, "reason": reason},
            key=idempotency_key,
            sender=sender(),
            now=session.now(),
            message_id=session.tools.message_id(),
        )
        session.confirm(cluster, f"This ends the daily backups of {cluster} for good.", yes)
        return await _do(session, order, f"retire {cluster}", wait=wait)

    run(context, output, work)


async def _do(session: Session, order: Order, deed: str, *, wait: bool) -> int:
    words = Words(deed=deed, returns=lambda sent: f"the same command with  --idempotency-key {sent.key}")
    given = await give(session.line(), session.screen, order, words, wait=wait)
    for warning in given.accepted.answer.get("warnings", ()):
        session.screen.say(f" ! {_warning(warning)}", "yellow")
    if given.terminal is None:
        accepted = given.accepted.model_dump(mode="json")
        session.screen.show(sentence(f"accepted as job {given.accepted.job_id}"), {"accepted": accepted})
        return OK

    def shown(event: Message) -> None:
        data = event.data or {}
        parts: list[Any] = [event_line(event)]
        if "setting" in data:
            parts.append(facts(effective_setting_rows(data["setting"], str(data.get("zone", "UTC")))))
        session.screen.show(
            Group(*parts), {"event": event.type, "data": dict(data), "answer": dict(given.accepted.answer)}
        )

    return end_of(given.terminal, session.screen, words, shown=shown)


async def _until_listed(session: Session, cluster: str) -> None:
    """The scheduler takes a new cluster up at its next tick; a `list` before that would deny what was just said."""
    try:
        async with asyncio.timeout(LISTED_S):
            while True:
                if (await session.statuses()).one("cluster", cluster) is not None:
                    return
                await asyncio.sleep(LOOK_S)
    except (TimeoutError, BusUnavailable):
        said = f" ! the scheduler has not taken {cluster} up yet; tidewind cluster list shows it when it has"
        session.screen.say(said, "yellow")


def _warning(warning: object) -> str:
    if isinstance(warning, dict):
        fix = f"  →  {warning['fix']}" if warning.get("fix") else ""
        return f"{warning.get('subject', '')}: {warning.get('text', '')}{fix}"
    return str(warning)
