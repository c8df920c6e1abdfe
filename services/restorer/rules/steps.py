"""What a restore does next, whoever asks and however the one before ended.

The durable order is

    announced → gated → safeguarded → loaded → accounts → verified → verdict open → opened → finished
                              any failure, cancel, time limit → verdict return → returned → finished

and every arrow is a note in the job's ledger. Rules, in order of weight:

- A verdict decides everything after it. `open` goes only forward: no cancel, no time limit. `return` goes only back.
- Without a verdict nobody may unlock an account. Without the announcement nothing was touched or is given back.
- A restore that was announced may be anywhere, because its holder may have died in the middle: the way back is taken in
  full, and finds out from the database what there is to do.

The tempting rule "not gated yet, so nothing to return" is wrong: a holder that died while gating left no note.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal


class Action(StrEnum):
    ANNOUNCE = "announce"
    GATE = "gate"
    SAFEGUARD = "safeguard"
    LOAD = "load"
    REPLAY = "replay"
    DEFINE = "define"
    VERIFY = "verify"
    DECIDE_OPEN = "decide-open"
    OPEN = "open"
    DECIDE_RETURN = "decide-return"
    GIVE_BACK = "give-back"
    FINISH = "finish"
    END_UNTOUCHED = "end-untouched"
    END_RETURNED = "end-returned"
    END_OPENED = "end-opened"


FORWARD: tuple[tuple[str, Action], ...] = (
    ("gated", Action.GATE),
    ("safeguarded", Action.SAFEGUARD),
    ("loaded", Action.LOAD),
    ("replayed", Action.REPLAY),
    ("accounts", Action.DEFINE),
    ("verified", Action.VERIFY),
)
"""Steps before the verdict: the note that says a step is done, and the step."""

NOTES = ("announced", *(note for note, _ in FORWARD), "opened", "returned", "finished")
ENDS = frozenset({Action.END_UNTOUCHED, Action.END_RETURNED, Action.END_OPENED})


@dataclass(frozen=True, kw_only=True)
class Situation:
    """`done`: names of the notes that exist. `replays`: a point of the log is restored. `failure`: why a step could not
    be done, in words. `deadline` is known once the gate was begun."""

    done: Collection[str]
    verdict: Literal["open", "return"] | None
    now: datetime
    replays: bool = False
    deadline: datetime | None = None
    cancelled: bool = False
    failure: str | None = None


@dataclass(frozen=True)
class Next:
    action: Action
    reason: str


def next_action(situation: Situation) -> Next:
    """The one action that is right now."""
    if situation.verdict == "open":
        return _after_verdict(situation, "opened", Action.OPEN, Action.END_OPENED)
    if situation.verdict == "return":
        return _after_verdict(situation, "returned", Action.GIVE_BACK, Action.END_RETURNED)
    touched = "announced" in situation.done
    objection = _objection(situation)
    if objection is not None:
        return Next(Action.DECIDE_RETURN if touched else Action.END_UNTOUCHED, objection)
    if not touched:
        return Next(Action.ANNOUNCE, "nothing may be touched before everybody was told")
    return _forward(situation)


def _forward(situation: Situation) -> Next:
    for note, action in FORWARD:
        if action is Action.REPLAY and not situation.replays:
            continue
        if note not in situation.done:
            return Next(action, f"{note} is the first step that is not done")
    return Next(Action.DECIDE_OPEN, "everything is there and verified")


def deadline(gating_began: datetime | None, limit: timedelta) -> datetime | None:
    """Counted from the stored moment at which the gate was begun, so that every successor finds the same."""
    return None if gating_began is None else gating_began + limit


def may_be_interrupted(action: Action) -> bool:
    """Whether a cancel or the time limit ends this step in the middle: only what comes before the verdict."""
    return action in {step for _, step in FORWARD}


def _after_verdict(situation: Situation, note: str, step: Action, end: Action) -> Next:
    if note not in situation.done:
        return Next(step, f"the verdict is to {situation.verdict}; nothing stops it now")
    if "finished" not in situation.done:
        return Next(Action.FINISH, "the fence and what is left over are still there")
    return Next(end, f"{note}, and nothing is left to do")


def _objection(situation: Situation) -> str | None:
    if situation.failure is not None:
        return situation.failure
    if situation.cancelled:
        return "somebody asked to cancel it"
    if situation.deadline is not None and situation.now >= situation.deadline:
        return "the time limit has passed"
    return None
