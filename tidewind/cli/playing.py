"""Plays the demo: its stage, its story, its endings, told in the terminal."""

import asyncio
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.text import Text

from schemas.envelope import Message
from schemas.progress import PROGRESS_TYPE, Progress
from schemas.topics import EVENTS, PROGRESS
from tidewind.cli.commanding import Words, end_of, give
from tidewind.cli.endings import FAILED, INTERRUPTED, OK, Complaint, Stop
from tidewind.cli.formats import duration, parse_moment, printable
from tidewind.cli.order import compose, sender
from tidewind.cli.ports import Change, Feed, State
from tidewind.cli.screen import Screen
from tidewind.cli.session import Session
from tidewind.cli.views.changes import change_view, end_view, worth_showing
from tidewind.cli.views.events import event_line
from tidewind.cli.views.layout import facts
from tidewind.cli.views.plan import blockers_of, hash_of, plan_view
from tidewind.cli.views.progress import JobProgress
from tidewind.cli.views.window import window_view
from tidewind.embedded.processes import ProgramMissingError, ServerStartError
from tidewind.embedded.stage import Stage, StageFailed, set_up
from tidewind.embedded.story import CLUSTER, NotEqual, Pace, Timings, tell

TRADE_S, FAST_TRADE_S = 3.0, 0.5
_LOOK_S = 0.5


async def play(session: Session, *, keep: bool, fast: bool) -> int:
    """The exit code. A signal cancels the play, whose own endings then stop everything it started; a second one changes
    nothing."""
    task = asyncio.ensure_future(_play(session, keep=keep, fast=fast))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, lambda: None if task.cancelling() else task.cancel())
    try:
        return await task
    except asyncio.CancelledError:
        return INTERRUPTED


async def _play(session: Session, *, keep: bool, fast: bool) -> int:
    screen = session.screen
    folder = Path(tempfile.mkdtemp(prefix="tidewind-demo-"))
    began = time.monotonic()
    timings = Timings()
    teller = ScreenTeller(session)
    try:
        teller.chapter("The stage")
        async with set_up(folder, keyring=session.tools.keys.new("demo"), on_built=teller.say) as stage:
            timings.note("setting up", began)
            os.environ.update({name: text for name, text in stage.environment.items() if name.startswith("TIDEWIND_")})
            try:
                await tell(stage, teller, Pace(trade_s=FAST_TRADE_S if fast else TRADE_S), timings)
            except Exception as error:
                _show_logs(screen, stage)
                raise _failure(error) from error
            timings.note("in all", began)
            screen.out.print(_table(timings))
            if keep:
                await _keep(screen, stage)
    except (StageFailed, ServerStartError, ProgramMissingError) as error:
        tail = [("log", line) for line in getattr(error, "details", ())[-8:]]
        raise Complaint(FAILED, f"the demo could not go on: {error}", *tail) from error
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    return OK


def _failure(error: Exception) -> Exception:
    if isinstance(error, NotEqual):
        return Complaint(
            FAILED, str(error), ("next", "this is a fault of Tidewind's: please report it with the logs above")
        )
    return error


def _show_logs(screen: Screen, stage: Stage) -> None:
    """What the services complained of; where they did not, the last they said."""
    for path in sorted(stage.logs.glob("*.log")):
        lines = path.read_text(errors="replace").splitlines()
        complaints = [text for line in lines if (text := _complaint(line)) is not None]
        screen.say(f"\n {path.stem}: {'complained' if complaints else 'its last lines'}", "dim")
        for line in (complaints or lines)[-6:]:
            for part in line.splitlines()[-12:]:
                screen.say(f"   {printable(part, limit=400)}", "dim")


def _complaint(line: str) -> str | None:
    """The text of a log line that is a warning or worse, with its traceback."""
    try:
        record = json.loads(line)
    except ValueError:
        return line if "Traceback" in line or "Error" in line else None
    if not isinstance(record, dict) or record.get("level") not in ("warning", "error", "critical"):
        return None
    return "\n".join(str(record[name]) for name in ("event", "cause", "error", "exception") if record.get(name))


def _table(timings: Timings) -> Any:
    rows: list[tuple[str, str | Text]] = [(name, Text(f"{duration(took):>10}")) for name, took in timings.parts]
    return facts(rows, title=Text("\n How long it took", style="bold"))


async def _keep(screen: Screen, stage: Stage) -> None:
    screen.say("\n It all keeps running until Ctrl-C. In another terminal:", "bold")
    for name, value in stage.environment.items():
        if name.startswith("TIDEWIND_KAFKA") or name in ("TIDEWIND_STORE_URL", "TIDEWIND_KEYRING"):
            screen.say(f"   export {name}={value}")
    screen.say(f"   tidewind cluster show {CLUSTER}      tidewind backup list --cluster {CLUSTER}")
    screen.say(f"   logs: {stage.logs}   store: {stage.store}", "dim")
    await asyncio.Event().wait()


def _reaches(window: State | None, moment: datetime) -> bool:
    """Whether everything up to an instant can be restored."""
    ends = [parse_moment(one.get("end")) for one in (window or {}).get("intervals") or ()]
    return any(end is not None and end >= moment for end in ends)


