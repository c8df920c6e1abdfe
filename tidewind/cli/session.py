"""One run of one command: what it is given, and the one place where its errors become words and exit codes."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Annotated, Any

import typer

from tidewind.cli.endings import INTERRUPTED, KAFKA_AWAY, NOT_FOUND, OK, UNAVAILABLE, Complaint, Left, Stop, code_of
from tidewind.cli.interruption import run_interruptibly
from tidewind.cli.ports import Line, Statuses, Tools
from tidewind.cli.screen import Output, Screen
from tidewind.cli.views.problem import message_view
from tidewind.domain.problems import Refused
from tidewind.ports.bus import BusError, BusUnavailable
from tidewind.ports.engine import DatabaseError
from tidewind.ports.store import StoreError
from tidewind.runtime.failures import problem_of

OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="A table for people, or one JSON document a line.")
]
WaitOption = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Follow it to its end, or leave when it is accepted.")
]
KeyOption = Annotated[
    str | None,
    typer.Option("--idempotency-key", help="Repeats under one key have one effect. Chosen and shown if left out."),
]
ClusterOption = Annotated[str, typer.Option("--cluster", "-c", help="The cluster's id.")]
OwnerOption = Annotated[
    str | None, typer.Option("--cluster", "-c", help="The cluster's id; by default the one that the id belongs to.")
]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Why, for the record.")]


@dataclass(frozen=True)
class Session:
    """What a command works with."""

    screen: Screen
    tools: Tools

    def now(self) -> datetime:
        return self.tools.now()

    def line(self) -> Line:
        return self.tools.line()

    async def statuses(self) -> Statuses:
        return await self.line().statuses()

    def known_cluster(self, statuses: Statuses, name: str) -> None:
        """Raises Complaint with names that are near, unless something is known of the cluster."""
        if name in statuses.clusters() or statuses.of("backup", name):
            return
        raise unknown("cluster", name, statuses.clusters(), "tidewind cluster list")

    def confirm(self, cluster: str, question: str, yes: str | None) -> None:
        """The cluster's name, typed or given with `--yes`. Raises Complaint or Stop if it is not that."""
        if yes is not None:
            if yes != cluster:
                raise Complaint(64, f"--yes {yes} does not name the cluster, which is {cluster}")
            return
        try:
            typed = self.tools.ask(f" {question} Type the cluster's name to go on: ")
        except EOFError:
            raise Complaint(
                64, "this needs the cluster's name", ("next", f"in a script give  --yes {cluster}")
            ) from None
        if typed.strip() != cluster:
            raise Complaint(1, "that is not the cluster's name; nothing was done")


def unknown(kind: str, name: str, known: list[str], listing: str) -> Complaint:
    """Not found, with the nearest names."""
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    lines = [("near", ", ".join(near))] if near else []
    return Complaint(NOT_FOUND, f"there is no {kind} {name}", *lines, ("next", f"{listing} shows all"))


Work = Callable[[Session], Coroutine[Any, Any, int | None]]


def run(context: typer.Context, output: Output, work: Work) -> None:
    """Run a command to its exit code. Raises typer.Exit."""
    screen = Screen.of_process(output)
    try:
        code = run_interruptibly(work(Session(screen, context.obj()))) or OK
    except BaseException as error:
        code = ending(screen, error)
    raise typer.Exit(code)


def ending(screen: Screen, error: BaseException) -> int:
    """Show an error once and give its code. What is not expected is raised again."""
    match error:
        case Refused() | DatabaseError() | StoreError():
            found = problem_of(error)
            screen.problem(found, headline="")
            return code_of(found)
        case Stop():
            return error.code
        case Complaint():
            complain(screen, error)
            return error.code
        case BusError():
            return ending(screen, Complaint(UNAVAILABLE, str(error), *_way_on(error)))
        case KeyboardInterrupt():
            return INTERRUPTED
    raise error


def _way_on(error: BusError) -> list[tuple[str, str]]:
    """What to do: what the error says itself, else, where Kafka is away, what `doctor` would say."""
    hint = error.hint or (KAFKA_AWAY if isinstance(error, BusUnavailable) else "")
    return [("next", hint)] if hint else []


def complain(screen: Screen, error: Complaint) -> None:
    if screen.as_json:
        screen.record({"error": error.headline, "exit_code": error.code} | dict(error.lines))
    else:
        screen.err.print(message_view(error.headline, error.lines, wrong=not isinstance(error, Left)))
