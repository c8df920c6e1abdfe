"""Gives one command and follows it: acknowledgement, answer, progress, end.

What the operator is told at each stage follows from what is certain then. Not acknowledged: it may or may not be on the
topic, and the idempotency key makes repeating it harmless. Acknowledged: it will be answered when a service is there.
Accepted: it goes on whether anybody watches or not.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

from rich.console import RenderableType
from rich.live import Live

from schemas.envelope import Message
from schemas.progress import Progress
from schemas.replies import CommandAccepted, CommandRejected, Problem
from tidewind.cli.endings import INTERRUPTED, OK, TRY_AGAIN, Complaint, Left, Stop, code_of
from tidewind.cli.order import Order
from tidewind.cli.ports import Exchange, Line
from tidewind.cli.screen import Screen
from tidewind.cli.views.problem import NOTHING_DONE
from tidewind.cli.views.progress import JobProgress
from tidewind.domain.problems import kind_of
from tidewind.ports.bus import BusUnavailable

ACKNOWLEDGED_S = 10.0
ANSWERED_S = 60.0

REJECTED = "tidewind.command.rejected.v1"

Ended = Callable[[Message], int]
"""Shows the terminal event; returns the exit code."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """How a command is spoken of. `deed` finishes "could not …"; `returns` is the line that returns to it; `again` the
    line that repeats it."""

    deed: str
    returns: Callable[[Order], str]
    cancels: str | None = None
    again: Callable[[Order], str] = lambda order: f"the same command with  --idempotency-key {order.key}"


@dataclass(frozen=True, kw_only=True)
class Given:
    """A command that was accepted, and its terminal event if that was waited for."""

    order: Order
    accepted: CommandAccepted
    terminal: Message | None


async def give(line: Line, screen: Screen, order: Order, words: Words, *, wait: bool) -> Given:
    """Send and follow. Rejections and silence are shown and raised as Stop; a failed end is the caller's to show."""
    sent = False
    try:
        async with line.exchange(order.message.key, deadline_s=ACKNOWLEDGED_S) as exchange:
            sent = True
            await exchange.send(order.topic, order.message, deadline_s=ACKNOWLEDGED_S)
            accepted, terminal = await _answered(line, exchange, screen, order, words)
            if wait and terminal is None:
                terminal = await follow(exchange, screen, left=_left(order, words))
    except BusUnavailable as error:
        raise unacknowledged(order, words, error, sent=sent) from error
    return Given(order=order, accepted=accepted, terminal=terminal if wait else None)


def unacknowledged(order: Order, words: Words, error: BusUnavailable, *, sent: bool) -> Complaint:
    """Kafka said nothing. Once it was handed over, a command may be on the topic or not."""
    unsure = "the command may have been stored or not; repeating it under the same key has one effect"
    return Complaint(
        TRY_AGAIN,
        f"could not {words.deed}: {error}",
        ("now", unsure if sent else "nothing was sent"),
        ("key", order.key),
        ("next", f"repeat it: {words.again(order)}"),
    )


async def _answered(
    line: Line, exchange: Exchange, screen: Screen, order: Order, words: Words
) -> tuple[CommandAccepted, Message | None]:
    answer = await exchange.wait(until_reply=True, deadline_s=ANSWERED_S)
    reply = answer.reply
    if reply is None:
        raise Complaint(
            TRY_AGAIN,
            f"no service has answered within {ANSWERED_S:.0f} s",
            ("sent", f"Kafka holds the command; a service that is started carries it out ({order.topic.name})"),
            ("key", order.key),
            ("next", f"look at the services, then return to it: {words.again(order)}"),
        )
    if reply.type == REJECTED:
        refusal = await _with_near_names(CommandRejected.model_validate(reply.data).problem, line, order)
        screen.problem(refusal, headline=f"could not {words.deed}", safe=NOTHING_DONE)
        raise Stop(code_of(refusal))
    return CommandAccepted.model_validate(reply.data), answer.terminal


async def _with_near_names(refusal: Problem, line: Line, order: Order) -> Problem:
    """Only whoever reads the status topic knows all clusters; the service that refuses looks for the one named."""
    if kind_of(refusal).name != "unknown-cluster":
        return refusal
    try:
        known = (await line.statuses()).clusters()
    except BusUnavailable:
        return refusal
    near = get_close_matches(order.message.key, known, n=3, cutoff=0.5)
    if not near:
        return refusal
    return refusal.model_copy(update={"next_step": f"Did you mean {' or '.join(near)}? {refusal.next_step}"})


async def follow(exchange: Exchange, screen: Screen, *, left: Callable[[], None]) -> Message:
    """Wait for the end of what was sent or is followed, with live progress; `left` is called on Ctrl-C."""
    progress = JobProgress()
    began = time.monotonic()

    def on_progress(message: Message) -> None:
        step = progress.take(Progress.model_validate(message.data))
        if step is not None and not screen.live and not screen.as_json:
            screen.err.print(step)

    def drawn() -> RenderableType:
        return progress.view(time.monotonic() - began)

    try:
        if screen.live:
            with Live(get_renderable=drawn, console=screen.err) as live:
                terminal = await _end_of(exchange, on_progress)
                progress.finish()
                live.refresh()
        else:
            terminal = await _end_of(exchange, on_progress)
            last = progress.finish()
            if last is not None and not screen.as_json:
                screen.err.print(last)
    except asyncio.CancelledError:
        left()
        raise
    return terminal


async def _end_of(exchange: Exchange, on_progress: Callable[[Message], None]) -> Message:
    answer = await exchange.wait(on_progress=on_progress)
    assert answer.terminal is not None
    return answer.terminal


def _left(order: Order, words: Words) -> Callable[[], None]:
    def say() -> None:
        lines = [("now", "it goes on without you"), ("returns", words.returns(order))]
        if words.cancels is not None:
            lines.append(("cancels", words.cancels))
        raise Left(INTERRUPTED, "left running", *lines)

    return say


def end_of(event: Message, screen: Screen, words: Words, *, shown: Callable[[Message], object]) -> int:
    """Show a terminal event: good ones by `shown`, failures as problems. The exit code."""
    problem = (event.data or {}).get("problem")
    if problem is not None:
        failure = Problem.model_validate(problem)
        screen.problem(failure, headline=f"could not {words.deed}", event=event.type, data=event.data)
        return code_of(failure)
    shown(event)
    return OK
