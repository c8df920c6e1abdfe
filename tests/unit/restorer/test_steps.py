"""The step machine, from every interrupted state."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from services.restorer.rules import steps
from services.restorer.rules.steps import Action, Next, Situation, next_action

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
BEFORE_VERDICT = ("announced", "gated", "safeguarded", "loaded", "accounts", "verified")


def at(done=(), verdict=None, **more):
    return next_action(Situation(done=frozenset(done), verdict=verdict, now=NOW, **more))


@pytest.mark.parametrize(
    ("done", "action"),
    [
        (0, Action.ANNOUNCE),
        (1, Action.GATE),
        (2, Action.SAFEGUARD),
        (3, Action.LOAD),
        (4, Action.DEFINE),
        (5, Action.VERIFY),
        (6, Action.DECIDE_OPEN),
    ],
)
def test_each_note_leads_to_the_next_step(done, action):
    assert at(BEFORE_VERDICT[:done]).action is action


def test_the_verdict_to_open_goes_only_forward():
    for cancelled, failure, deadline in itertools.product(
        (True, False), ("broken", None), (NOW - timedelta(hours=1), None)
    ):
        trouble = {"cancelled": cancelled, "failure": failure, "deadline": deadline}
        assert at(BEFORE_VERDICT, "open", **trouble).action is Action.OPEN
        assert at((*BEFORE_VERDICT, "opened"), "open", **trouble).action is Action.FINISH
        assert at((*BEFORE_VERDICT, "opened", "finished"), "open", **trouble).action is Action.END_OPENED


def test_the_verdict_to_return_goes_only_back_from_every_state():
    for many in range(1, len(BEFORE_VERDICT) + 1):
        done = BEFORE_VERDICT[:many]
        assert at(done, "return").action is Action.GIVE_BACK
        assert at((*done, "returned"), "return").action is Action.FINISH
        assert at((*done, "returned", "finished"), "return").action is Action.END_RETURNED


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ({"cancelled": True}, "somebody asked to cancel it"),
        ({"failure": "chunk 17 is damaged"}, "chunk 17 is damaged"),
        ({"deadline": NOW}, "the time limit has passed"),
    ],
)
def test_trouble_before_the_verdict_takes_the_way_back_from_every_state(trouble, reason):
    for many in range(1, len(BEFORE_VERDICT) + 1):
        assert at(BEFORE_VERDICT[:many], **trouble) == Next(Action.DECIDE_RETURN, reason)
    assert at((), **trouble) == Next(Action.END_UNTOUCHED, reason)


def test_a_deadline_that_is_still_to_come_changes_nothing():
    assert at(BEFORE_VERDICT[:3], deadline=NOW + timedelta(seconds=1)).action is Action.LOAD


def test_a_failure_outweighs_a_cancel_as_the_reason():
    assert at(BEFORE_VERDICT[:2], cancelled=True, failure="broken").reason == "broken"


def test_no_state_without_a_verdict_unlocks_or_gives_back():
    """The invariant over all sets of notes, also ones that no run can leave."""
    after = {Action.OPEN, Action.GIVE_BACK, Action.FINISH, Action.END_OPENED, Action.END_RETURNED}
    for many in range(len(steps.NOTES) + 1):
        for done in itertools.combinations(steps.NOTES, many):
            for cancelled in (True, False):
                assert at(done, cancelled=cancelled).action not in after


def test_the_deadline_is_counted_from_the_stored_moment():
    began = NOW - timedelta(hours=2)
    assert steps.deadline(began, timedelta(hours=3)) == NOW + timedelta(hours=1)
    assert steps.deadline(None, timedelta(hours=3)) is None


def test_only_steps_before_the_verdict_may_be_interrupted():
    interruptible = {action for action in Action if steps.may_be_interrupted(action)}
    assert interruptible == {Action.GATE, Action.SAFEGUARD, Action.LOAD, Action.REPLAY, Action.DEFINE, Action.VERIFY}
