"""Runs the process tree of `tidewind up`, shows what the services say, and stops them on a signal."""

import asyncio
import os
import signal
from collections.abc import Callable

from rich.text import Text

from tidewind.cli.endings import FAILED, OK, Complaint
from tidewind.cli.formats import printable
from tidewind.cli.screen import Screen
from tidewind.embedded.tree import SERVICES, ProcessTree, TreeError, children

_COLOURS = ("cyan", "green", "magenta", "blue", "yellow")
READY_S = 120.0


async def serve(screen: Screen) -> int:
    """Until SIGINT, SIGTERM or SIGHUP; then all are stopped. Raises Complaint if a service cannot run at all."""
    tree = ProcessTree(
        children(environment_of_services(screen)), on_line=_printer(screen), on_change=_announcer(screen)
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    running = asyncio.create_task(tree.run(), name="services")
    stopped = asyncio.create_task(stop.wait(), name="stop signal")
    telling = asyncio.create_task(_tell_ready(tree, screen), name="readiness")
    try:
        await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            screen.say(" stopping; a second Ctrl-C does not make it faster, nothing is left behind", "dim")
    finally:
        for task in (running, stopped, telling):
            task.cancel()
        results = await asyncio.gather(running, stopped, telling, return_exceptions=True)
    failure = results[0]
    if isinstance(failure, TreeError):
        said = [("said", line) for line in failure.tail[-3:]]
        raise Complaint(failure.code or FAILED, str(failure), *said)
    if isinstance(failure, Exception):
        raise failure
    screen.say(" all services have stopped", "dim")
    return OK


def environment_of_services(screen: Screen) -> dict[str, str]:
    """The services write into pipes and cannot see that a terminal shows their lines."""
    return {"TIDEWIND_LOG_FORMAT": "console" if screen.out.is_terminal else "json", **os.environ}


async def _tell_ready(tree: ProcessTree, screen: Screen) -> None:
    try:
        await tree.ready(deadline_s=READY_S)
    except TimeoutError as error:
        screen.say(f" {error}; their logs say why", "yellow")
    else:
        screen.say(" ready. In another terminal:  tidewind doctor   tidewind cluster enroll --help", "green")


def _printer(screen: Screen) -> Callable[[str, str], None]:
    names = SERVICES
    width = max(map(len, names), default=0)

    def show(name: str, text: str) -> None:
        prefix = Text(f"{name:<{width}} │ ", style=_COLOURS[names.index(name) % len(_COLOURS)])
        screen.out.print(prefix + (Text.from_ansi(text) if "\x1b" in text else Text(printable(text, limit=4000))))

    return show


def _announcer(screen: Screen) -> Callable[[str, str], None]:
    def say(name: str, what: str) -> None:
        screen.say(f" {name} {what}", "yellow" if "again" in what or "killed" in what else "dim")

    return say