def _says(change: Change, words: str) -> bool:
    return any(statement.startswith(words) for statement in change.summary.statements)


class ScreenTeller:
    """Implements tidewind.embedded.story.Teller on a terminal, as a client of the topics like any other."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._screen = session.screen
        self._chapters = 0

    def chapter(self, title: str) -> None:
        self._chapters += 1
        self._screen.out.print(Text(f"\n {self._chapters}  {title}", style="bold"))

    def say(self, text: str) -> None:
        self._screen.out.print(Text(f"   {text}"))

    def proved(self, text: str) -> None:
        self._screen.out.print(Text(" ✓ ", style="green") + Text(text))

    def mishap(self, text: str) -> None:
        self._screen.out.print(Text(f"   {text}", style="red"))

    async def order(self, command: str, body: Mapping[str, Any], deed: str) -> Mapping[str, Any]:
        session = self._session
        order = compose(
            command, body, key=None, sender=sender(), now=session.now(), message_id=session.tools.message_id()
        )
        words = Words(deed=deed, returns=lambda _: "tidewind demo")
        given = await give(session.line(), self._screen, order, words, wait=True)
        assert given.terminal is not None
        ended: dict[str, Any] = {}
        code = end_of(given.terminal, self._screen, words, shown=lambda event: ended.update(event.data or {}))
        if code != OK:
            raise Stop(code)
        return ended

    async def plan(self, body: Mapping[str, Any]) -> str:
        session = self._session
        order = compose(
            "tidewind.restore.request.v1",
            {**body, "dry_run": True},
            key=None,
            sender=sender(),
            now=session.now(),
            message_id=session.tools.message_id(),
        )
        words = Words(deed="plan the restore", returns=lambda _: "tidewind demo")
        given = await give(session.line(), self._screen, order, words, wait=False)
        plan = dict(given.accepted.answer.get("plan") or given.accepted.answer)
        self._screen.out.print(plan_view(plan, "UTC", None))
        if blockers_of(plan):
            raise Stop(FAILED)
        return hash_of(plan)

    async def window(self, *, since: datetime, deadline_s: float) -> None:
        session = self._session
        statuses = await session.statuses()
        try:
            async with asyncio.timeout(deadline_s):
                while not _reaches(statuses.one("window", CLUSTER), since):
                    await asyncio.sleep(_LOOK_S)
                    statuses = await session.statuses()
        except TimeoutError:
            raise Complaint(FAILED, f"the log was not archived within {deadline_s:.0f} s") from None
        self._screen.out.print(Text(f"   $ tidewind window --cluster {CLUSTER}", style="dim"))
        self._screen.out.print(window_view(statuses, CLUSTER, session.now()))

    async def found(self, words: str, *, since: datetime, least_rows: int, deadline_s: float) -> str:
        session = self._session
        again = f'--from "{since:%Y-%m-%dT%H:%M:%S}Z" --min-rows {least_rows}'
        self._screen.out.print(Text(f"   $ tidewind changes --cluster {CLUSTER} {again}", style="dim"))
        seen: list[Change] = []
        try:
            async with asyncio.timeout(deadline_s):
                while not any(_says(one, words) for one in seen):
                    seen = [one async for one in session.tools.changes(CLUSTER, since, session.now())]
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            raise Complaint(FAILED, f"no {words} was found in the log within {deadline_s:.0f} s") from None
        shown = [one for one in seen if worth_showing(one, frozenset(), least_rows, ddl_only=False)]
        for one in shown:
            self._screen.out.print(change_view(one))
        first = next(one for one in seen if _says(one, words))
        self._screen.out.print(end_view(CLUSTER, len(seen), len(shown), first))
        return first.position

    async def backup(self, causes: frozenset[str], *, since: datetime, deadline_s: float) -> Message:
        progress = JobProgress()
        began = time.monotonic()
        live = Live(get_renderable=lambda: progress.view(time.monotonic() - began), console=self._screen.err)
        try:
            async with asyncio.timeout(deadline_s), self._session.line().feed([EVENTS, PROGRESS], since=since) as feed:
                if self._screen.live:
                    live.start()
                completed = await self._end_of_backup(feed, causes, since, progress)
                progress.finish()
        except TimeoutError:
            raise Complaint(FAILED, f"no backup was completed within {deadline_s:.0f} s") from None
        finally:
            with suppress(RuntimeError):
                live.stop()
        self._screen.out.print(event_line(completed))
        return completed

    async def _end_of_backup(
        self, feed: Feed, causes: frozenset[str], since: datetime, progress: JobProgress
    ) -> Message:
        job: str | None = None
        while True:
            for message in await feed.read():
                data = message.data or {}
                if message.time < since.astimezone(UTC) or message.key != CLUSTER:
                    continue
                if message.type == "tidewind.backup.started.v1" and data.get("cause") in causes:
                    job = str(data["job_id"])
                elif message.type == PROGRESS_TYPE and data.get("job_id") == job:
                    progress.take(Progress.model_validate(data))
                elif message.type == "tidewind.backup.completed.v1" and data.get("cause") in causes:
                    return message
                elif message.type == "tidewind.backup.failed.v1" and data.get("cause") in causes:
                    self._screen.out.print(event_line(message))
                    raise Stop(FAILED)
